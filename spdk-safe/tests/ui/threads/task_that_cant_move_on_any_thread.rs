//! T3: a handle that does not say the kind of its thread takes what suits all.
use spdk_safe::thread::ThreadHandle;

async fn misuse(thread: &ThreadHandle) {
    let task = || async {
        let local = std::cell::Cell::new(&1);
        let shared = &local;
        std::future::ready(()).await;
        shared.get() + 1
    };
    let _ = thread.spawn(task).await;
}

fn main() {}
