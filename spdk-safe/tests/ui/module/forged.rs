//! M1: a request comes from SPDK alone.
use spdk_safe::module::ResetRequest;

fn misuse(earlier: &ResetRequest) -> ResetRequest {
    ResetRequest {
        handle: earlier.handle,
    }
}

fn main() {}
