//! Static places take what fits.
use spdk_exec::{Budget, Executor, TaskSpace, TaskStorage};
use std::future::{Ready, ready};

static EXECUTOR: Executor = Executor::new();
static NAMED: TaskStorage<Ready<u8>> = TaskStorage::new();
static SPACE: TaskSpace<256> = TaskSpace::new();

fn main() {
    let executor = EXECUTOR.bind().unwrap();
    let named = executor.spawn_in(&NAMED, ready(5)).unwrap();
    let local = String::from("moved in");
    let space = executor.spawn_in(&SPACE, async move { local.len() }).unwrap();
    while executor.poll(Budget::ALL).is_busy() {}
    assert!(named.is_finished() && space.is_finished());
}
