//! T14: a value has one type.
use std::cell::Cell;

spdk_safe::thread_storage!(static COUNT: Cell<u64> = Cell::new(0););

fn misuse() {
    let _ = COUNT.with(|count: &Cell<u32>| count.get());
}

fn main() {}
