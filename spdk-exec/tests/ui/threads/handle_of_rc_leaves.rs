//! T1: a handle goes where its output may go.
use spdk_exec::LocalExecutor;
use std::rc::Rc;

fn main() {
    let executor = LocalExecutor::new();
    let task = executor.spawn(async { Rc::new(5) });
    std::thread::spawn(move || drop(task));
}
