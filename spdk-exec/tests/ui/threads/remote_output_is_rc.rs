//! T2: the output comes back to the thread that holds the handle.
use spdk_exec::LocalExecutor;
use std::rc::Rc;

fn main() {
    let executor = LocalExecutor::new();
    let task = executor.remote().spawn(|| async { Rc::new(5) });
    drop(task);
}
