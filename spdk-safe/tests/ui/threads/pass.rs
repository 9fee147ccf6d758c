//! What belongs to one thread stays there; shares, buffers and plain data travel.
use std::cell::Cell;
use std::rc::Rc;

use spdk_safe::app::OwnLoop;
use spdk_safe::bdev::{SharedDesc, Zcopy};
use spdk_safe::io_device::{IoDevice, SharedIoDevice};
use spdk_safe::module::{BlockDevice, Request};
use spdk_safe::prelude::*;
use spdk_safe::test::Harness;
use spdk_safe::thread::{Migratable, Poller, PollerStatus, ThreadHandle};

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

spdk_safe::thread_storage! {
    static COUNT: Cell<u64> = Cell::new(0);
}

async fn messages_take_what_may_travel(thread: &Thread, desc: SharedDesc<ReadWrite>) {
    let _ = thread.send(|| drop(Rc::new(1))).await;
    let made_there = move || async move {
        let ch = desc.channel()?;
        Ok::<_, ChannelError>(ch.reset().await.is_ok())
    };
    let _ = thread.spawn(made_there).await;
    let _ = thread.call(|| COUNT.with(|count| count.get())).await;
}

async fn tasks_go_along(thread: &Thread<Migratable>, any: ThreadHandle) {
    let task = || async {
        let shared = std::sync::Arc::new(1);
        std::future::ready(()).await;
        *shared
    };
    let _ = thread.spawn(task).await;
    let _ = thread.set_cores(Cores::of([0, 1])).await;
    if let Some(pinned) = any.pinned() {
        let _ = pinned.spawn(|| std::future::ready(())).await;
    }
    let _ = any.spawn(task).await;
}

fn a_loop_is_polled_beside_what_it_runs(own: &mut OwnLoop) -> bool {
    own.block_on(async {});
    own.poll()
}

async fn zero_copy_stays(region: Zcopy) {
    let _ = region.commit().await;
}

async fn visitor_takes_what_may_travel<D: IoDevice<Channel = u64>>(device: SharedIoDevice<D>) {
    drop(device.channel());
    let seen = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let sum = std::sync::Arc::clone(&seen);
    let visit = device.for_each_channel(move |count| {
        sum.fetch_add(*count, std::sync::atomic::Ordering::Relaxed);
        Ok::<_, ()>(())
    });
    let _ = visit.await;
}
