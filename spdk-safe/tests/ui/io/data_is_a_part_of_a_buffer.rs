//! I1: an I/O owns a whole buffer.
use spdk_safe::prelude::*;

async fn misuse(ch: IoChannel, mut buf: DmaBuf) {
    let _ = ch.read(Lba(0), &mut buf[..512]).await;
}

fn main() {}
