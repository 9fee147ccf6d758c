//! Bdevs of ours as a whole: names, shape, size, holding still, and coming back later.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::sync::Mutex;
use std::task::Poll;

use spdk_safe::app::yield_now;
use spdk_safe::bdev::{Limits, Uuid};
use spdk_safe::module::{
    BdevModule, BlockDevice, BlockDeviceBuilder, Parent, RegisteredBdev, Request, RequestStatus,
};
use spdk_safe::prelude::*;
use spdk_safe::test::Harness;

static MODULE: BdevModule = BdevModule::new(c"rust_bdevs").device::<Roomy>();
static SPDK: Harness = Harness::new(&[&MODULE]);

/// A device that does with each request what the test says.
struct Does<S>(S);

impl<S: Fn(Request) + Send + Sync + 'static> BlockDevice for Does<S> {
    type Channel = ();

    fn create_channel(&self) -> Result<(), ChannelError> {
        Ok(())
    }

    fn supports(&self, io: IoType) -> bool {
        matches!(io, IoType::Read | IoType::Write | IoType::Reset)
    }

    fn submit(&self, _: &Rc<()>, request: Request) {
        (self.0)(request);
    }
}

fn device(
    spdk: &Spdk,
    name: &str,
    submit: impl Fn(Request) + Send + Sync + 'static,
) -> RegisteredBdev {
    BlockDeviceBuilder::new(name)
        .blocks(Blocks(64))
        .register(spdk, &MODULE, Does(submit))
        .unwrap()
}

fn well(request: Request) {
    request.complete(RequestStatus::Success);
}

async fn pending(io: &mut (impl Future + Unpin)) {
    for _ in 0..200 {
        assert!(futures::poll!(&mut *io).is_pending());
        yield_now().await;
    }
}

#[test]
fn b10_a_resize_is_told_and_a_bdev_that_is_open_does_not_shrink() {
    SPDK.run(async |spdk| {
        let bdev = device(&spdk, "b10", well);
        let desc = BdevDesc::open(&spdk, "b10").read_write().unwrap();
        let ch = desc.channel().unwrap();
        bdev.resize(Blocks(128)).unwrap();
        while desc.num_blocks() != Blocks(128) {
            yield_now().await;
        }
        ch.write(Lba(127), desc.alloc(Blocks(1)).unwrap())
            .await
            .0
            .unwrap();
        let name = || String::from("b10");
        let shrunk = bdev.resize(Blocks(64));
        assert_eq!(shrunk, Err(BdevError::InUse { name: name() }));
        for bad in [Blocks(0), Blocks(u64::MAX)] {
            let error = bdev.resize(bad).unwrap_err();
            assert!(matches!(error, BdevError::Geometry { .. }), "{error}");
        }
        drop(ch);
        desc.close().await;
        bdev.resize(Blocks(64)).unwrap();
        let other = Thread::builder("b10").create(&spdk).await.unwrap();
        let bdev = other.call(move || (bdev.resize(Blocks(65)), bdev)).await;
        let (elsewhere, bdev) = bdev.unwrap();
        assert!(
            matches!(elsewhere, Err(BdevError::Thread(_))),
            "{elsewhere:?}"
        );
        other.exit().await;
        bdev.unregister().await;
    });
}

#[test]
fn names_and_shape_are_as_they_were_said() {
    SPDK.run(async |spdk| {
        let uuid: Uuid = "00010203-0405-0607-0809-0a0b0c0d0e0f".parse().unwrap();
        let bdev = BlockDeviceBuilder::new("shape")
            .alias("shape-too")
            .uuid(uuid)
            .blocks(Blocks(64))
            .block_size(4096)
            .align(512)
            .write_unit(2)
            .write_cache(true)
            .register(&spdk, &MODULE, Does(well))
            .unwrap();
        for taken in ["shape", "shape-too"] {
            let again = BlockDeviceBuilder::new("other")
                .alias(taken)
                .blocks(Blocks(1))
                .register(&spdk, &MODULE, Does(well));
            let name = taken.into();
            assert_eq!(again.unwrap_err(), BdevError::Exists { name });
        }
        let desc = BdevDesc::open(&spdk, "shape-too").read_only().unwrap();
        let info = desc.info().clone();
        assert_eq!((info.uuid, info.write_unit), (uuid, 2));
        assert!(info.write_cache);
        let like = BlockDeviceBuilder::new("like")
            .like(&info)
            .register(&spdk, &MODULE, Does(well))
            .unwrap();
        let other = BdevDesc::open(&spdk, "like").read_only().unwrap();
        let theirs = other.info();
        assert_eq!(theirs.block_size, 4096);
        assert_eq!((theirs.num_blocks, theirs.align), (info.num_blocks, 512));
        assert_eq!((theirs.write_unit, theirs.write_cache), (2, true));
        assert_ne!(theirs.uuid, uuid, "its UUID is its own");
        drop((desc, other));
        like.unregister().await;
        bdev.unregister().await;
        // The names are free again.
        device(&spdk, "shape-too", well).unregister().await;
    });
}

#[test]
fn what_is_more_than_the_limits_is_split_or_the_version_is_named() {
    static LARGEST: Mutex<u64> = Mutex::new(0);
    SPDK.run(async |spdk| {
        let mut limits = Limits::default();
        limits.read_write = Some(Blocks(4));
        let bdev = BlockDeviceBuilder::new("limits")
            .blocks(Blocks(64))
            .limits(limits)
            .register(
                &spdk,
                &MODULE,
                Does(|request: Request| {
                    if let Request::Write(write) = &request {
                        let mut largest = LARGEST.lock().unwrap();
                        *largest = largest.max(write.blocks().0);
                    }
                    request.complete(RequestStatus::Success);
                }),
            );
        let bdev = match bdev {
            Err(BdevError::NeedsVersion { needs, .. }) => {
                return println!("limits of reads and writes need {needs}");
            }
            bdev => bdev.unwrap(),
        };
        let desc = BdevDesc::open(&spdk, "limits").read_write().unwrap();
        let ch = desc.channel().unwrap();
        ch.write(Lba(0), desc.alloc(Blocks(32)).unwrap())
            .await
            .0
            .unwrap();
        assert_eq!(*LARGEST.lock().unwrap(), 4);
        drop((ch, desc));
        bdev.unregister().await;
    });
}

thread_local! {
    static HELD: RefCell<Vec<Request>> = const { RefCell::new(Vec::new()) };
    static TURNS: Cell<u32> = const { Cell::new(0) };
}

#[test]
fn m32_a_request_without_memory_comes_again_also_when_nothing_else_is_outstanding() {
    SPDK.run(async |spdk| {
        let bdev = device(&spdk, "m32", |request| {
            let turn = TURNS.replace(TURNS.get() + 1);
            request.complete(if turn % 3 < 2 {
                RequestStatus::NoMemory
            } else {
                RequestStatus::Success
            });
        });
        let desc = BdevDesc::open(&spdk, "m32").read_write().unwrap();
        let ch = desc.channel().unwrap();
        ch.write(Lba(0), desc.alloc(Blocks(1)).unwrap())
            .await
            .0
            .unwrap();
        assert_eq!(TURNS.get(), 3);
        ch.read(Lba(0), desc.alloc(Blocks(1)).unwrap())
            .await
            .0
            .unwrap();
        assert_eq!(TURNS.get(), 6);
        // SPDK takes no such answer to a reset.
        ch.reset().await.unwrap();
        assert_eq!(TURNS.get(), 9);
        drop((ch, desc));
        bdev.unregister().await;
    });
}

#[test]
fn m40_a_quiesced_bdev_holds_still_until_the_guard_is_dropped() {
    SPDK.run(async |spdk| {
        let bdev = device(&spdk, "m40", |request| {
            HELD.with_borrow_mut(|held| held.push(request));
        });
        let complete = || {
            let held = HELD.take();
            let count = held.len();
            held.into_iter().for_each(well);
            count
        };
        let desc = BdevDesc::open(&spdk, "m40").read_write().unwrap();
        let ch = desc.channel().unwrap();
        let write = |lba| Box::pin(ch.write(Lba(lba), desc.alloc(Blocks(1)).unwrap()));
        let mut before = write(3);
        pending(&mut before).await;
        let mut quiesce = bdev.quiesce_range(Lba(0), Blocks(8));
        if let Poll::Ready(Err(BdevError::NeedsVersion { needs, .. })) =
            futures::poll!(&mut quiesce)
        {
            println!("quiesce needs {needs}");
            complete();
            before.await.0.unwrap();
            drop((ch, desc));
            return bdev.unregister().await;
        }
        pending(&mut quiesce).await;
        assert_eq!(complete(), 1);
        before.await.0.unwrap();
        let guard = quiesce.await.unwrap();
        let (mut within, mut beside) = (write(7), write(8));
        pending(&mut within).await;
        assert!(futures::poll!(&mut beside).is_pending());
        assert_eq!(complete(), 1, "the one beside the range");
        beside.await.0.unwrap();
        // M-42: a resize in between does not keep it blocked for ever.
        bdev.resize(Blocks(128)).unwrap();
        drop(guard);
        pending(&mut within).await;
        assert_eq!(complete(), 1);
        within.await.0.unwrap();

        let error = bdev.quiesce_range(Lba(100), Blocks(100)).await.unwrap_err();
        assert!(matches!(error, BdevError::Geometry { .. }), "{error}");

        // Dropped at every moment.
        drop(bdev.quiesce());
        let asked = bdev.quiesce();
        for _ in 0..200 {
            yield_now().await;
        }
        drop(asked);
        let mut after = write(0);
        pending(&mut after).await;
        assert_eq!(complete(), 1);
        after.await.0.unwrap();

        // On another thread; the unregistration waits for none.
        let guard = bdev.quiesce().await.unwrap();
        assert_eq!(guard.range(), (Lba(0), Blocks(128)));
        let other = Thread::builder("m40").create(&spdk).await.unwrap();
        other.call(move || drop(guard)).await.unwrap();
        other.exit().await;
        let guard = bdev.quiesce().await.unwrap();
        let waiting = bdev.quiesce();
        drop((ch, desc));
        bdev.unregister().await;
        let error = waiting.await.unwrap_err();
        assert!(matches!(error, BdevError::NotFound { .. }), "{error}");
        drop(guard);
    });
}

/// Needs more than any module of the process has asked for.
struct TooRoomy;

/// Counts in its own bytes.
struct Roomy;

impl BlockDevice for Roomy {
    type Channel = ();
    const CONTEXT: usize = 100;

    fn create_channel(&self) -> Result<(), ChannelError> {
        Ok(())
    }

    fn submit(&self, _: &Rc<()>, mut request: Request) {
        if let Request::Write(write) = &mut request {
            let at = write.driver_context().as_ptr();
            assert_eq!(at.addr() % 64, 0);
            // SAFETY: 100 bytes are the device's.
            unsafe { at.write_bytes(0x5A, 100) };
        }
        request.complete(RequestStatus::Success);
    }
}

impl BlockDevice for TooRoomy {
    type Channel = ();
    const CONTEXT: usize = 2000;

    fn create_channel(&self) -> Result<(), ChannelError> {
        Ok(())
    }

    fn submit(&self, _: &Rc<()>, request: Request) {
        request.complete(RequestStatus::Success);
    }
}

#[test]
fn bytes_of_its_own_are_there_if_the_module_asked_for_them() {
    SPDK.run(async |spdk| {
        let builder = || BlockDeviceBuilder::new("roomy").blocks(Blocks(64));
        let error = builder().register(&spdk, &MODULE, TooRoomy).unwrap_err();
        assert!(matches!(error, BdevError::DriverContext { .. }));
        assert!(error.to_string().contains(".device::<"), "{error}");
        let bdev = builder().register(&spdk, &MODULE, Roomy).unwrap();
        let desc = BdevDesc::open(&spdk, "roomy").read_write().unwrap();
        let ch = desc.channel().unwrap();
        for _ in 0..100 {
            ch.write(Lba(0), desc.alloc(Blocks(1)).unwrap())
                .await
                .0
                .unwrap();
        }
        drop((ch, desc));
        bdev.unregister().await;
    });
}
