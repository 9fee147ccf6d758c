//! Requests that have just come: `BlockDevice::read` and `write`, `Arrived`.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::future::join_all;
use spdk_safe::bdev::SharedDesc;
use spdk_safe::module::{
    Arrived, BdevModule, BlockDevice, BlockDeviceBuilder, Children, FanOut, Parent, ReadRequest,
    RegisteredBdev, Request, RequestStatus, Route, Submit, WriteRequest,
};
use spdk_safe::prelude::*;
use spdk_safe::test::Harness;

static MODULE: BdevModule = BdevModule::new(c"rust_arrived");
static SPDK: Harness = Harness::new(&[&MODULE]);

type Leg = IoChannel<ReadWrite>;

/// How often a state was dropped, asked whether all was well, and how often it had the request back.
static DROPPED: AtomicU32 = AtomicU32::new(0);
static ASKED: AtomicU32 = AtomicU32::new(0);
static BACK: AtomicU32 = AtomicU32::new(0);

/// Waits for both legs, and says whenever it is asked that all was well.
struct Waits {
    legs: Rc<Channel>,
    /// Added to the place on the last leg.
    off: u64,
    error: Cell<Option<IoError>>,
}

impl Drop for Waits {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

impl<R: Parent> Children<R> for Waits {
    fn ended(&self, _tag: u8, result: Result<(), IoError>) {
        assert_ne!(self.off, LATE_BANG, "on purpose");
        if let Err(error) = result {
            self.error.set(Some(error));
        }
    }

    fn has_succeeded(&self, _request: &R) -> bool {
        ASKED.fetch_add(1, Ordering::Relaxed);
        true
    }

    fn all_ended(self, request: R) {
        BACK.fetch_add(1, Ordering::Relaxed);
        request.complete(self.error.take().map_or(Ok(()), Err));
    }
}

impl Submit<WriteRequest> for Waits {
    fn submit(ios: &FanOut<'_, WriteRequest, Self>) {
        let (this, Lba(lba)) = (ios.state(), ios.request().lba());
        ios.write(&this.legs.legs[0], Lba(lba), 0);
        ios.write(&this.legs.legs[1], Lba(lba + this.off), 1);
    }
}

impl Submit<ReadRequest> for Waits {
    fn submit(ios: &FanOut<'_, ReadRequest, Self>) {
        let (this, Lba(lba)) = (ios.state(), ios.request().lba());
        ios.read(&this.legs.legs[1], Lba(lba + this.off), 0);
    }
}

impl<R: Parent + HasLba> Route<R> for Waits {
    type Mode = ReadWrite;

    fn to(&self, request: &R) -> (&Leg, Lba) {
        assert_ne!(self.off, BANG, "on purpose");
        (&self.legs.legs[1], Lba(request.lba().0 + self.off))
    }
}

trait HasLba {
    fn lba(&self) -> Lba;
}

impl HasLba for ReadRequest {
    fn lba(&self) -> Lba {
        ReadRequest::lba(self)
    }
}

impl HasLba for WriteRequest {
    fn lba(&self) -> Lba {
        WriteRequest::lba(self)
    }
}

/// How much higher a place is that is a panic, where it is asked for, and where its end is told.
const BANG: u64 = 1 << 62;
const LATE_BANG: u64 = 1;

/// What the device does with what has just come.
#[derive(Clone, Copy)]
enum Does {
    /// Sends it to the legs, to the last one at a place so much higher.
    Sends(u64),
    /// To the last one alone, as well.
    Routes(u64),
    /// As well, with a closure.
    Forwards(u64),
    Keeps,
    Drops,
    Panics,
}

struct Channel {
    legs: [Leg; 2],
    kept: Cell<Vec<Request>>,
}

struct Device {
    legs: Mutex<[SharedDesc<ReadWrite>; 2]>,
    does: Does,
}

impl BlockDevice for Device {
    type Channel = Channel;

    fn create_channel(&self) -> Result<Channel, ChannelError> {
        let legs = self.legs.lock().unwrap();
        Ok(Channel {
            legs: [legs[0].channel()?, legs[1].channel()?],
            kept: Cell::default(),
        })
    }

    fn supports(&self, io: IoType) -> bool {
        matches!(io, IoType::Read | IoType::Write | IoType::Flush)
    }

    fn submit(&self, channel: &Rc<Channel>, request: Request) {
        // A flush ends what is kept.
        for kept in channel.kept.take() {
            kept.complete(RequestStatus::Success);
        }
        request.complete(RequestStatus::Success);
    }

    fn read(&self, channel: &Rc<Channel>, read: Arrived<'_, ReadRequest>) {
        match self.does {
            Does::Sends(off) => read.fan_out(waits(channel, off)),
            Does::Routes(off) => read.route(waits(channel, off)),
            Does::Forwards(off) => {
                let to = Lba(read.lba().0 + off);
                read.forward(&channel.legs[1], to, move |read, result| {
                    assert_ne!(off, LATE_BANG, "on purpose");
                    read.complete(result);
                });
            }
            Does::Keeps => keep(channel, Request::Read(read.into_inner())),
            Does::Drops => drop(read),
            Does::Panics => panic!("on purpose, at {}", read.lba()),
        }
    }

    fn write(&self, channel: &Rc<Channel>, write: Arrived<'_, WriteRequest>) {
        match self.does {
            Does::Sends(off) => write.fan_out(waits(channel, off)),
            Does::Routes(off) => write.route(waits(channel, off)),
            Does::Forwards(off) => {
                let to = Lba(write.lba().0 + off);
                write.forward(&channel.legs[1], to, move |write, result| {
                    assert_ne!(off, LATE_BANG, "on purpose");
                    write.complete(result);
                });
            }
            Does::Keeps => keep(channel, Request::Write(write.into_inner())),
            Does::Drops => drop(write),
            Does::Panics => panic!("on purpose, {} blocks", write.blocks()),
        }
    }
}

fn waits(channel: &Rc<Channel>, off: u64) -> Waits {
    Waits {
        legs: Rc::clone(channel),
        off,
        error: Cell::new(None),
    }
}

fn keep(channel: &Channel, request: Request) {
    let mut kept = channel.kept.take();
    kept.push(request);
    channel.kept.set(kept);
}

/// Legs `<name>0` and `<name>1` of 64 blocks, and the device of 64 blocks over them.
async fn over(spdk: &Spdk, name: &str, does: Does) -> RegisteredBdev {
    let mut legs = Vec::new();
    for leg in 0..2 {
        let leg = format!("{name}{leg}");
        let malloc = MallocBdev::builder(&leg).blocks(64);
        malloc.create(spdk).await.unwrap();
        let desc = BdevDesc::open(spdk, &leg).read_write().unwrap();
        legs.push(desc.claim(&MODULE).unwrap().share());
    }
    let legs = Mutex::new(legs.try_into().unwrap());
    BlockDeviceBuilder::new(name)
        .blocks(Blocks(64))
        .register(spdk, &MODULE, Device { legs, does })
        .unwrap()
}

async fn end(spdk: &Spdk, bdev: RegisteredBdev, name: &str) {
    bdev.unregister().await;
    for leg in 0..2 {
        let leg = format!("{name}{leg}");
        MallocBdev::delete(spdk, &leg).await.unwrap();
    }
}

#[test]
fn what_has_just_come_gets_to_all_legs_in_one_piece_and_in_several() {
    SPDK.run(async |spdk| {
        let bdev = over(&spdk, "all", Does::Sends(0)).await;
        let desc = BdevDesc::open(&spdk, "all").read_write().unwrap();
        let ch = desc.channel().unwrap();
        let ways = [
            vec![vec![1_u8; 2048]],
            vec![vec![2_u8; 700], vec![2_u8; 2048 - 700]],
        ];
        for (fill, data) in (1..).zip(ways) {
            ch.write(Lba(4), data).await.0.unwrap();
            for to in [
                vec![vec![0_u8; 2048]],
                vec![vec![0_u8; 1000], vec![0; 1048]],
            ] {
                let (result, buf) = ch.read(Lba(4), to).await;
                result.unwrap();
                assert_eq!(buf.concat(), [fill; 2048]);
            }
            for leg in ["all0", "all1"] {
                let leg = BdevDesc::open(&spdk, leg).read_only().unwrap();
                let (result, buf) = leg.channel().unwrap().read(Lba(4), vec![0_u8; 2048]).await;
                result.unwrap();
                assert_eq!(buf, [fill; 2048]);
            }
        }
        drop((ch, desc));
        end(&spdk, bdev, "all").await;
    });
}

#[test]
fn what_has_just_come_gets_to_one_leg_in_one_piece_and_in_several() {
    SPDK.run(async |spdk| {
        for does in [Does::Routes(2), Does::Forwards(2)] {
            to_one_leg(&spdk, does).await;
        }
    });
}

/// It goes to `one1` alone, two blocks further.
async fn to_one_leg(spdk: &Spdk, does: Does) {
    let bdev = over(spdk, "one", does).await;
    let desc = BdevDesc::open(spdk, "one").read_write().unwrap();
    let ch = desc.channel().unwrap();
    let ways = [
        vec![vec![1_u8; 2048]],
        vec![vec![2_u8; 700], vec![2_u8; 2048 - 700]],
    ];
    for (fill, data) in (1..).zip(ways) {
        ch.write(Lba(4), data).await.0.unwrap();
        for to in [
            vec![vec![0_u8; 2048]],
            vec![vec![0_u8; 1000], vec![0; 1048]],
        ] {
            let (result, buf) = ch.read(Lba(4), to).await;
            result.unwrap();
            assert_eq!(buf.concat(), [fill; 2048]);
        }
        for (leg, byte) in [("one0", 0), ("one1", fill)] {
            let leg = BdevDesc::open(spdk, leg).read_only().unwrap();
            let (result, buf) = leg.channel().unwrap().read(Lba(6), vec![9_u8; 2048]).await;
            result.unwrap();
            assert_eq!(buf, [byte; 2048]);
        }
    }
    drop((ch, desc));
    end(spdk, bdev, "one").await;
}

#[test]
fn m10_i7_more_than_there_is_memory_for_waits_and_goes_on() {
    SPDK.run(async |spdk| {
        for does in [Does::Sends(0), Does::Routes(0), Does::Forwards(0)] {
            let bdev = over(&spdk, "many", does).await;
            let desc = BdevDesc::open(&spdk, "many").read_write().unwrap();
            let ch = desc.channel().unwrap();
            let writes = (0..2_000).map(|at| ch.write(Lba(at % 64), vec![at as u8; 512]));
            for (result, _) in join_all(writes).await {
                result.unwrap();
            }
            let reads = (0..2_000).map(|at| ch.read(Lba(at % 63), vec![0; 1024]));
            for (result, _) in join_all(reads).await {
                result.unwrap();
            }
            drop((ch, desc));
            end(&spdk, bdev, "many").await;
        }
    });
}

#[test]
fn t13_a_panic_of_what_says_where_it_goes_or_is_told_of_its_end_fails_the_request_once() {
    SPDK.run(async |spdk| {
        // A forwarded request keeps no state that could be dropped.
        for (does, states) in [
            (Does::Routes(BANG), 2),
            (Does::Routes(LATE_BANG), 2),
            (Does::Forwards(LATE_BANG), 0),
        ] {
            let bdev = over(&spdk, "bang", does).await;
            let desc = BdevDesc::open(&spdk, "bang").read_write().unwrap();
            let ch = desc.channel().unwrap();
            let dropped = DROPPED.load(Ordering::Relaxed);
            let (written, buf) = ch.write(Lba(0), vec![0_u8; 512]).await;
            assert!(
                matches!(written, Err(IoError::Failed { .. })),
                "{written:?}"
            );
            let (read, _) = ch.read(Lba(0), buf).await;
            assert!(matches!(read, Err(IoError::Failed { .. })), "{read:?}");
            assert_eq!(DROPPED.load(Ordering::Relaxed) - dropped, states);
            drop((ch, desc));
            end(&spdk, bdev, "bang").await;
        }
    });
}

#[test]
fn who_waits_is_asked_whether_all_is_well_only_if_each_child_ended_well() {
    SPDK.run(async |spdk| {
        let good = over(&spdk, "good", Does::Sends(0)).await;
        let bad = over(&spdk, "bad", Does::Sends(60)).await;
        let one_good = over(&spdk, "one_good", Does::Routes(0)).await;
        let one_bad = over(&spdk, "one_bad", Does::Routes(60)).await;
        let sent_bad = over(&spdk, "sent_bad", Does::Forwards(60)).await;
        let run = async |name: &str| {
            let desc = BdevDesc::open(&spdk, name).read_write().unwrap();
            let ch = desc.channel().unwrap();
            let (asked, back) = (ASKED.load(Ordering::Relaxed), BACK.load(Ordering::Relaxed));
            // On the last leg past its end, of the bad one.
            let (written, buf) = ch.write(Lba(5), vec![7_u8; 512]).await;
            let (read, _) = ch.read(Lba(5), buf).await;
            let asked = ASKED.load(Ordering::Relaxed) - asked;
            let back = BACK.load(Ordering::Relaxed) - back;
            (written.is_ok(), read.is_ok(), asked, back)
        };
        assert_eq!(run("good").await, (true, true, 2, 0));
        assert_eq!(run("bad").await, (false, false, 0, 2));
        assert_eq!(run("one_good").await, (true, true, 2, 0));
        assert_eq!(run("one_bad").await, (false, false, 0, 2));
        assert_eq!(run("sent_bad").await, (false, false, 0, 0));
        end(&spdk, good, "good").await;
        end(&spdk, bad, "bad").await;
        end(&spdk, one_good, "one_good").await;
        end(&spdk, one_bad, "one_bad").await;
        end(&spdk, sent_bad, "sent_bad").await;
    });
}

#[test]
fn m2_what_has_just_come_and_is_dropped_fails() {
    SPDK.run(async |spdk| {
        for does in [Does::Drops, Does::Panics] {
            let bdev = over(&spdk, "drops", does).await;
            let desc = BdevDesc::open(&spdk, "drops").read_write().unwrap();
            let ch = desc.channel().unwrap();
            let (written, buf) = ch.write(Lba(0), vec![0_u8; 512]).await;
            assert!(
                matches!(written, Err(IoError::Failed { .. })),
                "{written:?}"
            );
            let (read, _) = ch.read(Lba(0), buf).await;
            assert!(matches!(read, Err(IoError::Failed { .. })), "{read:?}");
            drop((ch, desc));
            end(&spdk, bdev, "drops").await;
        }
    });
}

#[test]
fn what_has_just_come_can_be_kept_and_completed_later() {
    SPDK.run(async |spdk| {
        let bdev = over(&spdk, "keeps", Does::Keeps).await;
        let desc = BdevDesc::open(&spdk, "keeps").read_write().unwrap();
        let ch = desc.channel().unwrap();
        let write = ch.write(Lba(0), vec![0_u8; 512]);
        let read = ch.read(Lba(0), vec![0_u8; 512]);
        let flush = ch.flush(Lba(0), Blocks(1));
        let ((written, _), (read, _), flushed) = futures::join!(write, read, flush);
        assert!(written.is_ok() && read.is_ok() && flushed.is_ok());
        drop((ch, desc));
        end(&spdk, bdev, "keeps").await;
    });
}
