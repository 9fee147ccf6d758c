//! T2: the thread may run the closure when the local is gone.
use spdk_safe::prelude::*;

async fn misuse(thread: &Thread) {
    let local = String::from("here");
    let _ = thread.call(|| local.len()).await;
}

fn main() {}
