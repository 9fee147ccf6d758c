//! The end of a reset, inside of which SPDK is not done with the bdev. An SPDK of its own, for what that says in its log.

use std::cell::RefCell;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

use spdk_safe::app::yield_now;
use spdk_safe::module::{BdevModule, BlockDevice, BlockDeviceBuilder, Request, RequestStatus};
use spdk_safe::prelude::*;

static MODULE: BdevModule = BdevModule::new(c"rust_resets");

thread_local! {
    static KEPT: RefCell<Option<Request>> = const { RefCell::new(None) };
}

/// Keeps a reset.
struct Slow;

impl BlockDevice for Slow {
    type Channel = ();

    fn create_channel(&self) -> Result<(), ChannelError> {
        Ok(())
    }

    fn supports(&self, io: IoType) -> bool {
        matches!(io, IoType::Read | IoType::Write | IoType::Reset)
    }

    fn submit(&self, _: &Rc<()>, request: Request) {
        KEPT.set(Some(request));
    }
}

#[test]
fn d8_a_reset_that_ends_when_its_bdev_is_removed_unregisters_it_once() {
    let said = Arc::new(Mutex::new(Vec::new()));
    let lines = Arc::clone(&said);
    App::builder("resets")
        .no_huge()
        .no_pci()
        .share_cores()
        .memory(Mib(512))
        .module(&MODULE)
        .log_level(LogLevel::Warn)
        .log_to(move |line| lines.lock().unwrap().push(line.text.to_string()))
        .run(async |spdk| {
            let bdev = BlockDeviceBuilder::new("slow")
                .blocks(Blocks(64))
                .register(&spdk, &MODULE, Slow)
                .unwrap();
            let desc = BdevDesc::open(&spdk, "slow").read_write().unwrap();
            let ch = desc.channel().unwrap();
            let mut reset = pin!(ch.reset());
            let noop = &mut Context::from_waker(Waker::noop());
            assert!(reset.as_mut().poll(noop).is_pending());
            while KEPT.with_borrow(Option::is_none) {
                yield_now().await;
            }
            // Its descriptor is to be closed as soon as the reset has ended.
            let mut gone = pin!(bdev.unregister());
            while desc.channel().is_ok() {
                assert!(gone.as_mut().poll(noop).is_pending());
                yield_now().await;
            }
            KEPT.take().unwrap().complete(RequestStatus::Success);
            reset.await.unwrap();
            gone.await;
        })
        .unwrap();
    let said = said.lock().unwrap();
    let twice: Vec<_> = said
        .iter()
        .filter(|line| line.contains("io_device"))
        .collect();
    assert!(twice.is_empty(), "{twice:?}");
}
