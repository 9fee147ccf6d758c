//! D2: compare_and_write through a read-only descriptor.
use spdk_safe::prelude::*;

async fn misuse(ch: IoChannel<ReadOnly>) {
    let _ = ch.compare_and_write(Lba(0), vec![0_u8; 512], vec![0_u8; 512]).await;
}

fn main() {}
