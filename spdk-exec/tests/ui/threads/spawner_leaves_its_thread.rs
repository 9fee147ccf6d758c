//! T3: `Spawner` takes futures that are not `Send`, so it stays; `remote()` is what may go.
use spdk_exec::LocalExecutor;

fn main() {
    let executor = LocalExecutor::new();
    let spawner = executor.spawner();
    std::thread::spawn(move || spawner.spawn(async {}).detach());
}
