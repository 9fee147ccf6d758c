//! D9: the modes of a descriptor are sealed.
use spdk_safe::bdev::DescMode;

enum Sudo {}

impl DescMode for Sudo {}

fn main() {}
