//! A `TaskStorage` is for one type of future.
use spdk_exec::{LocalExecutor, TaskStorage};
use std::future::{Pending, Ready, ready};

static PLACE: TaskStorage<Pending<u8>> = TaskStorage::new();

fn main() {
    let executor = LocalExecutor::new();
    let task: Result<_, _> = executor.spawn_in::<Ready<u8>, _>(&PLACE, ready(5));
    drop(task);
}
