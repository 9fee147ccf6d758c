//! A task outlives the scope that spawned it.
use spdk_exec::{LocalExecutor, TaskSpace};

static PLACE: TaskSpace<256> = TaskSpace::new();

fn main() {
    let executor = LocalExecutor::new();
    let local = String::from("gone by then");
    let task = executor.spawn_in(&PLACE, async { local.len() });
    drop(task);
}
