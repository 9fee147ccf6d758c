//! Each is used.
#![deny(unused_must_use)]
use spdk_exec::{Budget, LocalExecutor};

fn main() {
    let executor = LocalExecutor::new();
    executor.spawn(async {}).detach();
    let task = executor.spawn(async { 1 });
    while executor.poll(Budget::ALL).is_busy() {}
    assert_eq!(executor.block_on(task).unwrap(), 1);
}
