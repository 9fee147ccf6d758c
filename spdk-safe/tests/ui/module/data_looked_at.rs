//! M4: data that was handed on can't be looked at, before the completion or after it.
use spdk_safe::module::RequestData;

fn misuse(data: &RequestData) -> u8 {
    data[0]
}

fn main() {}
