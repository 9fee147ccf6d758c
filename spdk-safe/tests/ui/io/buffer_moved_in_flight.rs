//! I1: a buffer in flight can't move.
use spdk_safe::prelude::*;

async fn misuse(ch: IoChannel, buf: DmaBuf) -> Box<DmaBuf> {
    let io = ch.read(Lba(0), buf);
    let moved = Box::new(buf);
    let _ = io.await;
    moved
}

fn main() {}
