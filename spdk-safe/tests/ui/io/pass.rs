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

async fn memory_of_the_programs_own(ch: &IoChannel<ReadWrite>, bytes: Vec<u8>) -> Vec<u8> {
    let (_, bytes) = ch.write(Lba(0), bytes).await;
    let shared: std::sync::Arc<[u8]> = bytes.into();
    let _ = ch.write(Lba(8), std::sync::Arc::clone(&shared)).await;
    ch.read(Lba(8), shared.to_vec()).await.1
}

async fn unwritten_until_it_was_read_into(ch: &IoChannel) -> Option<u8> {
    let (result, buf) = ch.read(Lba(0), ch.alloc_uninit(Blocks(1)).ok()?).await;
    result.ok()?;
    buf.into_filled().ok()?.first().copied()
}

fn callback_owns_what_it_uses(ch: &IoChannel, buf: DmaBuf) {
    let done = std::rc::Rc::new(std::cell::Cell::new(false));
    let said = std::rc::Rc::clone(&done);
    let started = ch.read_then(Lba(0), buf, move |result, _| said.set(result.is_ok()));
    assert!(started.is_ok() || !done.get());
}
