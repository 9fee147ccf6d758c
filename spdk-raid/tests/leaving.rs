//! Bases that come and go while others, or threads, do not play along.

#![forbid(unsafe_code)]

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};

use spdk_bdevs::ramdisk::{self, Action, Fault, Ramdisk};
use spdk_raid::raid1::state::{ArrayState, LegState};
use spdk_raid::raid1::{MODULE, Options, Raid1};
use spdk_safe::app::yield_now;
use spdk_safe::module::{BdevModule, BlockDevice, BlockDeviceBuilder, Request, RequestStatus};
use spdk_safe::prelude::*;
use spdk_safe::test::Harness;
use spdk_safe::thread;

static MOODY: BdevModule = BdevModule::new(c"rust_moody_disks");
static SPDK: Harness = Harness::new(&[&MODULE, &ramdisk::MODULE, &MOODY]);

const BLOCKS: u64 = 256;

/// Nothing is ever timed out.
fn options() -> Options {
    let mut options = Options::default();
    options.io_timeout = None;
    options
}

async fn disk(spdk: &Spdk, name: &str) -> Ramdisk {
    let disk = Ramdisk::builder(name).blocks(Blocks(BLOCKS));
    disk.create(spdk).await.unwrap()
}

async fn array(spdk: &Spdk, name: &str, bases: &[&str]) -> Raid1 {
    let builder = Raid1::builder(name).options(options());
    let builder = bases.iter().fold(builder, |array, base| array.base(*base));
    builder.create(spdk).await.unwrap()
}

fn hold() -> Fault {
    Fault::new(Action::Hold).io(IoType::Write)
}

/// Polls it once: what it asks for is under way.
fn begin<T>(future: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

async fn until(what: &str, done: impl Fn() -> bool) {
    for _ in 0..1_000_000 {
        if done() {
            return;
        }
        yield_now().await;
    }
    panic!("never: {what}");
}

#[test]
fn a_base_that_is_taken_away_is_free_although_another_one_never_answers() {
    SPDK.run(async |spdk| {
        let (a, b) = (disk(&spdk, "away0").await, disk(&spdk, "away1").await);
        let md = array(&spdk, "away", &["away0", "away1"]).await;
        let desc = BdevDesc::open(&spdk, "away").read_write().unwrap();
        let ch = desc.channel().unwrap();
        a.set_faults([hold()]);
        let mut write = Box::pin(ch.write(Lba(0), vec![7_u8; 512]));
        assert!(begin(write.as_mut()).is_pending());
        until("held", || a.held() == 1).await;
        md.remove("away1").await.unwrap();
        assert_eq!(a.held(), 1);
        // It is free for everybody.
        let free = BdevDesc::open(&spdk, "away1").read_write().unwrap();
        let (read, block) = free.channel().unwrap().read(Lba(0), vec![0_u8; 512]).await;
        read.unwrap();
        assert_eq!(block, [7; 512], "it has what was written before");
        free.close().await;
        b.delete().await.unwrap();
        a.set_faults([]);
        a.let_go();
        // It was aborted, and what the other one had is not in the array any more.
        write.await.0.unwrap_err();
        drop(ch);
        desc.close().await;
        md.delete().await;
        a.delete().await.unwrap();
    });
}

#[test]
fn a_base_that_is_taken_away_is_kept_for_its_own_io_and_no_longer() {
    SPDK.run(async |spdk| {
        let (a, b) = (disk(&spdk, "own0").await, disk(&spdk, "own1").await);
        let md = array(&spdk, "own", &["own0", "own1"]).await;
        let desc = BdevDesc::open(&spdk, "own").read_write().unwrap();
        let ch = desc.channel().unwrap();
        a.set_faults([hold()]);
        b.set_faults([hold()]);
        let mut write = Box::pin(ch.write(Lba(0), vec![7_u8; 512]));
        assert!(begin(write.as_mut()).is_pending());
        until("held", || a.held() == 1 && b.held() == 1).await;
        let mut removed = Box::pin(md.remove("own1"));
        // Longer than SPDK needs to say that an I/O is old, and nobody else is waited for.
        let start = std::time::Instant::now();
        while start.elapsed() < std::time::Duration::from_secs(5) {
            assert!(begin(removed.as_mut()).is_pending());
            yield_now().await;
        }
        assert!(BdevDesc::open(&spdk, "own1").read_write().is_err());
        b.let_go();
        removed.await.unwrap();
        assert_eq!(a.held(), 1);
        a.set_faults([]);
        a.let_go();
        // It was aborted, and what the other one had is not in the array any more.
        write.await.0.unwrap_err();
        drop(ch);
        desc.close().await;
        md.delete().await;
        a.delete().await.unwrap();
        b.delete().await.unwrap();
    });
}

/// A disk over another one, which gives no channels to a thread that it does not like.
struct Moody {
    base: spdk_safe::bdev::SharedDesc<ReadWrite>,
}

/// Which one; 0 is none.
static REFUSED: AtomicU64 = AtomicU64::new(0);

impl BlockDevice for Moody {
    type Channel = IoChannel<ReadWrite>;

    fn create_channel(&self) -> Result<Self::Channel, ChannelError> {
        let here = thread::current_id().unwrap().get();
        match REFUSED.load(SeqCst) == here {
            true => Err(ChannelError::Device("it does not like to".into())),
            false => self.base.channel(),
        }
    }

    fn submit(&self, channel: &Rc<Self::Channel>, request: Request) {
        request.forward(channel, |request, result| match result {
            Ok(()) => request.complete(RequestStatus::Success),
            Err(error) => request.complete(error),
        });
    }
}

#[test]
fn a_thread_that_gets_no_channel_to_a_new_base_tries_again_and_nothing_is_faulted() {
    SPDK.run(async |spdk| {
        let (a, b) = (disk(&spdk, "shy0").await, disk(&spdk, "shy1-below").await);
        let base = BdevDesc::open(&spdk, "shy1-below").read_write().unwrap();
        let base = base.claim(&MOODY).unwrap().share();
        let moody = BlockDeviceBuilder::new("shy1")
            .blocks(Blocks(BLOCKS))
            .register(&spdk, &MOODY, Moody { base })
            .unwrap();
        let builder = Raid1::builder("shy").options(options());
        let md = builder.base("shy0").missing().create(&spdk).await.unwrap();
        let desc = BdevDesc::open(&spdk, "shy").read_write().unwrap();
        let ch = desc.channel().unwrap();
        // The thread of the rebuild gets one.
        REFUSED.store(thread::current_id().unwrap().get(), SeqCst);
        md.add("shy1").await.unwrap();
        // Nothing that is done meanwhile blames the base.
        for at in 0..20 {
            ch.write(Lba(at), vec![at as u8; 512]).await.0.unwrap();
            ch.flush(Lba(0), Blocks(BLOCKS)).await.unwrap();
            for _ in 0..1000 {
                yield_now().await;
            }
        }
        let info = md.info();
        let rebuilding = LegState::Rebuilding { front: Lba(0) };
        assert_eq!(info.base_bdevs_list[1].state, rebuilding);
        assert_eq!(info.counters.faults, 0);
        REFUSED.store(0, SeqCst);
        until("filled", || md.info().state == ArrayState::Optimal).await;
        ch.write(Lba(1), vec![99; 512]).await.0.unwrap();
        drop(ch);
        desc.close().await;
        md.delete().await;
        moody.unregister().await;
        let below = BdevDesc::open(&spdk, "shy1-below").read_only().unwrap();
        let (read, data) = below
            .channel()
            .unwrap()
            .read(Lba(0), vec![0_u8; 20 * 512])
            .await;
        read.unwrap();
        let firsts: Vec<_> = data.chunks(512).map(|block| block[0]).collect();
        let mut expected: Vec<u8> = (0..20).collect();
        expected[1] = 99;
        assert_eq!(firsts, expected);
        below.close().await;
        a.delete().await.unwrap();
        b.delete().await.unwrap();
    });
}

#[test]
fn s3_a_write_that_only_a_faulted_base_has_fails_when_the_last_one_is_gone() {
    SPDK.run(async |spdk| {
        let (a, b) = (disk(&spdk, "last0").await, disk(&spdk, "last1-below").await);
        let base = BdevDesc::open(&spdk, "last1-below").read_write().unwrap();
        let base = base.claim(&MOODY).unwrap().share();
        let moody = BlockDeviceBuilder::new("last1")
            .blocks(Blocks(BLOCKS))
            .register(&spdk, &MOODY, Moody { base })
            .unwrap();
        let md = array(&spdk, "last", &["last0", "last1"]).await;
        let desc = BdevDesc::open(&spdk, "last").read_write().unwrap();
        let ch = desc.channel().unwrap();
        // The first base has it, the second one waits.
        b.set_faults([hold()]);
        let mut write = Box::pin(ch.write(Lba(0), vec![7_u8; 512]));
        assert!(begin(write.as_mut()).is_pending());
        until("held", || b.held() == 1).await;
        let first = BdevDesc::open(&spdk, "last0").read_only().unwrap();
        let (read, block) = first.channel().unwrap().read(Lba(0), vec![0_u8; 512]).await;
        read.unwrap();
        assert_eq!(block, [7; 512]);
        first.close().await;
        // The first one fails another write, and is not used any more.
        a.set_faults([Fault::new(Action::Fail).io(IoType::Write)]);
        ch.write(Lba(9), vec![8_u8; 512]).await.0.unwrap();
        assert_eq!(md.info().state, ArrayState::Degraded);
        // The second one goes, with what it has.
        let mut gone = Box::pin(moody.unregister());
        assert!(begin(gone.as_mut()).is_pending());
        until("failed", || md.info().state == ArrayState::Failed).await;
        b.let_go();
        write.await.0.unwrap_err();
        drop(ch);
        desc.close().await;
        gone.await;
        until("away", || Raid1::find("last").is_none()).await;
        a.delete().await.unwrap();
        b.delete().await.unwrap();
    });
}
