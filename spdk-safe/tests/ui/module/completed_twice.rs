//! M1: a request is completed once.
use spdk_safe::module::{RangeRequest, RequestStatus};

fn misuse(request: RangeRequest) {
    request.complete(RequestStatus::Success);
    request.complete(RequestStatus::Failed);
}

fn main() {}
