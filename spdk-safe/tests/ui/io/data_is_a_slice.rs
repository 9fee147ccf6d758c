//! I1: a borrowed slice may end before the I/O does.
use spdk_safe::prelude::*;

async fn misuse(ch: IoChannel, bytes: &mut [u8]) {
    let _ = ch.read(Lba(0), bytes).await;
}

fn main() {}
