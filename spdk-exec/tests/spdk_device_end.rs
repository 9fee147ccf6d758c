//! The app ends while a request's future never does. One test, since DPDK initialises once per process.

use std::future::{Future, pending};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Waker};

use spdk_exec::spdk::{Async, AsyncBlockDevice};
use spdk_safe::app::Pools;
use spdk_safe::module::{BdevModule, BlockDeviceBuilder, RequestStatus, TaskRequest};
use spdk_safe::prelude::*;

static MODULE: BdevModule = BdevModule::new(c"never").device::<Async<Never>>();
static ENDED: AtomicUsize = AtomicUsize::new(0);
static DROPPED: AtomicUsize = AtomicUsize::new(0);

struct Never;

struct Witness;

impl Drop for Witness {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, SeqCst);
    }
}

impl AsyncBlockDevice for Never {
    type Channel = ();

    fn create_channel(&self) -> Result<(), ChannelError> {
        Ok(())
    }

    async fn submit(&self, _: &(), _request: TaskRequest<'_>) -> RequestStatus {
        let _witness = Witness;
        pending().await
    }
}

#[test]
fn m2_futures_that_never_end_fail_their_requests_when_the_app_ends() {
    let outcome = App::builder("device-end")
        .no_huge()
        .no_pci()
        .memory(Mib(512))
        .pools(Pools::small())
        // What other crates have linked must not read it.
        .auto_examine(false)
        .module(&MODULE)
        .run(async |spdk| {
            let bdev = BlockDeviceBuilder::new("never")
                .blocks(Blocks(64))
                .register(&spdk, &MODULE, Async::new(Never))
                .unwrap();
            let desc = BdevDesc::open(&spdk, "never").read_only().unwrap();
            let ch = desc.channel().unwrap();
            for lba in 0..3 {
                let buf = desc.alloc(Blocks(1)).unwrap();
                let done = |result: Result<(), IoError>, _| {
                    assert!(result.is_err());
                    ENDED.fetch_add(1, SeqCst);
                };
                ch.read_then(Lba(lba), buf, done).unwrap();
            }
            // One whose future is gone before.
            {
                let mut io = pin!(ch.read(Lba(3), desc.alloc(Blocks(1)).unwrap()));
                let _ = io.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            }
            // Main leaves it all behind.
            std::mem::forget(bdev);
            std::mem::forget((ch, desc));
        });
    outcome.unwrap();
    assert_eq!(ENDED.load(SeqCst), 3);
    assert_eq!(DROPPED.load(SeqCst), 4);
}
