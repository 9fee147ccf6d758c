//! D3: there are four claims, and they are SPDK's.
use spdk_safe::bdev::ClaimAs;
use spdk_safe::prelude::*;

struct WriteAnyway;

impl ClaimAs<ReadOnly> for WriteAnyway {
    type Mode = ReadWrite;
}

fn main() {}
