//! A waker may outlive the task, so its header must be `static`.
use spdk_exec::{LocalExecutor, TaskSpace};

fn main() {
    let executor = LocalExecutor::new();
    let place = TaskSpace::<256>::new();
    let task = executor.spawn_in(&place, async {});
    drop(task);
}
