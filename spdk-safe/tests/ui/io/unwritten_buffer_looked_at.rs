//! I5: a buffer that nobody has written shows nothing.
use spdk_safe::prelude::*;

async fn misuse(ch: IoChannel) -> u8 {
    let buf = ch.alloc_uninit(Blocks(1)).unwrap();
    buf[0]
}

fn main() {}
