//! I3: a number says what it counts.
use spdk_safe::prelude::*;

async fn misuse(ch: IoChannel, buf: DmaBuf) {
    let _ = ch.read(0, buf).await;
}

fn main() {}
