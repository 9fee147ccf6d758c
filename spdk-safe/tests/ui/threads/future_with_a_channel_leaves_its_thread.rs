//! T1: a future that holds a channel belongs to the channel's thread.
use spdk_safe::prelude::*;

fn run_on_any_thread(_task: impl Future<Output = ()> + Send + 'static) {}

fn misuse(ch: IoChannel<ReadWrite>) {
    run_on_any_thread(async move {
        let _ = ch.reset().await;
    });
}

fn main() {}
