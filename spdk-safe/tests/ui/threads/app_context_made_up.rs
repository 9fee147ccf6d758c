//! D9: only a running app gives its context.
use spdk_safe::prelude::*;

fn misuse() {
    let spdk = Default::default();
    let _ = BdevDesc::open(&spdk, "disk0").read_only();
}

fn main() {}
