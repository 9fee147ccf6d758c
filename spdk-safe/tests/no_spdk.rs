//! A process in which SPDK is never started.

use spdk_safe::env::{AllocError, DmaBuf, DmaPool, UninitDmaBuf};
use spdk_safe::error::ThreadError;
use spdk_safe::prelude::*;
use spdk_safe::thread::{self, Poller, PollerStatus};

spdk_safe::thread_storage! {
    static VALUE: u8 = 0;
}

#[test]
fn t8_before_spdk_is_up_calls_are_clean_errors() {
    let no_memory = DmaBuf::zeroed(Bytes(512), 512).map(drop);
    assert_eq!(no_memory, Err(AllocError::NotRunning));
    let no_memory = UninitDmaBuf::new(Bytes(512), 512).map(drop);
    assert_eq!(no_memory, Err(AllocError::NotRunning));
    assert_eq!(
        DmaPool::new(1, Bytes(512), 512).map(drop),
        Err(AllocError::NotRunning)
    );
    let no_thread = ThreadError::NoThread;
    let poller = Poller::register(None, || PollerStatus::Idle).map(drop);
    assert_eq!(poller, Err(no_thread));
    assert_eq!(thread::spawn_local(async {}).map(drop), Err(no_thread));
    assert_eq!(thread::at_exit(|| ()), Err(no_thread));
    assert_eq!(spdk_safe::app::at_exit(|| ()), Err(no_thread));
    assert_eq!(thread::stats().map(drop), Err(no_thread));
    assert_eq!(VALUE.with(|value| *value), Err(no_thread));
    assert_eq!(thread::current_id(), None);
    assert!(thread::current().is_none() && thread::app().is_none());
    assert!(thread::by_id(1.try_into().unwrap()).is_none());
    assert!(!thread::is_exiting());
    assert_eq!(spdk_safe::contained_panics(), 0);
}
