//! D2: what a channel may do is in its type.
use spdk_safe::prelude::*;

fn fill(_ch: &IoChannel<ReadWrite>) {}

fn misuse(ch: IoChannel<ReadOnly>) {
    fill(&ch);
}

fn main() {}
