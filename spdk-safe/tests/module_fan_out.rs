//! `fan_out`: children of a request that are submitted all at once, on the shortest way.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::FutureExt;
use spdk_safe::app::yield_now;
use spdk_safe::bdev::SharedDesc;
use spdk_safe::module::{
    BdevModule, BlockDevice, BlockDeviceBuilder, Children, FanOut, Parent, RangeRequest,
    ReadRequest, RegisteredBdev, Request, RequestData, RequestStatus, ResetRequest, Submit,
    WriteRequest,
};
use spdk_safe::prelude::*;
use spdk_safe::test::Harness;

static MODULE: BdevModule = BdevModule::new(c"rust_fan_out");
static SPDK: Harness = Harness::new(&[&MODULE]);

type Leg = IoChannel<ReadWrite>;
type Legs = Rc<Vec<Leg>>;

/// States that were dropped.
static DROPPED: AtomicU32 = AtomicU32::new(0);

/// What waits: it submits what `submit` says.
struct Waits<R: Parent> {
    legs: Legs,
    submit: fn(&FanOut<'_, R, Self>),
    seen: Cell<u64>,
    error: RefCell<Option<IoError>>,
    /// Whether `has_succeeded` may say so.
    short: bool,
}

impl<R: Parent> Waits<R> {
    fn new(legs: &Legs, submit: fn(&FanOut<'_, R, Self>)) -> Self {
        Self {
            legs: Rc::clone(legs),
            submit,
            seen: Cell::new(0),
            error: RefCell::new(None),
            short: true,
        }
    }
}

impl<R: Parent> Drop for Waits<R> {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

impl<R: Parent> Submit<R> for Waits<R> {
    fn submit(ios: &FanOut<'_, R, Self>) {
        (ios.state().submit)(ios);
    }
}

/// The tag of a child whose end is a panic.
const BANG: u8 = 63;

impl<R: Parent> Children<R> for Waits<R> {
    fn ended(&self, tag: u8, result: Result<(), IoError>) {
        assert_ne!(tag, BANG, "on purpose");
        assert_eq!(self.seen.get() & (1 << tag), 0, "each child ends once");
        self.seen.set(self.seen.get() | (1 << tag));
        if let Err(error) = result {
            self.error.replace(Some(error));
        }
    }

    fn has_succeeded(&self, _: &R) -> bool {
        assert_ne!(self.seen.get(), 1 << 62, "on purpose");
        self.short && self.error.borrow().is_none()
    }

    fn all_ended(self, request: R) {
        let error = self.error.take();
        request.complete(error.map_or(Ok(()), Err));
    }
}

fn write_all(ios: &FanOut<'_, WriteRequest, Waits<WriteRequest>>) {
    for (tag, leg) in ios.state().legs.iter().enumerate() {
        ios.write(leg, ios.request().lba(), tag as u8);
    }
}

fn read_last(ios: &FanOut<'_, ReadRequest, Waits<ReadRequest>>) {
    ios.read(ios.state().legs.last().unwrap(), ios.request().lba(), 0);
}

fn range(ios: &FanOut<'_, RangeRequest, Waits<RangeRequest>>) {
    let (lba, blocks) = (ios.request().lba(), ios.request().blocks());
    for (tag, leg) in ios.state().legs.iter().enumerate() {
        // Both read as zeroes, of a malloc bdev.
        match tag {
            0 => ios.unmap(leg, lba, blocks, 0),
            _ => ios.write_zeroes(leg, lba, blocks, tag as u8),
        }
    }
}

fn reset(ios: &FanOut<'_, ResetRequest, Waits<ResetRequest>>) {
    for (tag, leg) in ios.state().legs.iter().enumerate() {
        ios.reset(leg, tag as u8);
    }
}

/// A mirror.
fn mirror(legs: &Legs, request: Request) {
    match request {
        Request::Write(write) => write.fan_out(Waits::new(legs, write_all)),
        Request::Read(read) => read.fan_out(Waits::new(legs, read_last)),
        Request::Unmap(unmap) => unmap.fan_out(Waits::new(legs, range)),
        Request::Reset(r) => r.fan_out(Waits::new(legs, reset)),
        other => other.complete(RequestStatus::Failed),
    }
}

/// A device over malloc legs, which does with each request what the test says.
struct Over<S> {
    legs: Mutex<Vec<SharedDesc<ReadWrite>>>,
    submit: S,
}

impl<S: Fn(&Legs, Request) + Send + Sync + 'static> BlockDevice for Over<S> {
    type Channel = Vec<Leg>;

    fn create_channel(&self) -> Result<Vec<Leg>, ChannelError> {
        let legs = self.legs.lock().unwrap();
        legs.iter().map(SharedDesc::channel).collect()
    }

    fn supports(&self, io: IoType) -> bool {
        matches!(
            io,
            IoType::Read | IoType::Write | IoType::Unmap | IoType::Reset
        )
    }

    fn submit(&self, channel: &Rc<Vec<Leg>>, request: Request) {
        (self.submit)(channel, request);
    }
}

/// Legs `<name>0`, `<name>1`, ... of 64 blocks, and the device of 32 blocks over them.
async fn over(
    spdk: &Spdk,
    name: &str,
    legs: usize,
    submit: impl Fn(&Legs, Request) + Send + Sync + 'static,
) -> RegisteredBdev {
    let mut descs = Vec::new();
    for leg in 0..legs {
        let leg = format!("{name}{leg}");
        MallocBdev::builder(&leg)
            .blocks(64)
            .create(spdk)
            .await
            .unwrap();
        let desc = BdevDesc::open(spdk, &leg).read_write().unwrap();
        descs.push(desc.claim(&MODULE).unwrap().share());
    }
    let legs = Mutex::new(descs);
    BlockDeviceBuilder::new(name)
        .blocks(Blocks(32))
        .register(spdk, &MODULE, Over { legs, submit })
        .unwrap()
}

async fn end(spdk: &Spdk, bdev: RegisteredBdev, name: &str, legs: usize) {
    bdev.unregister().await;
    for leg in 0..legs {
        MallocBdev::delete(spdk, &format!("{name}{leg}"))
            .await
            .unwrap();
    }
}

#[test]
fn what_is_fanned_out_gets_to_all_legs_on_the_short_way_and_on_the_long_one() {
    SPDK.run(async |spdk| {
        let bdev = over(&spdk, "all", 3, mirror).await;
        let desc = BdevDesc::open(&spdk, "all").read_write().unwrap();
        let ch = desc.channel().unwrap();
        let ways = [
            vec![vec![1_u8; 2048]],
            // Several pieces take slots of the legs' channels.
            vec![vec![2_u8; 700], vec![2_u8; 2048 - 700]],
        ];
        for (at, data) in ways.into_iter().enumerate() {
            let fill = data[0][0];
            ch.write(Lba(4), data).await.0.unwrap();
            let (result, buf) = ch.read(Lba(4), vec![vec![0_u8; 1000], vec![0; 1048]]).await;
            result.unwrap();
            assert!(buf.concat().iter().all(|&byte| byte == fill), "{at}");
            let (result, buf) = ch.read(Lba(4), vec![0_u8; 2048]).await;
            result.unwrap();
            assert!(buf.iter().all(|&byte| byte == fill), "{at}");
            for leg in 0..3 {
                let leg = BdevDesc::open(&spdk, &format!("all{leg}"))
                    .read_only()
                    .unwrap();
                let (result, buf) = leg.channel().unwrap().read(Lba(4), vec![0_u8; 2048]).await;
                result.unwrap();
                assert!(buf.iter().all(|&byte| byte == fill), "{at}");
            }
        }
        ch.unmap(Lba(5), Blocks(1)).await.unwrap();
        ch.reset().await.unwrap();
        let (result, buf) = ch.read(Lba(4), vec![9_u8; 1536]).await;
        result.unwrap();
        let blocks: Vec<u8> = buf.chunks_exact(512).map(|block| block[511]).collect();
        assert_eq!(blocks, [2, 0, 2]);
        drop((ch, desc));
        end(&spdk, bdev, "all", 3).await;
    });
}

#[test]
fn m10_i7_more_requests_than_there_is_memory_for_wait_and_go_on() {
    SPDK.run(async |spdk| {
        let bdev = over(&spdk, "m10", 3, mirror).await;
        let desc = BdevDesc::open(&spdk, "m10").read_write().unwrap();
        let ch = desc.channel().unwrap();
        let writes = (0..2_000).map(|at| ch.write(Lba(at % 32), vec![at as u8; 512]));
        for (result, _) in futures::future::join_all(writes).await {
            result.unwrap();
        }
        let reads = (0..2_000).map(|at| ch.read(Lba(at % 31), vec![0; 1024]));
        for (result, _) in futures::future::join_all(reads).await {
            result.unwrap();
        }
        drop((ch, desc));
        end(&spdk, bdev, "m10", 3).await;
    });
}

#[test]
fn i3_what_is_wrong_with_a_child_is_told_and_the_others_go_on() {
    SPDK.run(async |spdk| {
        let bdev = over(&spdk, "wrong", 2, |legs, request| match request {
            Request::Write(write) => write.fan_out(Waits::<WriteRequest>::new(legs, |ios| {
                let legs = &ios.state().legs;
                // Past the end; so far that it overflows.
                ios.write(&legs[0], Lba(64), 0);
                ios.write(&legs[0], Lba(u64::MAX), 1);
                ios.write(&legs[1], Lba(3), 2);
                assert!(!ios.write_part(&legs[1], Lba(4), Blocks(1), Blocks(1), 3));
                assert!(ios.write_part(&legs[1], Lba(4), Blocks(0), Blocks(1), 4));
                assert!(ios.write_part(&legs[1], Lba(4), Blocks(1), Blocks(0), 5));
            })),
            other => mirror(legs, other),
        })
        .await;
        let desc = BdevDesc::open(&spdk, "wrong").read_write().unwrap();
        let ch = desc.channel().unwrap();
        let error = ch.write(Lba(0), vec![7_u8; 512]).await.0.unwrap_err();
        assert!(matches!(error, IoError::Failed { .. }), "{error}");
        let (result, buf) = ch.read(Lba(3), vec![0_u8; 1024]).await;
        result.unwrap();
        assert!(buf.iter().all(|&byte| byte == 7));
        drop((ch, desc));
        end(&spdk, bdev, "wrong", 2).await;
    });
}

#[test]
fn more_children_than_there_are_entries_take_slots() {
    SPDK.run(async |spdk| {
        let bdev = over(&spdk, "many", 1, |legs, request| match request {
            Request::Write(write) => write.fan_out(Waits::<WriteRequest>::new(legs, |ios| {
                for tag in 0..20 {
                    ios.write(&ios.state().legs[0], Lba(tag), tag as u8);
                }
            })),
            other => mirror(legs, other),
        })
        .await;
        let desc = BdevDesc::open(&spdk, "many").read_write().unwrap();
        let ch = desc.channel().unwrap();
        for _ in 0..3 {
            ch.write(Lba(0), vec![5_u8; 512]).await.0.unwrap();
        }
        let (result, buf) = ch.read(Lba(0), vec![0_u8; 21 * 512]).await;
        result.unwrap();
        assert!(buf[..20 * 512].iter().all(|&byte| byte == 5));
        assert!(buf[20 * 512..].iter().all(|&byte| byte == 0));
        drop((ch, desc));
        end(&spdk, bdev, "many", 1).await;
    });
}

#[test]
fn no_children_at_all_end_the_request_at_once() {
    SPDK.run(async |spdk| {
        let bdev = over(&spdk, "none", 0, |legs, request| match request {
            Request::Write(write) => {
                let mut waits = Waits::new(legs, |_| {});
                waits.short = write.lba() == Lba(0);
                write.fan_out(waits);
            }
            other => other.complete(RequestStatus::Failed),
        })
        .await;
        let desc = BdevDesc::open(&spdk, "none").read_write().unwrap();
        let ch = desc.channel().unwrap();
        for lba in [0, 1] {
            ch.write(Lba(lba), vec![0_u8; 512]).await.0.unwrap();
        }
        drop((ch, desc));
        end(&spdk, bdev, "none", 0).await;
    });
}

#[test]
fn t13_panics_fail_the_request_once_when_its_children_have_ended_and_drop_what_waited() {
    SPDK.run(async |spdk| {
        let bdev = over(&spdk, "bang", 2, |legs, request| match request {
            Request::Write(write) => write.fan_out(Waits::<WriteRequest>::new(legs, |ios| {
                let (lba, legs) = (ios.request().lba(), &ios.state().legs);
                match lba.0 {
                    // While children are submitted: before the first one, and after it.
                    0 => panic!("on purpose"),
                    1 => {
                        ios.write(&legs[0], lba, 0);
                        panic!("on purpose");
                    }
                    // Where one ends.
                    2 => {
                        ios.write(&legs[0], lba, BANG);
                        ios.write(&legs[1], lba, 1);
                    }
                    // Where all have.
                    _ => ios.write(&legs[0], lba, 62),
                }
            })),
            other => mirror(legs, other),
        })
        .await;
        let desc = BdevDesc::open(&spdk, "bang").read_write().unwrap();
        let ch = desc.channel().unwrap();
        for lba in 0..4 {
            let before = DROPPED.load(Ordering::Relaxed);
            let result = ch.write(Lba(lba), vec![1_u8; 512]).await.0;
            assert!(matches!(result, Err(IoError::Failed { .. })), "{lba}");
            assert_eq!(DROPPED.load(Ordering::Relaxed), before + 1, "{lba}");
        }
        drop((ch, desc));
        end(&spdk, bdev, "bang", 2).await;
    });
}

#[test]
fn t4_a_request_that_is_smuggled_to_another_thread_comes_home_with_an_error() {
    thread_local! {
        static POCKET: RefCell<Option<(WriteRequest, Legs)>> = const { RefCell::new(None) };
    }
    SPDK.run(async |spdk| {
        let bdev = over(&spdk, "t4", 2, |legs, request| match request {
            Request::Write(write) => POCKET.set(Some((write, Rc::clone(legs)))),
            other => mirror(legs, other),
        })
        .await;
        let desc = BdevDesc::open(&spdk, "t4").read_write().unwrap();
        let ch = desc.channel().unwrap();
        let other = Thread::builder("t4").create(&spdk).await.unwrap();
        let mut io = Box::pin(ch.write(Lba(0), vec![1_u8; 512]));
        assert!(futures::poll!(&mut io).is_pending());
        other
            .call(move || {
                let (write, legs) = POCKET.take().unwrap();
                write.fan_out(Waits::new(&legs, write_all));
                // It is on its way, by a message.
            })
            .await
            .unwrap();
        let error = io.await.0.unwrap_err();
        assert!(matches!(error, IoError::Failed { .. }), "{error}");
        // On its own thread it goes on, also later.
        let mut io = Box::pin(ch.write(Lba(0), vec![1_u8; 512]));
        assert!(futures::poll!(&mut io).is_pending());
        let (write, legs) = POCKET.take().unwrap();
        write.fan_out(Waits::new(&legs, write_all));
        io.await.0.unwrap();
        other.exit().await;
        drop((ch, desc));
        end(&spdk, bdev, "t4", 2).await;
    });
}

#[test]
fn t4_a_channel_of_another_thread_is_refused() {
    thread_local! {
        static FOREIGN: RefCell<Option<IoChannel<ReadOnly>>> = const { RefCell::new(None) };
    }
    SPDK.run(async |spdk| {
        let bdev = over(&spdk, "far", 1, |legs, request| match request {
            Request::Read(read) => read.fan_out(Waits::<ReadRequest>::new(legs, |ios| {
                FOREIGN.with_borrow(|foreign| match foreign {
                    Some(foreign) => ios.read(foreign, Lba(0), 0),
                    None => ios.read(&ios.state().legs[0], Lba(0), 0),
                });
            })),
            other => mirror(legs, other),
        })
        .await;
        let desc = BdevDesc::open(&spdk, "far").read_write().unwrap();
        let ch = desc.channel().unwrap();
        let leg = BdevDesc::open(&spdk, "far0").read_only().unwrap().share();
        let other = Thread::builder("far").create(&spdk).await.unwrap();
        other
            .call(move || FOREIGN.set(Some(leg.channel().unwrap())))
            .await
            .unwrap();
        let error = ch.read(Lba(0), vec![0_u8; 512]).await.0.unwrap_err();
        assert!(matches!(error, IoError::Failed { .. }), "{error}");
        other.call(|| drop(FOREIGN.take())).await.unwrap();
        ch.read(Lba(0), vec![0_u8; 512]).await.0.unwrap();
        other.exit().await;
        drop((ch, desc));
        end(&spdk, bdev, "far", 1).await;
    });
}

thread_local! {
    /// What a device keeps of its request.
    static KEPT: RefCell<Option<RequestData>> = const { RefCell::new(None) };
}

#[test]
fn m4_data_that_is_kept_holds_up_the_short_end_of_its_request() {
    SPDK.run(async |spdk| {
        let bdev = over(&spdk, "kept", 2, |legs, request| match request {
            Request::Write(write) => {
                write.fan_out(Waits::new(legs, |ios: &FanOut<'_, WriteRequest, _>| {
                    KEPT.set(Some(ios.request().data()));
                    write_all(ios);
                }))
            }
            other => other.complete(RequestStatus::Failed),
        })
        .await;
        let desc = BdevDesc::open(&spdk, "kept").read_write().unwrap();
        let ch = desc.channel().unwrap();
        let before = DROPPED.load(Ordering::Relaxed);
        let mut write = Box::pin(ch.write(Lba(0), vec![7_u8; 512]));
        // What waited is dropped when the children have ended: the request had its end then.
        while DROPPED.load(Ordering::Relaxed) == before {
            assert!((&mut write).now_or_never().is_none());
            yield_now().await;
        }
        for _ in 0..100 {
            assert!((&mut write).now_or_never().is_none());
            yield_now().await;
        }
        drop(KEPT.take());
        write.await.0.unwrap();
        drop((ch, desc));
        end(&spdk, bdev, "kept", 2).await;
    });
}
