//! T1: a descriptor belongs to the app thread; its share may travel.
use spdk_safe::prelude::*;

fn misuse(desc: BdevDesc) {
    std::thread::spawn(move || drop(desc));
}

fn main() {}
