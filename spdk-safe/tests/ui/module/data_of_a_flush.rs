//! M5: a flush has no data.
use spdk_safe::module::{RangeRequest, RequestData};

fn misuse(flush: &RangeRequest) -> RequestData {
    flush.data()
}

fn main() {}
