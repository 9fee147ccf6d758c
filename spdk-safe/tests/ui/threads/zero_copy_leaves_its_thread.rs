//! T1: a zero-copy goes back on the thread that got it.
use spdk_safe::bdev::Zcopy;

fn misuse(region: Zcopy) {
    std::thread::spawn(move || drop(region));
}

fn main() {}
