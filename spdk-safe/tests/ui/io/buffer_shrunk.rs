//! I1: a buffer has one length for life.
use spdk_safe::prelude::*;

fn misuse(buf: &mut DmaBuf) {
    buf.truncate(512);
}

fn main() {}
