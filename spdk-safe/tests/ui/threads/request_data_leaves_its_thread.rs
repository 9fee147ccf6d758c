//! T1: the data of a request belongs to the request's thread.
use spdk_safe::module::RequestData;

fn misuse(data: RequestData) {
    std::thread::spawn(move || drop(data));
}

fn main() {}
