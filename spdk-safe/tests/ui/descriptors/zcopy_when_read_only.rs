//! D2: zcopy through a read-only descriptor.
use spdk_safe::prelude::*;

async fn misuse(ch: IoChannel<ReadOnly>) {
    let _ = ch.zcopy(Lba(0), Blocks(1)).await;
}

fn main() {}
