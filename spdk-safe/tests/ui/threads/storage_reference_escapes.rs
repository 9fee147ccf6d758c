//! T14: the value goes with its thread.
use std::cell::Cell;

spdk_safe::thread_storage!(static COUNT: Cell<u64> = Cell::new(0););

fn misuse() {
    let _ = COUNT.with(|count| count);
}

fn main() {}
