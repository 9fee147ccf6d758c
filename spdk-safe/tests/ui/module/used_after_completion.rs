//! M4: a request that was completed is gone.
use spdk_safe::module::{ReadRequest, RequestData, RequestStatus};

fn misuse(request: ReadRequest) -> RequestData {
    request.complete(RequestStatus::Success);
    request.data()
}

fn main() {}
