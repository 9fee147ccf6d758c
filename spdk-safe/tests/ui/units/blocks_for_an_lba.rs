//! I3: an address is not a count.
use spdk_safe::prelude::*;

async fn misuse(ch: IoChannel, buf: DmaBuf) {
    let _ = ch.read(Blocks(8), buf).await;
}

fn main() {}
