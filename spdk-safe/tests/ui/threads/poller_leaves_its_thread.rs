//! T1: a poller belongs to the thread that registered it.
use spdk_safe::thread::Poller;

fn misuse(poller: Poller) {
    std::thread::spawn(move || drop(poller));
}

fn main() {}
