//! D2: how a bdev is opened must be said.
#![deny(unused_must_use)]
use spdk_safe::prelude::*;

fn misuse(spdk: &Spdk) {
    BdevDesc::open(spdk, "disk0");
}

fn main() {}
