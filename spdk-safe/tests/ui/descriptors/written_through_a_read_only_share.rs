//! D2: a share can do no more than its descriptor.
use spdk_safe::prelude::*;

async fn misuse(desc: BdevDesc<ReadOnly>, buf: DmaBuf) {
    let ch = desc.share().channel().unwrap();
    let _ = ch.write(Lba(0), buf).await;
}

fn main() {}
