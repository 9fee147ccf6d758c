//! T1: an I/O belongs to the thread of its channel.
use spdk_safe::prelude::*;

fn misuse(ch: IoChannel, buf: DmaBuf) {
    let io = ch.read(Lba(0), buf);
    std::thread::spawn(move || drop(io));
}

fn main() {}
