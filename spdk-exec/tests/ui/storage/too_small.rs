//! Whether a future fits is known when the program is compiled.
use spdk_exec::{LocalExecutor, TaskSpace};

static PLACE: TaskSpace<32> = TaskSpace::new();

fn main() {
    let executor = LocalExecutor::new();
    let big = [0_u8; 64];
    let task = executor.spawn_in(&PLACE, async move { big });
    drop(task);
}
