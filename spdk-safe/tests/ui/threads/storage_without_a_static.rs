//! T14: what is not a static has no value on other threads.
use spdk_safe::thread::ThreadStorage;

fn misuse() {
    let count = ThreadStorage::new(|| 0);
    let _ = count.with(|count| *count);
}

fn main() {}
