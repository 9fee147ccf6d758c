//! I8: an I/O gives its result once.
use spdk_safe::prelude::*;

async fn misuse(ch: IoChannel, buf: DmaBuf) {
    let io = ch.read(Lba(0), buf);
    let _ = io.await;
    let _ = io.await;
}

fn main() {}
