//! D2: a write can't go to a base that was opened for reading.
use spdk_safe::module::WriteRequest;
use spdk_safe::prelude::*;

fn misuse(write: WriteRequest, base: &IoChannel<ReadOnly>) {
    write.forward(base, Lba(0), |write, result| write.complete(result));
}

fn main() {}
