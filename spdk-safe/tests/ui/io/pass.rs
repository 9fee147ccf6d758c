//! A buffer goes into an I/O and comes back with the result.
#![deny(unused_must_use)]
use spdk_safe::prelude::*;

async fn buffer_comes_back(ch: IoChannel<ReadWrite>) -> Result<(), Box<dyn std::error::Error>> {
    let mut buf = ch.alloc(Blocks(8))?;
    buf[0] = 1;
    let (result, buf) = ch.write(Lba(0), buf).await;
    result?;
    let (result, mut buf) = ch.read(Lba(8), buf).await;
    result?;
    buf[..512].fill(0);
    ch.flush(Lba(0), Blocks(16)).await?;
    Ok(())
}

async fn two_at_once(ch: &IoChannel) {
    let (first, second) = (ch.alloc(Blocks(1)).unwrap(), ch.alloc(Blocks(1)).unwrap());
    let both = (ch.read(Lba(0), first), ch.read(Lba(8), second));
    let _ = (both.0.await, both.1.await);
}
