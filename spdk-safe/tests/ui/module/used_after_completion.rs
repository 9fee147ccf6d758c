//! M4: a request that was completed is gone.
use spdk_safe::module::{DataRequest, RequestData, RequestStatus};

fn misuse(request: DataRequest) -> RequestData {
    request.complete(RequestStatus::Success);
    request.data()
}

fn main() {}
