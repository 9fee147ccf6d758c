//! What may cross threads does.
use spdk_exec::{Budget, LocalExecutor};
use std::rc::Rc;

fn main() {
    let executor = LocalExecutor::new();
    let handle = executor.spawn(async { 1 });
    let remote = executor.remote();
    let number = 4;
    let theirs = std::thread::spawn(move || {
        drop(handle);
        remote.spawn(move || {
            let shared = Rc::new(number);
            async move { *shared }
        })
    });
    let task = theirs.join().unwrap().unwrap();
    while executor.poll(Budget::ALL).is_busy() {}
    assert!(task.is_finished());
}
