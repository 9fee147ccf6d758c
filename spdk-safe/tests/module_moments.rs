//! Children of requests at the worst moment: a base that goes, a reset, a thread that exits, no memory, a channel that
//! is dropped, an end inside of the submission.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};

use spdk_safe::app::yield_now;
use spdk_safe::bdev::{IoBuf, IoBufMut, Pieces, SharedDesc};
use spdk_safe::error::IoCause;
use spdk_safe::module::{
    BdevModule, BlockDevice, BlockDeviceBuilder, Children, ReadRequest, RegisteredBdev, Request,
    RequestStatus, WriteRequest,
};
use spdk_safe::prelude::*;
use spdk_safe::test::Harness;

static MODULE: BdevModule = BdevModule::new(c"rust_moments");
static SPDK: Harness = Harness::new(&[&MODULE]);

type Leg = IoChannel<ReadWrite>;
/// The channel of a device may go before the device does.
type Legs = Vec<RefCell<Option<Rc<Leg>>>>;

thread_local! {
    /// What `Lower` was asked, by its name.
    static LOWER: RefCell<Vec<(&'static str, Request)>> = const { RefCell::new(Vec::new()) };
    /// What `Upper` keeps for later.
    static UPPER: RefCell<Vec<(Rc<Legs>, Request)>> = const { RefCell::new(Vec::new()) };
}

fn asked(name: &str) -> usize {
    LOWER.with_borrow(|all| all.iter().filter(|(of, _)| *of == name).count())
}

fn take_asked(name: &str) -> Vec<Request> {
    LOWER.with_borrow_mut(|all| {
        let (mine, rest) = std::mem::take(all)
            .into_iter()
            .partition(|(of, _)| *of == name);
        *all = rest;
        let mine: Vec<(&str, Request)> = mine;
        mine.into_iter().map(|(_, request)| request).collect()
    })
}

/// Keeps its requests, but for a reset, which aborts them.
struct Lower(&'static str);

impl BlockDevice for Lower {
    type Channel = ();

    fn create_channel(&self) -> Result<(), ChannelError> {
        Ok(())
    }

    fn supports(&self, io: IoType) -> bool {
        matches!(io, IoType::Read | IoType::Write | IoType::Reset)
    }

    fn submit(&self, _: &Rc<()>, request: Request) {
        if let Request::Reset(reset) = request {
            for request in take_asked(self.0) {
                request.complete(RequestStatus::Aborted);
            }
            return reset.complete(RequestStatus::Success);
        }
        LOWER.with_borrow_mut(|all| all.push((self.0, request)));
    }
}

struct Upper<S> {
    legs: Vec<SharedDesc<ReadWrite>>,
    submit: S,
}

impl<S: Fn(&Rc<Legs>, Request) + Send + Sync + 'static> BlockDevice for Upper<S> {
    type Channel = Legs;

    fn create_channel(&self) -> Result<Legs, ChannelError> {
        let leg = |leg: &SharedDesc<_>| Ok(RefCell::new(Some(Rc::new(leg.channel()?))));
        self.legs.iter().map(leg).collect()
    }

    fn supports(&self, io: IoType) -> bool {
        matches!(io, IoType::Read | IoType::Write | IoType::Reset)
    }

    fn submit(&self, legs: &Rc<Legs>, request: Request) {
        (self.submit)(legs, request);
    }
}

fn lower(spdk: &Spdk, name: &'static str) -> RegisteredBdev {
    BlockDeviceBuilder::new(name)
        .blocks(Blocks(1024))
        .align(512)
        .register(spdk, &MODULE, Lower(name))
        .unwrap()
}

/// A device named `name` over `legs`.
fn upper(
    spdk: &Spdk,
    name: &str,
    legs: &[&str],
    submit: impl Fn(&Rc<Legs>, Request) + Send + Sync + 'static,
) -> RegisteredBdev {
    let first = spdk_safe::bdev::find(spdk, legs[0]).unwrap().unwrap();
    let share = |leg: &&str| BdevDesc::open(spdk, leg).read_write().unwrap().share();
    let legs = legs.iter().map(share).collect();
    BlockDeviceBuilder::new(name)
        .like(&first)
        .align(if name == "inside" { 1 } else { 512 })
        .register(spdk, &MODULE, Upper { legs, submit })
        .unwrap()
}

fn leg(legs: &Legs, at: usize) -> Rc<Leg> {
    Rc::clone(legs[at].borrow().as_ref().unwrap())
}

/// Hands everything on to the first leg.
fn pass(legs: &Rc<Legs>, request: Request) {
    request.forward(&leg(legs, 0), |request, result| request.complete(result));
}

/// Says how all children ended.
struct Worst(RefCell<RequestStatus>);

impl Worst {
    fn new() -> Self {
        Self(RefCell::new(RequestStatus::Success))
    }
}

impl Children<WriteRequest> for Worst {
    fn ended(&self, _: u8, result: Result<(), IoError>) {
        if let Err(error) = result {
            self.0.replace(error.into());
        }
    }

    fn all_ended(self, request: WriteRequest) {
        request.complete(self.0.into_inner());
    }
}

/// Writes go to all legs.
fn mirror(legs: &Rc<Legs>, request: Request) {
    match request {
        Request::Write(write) => {
            let lba = write.lba();
            let children = write.children(Worst::new());
            for at in 0..legs.len() {
                children.write(&leg(legs, at), lba, at as u8);
            }
        }
        other => pass(legs, other),
    }
}

fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

async fn until(mut done: impl FnMut() -> bool) {
    for _ in 0..100_000 {
        if done() {
            return;
        }
        yield_now().await;
    }
    panic!("it never came");
}

fn open(spdk: &Spdk, name: &str) -> (BdevDesc<ReadWrite>, Leg) {
    let desc = BdevDesc::open(spdk, name).read_write().unwrap();
    let ch = desc.channel().unwrap();
    (desc, ch)
}

fn block(ch: &Leg) -> DmaBuf {
    ch.alloc(Blocks(1)).unwrap()
}

#[test]
fn d8_a_base_that_is_removed_with_children_in_flight_goes_when_they_ended() {
    SPDK.run(async |spdk| {
        let base = lower(&spdk, "gone-base");
        let top = upper(&spdk, "gone", &["gone-base", "gone-base"], mirror);
        let (desc, ch) = open(&spdk, "gone");
        let mut write = pin!(ch.write(Lba(0), block(&ch)));
        assert!(poll_once(write.as_mut()).is_pending());
        assert_eq!(asked("gone-base"), 2);
        let mut gone = pin!(base.unregister());
        for _ in 0..50 {
            assert!(poll_once(gone.as_mut()).is_pending(), "children in flight");
            yield_now().await;
        }
        // New ones are refused, and the request above says so.
        let refused = ch.write(Lba(0), block(&ch)).await.0.unwrap_err();
        assert!(refused.status().is_some(), "{refused}");
        let read = ch.read(Lba(0), block(&ch)).await.0.unwrap_err();
        assert!(read.status().is_some(), "{read}");
        for request in take_asked("gone-base") {
            request.complete(RequestStatus::Success);
        }
        write.await.0.unwrap();
        gone.await;
        drop((ch, desc));
        top.unregister().await;
    });
}

#[test]
fn m36_a_reset_with_children_in_flight_ends_them_and_itself() {
    SPDK.run(async |spdk| {
        let base = lower(&spdk, "reset-base");
        let top = upper(&spdk, "reset", &["reset-base", "reset-base"], mirror);
        let (desc, ch) = open(&spdk, "reset");
        let mut write = pin!(ch.write(Lba(0), block(&ch)));
        let mut read = pin!(ch.read(Lba(0), block(&ch)));
        assert!(poll_once(write.as_mut()).is_pending());
        assert!(poll_once(read.as_mut()).is_pending());
        assert_eq!(asked("reset-base"), 3);
        ch.reset().await.unwrap();
        assert!(write.await.0.unwrap_err().is_aborted());
        assert!(read.await.0.unwrap_err().is_aborted());
        drop((ch, desc));
        top.unregister().await;
        base.unregister().await;
    });
}

#[test]
fn t11_a_thread_that_exits_waits_for_its_children() {
    SPDK.run(async |spdk| {
        let base = lower(&spdk, "exit-base");
        let top = upper(&spdk, "exit", &["exit-base", "exit-base"], mirror);
        let desc = BdevDesc::open(&spdk, "exit").read_write().unwrap();
        let shared = desc.share();
        let other = Thread::builder("exits").create(&spdk).await.unwrap();
        let write = other.call(move || {
            let ch = shared.channel().unwrap();
            // Dropped in flight, the channel with it.
            assert!(poll_once(pin!(ch.write(Lba(0), block(&ch)))).is_pending());
        });
        write.await.unwrap();
        assert_eq!(asked("exit-base"), 2);
        let mut exit = pin!(other.exit());
        for _ in 0..50 {
            assert!(poll_once(exit.as_mut()).is_pending());
            yield_now().await;
        }
        // From the app thread: each completion travels home.
        for request in take_asked("exit-base") {
            request.complete(RequestStatus::Success);
        }
        exit.await;
        drop(desc);
        top.unregister().await;
        base.unregister().await;
    });
}

#[test]
fn m10_i7_children_that_find_no_memory_wait_and_go_on() {
    /// As many as the harness has, and some more.
    const HOGS: usize = 8_300;
    SPDK.run(async |spdk| {
        let hog = lower(&spdk, "hog");
        let base = lower(&spdk, "nomem-base");
        let keep = |legs: &Rc<Legs>, request| {
            UPPER.with_borrow_mut(|upper| upper.push((Rc::clone(legs), request)));
        };
        let top = upper(&spdk, "nomem", &["nomem-base", "nomem-base"], keep);
        let (desc, ch) = open(&spdk, "nomem");
        let (hog_desc, hog_ch) = open(&spdk, "hog");
        let mut all: Vec<_> = (0..4)
            .map(|_| Box::pin(ch.write(Lba(0), block(&ch))))
            .collect();
        let mut read = pin!(ch.read(Lba(0), block(&ch)));
        for io in &mut all {
            assert!(poll_once(io.as_mut()).is_pending());
        }
        assert!(poll_once(read.as_mut()).is_pending());
        let mut hogs: Vec<_> = (0..HOGS)
            .map(|_| Box::pin(hog_ch.write(Lba(0), block(&hog_ch))))
            .collect();
        for io in &mut hogs {
            assert!(poll_once(io.as_mut()).is_pending());
        }
        assert!(asked("hog") < HOGS, "some of them wait");
        // Their children find nothing, one by one and several.
        for (at, (legs, request)) in UPPER.take().into_iter().enumerate() {
            match at % 2 {
                0 => pass(&legs, request),
                _ => mirror(&legs, request),
            }
        }
        assert_eq!(asked("nomem-base"), 0);
        // As many as are given back, to those below first, though others wait longer.
        let mut served = take_asked("hog").into_iter();
        for wanted in 1..=7 {
            served.next().unwrap().complete(RequestStatus::Success);
            until(|| asked("nomem-base") == wanted).await;
        }
        for request in take_asked("nomem-base") {
            request.complete(RequestStatus::Success);
        }
        for io in all {
            io.await.0.unwrap();
        }
        read.await.0.unwrap();
        served.for_each(|request| request.complete(RequestStatus::Success));
        let mut left: Vec<_> = hogs.into_iter().map(Some).collect();
        until(|| {
            take_asked("hog")
                .into_iter()
                .for_each(|request| request.complete(RequestStatus::Success));
            for io in &mut left {
                if io
                    .as_mut()
                    .is_some_and(|io| poll_once(io.as_mut()).is_ready())
                {
                    *io = None;
                }
            }
            left.iter().all(Option::is_none)
        })
        .await;
        drop((ch, desc, hog_ch, hog_desc));
        top.unregister().await;
        base.unregister().await;
        hog.unregister().await;
    });
}

#[test]
fn d8_children_that_wait_for_memory_end_when_their_base_goes() {
    SPDK.run(async |spdk| {
        let hog = lower(&spdk, "hog-2");
        let base = lower(&spdk, "waits-base");
        let keep = |legs: &Rc<Legs>, request| {
            UPPER.with_borrow_mut(|upper| upper.push((Rc::clone(legs), request)));
        };
        let top = upper(&spdk, "waits", &["waits-base", "waits-base"], keep);
        let (desc, ch) = open(&spdk, "waits");
        let (hog_desc, hog_ch) = open(&spdk, "hog-2");
        let mut one = pin!(ch.write(Lba(0), block(&ch)));
        let mut two = pin!(ch.write(Lba(0), block(&ch)));
        assert!(poll_once(one.as_mut()).is_pending());
        assert!(poll_once(two.as_mut()).is_pending());
        let mut hogs: Vec<_> = (0..8_300)
            .map(|_| Box::pin(hog_ch.write(Lba(0), block(&hog_ch))))
            .collect();
        for io in &mut hogs {
            assert!(poll_once(io.as_mut()).is_pending());
        }
        let mut kept = UPPER.take().into_iter();
        let (legs, request) = kept.next().unwrap();
        pass(&legs, request);
        let (legs, request) = kept.next().unwrap();
        mirror(&legs, request);
        assert_eq!(asked("waits-base"), 0);
        let mut gone = pin!(base.unregister());
        assert!(poll_once(gone.as_mut()).is_pending());
        // They end, though there is still no memory.
        one.await.0.unwrap_err();
        // The first one's memory may have been enough for a child of the second.
        until(|| {
            let some = take_asked("waits-base");
            some.into_iter()
                .for_each(|request| request.complete(RequestStatus::Success));
            poll_once(two.as_mut()).is_ready()
        })
        .await;
        drop(hogs);
        for _ in 0..3 {
            for request in take_asked("hog-2") {
                request.complete(RequestStatus::Success);
            }
            for _ in 0..50 {
                yield_now().await;
            }
        }
        gone.await;
        drop((ch, desc, hog_ch, hog_desc));
        top.unregister().await;
        hog.unregister().await;
    });
}

#[test]
fn d4_a_device_drops_the_channel_of_a_child_in_flight() {
    /// Lets go of the leg as soon as one child ended.
    struct Drops(Rc<Legs>);
    impl Children<WriteRequest> for Drops {
        fn ended(&self, _: u8, result: Result<(), IoError>) {
            result.unwrap();
            drop(self.0[0].take());
        }
        fn all_ended(self, request: WriteRequest) {
            drop(self.0);
            request.complete(RequestStatus::Success);
        }
    }
    SPDK.run(async |spdk| {
        let base = lower(&spdk, "drops-base");
        let top = upper(
            &spdk,
            "drops",
            &["drops-base", "drops-base"],
            |legs, request| {
                match request {
                    Request::Write(write) => {
                        let children = write.children(Drops(Rc::clone(legs)));
                        for tag in 0..3 {
                            children.write(&leg(legs, 0), Lba(0), tag);
                        }
                    }
                    Request::Read(read) => {
                        let leg = legs[1].take().unwrap();
                        let again = Rc::clone(&leg);
                        // The last two counts of it: one goes at once, one in the callback.
                        read.forward(&leg, Lba(0), move |read, result| {
                            drop(again);
                            read.complete(result);
                        });
                    }
                    other => other.complete(RequestStatus::Failed),
                }
            },
        );
        let (desc, ch) = open(&spdk, "drops");
        let mut write = pin!(ch.write(Lba(0), block(&ch)));
        let mut read = pin!(ch.read(Lba(0), block(&ch)));
        assert!(poll_once(write.as_mut()).is_pending());
        assert!(poll_once(read.as_mut()).is_pending());
        let all = take_asked("drops-base");
        assert_eq!(all.len(), 4);
        for request in all {
            request.complete(RequestStatus::Success);
            yield_now().await;
        }
        write.await.0.unwrap();
        read.await.0.unwrap();
        drop((ch, desc));
        // Nothing is left of the legs: the base goes at once.
        base.unregister().await;
        top.unregister().await;
    });
}

#[test]
fn t4_a_request_forwarded_on_another_spdk_thread_comes_back_on_its_own() {
    SPDK.run(async |spdk| {
        let base = lower(&spdk, "home-base");
        let keep = |legs: &Rc<Legs>, request| {
            UPPER.with_borrow_mut(|upper| upper.push((Rc::clone(legs), request)));
        };
        let top = upper(&spdk, "home", &["home-base"], keep);
        let (desc, ch) = open(&spdk, "home");
        let base_desc = BdevDesc::open(&spdk, "home-base").read_write().unwrap();
        let shared = base_desc.share();
        let mut ios: Vec<_> = (0..3)
            .map(|_| Box::pin(ch.write(Lba(0), block(&ch))))
            .collect();
        for io in &mut ios {
            assert!(poll_once(io.as_mut()).is_pending());
        }
        static WRONG: AtomicU32 = AtomicU32::new(0);
        let home = spdk_safe::thread::current_id();
        let other = Thread::builder("other").create(&spdk).await.unwrap();
        let smuggled = other.call(move || {
            let here = shared.channel().unwrap();
            for (at, (legs, request)) in UPPER.take().into_iter().enumerate() {
                let check = move |error: &IoError| {
                    assert_eq!(spdk_safe::thread::current_id(), home);
                    assert!(matches!(error, IoError::Thread(_)), "{error}");
                    WRONG.fetch_add(1, Ordering::Relaxed);
                };
                struct Wrong<F>(F);
                impl<F: Fn(&IoError) + 'static> Children<WriteRequest> for Wrong<F> {
                    fn ended(&self, _: u8, result: Result<(), IoError>) {
                        (self.0)(&result.unwrap_err());
                    }
                    fn all_ended(self, request: WriteRequest) {
                        request.complete(RequestStatus::Failed);
                    }
                }
                let Request::Write(write) = request else {
                    panic!("a write");
                };
                let end = move |write: WriteRequest, result: Result<(), IoError>| {
                    check(result.as_ref().unwrap_err());
                    write.complete(RequestStatus::Failed);
                };
                match at {
                    // The request's thread is not current; the channel's is, or neither.
                    0 => write.forward(&here, Lba(0), end),
                    1 => write.forward(&leg(&legs, 0), Lba(0), end),
                    _ => {
                        let children = write.children(Wrong(check));
                        children.write(&here, Lba(0), 0);
                        children.write(&leg(&legs, 0), Lba(0), 1);
                    }
                }
            }
        });
        smuggled.await.unwrap();
        for io in ios {
            assert!(matches!(io.await.0, Err(IoError::Failed { .. })));
        }
        assert_eq!(WRONG.load(Ordering::Relaxed), 4);
        assert_eq!(asked("home-base"), 0);
        other.exit().await;
        drop((ch, desc, base_desc));
        top.unregister().await;
        base.unregister().await;
    });
}

/// A buffer that begins with 40 pieces of one byte, all of which are aligned.
struct Crumbs(DmaBuf);

impl Crumbs {
    const COUNT: usize = 40;

    fn blocks() -> Blocks {
        // More than 26.05 has go through at once.
        Blocks(400)
    }
}

// SAFETY: the pieces are parts of the buffer, which is owned, and do not overlap.
unsafe impl IoBuf for Crumbs {
    fn pieces(&mut self, pieces: &mut Pieces<'_>) {
        let base = self.0.as_mut_ptr();
        for at in 0..Self::COUNT {
            pieces.push(base.wrapping_add(at * 512), 1);
        }
        let first = Self::COUNT * 512;
        let len = Self::blocks().0 as usize * 512 - Self::COUNT;
        pieces.push(base.wrapping_add(first), len);
    }
}
// SAFETY: as above; nobody else has it.
unsafe impl IoBufMut for Crumbs {}

#[test]
fn b71_a_child_may_end_inside_of_its_submission() {
    static INSIDE: AtomicU32 = AtomicU32::new(0);
    thread_local! {
        static SUBMITTING: Cell<bool> = const { Cell::new(false) };
    }
    SPDK.run(async |spdk| {
        let base = lower(&spdk, "inside-base");
        let top = upper(&spdk, "inside", &["inside-base"], |legs, request| {
            let Request::Read(read) = request else {
                return request.complete(RequestStatus::Failed);
            };
            SUBMITTING.set(true);
            let next = Rc::clone(legs);
            let done = move |read: ReadRequest, result: Result<(), IoError>| {
                if SUBMITTING.get() {
                    INSIDE.fetch_add(1, Ordering::Relaxed);
                }
                // The channel goes, and the request is completed, with SPDK's submission on the stack.
                drop(next[0].take());
                drop(next);
                read.complete(result);
            };
            read.forward(&leg(legs, 0), Lba(0), done);
            SUBMITTING.set(false);
        });
        let (desc, ch) = open(&spdk, "inside");
        let buf = Crumbs(DmaBuf::zeroed(Bytes(440 * 512), 512).unwrap());
        let mut read = pin!(ch.read(Lba(0), buf));
        let result = match poll_once(read.as_mut()) {
            Poll::Ready(ended) => ended.0,
            Poll::Pending => read.await.0,
        };
        // 20.07 would split it and forget it: the child is refused there.
        let is_old = spdk_safe::app::spdk_version().starts_with("20.");
        assert_eq!(INSIDE.load(Ordering::Relaxed), u32::from(!is_old));
        let error = result.unwrap_err();
        assert_eq!(error.status().unwrap().cause, IoCause::Failed);
        drop((ch, desc));
        top.unregister().await;
        base.unregister().await;
    });
}

#[test]
fn i2_crumbs_that_spdk_does_not_split_are_read() {
    SPDK.run(async |spdk| {
        let base = lower(&spdk, "crumbs-base");
        let top = upper(&spdk, "crumbs", &["crumbs-base"], pass);
        let (desc, ch) = open(&spdk, "crumbs");
        // 40 bytes and the rest of 64 blocks: within one boundary of every version.
        let mut pieces: Vec<DmaBuf> = Vec::new();
        for _ in 0..Crumbs::COUNT {
            pieces.push(DmaBuf::zeroed(Bytes(1), 512).unwrap());
        }
        let rest = 64 * 512 - Crumbs::COUNT as u64;
        pieces.push(DmaBuf::zeroed(Bytes(rest), 512).unwrap());
        let mut read = pin!(ch.read(Lba(0), pieces));
        assert!(poll_once(read.as_mut()).is_pending());
        for request in take_asked("crumbs-base") {
            request.complete(RequestStatus::Success);
        }
        read.await.0.unwrap();
        drop((ch, desc));
        top.unregister().await;
        base.unregister().await;
    });
}

#[test]
fn m43_channels_that_are_made_while_a_bdev_is_quiesced_hold_still_too() {
    SPDK.run(async |spdk| {
        let bdev = lower(&spdk, "m43");
        let guard = match bdev.quiesce_range(Lba(8), Blocks(8)).await {
            Ok(guard) => guard,
            Err(error) => {
                println!("{error}");
                return bdev.unregister().await;
            }
        };
        let desc = BdevDesc::open(&spdk, "m43").read_write().unwrap();
        let shared = desc.share();
        let other = Thread::builder("m43").create(&spdk).await.unwrap();
        let started = other.call(move || {
            let ch = shared.channel().unwrap();
            // Dropped in flight. The last one is beside the range.
            for lba in [7, 8, 15, 16] {
                let two = ch.alloc(Blocks(if lba == 16 { 2 } else { 1 })).unwrap();
                assert!(poll_once(pin!(ch.read(Lba(lba), two))).is_pending());
            }
            let across = ch.alloc(Blocks(2)).unwrap();
            assert!(poll_once(pin!(ch.read(Lba(7), across))).is_pending());
            assert!(poll_once(pin!(ch.write(Lba(9), block(&ch)))).is_pending());
        });
        started.await.unwrap();
        for _ in 0..100 {
            yield_now().await;
        }
        let beside = take_asked("m43");
        assert_eq!(beside.len(), 2, "blocks 7 and 16: {beside:?}");
        let well = |request: Request| request.complete(RequestStatus::Success);
        beside.into_iter().for_each(well);
        drop(guard);
        until(|| asked("m43") == 4).await;
        take_asked("m43").into_iter().for_each(well);
        other.exit().await;
        drop(desc);
        bdev.unregister().await;
    });
}

#[test]
fn m24_a_bdev_is_unregistered_once_while_it_is_let_go_of() {
    SPDK.run(async |spdk| {
        // Nobody has it open: nothing else keeps SPDK from going on.
        for round in 0..12 {
            let bdev = lower(&spdk, "m24");
            if round % 4 == 3 {
                let asked = bdev.quiesce();
                bdev.unregister().await;
                drop(asked);
                continue;
            }
            let guard = match bdev.quiesce().await {
                Ok(guard) => guard,
                Err(error) => {
                    println!("{error}");
                    return bdev.unregister().await;
                }
            };
            match round % 4 {
                0 => {
                    drop(guard);
                    bdev.unregister().await;
                }
                1 => {
                    bdev.unregister().await;
                    drop(guard);
                }
                _ => {
                    let gone = bdev.unregister();
                    std::thread::spawn(move || drop(guard)).join().unwrap();
                    gone.await;
                }
            }
        }
    });
}

#[test]
fn m42_a_bdev_does_not_shrink_below_what_is_quiesced() {
    SPDK.run(async |spdk| {
        let bdev = lower(&spdk, "m42");
        let guard = match bdev.quiesce().await {
            Ok(guard) => guard,
            Err(error) => {
                println!("{error}");
                return bdev.unregister().await;
            }
        };
        let refused = bdev.resize(Blocks(512)).unwrap_err();
        assert!(matches!(refused, BdevError::Quiesced { .. }), "{refused}");
        bdev.resize(Blocks(2048)).unwrap();
        drop(guard);
        bdev.resize(Blocks(512)).unwrap();
        // Nothing is held back.
        let (desc, ch) = open(&spdk, "m42");
        let mut write = pin!(ch.write(Lba(0), block(&ch)));
        assert!(poll_once(write.as_mut()).is_pending());
        until(|| asked("m42") == 1).await;
        for request in take_asked("m42") {
            request.complete(RequestStatus::Success);
        }
        write.await.0.unwrap();
        drop((ch, desc));
        bdev.unregister().await;
    });
}

#[test]
fn m25_a_device_ends_as_slowly_as_it_likes_and_whoever_unregistered_it_waits() {
    static SEEN: AtomicU32 = AtomicU32::new(0);
    struct Slow {
        panics: bool,
    }
    impl BlockDevice for Slow {
        type Channel = ();
        fn create_channel(&self) -> Result<(), ChannelError> {
            Ok(())
        }
        fn submit(&self, _: &Rc<()>, request: Request) {
            request.complete(RequestStatus::Success);
        }
        async fn destruct(&self) {
            for _ in 0..5 {
                yield_now().await;
            }
            assert!(!self.panics, "on purpose");
            SEEN.fetch_add(1, Ordering::Relaxed);
        }
    }
    impl Drop for Slow {
        fn drop(&mut self) {
            SEEN.fetch_add(10, Ordering::Relaxed);
        }
    }
    SPDK.run(async |spdk| {
        for (panics, after) in [(false, 11), (true, 21)] {
            let bdev = BlockDeviceBuilder::new("slow-end")
                .blocks(Blocks(8))
                .register(&spdk, &MODULE, Slow { panics })
                .unwrap();
            let before = spdk_safe::contained_panics();
            let desc = BdevDesc::open(&spdk, "slow-end").read_only().unwrap();
            bdev.unregister().await;
            assert_eq!(SEEN.load(Ordering::Relaxed), after);
            let panicked = spdk_safe::contained_panics() - before;
            assert_eq!(panicked, u64::from(panics));
            drop(desc);
        }
    });
}
