//! T1: nor may another thread use a channel through a reference.
use spdk_safe::prelude::*;

fn misuse(ch: IoChannel) {
    std::thread::scope(|threads| {
        threads.spawn(|| ch.num_blocks());
    });
}

fn main() {}
