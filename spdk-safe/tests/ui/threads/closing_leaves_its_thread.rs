//! T1: a descriptor is waited for where it was opened.
use spdk_safe::prelude::*;

fn misuse(desc: BdevDesc) {
    let closed = desc.close();
    std::thread::spawn(move || drop(closed));
}

fn main() {}
