//! I1: a buffer in flight belongs to its I/O.
use spdk_safe::prelude::*;

async fn misuse(ch: IoChannel, mut buf: DmaBuf) {
    let io = ch.read(Lba(0), buf);
    buf[0] = 1;
    let _ = io.await;
}

fn main() {}
