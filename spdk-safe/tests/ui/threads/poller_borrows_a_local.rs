//! T2: a poller runs longer than the function that registers it.
use spdk_safe::thread::{Poller, PollerStatus};

fn misuse() -> Poller {
    let mut polls = 0;
    Poller::register(None, || {
        polls += 1;
        PollerStatus::Idle
    })
    .unwrap()
}

fn main() {}
