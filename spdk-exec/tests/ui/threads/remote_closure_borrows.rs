//! T2: what is sent to the home thread must own what it uses.
use spdk_exec::LocalExecutor;

fn main() {
    let executor = LocalExecutor::new();
    let local = String::from("gone by then");
    let task = executor.remote().spawn(|| async { local.len() });
    drop(task);
}
