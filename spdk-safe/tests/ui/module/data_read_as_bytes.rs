//! M11: whoever sent the request may write its data at any time.
use spdk_safe::module::RequestData;

fn misuse(data: &RequestData) -> &[u8] {
    data
}

fn main() {}
