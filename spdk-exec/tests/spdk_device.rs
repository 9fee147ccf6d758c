//! `async` block devices on real SPDK: what is above them can't tell them from others, whatever their futures do.

mod counting;

use std::cell::RefCell;
use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Poll, Waker};

use spdk_exec::spdk::{Async, AsyncBlockDevice, attach};
use spdk_exec::yield_now;
use spdk_safe::bdev::SharedDesc;
use spdk_safe::contained_panics;
use spdk_safe::error::IoCause;
use spdk_safe::module::{
    BdevModule, BlockDevice, BlockDeviceBuilder, RegisteredBdev, Request, RequestStatus,
    TaskRequest,
};
use spdk_safe::prelude::*;
use spdk_safe::test::Harness;
use spdk_safe::thread::Thread;

static MODULE: BdevModule = BdevModule::new(c"rust_async")
    .device::<Async<Pass>>()
    .device::<Async<Moods>>();
static PLAIN: BdevModule = BdevModule::new(c"rust_plain");
static SPDK: Harness = Harness::new(&[&MODULE, &PLAIN]);

type Below = IoChannel<ReadWrite>;

fn every_type(io: IoType) -> bool {
    io != IoType::ZeroCopy && io != IoType::Abort
}

/// Passes everything on.
struct Pass {
    base: SharedDesc<ReadWrite>,
}

impl AsyncBlockDevice for Pass {
    type Channel = Below;

    fn create_channel(&self) -> Result<Below, ChannelError> {
        self.base.channel()
    }

    fn supports(&self, io: IoType) -> bool {
        every_type(io) && self.base.info().supports(io)
    }

    async fn submit(&self, channel: &Below, request: TaskRequest<'_>) -> RequestStatus {
        match request {
            // In two halves, at once, if there are two.
            TaskRequest::Write(write) if write.blocks().0 == 2 => {
                let (one, other) = (Blocks(1), Lba(write.lba().0 + 1));
                let first = write.forward_part(channel, write.lba(), Blocks(0), one);
                let second = write.forward_part(channel, other, one, one);
                let (Some(first), Some(second)) = (first, second) else {
                    return RequestStatus::Failed;
                };
                both(first, second).await
            }
            TaskRequest::CompareAndWrite(io) => {
                let (compare, write) = (io.compare_data(), io.write_data());
                let ended = channel.compare_and_write(io.lba(), compare, write).await;
                ended.0.into()
            }
            TaskRequest::SeekData(seek) => match channel.seek_data(seek.lba()).await {
                Ok(found) => seek.found(found),
                Err(error) => error.into(),
            },
            TaskRequest::SeekHole(seek) => match channel.seek_hole(seek.lba()).await {
                Ok(found) => seek.found(found),
                Err(error) => error.into(),
            },
            other => other.forward(channel).await.into(),
        }
    }
}

async fn both(
    first: impl Future<Output = Result<(), IoError>>,
    second: impl Future<Output = Result<(), IoError>>,
) -> RequestStatus {
    let (mut first, mut second) = (pin!(first), pin!(second));
    let (mut one, mut two) = (None, None);
    poll_fn(|cx| {
        if one.is_none()
            && let Poll::Ready(ended) = first.as_mut().poll(cx)
        {
            one = Some(ended);
        }
        if two.is_none()
            && let Poll::Ready(ended) = second.as_mut().poll(cx)
        {
            two = Some(ended);
        }
        match (&one, &two) {
            (Some(_), Some(_)) => Poll::Ready(()),
            _ => Poll::Pending,
        }
    })
    .await;
    one.and_then(Result::err)
        .or(two.and_then(Result::err))
        .map_or(RequestStatus::Success, Into::into)
}

async fn malloc(spdk: &Spdk, name: &str, module: &'static BdevModule) -> SharedDesc<ReadWrite> {
    MallocBdev::builder(name)
        .blocks(64)
        .create(spdk)
        .await
        .unwrap();
    let desc = BdevDesc::open(spdk, name).read_write().unwrap();
    desc.claim(module).unwrap().share()
}

async fn pass(spdk: &Spdk, name: &str, below: &str) -> RegisteredBdev {
    let base = malloc(spdk, below, &MODULE).await;
    BlockDeviceBuilder::new(name)
        .blocks(Blocks(64))
        .register(spdk, &MODULE, Async::new(Pass { base }))
        .unwrap()
}

/// Blocks `first..first + blocks`, each full of its number.
fn numbered(desc: &BdevDesc<ReadWrite>, first: u8, blocks: u8) -> DmaBuf {
    let mut buf = desc.alloc(Blocks(blocks.into())).unwrap();
    for (at, block) in buf.chunks_exact_mut(512).enumerate() {
        block.fill(first + at as u8);
    }
    buf
}

#[test]
fn every_type_of_request_does_below_what_it_does_above() {
    SPDK.run(async |spdk| {
        let bdev = pass(&spdk, "types", "types0").await;
        let desc = BdevDesc::open(&spdk, "types").read_write().unwrap();
        let ch = desc.channel().unwrap();
        ch.write(Lba(4), numbered(&desc, 10, 4)).await.0.unwrap();
        // Two children at once.
        ch.write(Lba(8), numbered(&desc, 20, 2)).await.0.unwrap();
        // In two pieces, of which one is not a whole block.
        let pieces = vec![vec![0_u8; 700], vec![0_u8; 6 * 512 - 700]];
        let (result, pieces) = ch.read(Lba(4), pieces).await;
        result.unwrap();
        let firsts: Vec<u8> = pieces.concat().chunks(512).map(|block| block[0]).collect();
        assert_eq!(firsts, [10, 11, 12, 13, 20, 21]);
        ch.write_zeroes(Lba(5), Blocks(1)).await.unwrap();
        ch.unmap(Lba(6), Blocks(1)).await.unwrap();
        ch.flush(Lba(0), Blocks(8)).await.unwrap();
        ch.reset().await.unwrap();
        ch.compare(Lba(7), numbered(&desc, 13, 1)).await.0.unwrap();
        let different = ch.compare(Lba(7), numbered(&desc, 14, 1)).await.0;
        assert!(different.unwrap_err().is_miscompare());
        let (compare, write) = (numbered(&desc, 13, 1), numbered(&desc, 99, 1));
        ch.compare_and_write(Lba(7), compare, write)
            .await
            .0
            .unwrap();
        if ch.supports(IoType::Copy) {
            ch.copy(Lba(20), Lba(7), Blocks(1)).await.unwrap();
        } else {
            ch.write(Lba(20), numbered(&desc, 99, 1)).await.0.unwrap();
        }
        if ch.supports(IoType::SeekData) {
            assert_eq!(ch.seek_data(Lba(3)).await.unwrap(), Some(Lba(3)));
        }
        // A READ that brings no memory, by way of an emulated one.
        let buf = ch.read_blocks(Lba(20), Blocks(1)).await.unwrap();
        assert_eq!(buf[0], 99);
        let (result, buf) = ch.read(Lba(4), desc.alloc(Blocks(5)).unwrap()).await;
        result.unwrap();
        let blocks: Vec<u8> = buf.chunks_exact(512).map(|block| block[511]).collect();
        assert_eq!(blocks, [10, 0, 0, 99, 20]);
        drop((ch, desc));
        bdev.unregister().await;
        MallocBdev::delete(&spdk, "types0").await.unwrap();
    });
}

/// The first poll is inside of `submit`, and each completion below polls once more, on the spot: nothing is queued.
#[test]
fn a_request_has_two_turns_and_none_by_the_run_queue() {
    SPDK.run(async |spdk| {
        let bdev = pass(&spdk, "turns", "turns0").await;
        let desc = BdevDesc::open(&spdk, "turns").read_write().unwrap();
        let ch = desc.channel().unwrap();
        let executor = attach().unwrap();
        let before = executor.stats().unwrap();
        for _ in 0..10 {
            ch.write(Lba(0), numbered(&desc, 1, 1)).await.0.unwrap();
        }
        let after = executor.stats().unwrap();
        assert_eq!(after.turns - before.turns, 20);
        assert_eq!(after.run_now - before.run_now, 10);
        assert_eq!(after.local_wakes, before.local_wakes);
        assert_eq!(after.alive, 0);
        drop((ch, desc));
        bdev.unregister().await;
        MallocBdev::delete(&spdk, "turns0").await.unwrap();
    });
}

/// Design rule 10.
#[test]
fn a_request_allocates_nothing_in_steady_state() {
    assert_eq!(
        counting::allocations(|| drop(Box::new(1))),
        1,
        "the counter counts"
    );
    SPDK.run(async |spdk| {
        let bdev = pass(&spdk, "alloc", "alloc0").await;
        let desc = BdevDesc::open(&spdk, "alloc").read_write().unwrap();
        let ch = desc.channel().unwrap();
        let count = Rc::new(RefCell::new(Vec::with_capacity(1000)));
        let theirs = Rc::clone(&count);
        let step = move |result: Result<(), IoError>, _: &mut DmaBuf| {
            result.unwrap();
            let mut count = theirs.borrow_mut();
            count.push(counting::so_far());
            (count.len() < 1000).then_some(Lba(3))
        };
        ch.write_loop(Lba(0), numbered(&desc, 1, 1), step)
            .await
            .0
            .unwrap();
        let counts = count.take();
        assert_eq!(counts[100], counts[999], "{counts:?}");
        drop((ch, desc));
        bdev.unregister().await;
        MallocBdev::delete(&spdk, "alloc0").await.unwrap();
    });
}

/// A device that no module names, whose futures are larger than those of all others.
struct Unnamed;

impl AsyncBlockDevice for Unnamed {
    type Channel = ();

    fn create_channel(&self) -> Result<(), ChannelError> {
        Ok(())
    }

    async fn submit(&self, _: &(), _: TaskRequest<'_>) -> RequestStatus {
        let large = [1_u8; 1800];
        yield_now().await;
        match large[17] {
            1 => RequestStatus::Success,
            _ => RequestStatus::Failed,
        }
    }
}

/// M8: nobody's memory is written if no module knows of the device.
#[test]
fn m8_a_device_that_no_module_names_is_an_error_that_says_so() {
    SPDK.run(async |spdk| {
        let error = BlockDeviceBuilder::new("unnamed")
            .blocks(Blocks(64))
            .register(&spdk, &MODULE, Async::new(Unnamed))
            .unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("Unnamed") && text.contains("device"),
            "{text}"
        );
    });
}

static WAKERS: Mutex<Vec<Waker>> = Mutex::new(Vec::new());
static DROPPED: AtomicUsize = AtomicUsize::new(0);

struct Witness;

impl Drop for Witness {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, SeqCst);
    }
}

thread_local! {
    /// What `Keeps` keeps.
    static KEPT: RefCell<Vec<Request>> = const { RefCell::new(Vec::new()) };
}

/// A plain device that keeps its requests.
struct Keeps;

impl BlockDevice for Keeps {
    type Channel = ();

    fn create_channel(&self) -> Result<(), ChannelError> {
        Ok(())
    }

    fn submit(&self, _: &Rc<()>, request: Request) {
        KEPT.with_borrow_mut(|kept| kept.push(request));
    }
}

/// Does what the block says that it is asked for, over `Keeps`.
struct Moods {
    base: SharedDesc<ReadWrite>,
}

const PANIC_AT_ONCE: Lba = Lba(0);
const PANIC_LATER: Lba = Lba(1);
const FORWARD: Lba = Lba(2);
const LET_GO: Lba = Lba(3);
const WAKERS_KEPT: Lba = Lba(4);
const NEVER: Lba = Lba(5);
const MANY: Lba = Lba(6);
const PANIC_IN_DROP: Lba = Lba(7);

struct PanicsInDrop;

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        panic!("on purpose, in a destructor");
    }
}

impl AsyncBlockDevice for Moods {
    type Channel = Below;

    fn create_channel(&self) -> Result<Below, ChannelError> {
        self.base.channel()
    }

    async fn submit(&self, channel: &Below, request: TaskRequest<'_>) -> RequestStatus {
        let TaskRequest::Read(read) = request else {
            return RequestStatus::Success;
        };
        let _witness = Witness;
        match read.lba() {
            PANIC_AT_ONCE => panic!("on purpose"),
            PANIC_LATER => {
                yield_now().await;
                panic!("on purpose, later")
            }
            FORWARD => return read.forward(channel, Lba(0)).await.into(),
            LET_GO => {
                // Sent, and let go of.
                let mut below = pin!(read.forward(channel, Lba(0)));
                poll_fn(|cx| {
                    assert!(below.as_mut().poll(cx).is_pending());
                    Poll::Ready(())
                })
                .await;
            }
            WAKERS_KEPT => {
                let mut polls = 0;
                poll_fn(|cx| {
                    polls += 1;
                    WAKERS.lock().unwrap().push(cx.waker().clone());
                    match polls {
                        3 => Poll::Ready(()),
                        _ => {
                            cx.waker().wake_by_ref();
                            Poll::Pending
                        }
                    }
                })
                .await;
            }
            NEVER => pending().await,
            MANY => {
                // More than there are entries in a request.
                let mut all: Vec<_> = (0..12)
                    .map(|_| Some(Box::pin(read.forward(channel, Lba(0)))))
                    .collect();
                poll_fn(|cx| {
                    for one in &mut all {
                        if let Some(io) = one
                            && let Poll::Ready(result) = io.as_mut().poll(cx)
                        {
                            result.unwrap();
                            *one = None;
                        }
                    }
                    match all.iter().all(Option::is_none) {
                        true => Poll::Ready(()),
                        false => Poll::Pending,
                    }
                })
                .await;
            }
            PANIC_IN_DROP => drop(PanicsInDrop),
            _ => {}
        }
        RequestStatus::Success
    }
}

/// `<name>` over `<name>0`.
async fn moods(spdk: &Spdk, name: &str) -> (RegisteredBdev, RegisteredBdev) {
    let below = format!("{name}0");
    let lower = BlockDeviceBuilder::new(&below)
        .blocks(Blocks(64))
        .register(spdk, &PLAIN, Keeps)
        .unwrap();
    let base = BdevDesc::open(spdk, &below).read_write().unwrap();
    let base = base.claim(&MODULE).unwrap().share();
    let upper = BlockDeviceBuilder::new(name)
        .blocks(Blocks(64))
        .register(spdk, &MODULE, Async::new(Moods { base }))
        .unwrap();
    (upper, lower)
}

async fn until(mut done: impl FnMut() -> bool) {
    while !done() {
        spdk_safe::app::yield_now().await;
    }
}

fn kept() -> usize {
    KEPT.with_borrow(Vec::len)
}

fn let_go(status: RequestStatus) {
    let request = KEPT.with_borrow_mut(|kept| kept.remove(0));
    request.complete(status);
}

#[test]
fn m2_t13_a_panic_fails_its_request_once() {
    SPDK.run(async |spdk| {
        let (upper, lower) = moods(&spdk, "panics").await;
        let desc = BdevDesc::open(&spdk, "panics").read_only().unwrap();
        let ch = desc.channel().unwrap();
        for lba in [PANIC_AT_ONCE, PANIC_LATER, PANIC_IN_DROP] {
            let (panics, dropped) = (contained_panics(), DROPPED.load(SeqCst));
            let (result, _) = ch.read(lba, desc.alloc(Blocks(1)).unwrap()).await;
            assert!(
                matches!(result, Err(IoError::Failed { .. })),
                "{lba}: {result:?}"
            );
            assert_eq!(contained_panics(), panics + 1, "{lba}");
            assert_eq!(DROPPED.load(SeqCst), dropped + 1, "{lba}");
        }
        drop((ch, desc));
        upper.unregister().await;
        lower.unregister().await;
    });
}

#[test]
fn a_status_from_below_is_the_status_above() {
    SPDK.run(async |spdk| {
        let (upper, lower) = moods(&spdk, "status").await;
        let desc = BdevDesc::open(&spdk, "status").read_only().unwrap();
        let ch = desc.channel().unwrap();
        let status = RequestStatus::Scsi(spdk_safe::error::ScsiStatus {
            status: 2,
            sense_key: 3,
            asc: 0x11,
            ascq: 4,
        });
        let mut io = pin!(ch.read(FORWARD, desc.alloc(Blocks(1)).unwrap()));
        poll_once(io.as_mut()).await;
        until(|| kept() == 1).await;
        let_go(status);
        let error = io.await.0.unwrap_err();
        let said = error.status().unwrap();
        assert_eq!((said.cause, said.scsi.asc), (IoCause::Scsi, 0x11));
        drop((ch, desc));
        upper.unregister().await;
        lower.unregister().await;
    });
}

async fn poll_once<F: Future>(mut io: std::pin::Pin<&mut F>) {
    poll_fn(|cx| {
        assert!(io.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
}

/// M4: the memory is SPDK's until the I/O below lets go of it.
#[test]
fn m4_a_request_whose_future_lets_go_of_an_io_below_is_completed_after_that() {
    SPDK.run(async |spdk| {
        let (upper, lower) = moods(&spdk, "letgo").await;
        let desc = BdevDesc::open(&spdk, "letgo").read_only().unwrap();
        let ch = desc.channel().unwrap();
        let mut io = pin!(ch.read(LET_GO, desc.alloc(Blocks(1)).unwrap()));
        poll_once(io.as_mut()).await;
        until(|| kept() == 1).await;
        for _ in 0..10 {
            spdk_safe::app::yield_now().await;
            poll_once(io.as_mut()).await;
        }
        let_go(RequestStatus::Failed);
        io.await.0.unwrap();
        drop((ch, desc));
        upper.unregister().await;
        lower.unregister().await;
    });
}

#[test]
fn a_request_may_have_more_children_than_entries() {
    SPDK.run(async |spdk| {
        let (upper, lower) = moods(&spdk, "many").await;
        let desc = BdevDesc::open(&spdk, "many").read_only().unwrap();
        let ch = desc.channel().unwrap();
        let mut io = pin!(ch.read(MANY, desc.alloc(Blocks(1)).unwrap()));
        poll_once(io.as_mut()).await;
        until(|| kept() == 12).await;
        while kept() != 0 {
            let_go(RequestStatus::Success);
        }
        io.await.0.unwrap();
        drop((ch, desc));
        upper.unregister().await;
        lower.unregister().await;
    });
}

/// T9, T10: when they are woken the requests are over, and their memory another module's.
#[test]
fn t9_t10_wakers_that_are_kept_do_nothing_from_wherever_they_are_woken() {
    SPDK.run(async |spdk| {
        let (upper, lower) = moods(&spdk, "wakers").await;
        let plain = malloc(&spdk, "wakers1", &PLAIN).await;
        let desc = BdevDesc::open(&spdk, "wakers").read_only().unwrap();
        let ch = desc.channel().unwrap();
        for _ in 0..100 {
            let (result, _) = ch.read(WAKERS_KEPT, desc.alloc(Blocks(1)).unwrap()).await;
            result.unwrap();
        }
        let wakers = WAKERS.lock().unwrap().split_off(0);
        assert_eq!(wakers.len(), 300);
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let wakers = wakers.clone();
                std::thread::spawn(move || {
                    for waker in wakers {
                        let again = waker.clone();
                        drop(waker);
                        again.wake();
                    }
                })
            })
            .collect();
        // Meanwhile the same `bdev_io`s serve a module in C, and live tasks have the same headers.
        let other = plain.channel().unwrap();
        let mut buf = plain.channel().unwrap().alloc(Blocks(1)).unwrap();
        buf.fill(0x5A);
        for _ in 0..200 {
            let (result, back) = other.write(Lba(1), buf).await;
            result.unwrap();
            buf = back;
            let (result, _) = ch.read(Lba(40), desc.alloc(Blocks(1)).unwrap()).await;
            result.unwrap();
            let waker = &wakers[7];
            waker.wake_by_ref();
        }
        until(|| threads.iter().all(|thread| thread.is_finished())).await;
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        assert!(buf.iter().all(|&byte| byte == 0x5A));
        drop((ch, desc, other, plain));
        upper.unregister().await;
        lower.unregister().await;
        MallocBdev::delete(&spdk, "wakers1").await.unwrap();
        // For ever.
        std::mem::forget(wakers);
    });
}

/// M2, T11.
#[test]
fn m2_t11_a_future_that_never_ends_fails_its_request_when_its_thread_exits() {
    SPDK.run(async |spdk| {
        let (upper, lower) = moods(&spdk, "never").await;
        let desc = BdevDesc::open(&spdk, "never").read_only().unwrap().share();
        let thread = Thread::builder("never").create(&spdk).await.unwrap();
        let ended = std::sync::Arc::new(AtomicUsize::new(0));
        let (theirs, share) = (ended.clone(), desc.clone());
        let dropped = DROPPED.load(SeqCst);
        thread
            .call(move || {
                let ch = share.channel().unwrap();
                let buf = ch.alloc(Blocks(1)).unwrap();
                let done = move |result: Result<(), IoError>, _| {
                    assert!(result.is_err());
                    theirs.fetch_add(1, SeqCst);
                };
                ch.read_then(NEVER, buf, done).unwrap();
            })
            .await
            .unwrap();
        assert_eq!(ended.load(SeqCst), 0);
        thread.exit().await;
        assert_eq!(ended.load(SeqCst), 1);
        assert_eq!(DROPPED.load(SeqCst), dropped + 1);
        drop(desc);
        upper.unregister().await;
        lower.unregister().await;
    });
}

#[test]
fn a_base_that_is_removed_fails_what_comes_after() {
    SPDK.run(async |spdk| {
        let bdev = pass(&spdk, "removed", "removed0").await;
        let desc = BdevDesc::open(&spdk, "removed").read_write().unwrap();
        let ch = desc.channel().unwrap();
        ch.write(Lba(0), numbered(&desc, 1, 1)).await.0.unwrap();
        let mut delete = pin!(MallocBdev::delete(&spdk, "removed0"));
        poll_fn(|cx| {
            let _ = delete.as_mut().poll(cx);
            Poll::Ready(())
        })
        .await;
        let mut failed = 0;
        for _ in 0..100 {
            let (result, _) = ch.write(Lba(0), numbered(&desc, 1, 1)).await;
            failed += usize::from(result.is_err());
        }
        assert!(failed > 0);
        drop((ch, desc));
        bdev.unregister().await;
        delete.await.unwrap();
    });
}

/// Deeper than turns may nest.
#[test]
fn a_tower_of_devices_works() {
    SPDK.run(async |spdk| {
        let mut tower = vec![pass(&spdk, "tower1", "tower0").await];
        for level in 2..=12 {
            let below = format!("tower{}", level - 1);
            let base = BdevDesc::open(&spdk, &below).read_write().unwrap();
            let base = base.claim(&MODULE).unwrap().share();
            let bdev = BlockDeviceBuilder::new(format!("tower{level}"))
                .blocks(Blocks(64))
                .register(&spdk, &MODULE, Async::new(Pass { base }))
                .unwrap();
            tower.push(bdev);
        }
        let desc = BdevDesc::open(&spdk, "tower12").read_write().unwrap();
        let ch = desc.channel().unwrap();
        for lba in 0..8 {
            ch.write(Lba(lba), numbered(&desc, lba as u8, 2))
                .await
                .0
                .unwrap();
        }
        let buf = ch.read_blocks(Lba(0), Blocks(9)).await.unwrap();
        let blocks: Vec<u8> = buf.chunks_exact(512).map(|block| block[0]).collect();
        assert_eq!(blocks, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
        drop((ch, desc));
        while let Some(bdev) = tower.pop() {
            bdev.unregister().await;
        }
        MallocBdev::delete(&spdk, "tower0").await.unwrap();
    });
}
