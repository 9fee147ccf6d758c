//! The output is given once.
use spdk_exec::LocalExecutor;

fn main() {
    let executor = LocalExecutor::new();
    let task = executor.spawn(async { 1 });
    let _ = executor.block_on(task);
    let _ = executor.block_on(task);
}
