//! D4: closing waits only if it is awaited.
#![deny(unused_must_use)]
use spdk_safe::prelude::*;

fn misuse(desc: BdevDesc) {
    desc.close();
}

fn main() {}
