//! I3: address and count have their places.
use spdk_safe::prelude::*;

async fn misuse(ch: IoChannel<ReadWrite>) {
    let _ = ch.unmap(Blocks(8), Lba(0)).await;
}

fn main() {}
