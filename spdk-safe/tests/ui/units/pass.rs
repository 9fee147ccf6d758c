//! Each unit in its place, with conversions that say what they need.
use spdk_safe::prelude::*;

async fn each_in_its_place(ch: IoChannel<ReadWrite>) -> Option<()> {
    let blocks = Bytes(4096).blocks(ch.info().block_size)?;
    let buf = ch.alloc(blocks).ok()?;
    let (_result, _buf) = ch.write(Lba(8).checked_add(blocks)?, buf).await;
    ch.unmap(Lba(0), Blocks(8)).await.ok()
}

fn memory() -> spdk_safe::app::Builder {
    App::builder("ui").memory(Mib(512))
}
