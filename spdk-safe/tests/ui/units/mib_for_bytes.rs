//! I3: memory is in MiB.
use spdk_safe::prelude::*;

fn misuse() {
    let _ = App::builder("ui").memory(Bytes(512));
}

fn main() {}
