//! I5: every buffer starts as zeroes.
use spdk_safe::prelude::*;

fn misuse() -> DmaBuf {
    DmaBuf::uninit(Bytes(4096), 4096).unwrap()
}

fn main() {}
