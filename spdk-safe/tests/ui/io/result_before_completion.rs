//! I8: the result is there when the I/O is done.
use spdk_safe::prelude::*;

async fn misuse(ch: IoChannel, buf: DmaBuf) {
    let (_result, _buf) = ch.read(Lba(0), buf);
}

fn main() {}
