//! T2: what is sent to the home thread must be `Send`.
use spdk_exec::LocalExecutor;
use std::rc::Rc;

fn main() {
    let executor = LocalExecutor::new();
    let shared = Rc::new(5);
    let task = executor.remote().spawn(move || async move { *shared });
    drop(task);
}
