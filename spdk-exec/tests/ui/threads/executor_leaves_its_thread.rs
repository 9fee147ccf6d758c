//! T1: an executor, with its tasks, belongs to the thread that bound it.
use spdk_exec::{Budget, LocalExecutor};

fn main() {
    let executor = LocalExecutor::new();
    std::thread::spawn(move || executor.poll(Budget::ALL));
}
