//! T1: a timer's node is in its executor's heap.
use spdk_exec::LocalExecutor;
use std::time::Duration;

fn main() {
    let executor = LocalExecutor::new();
    let sleep = executor.sleep(Duration::from_secs(1));
    std::thread::spawn(move || drop(sleep));
}
