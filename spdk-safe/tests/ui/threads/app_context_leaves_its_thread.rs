//! T1: what proves that this is the app thread can't leave it.
use spdk_safe::prelude::*;

fn misuse(spdk: Spdk) {
    std::thread::spawn(move || drop(BdevDesc::open(&spdk, "disk0")));
}

fn main() {}
