//! M1: a request that waits for its children is theirs; it comes back in `all_ended`.
use spdk_safe::module::{Children, RequestStatus, WriteRequest};
use spdk_safe::prelude::*;

fn misuse<S: Children<WriteRequest>>(write: WriteRequest, leg: &IoChannel<ReadWrite>, waits: S) {
    let children = write.children(waits);
    children.write(leg, Lba(0), 0);
    write.complete(RequestStatus::Success);
}

fn main() {}
