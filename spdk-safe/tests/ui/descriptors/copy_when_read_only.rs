//! D2: copy through a read-only descriptor.
use spdk_safe::prelude::*;

async fn misuse(ch: IoChannel<ReadOnly>) {
    let _ = ch.copy(Lba(0), Lba(8), Blocks(1)).await;
}

fn main() {}
