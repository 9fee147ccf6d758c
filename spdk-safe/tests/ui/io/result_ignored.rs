//! I8: an I/O may fail, so its result is looked at.
#![deny(unused_must_use)]
use spdk_safe::prelude::*;

async fn misuse(ch: IoChannel<ReadWrite>, buf: DmaBuf) {
    ch.write(Lba(0), buf).await;
}

fn main() {}
