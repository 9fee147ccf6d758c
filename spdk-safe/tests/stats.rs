//! Statistics, histograms, rate limits and time-outs of bdevs, checked against I/O that was done.

use std::cell::RefCell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use spdk_safe::app::yield_now;
use spdk_safe::bdev::{BdevStats, IoStats, QosLimits, ResetStats};
use spdk_safe::error::{BdevCallError, ThreadError};
use spdk_safe::module::{
    BdevModule, BlockDevice, BlockDeviceBuilder, RegisteredBdev, Request, RequestStatus,
};
use spdk_safe::prelude::*;
use spdk_safe::test::Harness;
use spdk_safe::thread::{Thread, current_id};

static MODULE: BdevModule = BdevModule::new(c"rust_stats");
static SPDK: Harness = Harness::new(&[&MODULE]);

const BLOCK: u64 = 512;

fn since(major: u32, minor: u32) -> bool {
    spdk_sys::VERSION >= (major, minor, 0)
}

async fn disk(spdk: &Spdk, name: &str) -> BdevDesc<ReadWrite> {
    let disk = MallocBdev::builder(name).blocks(1024);
    disk.create(spdk).await.unwrap();
    BdevDesc::open(spdk, name).read_write().unwrap()
}

async fn write<M: spdk_safe::bdev::Writable>(ch: &IoChannel<M>, times: u64, blocks: u64) {
    for n in 0..times {
        let data = ch.alloc(Blocks(blocks)).unwrap();
        ch.write(Lba(n * blocks), data).await.0.unwrap();
    }
}

async fn read<M: spdk_safe::bdev::DescMode>(ch: &IoChannel<M>, times: u64, blocks: u64) {
    for n in 0..times {
        ch.read_blocks(Lba(n), Blocks(blocks)).await.unwrap();
    }
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// What is counted exactly.
fn counts(stats: &BdevStats) -> [(u64, u64); 4] {
    let count = |kind: IoStats| (kind.ops, kind.bytes.0);
    [
        count(stats.read),
        count(stats.write),
        count(stats.unmap),
        count(stats.copy.unwrap_or_default()),
    ]
}

/// Runs `f` as code that runs on this OS thread while no SPDK thread is current.
fn on_no_thread<T>(f: impl FnOnce() -> T) -> T {
    // SAFETY: only changes which SPDK thread is current on this OS thread, and is undone below.
    let thread = unsafe { spdk_sys::spdk_get_thread() };
    // SAFETY: as above.
    unsafe { spdk_sys::spdk_set_thread(std::ptr::null_mut()) };
    let value = f();
    // SAFETY: as above.
    unsafe { spdk_sys::spdk_set_thread(thread) };
    value
}

#[test]
fn operations_and_bytes_are_those_that_were_done() {
    SPDK.run(async |spdk| {
        let desc = disk(&spdk, "exact").await;
        let ch = desc.channel().unwrap();
        assert_eq!(
            ch.stats().unwrap(),
            desc.stats().await.map(without_errors).unwrap()
        );
        assert_eq!(counts(&ch.stats().unwrap()), [(0, 0); 4]);
        write(&ch, 5, 8).await;
        read(&ch, 3, 2).await;
        ch.unmap(Lba(16), Blocks(4)).await.unwrap();
        let mut expected = [
            (3, 3 * 2 * BLOCK),
            (5, 5 * 8 * BLOCK),
            (1, 4 * BLOCK),
            (0, 0),
        ];
        if ch.supports(IoType::Copy) {
            ch.copy(Lba(100), Lba(0), Blocks(10)).await.unwrap();
            expected[3] = (1, 10 * BLOCK);
        } else {
            println!("SPDK {:?} does not copy", spdk_sys::VERSION);
        }
        assert_eq!(counts(&ch.stats().unwrap()), expected);
        let all = desc.stats().await.unwrap();
        assert_eq!(counts(&all), expected);
        assert_eq!(all.copy.is_some(), since(23, 1));
        assert_eq!(all.errors.is_some(), since(23, 1));

        // A channel that was put takes its counts along to the bdev's.
        drop(ch);
        while counts(&desc.stats().await.unwrap()) != expected {
            yield_now().await;
        }
        let ch = desc.channel().unwrap();
        read(&ch, 1, 1).await;
        assert_eq!(counts(&ch.stats().unwrap())[0], (1, BLOCK));
        expected[0] = (4, 7 * BLOCK);
        assert_eq!(counts(&desc.stats().await.unwrap()), expected);
        drop((ch, desc));
        MallocBdev::delete(&spdk, "exact").await.unwrap();
    });
}

/// What a channel has of it.
fn without_errors(stats: BdevStats) -> BdevStats {
    let mut stats = stats;
    stats.errors = None;
    stats
}

#[test]
fn the_bdevs_statistics_are_the_sum_of_its_channels_on_all_threads() {
    SPDK.run(async |spdk| {
        let desc = disk(&spdk, "sum").await;
        let mut threads = Vec::new();
        for n in 1..=3_u64 {
            let thread = Thread::builder(format!("sum{n}"))
                .create(&spdk)
                .await
                .unwrap();
            let shared = desc.share();
            let task = thread.spawn(move || async move {
                let ch = shared.channel().unwrap();
                write(&ch, n, n).await;
                let own = ch.stats().unwrap();
                assert_eq!(counts(&own)[1], (n, n * n * BLOCK));
                // Put when the thread exits.
                std::mem::forget(ch);
            });
            task.await.unwrap().await.unwrap();
            threads.push(thread);
        }
        let all = desc.stats().await.unwrap();
        assert_eq!(counts(&all)[1], (1 + 2 + 3, (1 + 4 + 9) * BLOCK));
        for thread in threads {
            thread.exit().await;
        }
        let all = desc.stats().await.unwrap();
        assert_eq!(counts(&all)[1], (1 + 2 + 3, (1 + 4 + 9) * BLOCK));
        desc.close().await;
        MallocBdev::delete(&spdk, "sum").await.unwrap();
    });
}

#[test]
fn latencies_lie_between_their_extremes() {
    SPDK.run(async |spdk| {
        let desc = disk(&spdk, "latency").await;
        let ch = desc.channel().unwrap();
        let none = ch.stats().unwrap().write;
        assert_eq!(none.mean_latency(), None);
        assert_eq!((none.min_latency(), none.max_latency()), (None, None));
        write(&ch, 20, 1).await;
        for stats in [ch.stats().unwrap(), desc.stats().await.unwrap()] {
            let writes = stats.write;
            assert!(writes.latency_ticks > 0);
            let mean = writes.mean_latency().unwrap();
            assert!(writes.latency() >= mean * 19);
            let extremes = (writes.min_latency(), writes.max_latency());
            match extremes {
                (Some(min), Some(max)) => {
                    assert!(min <= mean && mean <= max && min > Duration::ZERO)
                }
                none => assert!(none == (None, None) && !since(23, 1)),
            }
            assert_eq!(stats.read, IoStats::default());
        }
        drop((ch, desc));
        MallocBdev::delete(&spdk, "latency").await.unwrap();
    });
}

#[test]
fn statistics_are_reset_where_the_version_can_and_else_the_error_says_which_can() {
    SPDK.run(async |spdk| {
        let desc = disk(&spdk, "reset").await;
        let ch = desc.channel().unwrap();
        write(&ch, 4, 1).await;
        if !since(25, 1) {
            for reset in [ResetStats::All, ResetStats::MaxMin] {
                let device = desc.stats_and_reset(reset).await.unwrap_err();
                assert_eq!(device, ch.stats_and_reset(reset).unwrap_err());
                assert!(device.to_string().contains("needs SPDK 25.01"), "{device}");
            }
            assert_eq!(counts(&desc.stats().await.unwrap())[1], (4, 4 * BLOCK));
        } else {
            let before = desc.stats_and_reset(ResetStats::MaxMin).await.unwrap();
            assert!(before.write.max_latency_ticks.is_some());
            let after = desc.stats().await.unwrap();
            assert_eq!(counts(&after), counts(&before));
            assert_eq!(after.write.max_latency_ticks, None);
            let before = desc.stats_and_reset(ResetStats::All).await.unwrap();
            assert_eq!(counts(&before)[1], (4, 4 * BLOCK));
            assert_eq!(desc.stats().await.unwrap().write, IoStats::default());
            write(&ch, 2, 1).await;
            assert_eq!(ch.stats_and_reset(ResetStats::All).unwrap().write.ops, 2);
            assert_eq!(ch.stats().unwrap(), {
                let mut none = BdevStats::default();
                none.copy = Some(IoStats::default());
                none
            });
        }
        drop((ch, desc));
        MallocBdev::delete(&spdk, "reset").await.unwrap();
    });
}

/// A device that keeps what it gets until the test says, or fails it.
struct Device {
    keeps: bool,
}

thread_local! {
    static KEPT: RefCell<Vec<Request>> = const { RefCell::new(Vec::new()) };
}

impl BlockDevice for Device {
    type Channel = ();

    fn create_channel(&self) -> Result<(), ChannelError> {
        Ok(())
    }

    fn submit(&self, _channel: &Rc<()>, request: Request) {
        match self.keeps {
            true => KEPT.with_borrow_mut(|kept| kept.push(request)),
            false => request.complete(RequestStatus::Failed),
        }
    }
}

fn complete_kept() {
    for request in KEPT.take() {
        request.complete(RequestStatus::Success);
    }
}

fn device(spdk: &Spdk, name: &str, keeps: bool) -> RegisteredBdev {
    BlockDeviceBuilder::new(name)
        .blocks(Blocks(64))
        .register(spdk, &MODULE, Device { keeps })
        .unwrap()
}

#[test]
fn what_failed_is_counted_by_its_status_and_not_as_done() {
    SPDK.run(async |spdk| {
        let bdev = device(&spdk, "failing", false);
        let desc = BdevDesc::open(&spdk, "failing").read_write().unwrap();
        let ch = desc.channel().unwrap();
        for _ in 0..7 {
            ch.read_blocks(Lba(0), Blocks(1)).await.unwrap_err();
        }
        let stats = desc.stats().await.unwrap();
        assert_eq!(counts(&stats), [(0, 0); 4]);
        match stats.errors {
            Some(errors) => assert_eq!((errors.failed, errors.total()), (7, 7)),
            None => assert!(!since(23, 1), "{stats:?}"),
        }
        assert_eq!(ch.stats().unwrap().errors, None);
        if since(25, 1) {
            desc.stats_and_reset(ResetStats::All).await.unwrap();
            assert_eq!(desc.stats().await.unwrap().errors, Some(Default::default()));
        }
        drop((ch, desc));
        bdev.unregister().await;
    });
}

#[test]
fn i2_calls_whose_futures_are_dropped_or_forgotten_are_waited_for_by_the_close() {
    SPDK.run(async |spdk| {
        for turn in 0..6 {
            let desc = disk(&spdk, "dropped").await;
            let ch = desc.channel().unwrap();
            for _ in 0..4 {
                drop(desc.stats());
                std::mem::forget(desc.stats());
                drop(desc.enable_histogram());
                drop(desc.histogram());
                drop(desc.set_qos_limits(QosLimits {
                    rw_ios_per_sec: Some(5000),
                    ..QosLimits::NONE
                }));
            }
            let mut last = desc.stats();
            match turn % 3 {
                0 => drop((ch, desc)),
                1 => drop((desc, ch)),
                _ => {
                    drop(ch);
                    let mut close = pin!(desc.close());
                    assert!(poll(close.as_mut()).is_pending(), "calls are under way");
                    close.await;
                }
            }
            MallocBdev::delete(&spdk, "dropped").await.unwrap();
            assert!((&mut last).await.is_ok(), "it was begun before");
        }
    });
}

#[test]
fn d8_a_bdev_that_is_removed_while_a_call_is_under_way_goes() {
    SPDK.run(async |spdk| {
        for turn in 0..10 {
            let desc = disk(&spdk, "removed").await;
            let ch = desc.channel().unwrap();
            let call = desc.stats();
            let mut delete = pin!(MallocBdev::delete(&spdk, "removed"));
            assert!(poll(delete.as_mut()).is_pending());
            for _ in 0..turn {
                yield_now().await;
            }
            let _ = desc.enable_histogram().await;
            let _ = desc.set_qos_limits(QosLimits::NONE).await;
            call.await.unwrap();
            delete.await.unwrap();
            let removed = BdevCallError::Removed {
                name: "removed".into(),
            };
            assert_eq!(desc.stats().await.unwrap_err(), removed);
            assert_eq!(ch.stats().unwrap_err(), removed);
            assert_eq!(desc.histogram().await.unwrap_err(), removed);
            assert_eq!(desc.enable_histogram().await.unwrap_err(), removed);
            assert_eq!(desc.qos_limits().unwrap_err(), removed);
            assert_eq!(
                desc.set_qos_limits(QosLimits::NONE).await.unwrap_err(),
                removed
            );
            assert_eq!(desc.io_timeouts(Duration::ZERO).unwrap_err(), removed);
            drop((ch, desc));
        }
    });
}

#[test]
fn t4_calls_where_their_thread_is_not_current_are_clean_errors() {
    SPDK.run(async |spdk| {
        let desc = disk(&spdk, "t4").await;
        let ch = desc.channel().unwrap();
        let wrong = |error| {
            assert_eq!(error, BdevCallError::Thread(ThreadError::NoThread));
        };
        on_no_thread(|| {
            wrong(ch.stats().unwrap_err());
            wrong(desc.qos_limits().unwrap_err());
            wrong(desc.io_timeouts(Duration::ZERO).unwrap_err());
            let Poll::Ready(Err(error)) = poll(pin!(desc.stats())) else {
                panic!("refused at once");
            };
            wrong(error);
        });
        drop((ch, desc));
        MallocBdev::delete(&spdk, "t4").await.unwrap();
    });
}

#[test]
fn a_histogram_counts_each_io_once_and_its_percentiles_rise() {
    SPDK.run(async |spdk| {
        let desc = disk(&spdk, "histogram").await;
        let ch = desc.channel().unwrap();
        let none = BdevCallError::NoHistogram {
            name: "histogram".into(),
        };
        assert_eq!(desc.histogram().await.unwrap_err(), none);
        desc.enable_histogram().await.unwrap();
        let empty = desc.histogram().await.unwrap();
        assert_eq!((empty.total(), empty.buckets().len()), (0, 0));
        assert_eq!(empty.percentile(50.0), None);
        write(&ch, 150, 1).await;
        read(&ch, 50, 1).await;
        // On a channel that is made when it is enabled already.
        let thread = Thread::builder("histogram").create(&spdk).await.unwrap();
        let shared = desc.share();
        let there = thread.spawn(move || async move {
            let ch = shared.channel().unwrap();
            read(&ch, 100, 1).await;
            std::mem::forget(ch);
        });
        there.await.unwrap().await.unwrap();
        let histogram = desc.histogram().await.unwrap();
        assert_eq!(histogram.total(), 300);
        let buckets: Vec<_> = histogram.buckets().collect();
        assert_eq!(buckets.iter().map(|bucket| bucket.count).sum::<u64>(), 300);
        assert!(
            buckets
                .iter()
                .all(|bucket| bucket.start <= bucket.end && bucket.count > 0)
        );
        assert!(buckets.windows(2).all(|two| two[0].end <= two[1].start));
        let percents = [-1.0, 0.0, 0.1, 50.0, 99.0, 99.9, 100.0, 1000.0];
        let values = percents.map(|percent| histogram.percentile(percent).unwrap());
        assert!(values.is_sorted(), "{values:?}");
        assert_eq!((values[0], values[1]), (buckets[0].end, buckets[0].end));
        let last = buckets.last().unwrap().end;
        assert_eq!((values[6], values[7]), (last, last));
        // By hand: the bucket of the 150th of 300.
        let mut so_far = 0;
        let middle = buckets.iter().find(|bucket| {
            so_far += bucket.count;
            so_far >= 150
        });
        assert_eq!(values[3], middle.unwrap().end);
        assert!(histogram.percentile(f64::NAN).is_some());

        // The statistics' longest latency lies in the last bucket. (Both are cut to nanoseconds.)
        let stats = desc.stats().await.unwrap();
        if let (Some(reads), Some(writes)) = (stats.read.max_latency(), stats.write.max_latency()) {
            let longest = reads.max(writes);
            let bucket = buckets.last().unwrap();
            assert!(
                bucket.start <= longest && longest <= bucket.end,
                "{longest:?} {bucket:?}"
            );
        }
        desc.disable_histogram().await.unwrap();
        assert_eq!(desc.histogram().await.unwrap_err(), none);
        thread.exit().await;
        drop((ch, desc));
        MallocBdev::delete(&spdk, "histogram").await.unwrap();
    });
}

#[test]
fn two_that_change_the_same_at_once_are_told_so() {
    SPDK.run(async |spdk| {
        let desc = disk(&spdk, "busy").await;
        let ch = desc.channel().unwrap();
        let (one, two) = (desc.enable_histogram(), desc.disable_histogram());
        assert!(matches!(two.await, Err(BdevCallError::Busy { .. })));
        one.await.unwrap();
        let limits = QosLimits {
            r_mbytes_per_sec: Some(Mib(7)),
            ..QosLimits::NONE
        };
        let (one, two) = (
            desc.set_qos_limits(limits),
            desc.set_qos_limits(QosLimits::NONE),
        );
        assert!(matches!(two.await, Err(BdevCallError::Busy { .. })));
        assert_eq!(one.await.unwrap(), limits);
        let timeouts = desc.io_timeouts(Duration::from_secs(1)).unwrap();
        let busy = desc.io_timeouts(Duration::from_secs(1)).unwrap_err();
        assert!(matches!(busy, BdevCallError::Busy { .. }), "{busy}");
        drop(timeouts);
        drop(desc.io_timeouts(Duration::from_secs(1)).unwrap());
        drop((ch, desc));
        MallocBdev::delete(&spdk, "busy").await.unwrap();
    });
}

#[test]
fn limits_are_in_force_as_they_are_read_back() {
    SPDK.run(async |spdk| {
        let desc = disk(&spdk, "qos").await;
        assert_eq!(desc.qos_limits().unwrap(), QosLimits::NONE);
        assert_eq!(
            desc.set_qos_limits(QosLimits::NONE).await.unwrap(),
            QosLimits::NONE
        );
        let wanted = QosLimits {
            rw_ios_per_sec: Some(1001),
            rw_mbytes_per_sec: Some(Mib(30)),
            r_mbytes_per_sec: None,
            w_mbytes_per_sec: Some(Mib(10)),
        };
        let rounded = QosLimits {
            rw_ios_per_sec: Some(2000),
            ..wanted
        };
        // First without a channel, then with some.
        for _ in 0..2 {
            assert_eq!(desc.set_qos_limits(wanted).await.unwrap(), rounded);
            assert_eq!(desc.qos_limits().unwrap(), rounded);
            let ch = desc.channel().unwrap();
            write(&ch, 8, 4).await;
            read(&ch, 8, 4).await;
            let fewer = QosLimits {
                rw_ios_per_sec: None,
                r_mbytes_per_sec: Some(Mib(1)),
                ..rounded
            };
            assert_eq!(desc.set_qos_limits(fewer).await.unwrap(), fewer);
            assert_eq!(
                desc.set_qos_limits(QosLimits::NONE).await.unwrap(),
                QosLimits::NONE
            );
        }
        let most = QosLimits {
            rw_ios_per_sec: Some(4_000_000_000),
            rw_mbytes_per_sec: Some(Mib(4_000_000)),
            r_mbytes_per_sec: Some(Mib(4_000_000)),
            w_mbytes_per_sec: Some(Mib(4_000_000)),
        };
        assert_eq!(desc.set_qos_limits(most).await.unwrap(), most);
        // They outlive the descriptor.
        desc.close().await;
        let desc = BdevDesc::open(&spdk, "qos").read_write().unwrap();
        assert_eq!(desc.qos_limits().unwrap(), most);
        let ch = desc.channel().unwrap();
        write(&ch, 1, 1).await;
        drop(ch);
        desc.close().await;
        MallocBdev::delete(&spdk, "qos").await.unwrap();
    });
}

#[test]
fn limits_that_can_not_be_are_errors_that_say_what_can() {
    SPDK.run(async |spdk| {
        let desc = disk(&spdk, "qos-bad").await;
        let ios = |limit| QosLimits {
            rw_ios_per_sec: Some(limit),
            ..QosLimits::NONE
        };
        let write = |limit| QosLimits {
            w_mbytes_per_sec: Some(Mib(limit)),
            ..QosLimits::NONE
        };
        let bad = [
            (ios(0), "rw_ios_per_sec"),
            (ios(4_000_000_001), "rw_ios_per_sec"),
            (ios(u64::MAX), "rw_ios_per_sec"),
            (write(0), "w_mbytes_per_sec"),
            (write(4_000_001), "w_mbytes_per_sec"),
            (write(u64::MAX), "w_mbytes_per_sec"),
        ];
        for (limits, which) in bad {
            let error = desc.set_qos_limits(limits).await.unwrap_err();
            assert!(
                matches!(error, BdevCallError::Limit { what, .. } if what == which),
                "{error}"
            );
        }
        assert_eq!(desc.qos_limits().unwrap(), QosLimits::NONE);
        drop(desc);
        MallocBdev::delete(&spdk, "qos-bad").await.unwrap();
    });
}

#[test]
fn a_bdev_with_limits_goes_right_after_it_was_opened_or_looked_at() {
    SPDK.run(async |spdk| {
        for turn in 0..8 {
            let desc = disk(&spdk, "qos-gone").await;
            let ch = desc.channel().unwrap();
            let limits = QosLimits {
                rw_ios_per_sec: Some(5000),
                ..QosLimits::NONE
            };
            desc.set_qos_limits(limits).await.unwrap();
            drop(ch);
            desc.close().await;
            // The channel is not destroyed yet, and opening has SPDK walk over the channels.
            match turn % 4 {
                0 => drop(BdevDesc::open(&spdk, "qos-gone").read_only().unwrap()),
                1 => drop(spdk_safe::bdev::find(&spdk, "qos-gone").unwrap()),
                2 => drop(spdk_safe::bdev::list(&spdk).unwrap()),
                _ => {}
            }
            MallocBdev::delete(&spdk, "qos-gone").await.unwrap();
        }
    });
}

#[test]
fn limits_whose_thread_is_another_one_are_changed_from_here() {
    SPDK.run(async |spdk| {
        let desc = disk(&spdk, "qos-thread").await;
        let thread = Thread::builder("qos").create(&spdk).await.unwrap();
        let shared = desc.share();
        // The only channel, so that SPDK's poller for the limits is there.
        let (send, done) = std::sync::mpsc::channel::<()>();
        let task = thread.spawn(move || async move {
            let ch = shared.channel().unwrap();
            while done.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                yield_now().await;
            }
            write(&ch, 2, 1).await;
        });
        let task = task.await.unwrap();
        for limit in [1000, 5000, 9000] {
            let limits = QosLimits {
                rw_ios_per_sec: Some(limit),
                ..QosLimits::NONE
            };
            assert_eq!(desc.set_qos_limits(limits).await.unwrap(), limits);
        }
        send.send(()).unwrap();
        task.await.unwrap();
        assert_eq!(
            desc.set_qos_limits(QosLimits::NONE).await.unwrap(),
            QosLimits::NONE
        );
        thread.exit().await;
        drop(desc);
        MallocBdev::delete(&spdk, "qos-thread").await.unwrap();
    });
}

#[test]
fn slow_io_is_reported_with_what_it_is_and_again_until_it_is_done() {
    SPDK.run(async |spdk| {
        let bdev = device(&spdk, "slow", true);
        let desc = BdevDesc::open(&spdk, "slow").read_write().unwrap();
        let (ch, other) = (
            desc.channel().unwrap(),
            BdevDesc::open(&spdk, "slow").read_only().unwrap(),
        );
        let mut slow = Box::pin(ch.read(Lba(3), ch.alloc(Blocks(2)).unwrap()));
        assert!(poll(slow.as_mut()).is_pending());
        // Not of this descriptor.
        let theirs = other.channel().unwrap();
        let mut foreign = Box::pin(theirs.read(Lba(9), theirs.alloc(Blocks(1)).unwrap()));
        assert!(poll(foreign.as_mut()).is_pending());

        let mut timeouts = desc.io_timeouts(Duration::from_millis(1)).unwrap();
        let mut last = Duration::ZERO;
        for _ in 0..2 {
            let report = timeouts.next().await.unwrap();
            assert_eq!(report.io, Some(IoType::Read));
            assert_eq!((report.lba, report.blocks), (Some(Lba(3)), Some(Blocks(2))));
            assert_eq!(report.thread, current_id());
            assert!(report.age >= Duration::from_secs(1) && report.age > last);
            last = report.age;
        }
        assert_eq!(timeouts.missed(), 0);
        complete_kept();
        slow.as_mut().await.0.unwrap();
        foreign.as_mut().await.0.unwrap();
        drop((slow, foreign, theirs, ch, other));
        let mut next = pin!(timeouts.next());
        assert!(poll(next.as_mut()).is_pending());
        desc.close().await;
        assert_eq!(next.await, None, "the descriptor is closed");
        bdev.unregister().await;
    });
}

/// Says which test a child process is to run.
const CHILD: &str = "SPDK_SAFE_TEST_CHILD";

/// Runs `test` in a process of its own: it starts an app of its own.
fn in_process(name: &str, test: impl FnOnce()) {
    if std::env::var(CHILD).as_deref() == Ok(name) {
        return test();
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, name)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}:\n{said}", output.status);
    assert!(said.contains("1 passed"), "the child ran no test:\n{said}");
}

#[test]
fn a_bdev_goes_although_spdk_is_looking_for_slow_io_on_another_thread() {
    let cores = std::thread::available_parallelism().unwrap().get();
    if cores < 2 {
        println!("skipped: needs two cores, this machine has {cores}");
        return;
    }
    let name = "a_bdev_goes_although_spdk_is_looking_for_slow_io_on_another_thread";
    in_process(name, || {
        let app = App::builder("stats")
            .no_huge()
            .no_pci()
            .share_cores()
            .memory(Mib(512))
            .pools(Pools::small())
            .cores(Cores::of([0, 1]))
            .module(&MODULE);
        app.run(goes_while_looked_at).unwrap();
    });
}

async fn goes_while_looked_at(spdk: Spdk) {
    let bdev = device(&spdk, "looked-at", true);
    let desc = BdevDesc::open(&spdk, "looked-at").read_write().unwrap();
    let ch = desc.channel().unwrap();
    // Behind the app thread in SPDK's order.
    let thread = Thread::builder("looked-at").core(1);
    let thread = thread.create(&spdk).await.unwrap();
    let shared = desc.share();
    let (put, gate) = [(); 2].map(|()| Arc::new(Barrier::new(2))).into();
    let (theirs, stop) = (Arc::clone(&put), Arc::clone(&gate));
    let started = Arc::new(AtomicBool::new(false));
    let has_started = Arc::clone(&started);
    let done = thread.call(move || {
        let ch = shared.channel().unwrap();
        has_started.store(true, Ordering::SeqCst);
        // Here SPDK's look comes to wait, behind this message.
        theirs.wait();
        drop((ch, shared));
        stop.wait();
    });
    let mut done = pin!(done);
    while !started.load(Ordering::SeqCst) {
        assert!(poll(done.as_mut()).is_pending());
        yield_now().await;
    }
    let mut timeouts = desc.io_timeouts(Duration::from_secs(1)).unwrap();
    let mut slow = Box::pin(ch.read(Lba(0), ch.alloc(Blocks(1)).unwrap()));
    assert!(poll(slow.as_mut()).is_pending());
    timeouts.next().await.unwrap();
    // SPDK has looked here, and waits for the other thread.
    complete_kept();
    slow.as_mut().await.0.unwrap();
    put.wait();
    let mut gone = pin!(bdev.unregister());
    drop((slow, ch, desc));
    for _ in 0..1000 {
        assert!(poll(gone.as_mut()).is_pending());
        yield_now().await;
    }
    gate.wait();
    done.await.unwrap();
    gone.await;
    assert_eq!(timeouts.next().await, None);
    thread.exit().await;
}

#[test]
fn t5_time_outs_dropped_where_their_thread_is_not_current_end_at_home() {
    SPDK.run(async |spdk| {
        let desc = disk(&spdk, "t5-timeouts").await;
        let timeouts = desc.io_timeouts(Duration::from_secs(3600)).unwrap();
        on_no_thread(|| drop(timeouts));
        for _ in 0..10 {
            yield_now().await;
        }
        let timeouts = desc.io_timeouts(Duration::MAX).unwrap();
        std::mem::forget(timeouts);
        drop(desc);
        MallocBdev::delete(&spdk, "t5-timeouts").await.unwrap();
    });
}
