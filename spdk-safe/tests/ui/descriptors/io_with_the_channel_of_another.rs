//! D5: I/O is a method of the channel, which knows its descriptor: the two can't be mixed up.
use spdk_safe::prelude::*;

async fn misuse(desc: BdevDesc, ch_of_another: IoChannel, buf: DmaBuf) {
    let _ = desc.read(&ch_of_another, Lba(0), buf).await;
}

fn main() {}
