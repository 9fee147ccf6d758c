//! M4: what looks at a request's data ends with the request.
use spdk_safe::module::{RequestStatus, WriteRequest};
use spdk_safe::prelude::*;

fn misuse(write: WriteRequest, into: &mut [u8]) {
    let view = write.view();
    write.complete(RequestStatus::Success);
    let _ = view.copy_to(Bytes(0), into);
}

fn main() {}
