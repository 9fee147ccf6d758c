//! I1: a buffer in flight can't be freed.
use spdk_safe::prelude::*;

async fn misuse(ch: IoChannel, buf: DmaBuf) {
    let io = ch.read(Lba(0), buf);
    drop(buf);
    let _ = io.await;
}

fn main() {}
