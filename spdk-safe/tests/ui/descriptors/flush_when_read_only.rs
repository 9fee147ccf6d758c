//! D2: what was opened for reading is not flushed.
use spdk_safe::prelude::*;

async fn misuse(ch: IoChannel<ReadOnly>) {
    let _ = ch.flush(Lba(0), Blocks(8)).await;
}

fn main() {}
