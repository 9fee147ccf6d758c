//! T1, M3: a request is completed on the thread that it came to.
use spdk_safe::module::{Request, RequestStatus};

fn misuse(request: Request) {
    std::thread::spawn(move || request.complete(RequestStatus::Success));
}

fn main() {}
