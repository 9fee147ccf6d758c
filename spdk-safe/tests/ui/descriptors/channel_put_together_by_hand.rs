//! D9: a channel comes from a descriptor alone.
use spdk_safe::prelude::*;

fn misuse() -> IoChannel {
    IoChannel {}
}

fn main() {}
