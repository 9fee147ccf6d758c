//! What the order of messages and polls could break, with schedules that seeds choose.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use spdk_safe::app::yield_now;
use spdk_safe::bdev::{IoChannel, SharedDesc};
use spdk_safe::error::CallError;
use spdk_safe::module::{
    BdevModule, BlockDevice, BlockDeviceBuilder, RegisteredBdev, Request, RequestStatus,
};
use spdk_safe::prelude::*;
use spdk_safe::test::{Case, Random, Running, SeededHarness, TestThread, ThreadEnded};
use spdk_safe::thread::{Poller, PollerStatus};

static MODULE: BdevModule = BdevModule::new(c"rust_schedules");
static SPDK: SeededHarness = SeededHarness::new(&[&MODULE]);

const SEEDS: std::ops::Range<u64> = 0..200;

async fn malloc(case: &Case) {
    let disk = MallocBdev::builder("m").blocks(64).block_size(512);
    disk.create(&case.spdk).await.unwrap();
}

async fn join<T>(tasks: Vec<Running<T>>) {
    for task in tasks {
        task.await.unwrap();
    }
}

async fn yields(count: usize) {
    for _ in 0..count {
        yield_now().await;
    }
}

/// Some I/O on some channels, with some time in between.
async fn some_io(case: Case) {
    malloc(&case).await;
    let desc = BdevDesc::open(&case.spdk, "m").read_write().unwrap();
    let tasks = case.threads.iter().map(|thread| {
        let (shared, lba) = (desc.share(), Lba(thread.number() as u64));
        thread.run(async move || {
            for _ in 0..3 {
                let ch = shared.channel().unwrap();
                ch.write(lba, ch.alloc(Blocks(1)).unwrap()).await.0.unwrap();
            }
        })
    });
    join(tasks.collect()).await;
    desc.close().await;
    MallocBdev::delete(&case.spdk, "m").await.unwrap();
}

#[test]
fn the_same_seed_gives_the_same_turns() {
    let first = SPDK.turns(0..20, 3, some_io);
    let second = SPDK.turns(0..20, 3, some_io);
    for (seed, (first, second)) in first.iter().zip(&second).enumerate() {
        let differs = first.iter().zip(second).position(|(a, b)| a != b);
        assert_eq!((differs, first.len()), (None, second.len()), "seed {seed}");
    }
    let different: BTreeSet<_> = first
        .iter()
        .map(|turns| turns.iter().map(|turn| turn.thread).collect::<Vec<_>>())
        .collect();
    assert_eq!(different.len(), 20, "each seed is another schedule");
    let threads: BTreeSet<_> = first.iter().flatten().map(|turn| turn.thread).collect();
    assert_eq!(threads.len(), 4, "all threads get turns");
    assert!(first.iter().flatten().any(|turn| turn.messages == 1));
}

fn failure(test: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(test)).expect_err("the test fails");
    payload
        .downcast_ref::<String>()
        .cloned()
        .unwrap_or_default()
}

#[test]
fn a_failure_names_its_seed_and_the_next_test_is_not_disturbed() {
    // Not the disk of the other tests, which may run between the parts of this one.
    const LEFT: &str = "left";
    if std::env::var_os("SPDK_TEST_SEED").is_some() {
        return println!("not when a seed is replayed");
    }
    let said = failure(|| {
        SPDK.run(0..5, 1, async |case| {
            let disk = MallocBdev::builder(LEFT).blocks(64);
            disk.create(&case.spdk).await.unwrap();
            let _open = BdevDesc::open(&case.spdk, LEFT).read_only().unwrap();
            let seed = case.seed;
            let task = case.threads[0].run(async move || assert_ne!(seed, 3, "on purpose"));
            let outcome = futures_util::future::select(task, std::future::pending::<()>()).await;
            drop(outcome);
            drop(_open);
            MallocBdev::delete(&case.spdk, LEFT).await.unwrap();
        });
    });
    assert!(
        said.contains("seed 3: ") && said.contains("on purpose"),
        "{said}"
    );
    assert!(said.contains("SPDK_TEST_SEED=3"), "{said}");

    let said = failure(|| {
        SPDK.run(7..8, 1, async |case| {
            std::mem::forget(BdevDesc::open(&case.spdk, LEFT).read_only().unwrap());
        });
    });
    assert!(said.contains("left open: descriptor of \"left\""), "{said}");

    let said = failure(|| {
        SPDK.run(9..10, 1, async |_case| std::future::pending::<()>().await);
    });
    assert!(said.contains("seed 9: the test hangs"), "{said}");

    SPDK.run(0..1, 1, async |case| {
        MallocBdev::delete(&case.spdk, LEFT).await.unwrap();
        // What runs on a thread when the test returns is dropped there.
        let forever = case.threads[0].run(std::future::pending::<()>);
        drop(forever);
    });
}

#[test]
fn t6_a_thread_that_has_exited_takes_nothing() {
    static KEPT: std::sync::Mutex<Vec<TestThread>> = std::sync::Mutex::new(Vec::new());
    SPDK.run(0..20, 2, async |case| {
        let old: Vec<_> = std::mem::replace(&mut *KEPT.lock().unwrap(), case.threads.clone());
        for thread in old {
            assert_eq!(thread.run(async || ()).await, Err(ThreadEnded));
            assert!(matches!(
                thread.call(|| ()).await,
                Err(CallError::Exited { .. })
            ));
        }
    });
}

#[test]
fn d4_channels_come_and_go_while_their_descriptor_closes() {
    SPDK.run(SEEDS, 3, async |mut case| {
        malloc(&case).await;
        let desc = BdevDesc::open(&case.spdk, "m").read_write().unwrap();
        let alive = Arc::new(AtomicUsize::new(0));
        let mut tasks = Vec::new();
        for thread in &case.threads {
            let (shared, alive, mut random) = (
                desc.share(),
                Arc::clone(&alive),
                Random::new(case.random.next()),
            );
            alive.fetch_add(1, Ordering::Relaxed);
            tasks.push(thread.run(async move || {
                for _ in 0..random.below(6) {
                    let ch = shared.channel().unwrap();
                    yields(random.below(4)).await;
                    let second = shared.channel().unwrap();
                    if random.one_in(2) {
                        drop(ch);
                    }
                    let lba = Lba(random.below(64) as u64);
                    let (res, _) = second.read(lba, second.alloc(Blocks(1)).unwrap()).await;
                    res.unwrap();
                }
                let ch = shared.channel().unwrap();
                drop(shared);
                yields(random.below(4)).await;
                // From here on the descriptor may close.
                alive.fetch_sub(1, Ordering::Relaxed);
                drop(ch);
            }));
        }
        yields(case.random.below(20)).await;
        desc.close().await;
        assert_eq!(alive.load(Ordering::Relaxed), 0, "closed under a channel");
        join(tasks).await;
        MallocBdev::delete(&case.spdk, "m").await.unwrap();
    });
}

/// Reads until the bdev is gone, several at once. How many worked.
async fn read_until_removed(shared: SharedDesc<ReadWrite>, mut random: Random) -> usize {
    let mut worked = 0;
    loop {
        let ch = match shared.channel() {
            Ok(ch) => ch,
            Err(ChannelError::Removed { .. }) => return worked,
            Err(error) => panic!("{error}"),
        };
        let ios: Vec<_> = (0..1 + random.below(4))
            .map(|at| ch.read(Lba(at as u64), ch.alloc(Blocks(1)).unwrap()))
            .collect();
        for (res, _buf) in futures_util::future::join_all(ios).await {
            match res {
                Ok(()) => worked += 1,
                Err(error) => assert!(error.to_string().contains("removed"), "{error}"),
            }
        }
    }
}

/// A device that takes its time, so that I/O is in flight when something happens.
struct Slow(u64);

struct SlowChannel {
    requests: Rc<RefCell<VecDeque<(usize, Request)>>>,
    random: RefCell<Random>,
    _poller: Poller,
}

/// Channels that went with requests on them.
static CUT_OFF: AtomicUsize = AtomicUsize::new(0);

impl Drop for SlowChannel {
    fn drop(&mut self) {
        CUT_OFF.fetch_add(self.requests.take().len(), Ordering::Relaxed);
    }
}

impl BlockDevice for Slow {
    type Channel = SlowChannel;

    fn create_channel(&self) -> Result<SlowChannel, ChannelError> {
        let requests = Rc::new(RefCell::new(VecDeque::<(usize, Request)>::new()));
        let mine = Rc::clone(&requests);
        let poller = Poller::register(None, move || {
            let mut mine = mine.borrow_mut();
            let Some((turns, _)) = mine.front_mut() else {
                return PollerStatus::Idle;
            };
            *turns = turns.saturating_sub(1);
            let done = (*turns == 0).then(|| mine.pop_front());
            drop(mine);
            match done.flatten() {
                Some((_, Request::Read(read))) => {
                    let view = read.view();
                    view.fill(Bytes(0), view.len(), 0).unwrap();
                    read.complete(RequestStatus::Success);
                }
                Some((_, Request::Write(write))) => write.complete(RequestStatus::Success),
                _ => {}
            }
            PollerStatus::Busy
        });
        Ok(SlowChannel {
            requests,
            random: RefCell::new(Random::new(self.0)),
            _poller: poller.unwrap(),
        })
    }

    fn submit(&self, channel: &Rc<SlowChannel>, request: Request) {
        let turns = channel.random.borrow_mut().below(5);
        channel.requests.borrow_mut().push_back((turns, request));
    }
}

fn slow(case: &mut Case) -> RegisteredBdev {
    BlockDeviceBuilder::new("slow")
        .blocks(Blocks(64))
        .register(&case.spdk, &MODULE, Slow(case.random.next()))
        .unwrap()
}

#[test]
fn d8_a_bdev_is_removed_under_io_of_several_threads() {
    SPDK.run(SEEDS, 3, async |mut case| {
        let device = slow(&mut case);
        let desc = BdevDesc::open(&case.spdk, "slow").read_write().unwrap();
        let mut tasks = Vec::new();
        for thread in &case.threads {
            let (shared, random) = (desc.share(), Random::new(case.random.next()));
            tasks.push(thread.run(async move || read_until_removed(shared, random).await));
            // This one never looks at its channel again, until the case is over.
            let (shared, waits) = (desc.share(), case.random.below(4));
            drop(thread.run(async move || {
                yields(waits).await;
                let _idle = shared.channel();
                std::future::pending::<()>().await;
            }));
        }
        yields(case.random.below(30)).await;
        // The descriptor stays open on our side: nobody has to do anything for this to be done.
        device.unregister().await;
        join(tasks).await;
        assert_eq!(
            CUT_OFF.load(Ordering::Relaxed),
            0,
            "a channel went under its I/O"
        );
        drop(desc);
    });
}

/// Channels that go as soon as their I/O has ended, some of it SPDK's own compare-and-write: it locks blocks for that,
/// waits for what others do there, and looks at their channels.
async fn lock_and_leave(shared: SharedDesc<ReadWrite>, mut random: Random) {
    for _ in 0..6 {
        let Ok(ch) = shared.channel() else {
            return;
        };
        let (lba, one) = (Lba(0), || ch.alloc(Blocks(1)).unwrap());
        // It may have been removed.
        if random.one_in(2) {
            let _ = ch.compare_and_write(lba, one(), one()).await;
        } else {
            let _ = ch.write(lba, one()).await;
        }
        drop(ch);
        yields(random.below(3)).await;
    }
}

#[test]
fn d16_channels_go_while_spdk_locks_blocks() {
    SPDK.run(SEEDS, 3, async |mut case| {
        let device = slow(&mut case);
        let desc = BdevDesc::open(&case.spdk, "slow").read_write().unwrap();
        let tasks = case.threads.iter().map(|thread| {
            let (shared, random) = (desc.share(), Random::new(case.random.next()));
            thread.run(async move || lock_and_leave(shared, random).await)
        });
        join(tasks.collect()).await;
        drop(desc);
        device.unregister().await;
    });
}

#[test]
fn d16_a_bdev_is_removed_while_spdk_locks_and_unlocks_blocks() {
    SPDK.run(0..1000, 4, async |mut case| {
        let device = slow(&mut case);
        let desc = BdevDesc::open(&case.spdk, "slow").read_write().unwrap();
        let tasks = case.threads.iter().map(|thread| {
            let (shared, waits) = (desc.share(), case.random.below(60));
            let locks = thread.number() == case.threads[0].number();
            thread.run(async move || {
                let Ok(ch) = shared.channel() else {
                    return;
                };
                drop(shared);
                if locks {
                    let one = || ch.alloc(Blocks(1)).unwrap();
                    // It may be removed.
                    let _ = ch.compare_and_write(Lba(0), one(), one()).await;
                } else {
                    yields(waits).await;
                }
            })
        });
        let tasks = tasks.collect();
        // What comes first closes it: the last channel, or the removal.
        drop(desc);
        yields(case.random.below(60)).await;
        device.unregister().await;
        join(tasks).await;
    });
}

thread_local! {
    /// Smuggles channels: all SPDK threads of a case are on one OS thread.
    static SMUGGLED: RefCell<Vec<IoChannel<ReadWrite>>> = const { RefCell::new(Vec::new()) };
}

#[test]
fn t5_shares_and_channels_are_dropped_on_any_thread_in_any_order() {
    SPDK.run(SEEDS, 3, async |mut case| {
        malloc(&case).await;
        let desc = BdevDesc::open(&case.spdk, "m").read_write().unwrap();
        let mut tasks = Vec::new();
        for at in 0..case.threads.len() {
            let (here, there) = (&case.threads[at], &case.threads[(at + 1) % 3]);
            let (shared, other) = (desc.share(), desc.share());
            let mut random = Random::new(case.random.next());
            let smuggle = random.one_in(2);
            tasks.push(here.run(async move || {
                let ch = shared.channel().unwrap();
                drop(shared);
                yields(random.below(4)).await;
                let io = ch.write(Lba(at as u64), ch.alloc(Blocks(1)).unwrap());
                if smuggle {
                    SMUGGLED.with_borrow_mut(|list| list.push(ch));
                } else {
                    drop(ch);
                }
                io.await.0.unwrap();
            }));
            let wait = case.random.below(8);
            tasks.push(there.run(async move || {
                yields(wait).await;
                drop(other);
                let smuggled = SMUGGLED.with_borrow_mut(Vec::pop);
                drop(smuggled);
            }));
        }
        if case.random.one_in(2) {
            join(std::mem::take(&mut tasks)).await;
        }
        let close = desc.close();
        join(tasks).await;
        SMUGGLED.take();
        close.await;
        MallocBdev::delete(&case.spdk, "m").await.unwrap();
    });
}
