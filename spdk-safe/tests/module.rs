//! Block devices in Rust, and claims.

use std::cell::RefCell;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Waker};

use spdk_safe::app::yield_now;
use spdk_safe::bdev::ClaimKind;
use spdk_safe::bdev::SharedDesc;
use spdk_safe::error::BdevError;
use spdk_safe::module::{
    BdevModule, BlockDevice, BlockDeviceBuilder, RegisteredBdev, Request, RequestData,
    RequestStatus,
};
use spdk_safe::prelude::*;
use spdk_safe::test::Harness;

static MODULE: BdevModule = BdevModule::new(c"rust_test");
static OTHER: BdevModule = BdevModule::new(c"rust_other");
static FORGOTTEN: BdevModule = BdevModule::new(c"rust_forgotten");
static SPDK: Harness = Harness::new(&[&MODULE, &OTHER]);

/// A device that does with each request what the test says.
struct Scripted<S, C = fn() -> Result<(), ChannelError>> {
    submit: S,
    create_channel: C,
}

impl<S, C> BlockDevice for Scripted<S, C>
where
    S: Fn(Request) + Send + Sync + 'static,
    C: Fn() -> Result<(), ChannelError> + Send + Sync + 'static,
{
    type Channel = ();

    fn create_channel(&self) -> Result<(), ChannelError> {
        (self.create_channel)()
    }

    fn submit(&self, _channel: &Rc<()>, request: Request) {
        (self.submit)(request);
    }
}

fn builder(name: &str) -> BlockDeviceBuilder {
    BlockDeviceBuilder::new(name).blocks(Blocks(64))
}

fn scripted(
    spdk: &Spdk,
    name: &str,
    submit: impl Fn(Request) + Send + Sync + 'static,
) -> RegisteredBdev {
    let create_channel = || Ok(());
    builder(name)
        .register(
            spdk,
            &MODULE,
            Scripted {
                submit,
                create_channel,
            },
        )
        .unwrap()
}

/// Writes one block, and says how that ended.
async fn write_one(spdk: &Spdk, name: &str) -> Result<(), IoError> {
    let desc = BdevDesc::open(spdk, name).read_write().unwrap();
    let ch = desc.channel().unwrap();
    ch.write(Lba(0), desc.alloc(Blocks(1)).unwrap()).await.0
}

thread_local! {
    static HELD: RefCell<Vec<Request>> = const { RefCell::new(Vec::new()) };
    static DATA: RefCell<Option<RequestData>> = const { RefCell::new(None) };
}

#[test]
fn a_request_has_what_its_type_has() {
    SPDK.run(async |spdk| {
        let bdev = scripted(&spdk, "shape", |request| {
            let Request::Write(write) = request else {
                return request.complete(RequestStatus::Failed);
            };
            assert_eq!((write.lba(), write.blocks()), (Lba(3), Blocks(2)));
            write.complete(RequestStatus::Success);
        });
        let desc = BdevDesc::open(&spdk, "shape").read_write().unwrap();
        assert_eq!(desc.info().module, "rust_test");
        assert!(
            !desc.info().supports(IoType::Unmap),
            "a device does what it says it supports"
        );
        let ch = desc.channel().unwrap();
        ch.write(Lba(3), desc.alloc(Blocks(2)).unwrap())
            .await
            .0
            .unwrap();
        let error = ch.unmap(Lba(0), Blocks(1)).await.unwrap_err();
        assert_eq!(error, IoError::Unsupported { io: IoType::Unmap }, "I6");
        drop((ch, desc));
        bdev.unregister().await;
    });
}

#[test]
fn m2_a_request_that_is_dropped_fails() {
    SPDK.run(async |spdk| {
        let bdev = scripted(&spdk, "m2", drop);
        let error = write_one(&spdk, "m2").await.unwrap_err();
        assert!(matches!(error, IoError::Failed { .. }), "{error}");
        bdev.unregister().await;
    });
}

#[test]
fn t13_a_panic_in_submit_fails_that_request_alone() {
    SPDK.run(async |spdk| {
        let bdev = scripted(&spdk, "t13", |request| match request {
            Request::Write(_) => panic!("on purpose"),
            other => other.complete(RequestStatus::Success),
        });
        let before = spdk_safe::contained_panics();
        assert!(write_one(&spdk, "t13").await.is_err());
        assert_eq!(spdk_safe::contained_panics(), before + 1);
        let desc = BdevDesc::open(&spdk, "t13").read_only().unwrap();
        let ch = desc.channel().unwrap();
        ch.read(Lba(0), desc.alloc(Blocks(1)).unwrap())
            .await
            .0
            .unwrap();
        drop((ch, desc));
        bdev.unregister().await;
    });
}

#[test]
fn t13_panics_in_every_other_callback_of_a_device_are_contained() {
    struct Explosive;
    impl BlockDevice for Explosive {
        type Channel = ();
        fn create_channel(&self) -> Result<(), ChannelError> {
            panic!("in create_channel")
        }
        fn supports(&self, _io: IoType) -> bool {
            panic!("in supports")
        }
        fn submit(&self, _channel: &Rc<()>, _request: Request) {}
    }
    impl Drop for Explosive {
        fn drop(&mut self) {
            panic!("in drop")
        }
    }
    SPDK.run(async |spdk| {
        let before = spdk_safe::contained_panics();
        let bdev = builder("explosive")
            .register(&spdk, &MODULE, Explosive)
            .unwrap();
        let desc = BdevDesc::open(&spdk, "explosive").read_only().unwrap();
        assert!(matches!(desc.channel(), Err(ChannelError::Refused { .. })));
        drop(desc);
        bdev.unregister().await;
        assert!(spdk_safe::contained_panics() >= before + 3);
    });
}

#[test]
fn a_channel_that_the_device_refuses_is_an_error_to_the_client() {
    SPDK.run(async |spdk| {
        let device = Scripted {
            submit: |request: Request| request.complete(RequestStatus::Success),
            create_channel: || Err(ChannelError::Device("not today".into())),
        };
        let bdev = builder("refuses").register(&spdk, &MODULE, device).unwrap();
        let desc = BdevDesc::open(&spdk, "refuses").read_only().unwrap();
        let error = desc.channel().unwrap_err();
        assert_eq!(
            error,
            ChannelError::Refused {
                name: "refuses".into()
            }
        );
        drop(desc);
        bdev.unregister().await;
    });
}

#[test]
fn m9_unregister_waits_for_requests_in_flight_and_descriptors_of_others() {
    SPDK.run(async |spdk| {
        let bdev = scripted(&spdk, "m9", |request| {
            HELD.with_borrow_mut(|held| held.push(request))
        });
        let desc = BdevDesc::open(&spdk, "m9").read_write().unwrap();
        let ch = desc.channel().unwrap();
        let mut io = pin!(ch.write(Lba(0), desc.alloc(Blocks(1)).unwrap()));
        assert!(
            io.as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_pending()
        );
        let mut gone = pin!(bdev.unregister());
        for _ in 0..20 {
            assert!(
                gone.as_mut()
                    .poll(&mut Context::from_waker(Waker::noop()))
                    .is_pending()
            );
            yield_now().await;
        }
        HELD.with_borrow_mut(|held| held.pop())
            .unwrap()
            .complete(RequestStatus::Success);
        let (result, _buf) = io.await;
        result.unwrap();
        // The descriptor lets go by itself: nobody has to react to the removal.
        gone.await;
        assert!(desc.is_removed());
        drop((ch, desc));
    });
}

#[test]
fn a_completed_request_is_reported_only_when_its_data_is_let_go() {
    SPDK.run(async |spdk| {
        let bdev = scripted(&spdk, "data", |request| {
            let Request::Write(write) = request else {
                return;
            };
            DATA.set(Some(write.data()));
            write.complete(RequestStatus::Success);
        });
        let desc = BdevDesc::open(&spdk, "data").read_write().unwrap();
        let ch = desc.channel().unwrap();
        let mut io = pin!(ch.write(Lba(0), desc.alloc(Blocks(1)).unwrap()));
        for _ in 0..20 {
            assert!(
                io.as_mut()
                    .poll(&mut Context::from_waker(Waker::noop()))
                    .is_pending()
            );
            yield_now().await;
        }
        drop(DATA.take());
        io.await.0.unwrap();
        drop((ch, desc));
        bdev.unregister().await;
    });
}

#[test]
fn m9_bad_registrations_are_errors() {
    SPDK.run(async |spdk| {
        let register = |builder: BlockDeviceBuilder, module| {
            let device = Scripted {
                submit: drop::<Request>,
                create_channel: || Ok(()),
            };
            builder.register(&spdk, module, device).map(|_| ())
        };
        let bdev = scripted(&spdk, "m9-taken", drop);
        let taken = register(builder("m9-taken"), &MODULE);
        assert_eq!(
            taken,
            Err(BdevError::Exists {
                name: "m9-taken".into()
            })
        );
        bdev.unregister().await;
        for name in ["", "a\0b"] {
            assert!(matches!(
                register(builder(name), &MODULE),
                Err(BdevError::Name { .. })
            ));
        }
        for bad in [
            builder("bad").blocks(Blocks(0)),
            builder("bad").blocks(Blocks(u64::MAX)),
            builder("bad").block_size(0),
            builder("bad").block_size(520),
            builder("bad").block_size(1 << 17),
            builder("bad").align(8192),
            builder("bad").align(3),
        ] {
            assert!(matches!(
                register(bad, &MODULE),
                Err(BdevError::Geometry { .. })
            ));
        }
        let error = register(builder("bad"), &FORGOTTEN)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(".module("),
            "{error:?} should name the remedy"
        );
    });
}

#[test]
fn dropping_the_handle_unregisters_the_bdev() {
    SPDK.run(async |spdk| {
        drop(scripted(&spdk, "dropped", drop));
        // The name is free again when the bdev is gone.
        let again = loop {
            let device = Scripted {
                submit: drop::<Request>,
                create_channel: || Ok(()),
            };
            match builder("dropped").register(&spdk, &MODULE, device) {
                Ok(bdev) => break bdev,
                Err(BdevError::Exists { .. }) => yield_now().await,
                Err(error) => panic!("{error}"),
            }
        };
        again.unregister().await;
    });
}

#[test]
fn d6_a_claim_keeps_writers_out_and_says_who_has_it() {
    SPDK.run(async |spdk| {
        MallocBdev::builder("d6")
            .blocks(64)
            .create(&spdk)
            .await
            .unwrap();
        let open = || BdevDesc::open(&spdk, "d6").read_write();
        let (first, second) = (open().unwrap(), open().unwrap());
        let first = first.claim(&MODULE).unwrap();

        let (error, second) = second.claim(&OTHER).unwrap_err();
        assert_eq!(
            error,
            ClaimError::Claimed {
                name: "d6".into(),
                by: "rust_test".into(),
                claim: Some(ClaimKind::ExclusiveWrite),
            }
        );
        assert_eq!(
            open().unwrap_err(),
            OpenError::Claimed {
                name: "d6".into(),
                by: "rust_test".into(),
                claim: Some(ClaimKind::ExclusiveWrite),
            }
        );
        BdevDesc::open(&spdk, "d6")
            .read_only()
            .unwrap()
            .close()
            .await;

        first.close().await;
        let second = second.claim(&OTHER).unwrap();
        assert!(matches!(open(), Err(OpenError::Claimed { by, .. }) if by == "rust_other"));
        let (error, third) = {
            second.close().await;
            open().unwrap().claim(&FORGOTTEN).unwrap_err()
        };
        assert!(
            matches!(error, ClaimError::ModuleNotAdded { .. }),
            "{error}"
        );
        third.close().await;
        MallocBdev::delete(&spdk, "d6").await.unwrap();
    });
}

/// Forwards reads and writes to a base, each in a future that is polled by a waker of its own: no executor.
struct Forward {
    base: SharedDesc<ReadWrite>,
}

impl BlockDevice for Forward {
    type Channel = IoChannel<ReadWrite>;

    fn create_channel(&self) -> Result<Self::Channel, ChannelError> {
        self.base.channel()
    }

    fn submit(&self, base: &Rc<Self::Channel>, request: Request) {
        let base = Rc::clone(base);
        // The I/O below owns the data, so its future may be dropped; the request ends when the data does.
        match request {
            Request::Write(write) => {
                start(base.write(write.lba(), write.data()));
                write.complete(RequestStatus::Success);
            }
            Request::Read(read) => {
                start(base.read(read.lba(), read.data()));
                read.complete(RequestStatus::Success);
            }
            other => other.complete(RequestStatus::Failed),
        }
    }
}

/// Submits an I/O and forgets it.
fn start(io: spdk_safe::bdev::Io<RequestData>) {
    let _ = pin!(io).poll(&mut Context::from_waker(Waker::noop()));
}

#[test]
fn data_travels_through_a_device_into_the_bdev_below() {
    SPDK.run(async |spdk| {
        MallocBdev::builder("below")
            .blocks(64)
            .create(&spdk)
            .await
            .unwrap();
        let desc = BdevDesc::open(&spdk, "below").read_write().unwrap();
        let device = Forward { base: desc.share() };
        drop(desc);
        let bdev = builder("above").register(&spdk, &MODULE, device).unwrap();

        let desc = BdevDesc::open(&spdk, "above").read_write().unwrap();
        let ch = desc.channel().unwrap();
        let mut buf = desc.alloc(Blocks(8)).unwrap();
        buf.iter_mut()
            .enumerate()
            .for_each(|(at, byte)| *byte = at as u8);
        let (result, written) = ch.write(Lba(5), buf).await;
        result.unwrap();
        let (result, above) = ch.read(Lba(5), desc.alloc(Blocks(8)).unwrap()).await;
        result.unwrap();
        assert_eq!(&above[..], &written[..]);

        let below = BdevDesc::open(&spdk, "below").read_only().unwrap();
        let (result, data) = below
            .channel()
            .unwrap()
            .read(Lba(5), below.alloc(Blocks(8)).unwrap())
            .await;
        result.unwrap();
        assert_eq!(&data[..], &written[..]);
        drop((ch, desc, below));
        bdev.unregister().await;
        MallocBdev::delete(&spdk, "below").await.unwrap();
    });
}

#[test]
fn d8_a_base_that_is_removed_goes_although_the_device_above_does_nothing() {
    SPDK.run(async |spdk| {
        MallocBdev::builder("d8-below")
            .blocks(64)
            .create(&spdk)
            .await
            .unwrap();
        let desc = BdevDesc::open(&spdk, "d8-below").read_write().unwrap();
        let device = Forward { base: desc.share() };
        drop(desc);
        let bdev = builder("d8-above")
            .register(&spdk, &MODULE, device)
            .unwrap();
        let desc = BdevDesc::open(&spdk, "d8-above").read_write().unwrap();
        let ch = desc.channel().unwrap();
        MallocBdev::delete(&spdk, "d8-below").await.unwrap();
        // The device above is still there, and its I/O ends.
        let _ = ch.write(Lba(0), desc.alloc(Blocks(1)).unwrap()).await;
        drop((ch, desc));
        bdev.unregister().await;
    });
}

#[test]
fn a_device_that_is_its_own_base_gets_no_channel() {
    struct Loop(std::sync::OnceLock<SharedDesc>);
    impl BlockDevice for &'static Loop {
        type Channel = IoChannel;
        fn create_channel(&self) -> Result<IoChannel, ChannelError> {
            self.0.get().unwrap().channel()
        }
        fn submit(&self, _channel: &Rc<IoChannel>, request: Request) {
            request.complete(RequestStatus::Success);
        }
    }
    static LOOP: Loop = Loop(std::sync::OnceLock::new());
    SPDK.run(async |spdk| {
        let bdev = builder("loop").register(&spdk, &MODULE, &LOOP).unwrap();
        let desc = BdevDesc::open(&spdk, "loop").read_only().unwrap();
        let _ = LOOP.0.set(desc.share());
        assert!(matches!(desc.channel(), Err(ChannelError::Refused { .. })));
        drop(desc);
        // The share is in a static for ever; the removal closes its descriptor all the same.
        bdev.unregister().await;
    });
}

#[test]
fn m11_the_data_of_a_request_goes_one_way() {
    SPDK.run(async |spdk| {
        MallocBdev::builder("m11")
            .blocks(64)
            .create(&spdk)
            .await
            .unwrap();
        let desc = BdevDesc::open(&spdk, "m11").read_write().unwrap();
        /// Does with each request the opposite of what it asks, and answers whether that was refused.
        struct Backwards(SharedDesc<ReadWrite>);
        impl BlockDevice for Backwards {
            type Channel = IoChannel<ReadWrite>;
            fn create_channel(&self) -> Result<Self::Channel, ChannelError> {
                self.0.channel()
            }
            fn submit(&self, base: &Rc<Self::Channel>, request: Request) {
                let mut context = Context::from_waker(Waker::noop());
                let (request, poll) = match request {
                    Request::Write(write) => {
                        let poll = pin!(base.read(write.lba(), write.data())).poll(&mut context);
                        (Request::Write(write), poll)
                    }
                    Request::Read(read) => {
                        let poll = pin!(base.write(read.lba(), read.data())).poll(&mut context);
                        (Request::Read(read), poll)
                    }
                    other => return other.complete(RequestStatus::Failed),
                };
                request.complete(match poll {
                    std::task::Poll::Ready((
                        Err(IoError::Direction { .. } | IoError::NoContents { .. }),
                        _,
                    )) => RequestStatus::Success,
                    _ => RequestStatus::Failed,
                });
            }
        }
        let bdev = builder("backwards")
            .register(&spdk, &MODULE, Backwards(desc.share()))
            .unwrap();
        drop(desc);
        let top = BdevDesc::open(&spdk, "backwards").read_write().unwrap();
        let ch = top.channel().unwrap();
        let (result, buf) = ch.write(Lba(0), ch.alloc(Blocks(1)).unwrap()).await;
        result.unwrap();
        ch.read(Lba(0), buf).await.0.unwrap();
        drop((ch, top));
        bdev.unregister().await;
        MallocBdev::delete(&spdk, "m11").await.unwrap();
    });
}

#[test]
fn t13_wakers_that_panic_when_waiting_io_is_refused_do_not_keep_a_removed_bdev() {
    struct Bomb;
    impl std::task::Wake for Bomb {
        fn wake(self: std::sync::Arc<Self>) {
            panic!("on purpose");
        }
    }
    SPDK.run(async |spdk| {
        let bdev = scripted(&spdk, "bombs", |request| {
            HELD.with_borrow_mut(|held| held.push(request))
        });
        let desc = BdevDesc::open(&spdk, "bombs").read_write().unwrap();
        let ch = desc.channel().unwrap();
        let (before, bomb) = (
            spdk_safe::contained_panics(),
            Waker::from(std::sync::Arc::new(Bomb)),
        );
        // The harness has 8191 `spdk_bdev_io`s, which the device keeps: the last hundred or so wait for one.
        let mut all: Vec<_> = (0..8_300)
            .map(|_| Box::pin(ch.write(Lba(0), ch.alloc(Blocks(1)).unwrap())))
            .collect();
        for io in &mut all {
            assert!(
                io.as_mut()
                    .poll(&mut Context::from_waker(&bomb))
                    .is_pending()
            );
        }
        let mut gone = pin!(bdev.unregister());
        // The removal is told by message, and refuses what waits.
        while !desc.is_removed() {
            assert!(
                gone.as_mut()
                    .poll(&mut Context::from_waker(Waker::noop()))
                    .is_pending()
            );
            yield_now().await;
        }
        for request in HELD.take() {
            request.complete(RequestStatus::Success);
        }
        gone.await;
        assert_eq!(
            spdk_safe::contained_panics() - before,
            8_300,
            "one for each waker"
        );
        drop((all, ch, desc));
    });
}
