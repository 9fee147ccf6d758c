//! What must not be dropped by accident says so.
#![deny(unused_must_use)]
use spdk_exec::{Budget, LocalExecutor};
use std::time::Duration;

fn main() {
    let executor = LocalExecutor::new();
    executor.spawn(async {});
    executor.sleep(Duration::ZERO);
    executor.poll(Budget::ALL);
}
