//! M7: what waits for children outlives the call that submitted them.
use spdk_safe::module::ReadRequest;
use spdk_safe::prelude::*;

fn misuse(read: ReadRequest, base: &IoChannel, seen: &mut u32) {
    read.forward(base, Lba(0), |read, result| {
        *seen += 1;
        read.complete(result);
    });
}

fn main() {}
