//! T7: nothing is sent before the future is polled.
#![deny(unused_must_use)]
use spdk_safe::prelude::*;

async fn misuse(thread: &Thread) {
    thread.send(|| ());
}

fn main() {}
