//! I1: a buffer in flight can't be in another I/O.
use spdk_safe::prelude::*;

async fn misuse(ch: IoChannel, buf: DmaBuf) {
    let first = ch.read(Lba(0), buf);
    let second = ch.read(Lba(8), buf);
    let _ = (first.await, second.await);
}

fn main() {}
