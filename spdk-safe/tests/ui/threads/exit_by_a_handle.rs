//! T6: only the owner ends its thread.
use spdk_safe::thread::ThreadHandle;

async fn misuse(handle: ThreadHandle) {
    handle.exit().await;
}

fn main() {}
