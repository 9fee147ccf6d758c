//! What belongs to one thread stays there; shares, buffers and plain data travel.
use std::rc::Rc;

use spdk_safe::bdev::SharedDesc;
use spdk_safe::module::{BlockDevice, Request};
use spdk_safe::prelude::*;
use spdk_safe::test::Harness;
use spdk_safe::thread::{Poller, PollerStatus};

fn share_and_buffer_travel(desc: BdevDesc<ReadWrite>, buf: DmaBuf) {
    let share = desc.share();
    std::thread::spawn(move || drop((share.channel(), buf)));
}

async fn channel_stays(ch: IoChannel<ReadWrite>) {
    let _ = ch.reset().await;
}

struct Mirror {
    base: SharedDesc<ReadWrite>,
}

impl BlockDevice for Mirror {
    type Channel = IoChannel<ReadWrite>;
    fn create_channel(&self) -> Result<Self::Channel, ChannelError> {
        self.base.channel()
    }
    fn submit(&self, _: &Rc<Self::Channel>, _: Request) {}
}

fn test_captures_what_may_travel(harness: &Harness, shared: std::sync::Arc<u32>) {
    harness.run(async move |_spdk| assert_eq!(*shared, 1));
}

fn poller_owns_its_state() -> Poller {
    let mut polls = 0;
    Poller::register(None, move || {
        polls += 1;
        if polls % 2 == 0 {
            PollerStatus::Busy
        } else {
            PollerStatus::Idle
        }
    })
    .unwrap()
}
