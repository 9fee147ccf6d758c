//! M5: not every request has an LBA, so its type must be looked at first.
use spdk_safe::module::Request;
use spdk_safe::prelude::*;

fn misuse(request: &Request) -> Lba {
    request.lba()
}

fn main() {}
