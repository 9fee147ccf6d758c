//! I3: two addresses have no sum.
use spdk_safe::prelude::*;

fn misuse(first: Lba, second: Lba) -> Option<Lba> {
    first.checked_add(second)
}

fn main() {}
