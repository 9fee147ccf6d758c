//! D2: what was opened for reading is not written.
use spdk_safe::prelude::*;

async fn misuse(ch: IoChannel<ReadOnly>, buf: DmaBuf) {
    let _ = ch.write(Lba(0), buf).await;
}

fn main() {}
