//! I/O whose wakers, steps and futures meet removals, closes and want of memory at the worst moment.
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use spdk_safe::app::yield_now;
use spdk_safe::module::{
    BdevModule, BlockDevice, BlockDeviceBuilder, RegisteredBdev, Request, RequestStatus,
};
use spdk_safe::prelude::*;
use spdk_safe::test::Harness;

static MODULE: BdevModule = BdevModule::new(c"rust_io_moments");
static SPDK: Harness = Harness::new(&[&MODULE]);

fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}
async fn turns(n: usize) {
    for _ in 0..n {
        yield_now().await;
    }
}
async fn malloc(spdk: &Spdk, name: &str) {
    MallocBdev::builder(name)
        .blocks(64)
        .create(spdk)
        .await
        .unwrap();
}

/// A loop, whatever its step is.
type Loop = Pin<Box<dyn Future<Output = (Result<(), IoError>, Vec<u8>)>>>;

thread_local! {
    static STASH: RefCell<Option<Loop>> = const { RefCell::new(None) };
    static HELD: RefCell<Vec<Request>> = const { RefCell::new(Vec::new()) };
}

#[test]
fn d8_a_bdev_waits_for_a_zero_copy_that_nobody_looked_at() {
    SPDK.run(async |spdk| {
        malloc(&spdk, "moment-1").await;
        let desc = BdevDesc::open(&spdk, "moment-1").read_write().unwrap();
        let ch = desc.channel().unwrap();
        if !ch.supports(IoType::ZeroCopy) {
            eprintln!("left out: this malloc bdev has no zero-copy");
            drop(ch);
            desc.close().await;
            return MallocBdev::delete(&spdk, "moment-1").await.unwrap();
        }
        let mut zcopy = Box::pin(ch.zcopy(Lba(0), Blocks(4)));
        assert!(poll_once(zcopy.as_mut()).is_pending());
        turns(200).await; // it is done now; nobody has looked
        MallocBdev::delete(&spdk, "moment-1").await.unwrap();
        drop((desc, ch));
        turns(50).await;
        let Poll::Ready(Ok(region)) = poll_once(zcopy.as_mut()) else {
            panic!("it was done before the bdev went");
        };
        let error = region.copy_out(0, &mut [0; 8]).unwrap_err();
        assert!(matches!(error, IoError::Removed { .. }), "{error}");
    });
}

#[test]
fn i2_a_zero_copy_that_nobody_looked_at_is_dropped_when_its_bdev_is_gone() {
    SPDK.run(async |spdk| {
        malloc(&spdk, "moment-1b").await;
        let desc = BdevDesc::open(&spdk, "moment-1b").read_write().unwrap();
        let ch = desc.channel().unwrap();
        if !ch.supports(IoType::ZeroCopy) {
            eprintln!("left out: this malloc bdev has no zero-copy");
            drop(ch);
            desc.close().await;
            return MallocBdev::delete(&spdk, "moment-1b").await.unwrap();
        }
        let mut zcopy = Box::pin(ch.zcopy(Lba(0), Blocks(4)));
        assert!(poll_once(zcopy.as_mut()).is_pending());
        turns(200).await;
        MallocBdev::delete(&spdk, "moment-1b").await.unwrap();
        drop(zcopy);
        turns(200).await;
    });
}

/// The waker of a close drops the future of a loop whose last I/O has just ended.
struct DropLoop;
impl Wake for DropLoop {
    fn wake(self: Arc<Self>) {
        drop(STASH.take());
    }
}
struct Canary(&'static Cell<bool>);
impl Drop for Canary {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

async fn f2(spdk: Spdk, name: &'static str, goes_on: bool) -> u32 {
    malloc(&spdk, name).await;
    let desc = BdevDesc::open(&spdk, name).read_write().unwrap();
    let ch = desc.channel().unwrap();
    let gone: &'static Cell<bool> = Box::leak(Box::new(Cell::new(false)));
    let after: &'static Cell<u32> = Box::leak(Box::new(Cell::new(0)));
    let canary = Canary(gone);
    let mut endless: Pin<Box<dyn Future<Output = _>>> =
        Box::pin(ch.read_loop(Lba(0), vec![0; 512], move |_, _| {
            let canary = &canary;
            if canary.0.get() {
                after.set(after.get() + 1);
                return goes_on.then_some(Lba(0));
            }
            Some(Lba(0))
        }));
    assert!(poll_once(endless.as_mut()).is_pending());
    STASH.set(Some(endless));
    drop(ch);
    let mut close = Box::pin(desc.close());
    let waker = Waker::from(Arc::new(DropLoop));
    assert!(
        close
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    MallocBdev::delete(&spdk, name).await.unwrap();
    turns(100).await;
    after.get()
}
#[test]
fn i2_the_waker_of_a_close_may_drop_a_loop_whose_io_has_just_ended() {
    let after = SPDK.run(async |spdk| f2(spdk, "moment-2", false).await);
    assert_eq!(after, 0);
}
#[test]
fn i2_the_waker_of_a_close_may_drop_a_loop_that_would_go_on() {
    let after = SPDK.run(async |spdk| f2(spdk, "moment-2b", true).await);
    assert_eq!(after, 0);
}

/// A device that can't write.
struct NoWrite;
impl BlockDevice for NoWrite {
    type Channel = ();
    fn create_channel(&self) -> Result<(), ChannelError> {
        Ok(())
    }
    fn supports(&self, io: IoType) -> bool {
        io == IoType::Read
    }
    fn submit(&self, _: &Rc<()>, request: Request) {
        match request {
            Request::Read(r) => r.complete(RequestStatus::Success),
            Request::Write(r) => r.complete(RequestStatus::Success),
            other => other.complete(RequestStatus::Failed),
        }
    }
}
#[test]
fn i6_a_plain_write_to_what_can_not_write_is_refused() {
    SPDK.run(async |spdk| {
        let bdev: RegisteredBdev = BlockDeviceBuilder::new("moment-3")
            .blocks(Blocks(64))
            .register(&spdk, &MODULE, NoWrite)
            .unwrap();
        let desc = BdevDesc::open(&spdk, "moment-3").read_write().unwrap();
        let ch = desc.channel().unwrap();
        assert!(!ch.supports(IoType::Write));
        let (one, _) = ch.write(Lba(0), desc.alloc(Blocks(1)).unwrap()).await;
        let (two, _) = ch.write(Lba(0), vec![desc.alloc(Blocks(1)).unwrap()]).await;
        eprintln!("F3: one piece: {one:?}; a list: {two:?}");
        drop((ch, desc));
        bdev.unregister().await;
        assert_eq!(one, two);
    });
}

/// Holds all it gets.
struct Holds;
impl BlockDevice for Holds {
    type Channel = ();
    fn create_channel(&self) -> Result<(), ChannelError> {
        Ok(())
    }
    fn supports(&self, io: IoType) -> bool {
        matches!(io, IoType::Read | IoType::Write | IoType::Flush)
    }
    fn submit(&self, _: &Rc<()>, request: Request) {
        HELD.with_borrow_mut(|held| held.push(request));
    }
}
fn let_go() {
    for request in HELD.take() {
        match request {
            Request::Flush(r) => r.complete(RequestStatus::Success),
            other => other.complete(RequestStatus::Failed),
        }
    }
}

#[test]
fn a_first_channel_while_the_pool_is_empty_is_an_error() {
    SPDK.run(async |spdk| {
        let bdev = BlockDeviceBuilder::new("moment-4")
            .blocks(Blocks(64))
            .register(&spdk, &MODULE, Holds)
            .unwrap();
        let desc = BdevDesc::open(&spdk, "moment-4").read_write().unwrap();
        let ch = desc.channel().unwrap();
        let mut all: Vec<_> = (0..9000)
            .map(|_| Box::pin(ch.flush(Lba(0), Blocks(1))))
            .collect();
        all.iter_mut()
            .for_each(|io| assert!(poll_once(io.as_mut()).is_pending()));
        let thread = Thread::builder("moment-4").create(&spdk).await.unwrap();
        let shared = desc.share();
        let got = thread
            .call(move || shared.channel().map(drop).map_err(|e| e.to_string()))
            .await;
        // SPDK before 23.01 would crash; ours looks first.
        assert!(got.unwrap().is_err(), "there is nothing to make it of");
        for _ in 0..100 {
            let_go();
            yield_now().await;
        }
        for io in all {
            io.await.unwrap();
        }
        thread.exit().await;
        drop((ch, desc));
        bdev.unregister().await;
    });
}

#[test]
fn d8_what_waits_for_memory_does_not_keep_a_bdev_that_goes() {
    SPDK.run(async |spdk| {
        let bdev = BlockDeviceBuilder::new("moment-5")
            .blocks(Blocks(64))
            .register(&spdk, &MODULE, Holds)
            .unwrap();
        malloc(&spdk, "moment-5m").await;
        let desc = BdevDesc::open(&spdk, "moment-5").read_write().unwrap();
        let ch = desc.channel().unwrap();
        let desc_m = BdevDesc::open(&spdk, "moment-5m").read_write().unwrap();
        let ch_m = desc_m.channel().unwrap();
        let mut all: Vec<_> = (0..9000)
            .map(|_| Box::pin(ch.flush(Lba(0), Blocks(1))))
            .collect();
        all.iter_mut()
            .for_each(|io| assert!(poll_once(io.as_mut()).is_pending()));
        let mut waits = Box::pin(ch_m.write(Lba(0), vec![0; 512]));
        assert!(poll_once(waits.as_mut()).is_pending());
        let mut delete = Box::pin(MallocBdev::delete(&spdk, "moment-5m"));
        assert!(poll_once(delete.as_mut()).is_pending());
        turns(20_000).await;
        let stuck = poll_once(delete.as_mut()).is_pending();
        assert!(
            poll_once(waits.as_mut()).is_ready(),
            "it ends with its bdev"
        );
        for _ in 0..200 {
            let_go();
            yield_now().await;
        }
        for io in all {
            io.await.unwrap();
        }
        if stuck {
            delete.await.unwrap();
        }
        drop((waits, ch, desc, ch_m, desc_m));
        bdev.unregister().await;
        assert!(!stuck);
    });
}

/// A waker that does nothing.
struct Nothing;
impl Wake for Nothing {
    fn wake(self: Arc<Self>) {}
}
#[test]
fn wakers_of_those_who_wait_for_a_close_do_not_pile_up() {
    SPDK.run(async |spdk| {
        malloc(&spdk, "moment-6").await;
        let desc = BdevDesc::open(&spdk, "moment-6").read_write().unwrap();
        let ch = desc.channel().unwrap();
        let mut timeouts = desc
            .io_timeouts(std::time::Duration::from_secs(60))
            .unwrap();
        let mut all = Vec::new();
        for _ in 0..3000 {
            let waker = Arc::new(Nothing);
            all.push(Arc::downgrade(&waker));
            let waker = Waker::from(waker);
            assert!(
                timeouts
                    .poll_next(&mut Context::from_waker(&waker))
                    .is_pending()
            );
        }
        let alive = all.iter().filter(|waker| waker.strong_count() != 0).count();
        drop((timeouts, ch, desc));
        MallocBdev::delete(&spdk, "moment-6").await.unwrap();
        assert!(alive <= 2);
    });
}

#[test]
fn a_loop_stays_in_its_batch() {
    SPDK.run(async |spdk| {
        malloc(&spdk, "moment-7").await;
        let desc = BdevDesc::open(&spdk, "moment-7").read_write().unwrap();
        let ch = desc.channel().unwrap();
        let batch = ch.batch();
        let mut endless = Box::pin(
            ch.read_loop(Lba(0), vec![0; 512], |_, _| Some(Lba(0)))
                .in_batch(&batch),
        );
        assert!(poll_once(endless.as_mut()).is_pending());
        assert_eq!(batch.in_flight(), 1);
        // What a malloc bdev aborts, or not, does not matter here.
        let _ = batch.abort().await;
        turns(10).await;
        assert!(poll_once(endless.as_mut()).is_pending(), "the step goes on");
        assert_eq!(batch.in_flight(), 1);
        drop((endless, batch, ch, desc));
        MallocBdev::delete(&spdk, "moment-7").await.unwrap();
    });
}
