//! I1: what an I/O may own is sealed.
use spdk_safe::bdev::IoData;

struct Mapped(*mut u8);

impl IoData for Mapped {}

fn main() {}
