//! Devices whose channels come and go on several threads while they are visited, and while the device goes, with
//! schedules that seeds choose.

use std::cell::Cell;
use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use spdk_safe::app::yield_now;
use spdk_safe::error::{DeviceChannelError, ForEachError};
use spdk_safe::io_device::{self, IoDevice, SharedIoDevice};
use spdk_safe::test::{Random, SeededHarness};
use spdk_safe::thread::current_id;

static SPDK: SeededHarness = SeededHarness::new(&[]);

#[derive(Default)]
struct Counts {
    made: AtomicUsize,
    dropped: AtomicUsize,
    devices: AtomicUsize,
}

struct Device(Arc<Counts>);

struct Context {
    counts: Arc<Counts>,
    thread: Option<std::num::NonZeroU64>,
    uses: Cell<usize>,
}

impl IoDevice for Device {
    type Channel = Context;

    fn create_channel(&self) -> Result<Context, Box<dyn Error + Send + Sync>> {
        self.0.made.fetch_add(1, Ordering::SeqCst);
        Ok(Context {
            counts: Arc::clone(&self.0),
            thread: current_id(),
            uses: Cell::new(0),
        })
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        assert_eq!(self.thread, current_id());
        self.counts.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let (made, dropped) = (&self.0.made, &self.0.dropped);
        assert_eq!(made.load(Ordering::SeqCst), dropped.load(Ordering::SeqCst));
        self.0.devices.fetch_add(1, Ordering::SeqCst);
    }
}

/// Gets, uses and puts channels, and visits those of others, until the device is unregistered.
async fn use_it(device: SharedIoDevice<Device>, mut random: Random) {
    let mut held = Vec::new();
    loop {
        match random.next() % 4 {
            0 => match device.channel() {
                Ok(channel) => held.push(channel),
                Err(DeviceChannelError::Unregistered { .. }) => return,
                Err(error) => panic!("{error}"),
            },
            1 => drop(held.pop()),
            2 => {
                let visit = device.for_each_channel(|context| {
                    assert_eq!(context.thread, current_id());
                    context.uses.set(context.uses.get() + 1);
                    Ok::<(), Infallible>(())
                });
                // Some are waited for, some end here.
                if random.next() % 2 == 0 {
                    match visit.await {
                        Ok(seen) => assert!(seen <= 4),
                        Err(ForEachError::Unregistered { .. }) => return,
                        Err(error) => panic!("{error}"),
                    }
                }
            }
            _ => yield_now().await,
        }
        for channel in &held {
            let context = channel.context().unwrap();
            context.uses.set(context.uses.get() + 1);
        }
    }
}

#[test]
fn whatever_the_schedule_each_context_is_dropped_at_home_and_the_device_after_the_last() {
    SPDK.run(0..200, 3, async |mut case| {
        let counts = Arc::new(Counts::default());
        let device = Device(Arc::clone(&counts));
        let device = io_device::register(&case.spdk, "seeded", device).unwrap();
        let mut tasks = Vec::new();
        for thread in &case.threads {
            let (share, random) = (device.share(), Random::new(case.random.next()));
            tasks.push(thread.run(async move || use_it(share, random).await));
        }
        for _ in 0..case.random.next() % 200 {
            yield_now().await;
        }
        let before = spdk_safe::contained_panics();
        device.unregister().await;
        assert_eq!(counts.devices.load(Ordering::SeqCst), 1);
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(spdk_safe::contained_panics(), before);
    });
}
