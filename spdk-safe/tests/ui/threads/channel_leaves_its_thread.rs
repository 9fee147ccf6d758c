//! T1: a channel belongs to the thread that got it.
use spdk_safe::prelude::*;

fn misuse(ch: IoChannel) {
    std::thread::spawn(move || drop(ch));
}

fn main() {}
