//! I8: an I/O that is not awaited does nothing.
#![deny(unused_must_use)]
use spdk_safe::prelude::*;

fn misuse(ch: IoChannel<ReadWrite>) {
    ch.flush(Lba(0), Blocks(8));
}

fn main() {}
