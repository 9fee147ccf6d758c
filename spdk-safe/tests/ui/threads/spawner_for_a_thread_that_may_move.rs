//! T3: a spawner stays on its OS thread.
use spdk_safe::thread::{Spawner, ThreadBuilder, Migratable};
use spdk_safe::error::ThreadError;

fn misuse<S: Spawner>(builder: ThreadBuilder<Migratable>, make: fn() -> Result<S, ThreadError>) {
    let _ = builder.spawner(make);
}

fn main() {}
