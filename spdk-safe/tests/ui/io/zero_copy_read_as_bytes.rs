//! M11: other I/O may change a zero-copy's memory, so it can't be looked at as a slice.
use spdk_safe::bdev::Zcopy;

fn misuse(region: Zcopy) -> u8 {
    region[0]
}

fn main() {}
