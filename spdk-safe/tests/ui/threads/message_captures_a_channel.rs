//! T2: a channel belongs to its thread; another one makes one of its own.
use spdk_safe::prelude::*;

async fn misuse(thread: &Thread, ch: IoChannel<ReadWrite>) {
    let _ = thread.spawn(move || async move { ch.reset().await }).await;
}

fn main() {}
