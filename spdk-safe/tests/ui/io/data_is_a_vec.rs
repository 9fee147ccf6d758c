//! I1: a Vec is not memory that a device may reach.
use spdk_safe::prelude::*;

async fn misuse(ch: IoChannel, bytes: Vec<u8>) {
    let _ = ch.read(Lba(0), bytes).await;
}

fn main() {}
