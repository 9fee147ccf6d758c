//! I1: a borrowed buffer may be freed before the I/O is done.
use spdk_safe::prelude::*;

async fn misuse(ch: IoChannel, mut buf: DmaBuf) {
    let _ = ch.read(Lba(0), &mut buf).await;
}

fn main() {}
