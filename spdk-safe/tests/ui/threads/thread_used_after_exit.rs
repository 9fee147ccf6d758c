//! T6: the owner is gone with its thread; a handle that outlives it gives errors.
use spdk_safe::prelude::*;

async fn misuse(thread: Thread) {
    thread.exit().await;
    let _ = thread.call(|| 1).await;
}

fn main() {}
