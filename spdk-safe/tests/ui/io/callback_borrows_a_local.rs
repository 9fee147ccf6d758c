//! I11: an I/O may end when the function that started it is long over.
use spdk_safe::prelude::*;

fn misuse(ch: IoChannel, buf: DmaBuf) {
    let mut done = false;
    let _ = ch.read_then(Lba(0), buf, |_, _| done = true);
    drop(done);
}

fn main() {}
