//! A loop in the hands of code that SPDK calls while it is half-way through something. One SPDK in a process, so each
//! test runs in a process of its own.

use std::cell::RefCell;
use std::future::Future;
use std::pin::pin;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};

use spdk_safe::app::{Builder, OwnLoop};
use spdk_safe::bdev::PassthruBdev;
use spdk_safe::error::ThreadError;
use spdk_safe::io_device::{self, IoDevice};
use spdk_safe::log;
use spdk_safe::module::{
    BdevModule, BlockDevice, BlockDeviceBuilder, RegisteredBdev, Request, RequestStatus,
};
use spdk_safe::prelude::*;
use spdk_safe::thread;

/// Says which test a child process is to run.
const CHILD: &str = "SPDK_SAFE_TEST_CHILD";

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

fn app() -> Builder {
    App::builder("own-loop-inside")
        .no_huge()
        .no_pci()
        .memory(Mib(400))
        .pools(Pools::small())
        .log_level(LogLevel::Warn)
}

thread_local! {
    static OWN: RefCell<Option<OwnLoop>> = const { RefCell::new(None) };
    static SPDK: RefCell<Option<Spdk>> = const { RefCell::new(None) };
    static REGISTERED: RefCell<Option<RegisteredBdev>> = const { RefCell::new(None) };
}

fn take() -> Option<OwnLoop> {
    OWN.with(|own| own.try_borrow_mut().ok().and_then(|mut own| own.take()))
}

/// "m", which a bdev above has claimed: to open it for writing is refused, with a line that SPDK logs under a lock.
fn claimed(own: &mut OwnLoop) -> Spdk {
    let spdk = own.spdk();
    log::set_flag("bdev").unwrap();
    own.block_on(async {
        MallocBdev::builder("m")
            .blocks(8)
            .create(&spdk)
            .await
            .unwrap();
        PassthruBdev::builder("above", "m")
            .create(&spdk)
            .await
            .unwrap();
    });
    spdk
}

#[test]
fn r1_a_receiver_of_log_lines_can_not_poll_the_loop() {
    in_process("r1_a_receiver_of_log_lines_can_not_poll_the_loop", || {
        static POLLED: AtomicUsize = AtomicUsize::new(0);
        let receiver = |line: &log::Line<'_>| {
            if !line.text.contains("claim") {
                return;
            }
            if let Some(mut own) = take() {
                assert!(!own.poll());
                POLLED.fetch_add(1, Ordering::Relaxed);
                OWN.set(Some(own));
            }
        };
        let mut own = app()
            .log_level(LogLevel::Info)
            .log_to(receiver)
            .own_loop()
            .unwrap();
        let spdk = claimed(&mut own);
        OWN.set(Some(own));
        // It would open the bdev whose lock SPDK has.
        let (send, opened) = std::sync::mpsc::channel();
        thread::app()
            .unwrap()
            .try_send(move || {
                let spdk = SPDK.take().unwrap();
                let _ = send.send(BdevDesc::open(&spdk, "m").read_only().is_ok());
            })
            .unwrap();
        SPDK.set(Some(spdk.clone()));
        assert!(BdevDesc::open(&spdk, "m").read_write().is_err());
        assert_ne!(POLLED.load(Ordering::Relaxed), 0);
        assert!(opened.try_recv().is_err(), "nothing has moved");
        let mut own = take().unwrap();
        while own.poll() {}
        assert_eq!(opened.try_recv(), Ok(true));
        own.shutdown().unwrap();
    });
}

#[test]
fn r1_a_receiver_of_log_lines_can_not_end_the_loop() {
    in_process("r1_a_receiver_of_log_lines_can_not_end_the_loop", || {
        static ENDED: AtomicUsize = AtomicUsize::new(0);
        let receiver = |line: &log::Line<'_>| {
            if !line.text.contains("claim") {
                return;
            }
            if let Some(own) = take() {
                let outcome = own.shutdown();
                assert!(matches!(outcome, Err(AppError::InCallback)), "{outcome:?}");
                ENDED.fetch_add(1, Ordering::Relaxed);
            }
        };
        let mut own = app()
            .log_level(LogLevel::Info)
            .log_to(receiver)
            .own_loop()
            .unwrap();
        let spdk = claimed(&mut own);
        OWN.set(Some(own));
        assert!(BdevDesc::open(&spdk, "m").read_write().is_err());
        assert_eq!(ENDED.load(Ordering::Relaxed), 1);
        // Nothing moves any more, and nothing is opened.
        assert!(thread::app().is_none());
        let error = BdevDesc::open(&spdk, "m").read_only().unwrap_err();
        assert!(
            matches!(error, OpenError::Thread(ThreadError::NotAppThread)),
            "{error}"
        );
        assert_eq!(poller(), Err(ThreadError::Exiting));
    });
}

fn poller() -> Result<(), ThreadError> {
    thread::Poller::register(None, || thread::PollerStatus::Idle).map(drop)
}

struct Ends;

impl IoDevice for Ends {
    type Channel = u8;

    fn create_channel(&self) -> Result<u8, Box<dyn std::error::Error + Send + Sync>> {
        let outcome = take().unwrap().shutdown();
        assert!(matches!(outcome, Err(AppError::InCallback)), "{outcome:?}");
        Ok(1)
    }
}

#[test]
fn r1_the_loop_does_not_end_while_a_channel_is_made() {
    in_process("r1_the_loop_does_not_end_while_a_channel_is_made", || {
        let own = app().own_loop().unwrap();
        let device = io_device::register(&own.spdk(), "d", Ends).unwrap();
        OWN.set(Some(own));
        let channel = device.channel().unwrap();
        assert_eq!(*channel.context().unwrap(), 1);
        assert_eq!(poller(), Err(ThreadError::Exiting));
    });
}

static MODULE: BdevModule = BdevModule::new(c"rust_inside");

/// What it does when SPDK calls.
struct Calls {
    supports: fn(),
    create_channel: fn(),
    submit: fn(),
}

const NOTHING: Calls = Calls {
    supports: || (),
    create_channel: || (),
    submit: || (),
};

impl BlockDevice for Calls {
    type Channel = ();

    fn create_channel(&self) -> Result<(), ChannelError> {
        (self.create_channel)();
        Ok(())
    }

    fn submit(&self, _channel: &Rc<()>, request: Request) {
        (self.submit)();
        request.complete(RequestStatus::Failed);
    }

    fn supports(&self, _io: IoType) -> bool {
        (self.supports)();
        true
    }
}

fn started(device: Calls) -> Spdk {
    let own = app().module(&MODULE).own_loop().unwrap();
    let spdk = own.spdk();
    let bdev = BlockDeviceBuilder::new("dev")
        .blocks(Blocks(64))
        .register(&spdk, &MODULE, device)
        .unwrap();
    REGISTERED.set(Some(bdev));
    OWN.set(Some(own));
    spdk
}

#[test]
fn r1_a_bdev_can_not_be_unregistered_while_spdk_asks_it() {
    in_process(
        "r1_a_bdev_can_not_be_unregistered_while_spdk_asks_it",
        || {
            fn unregister() {
                // SPDK asks more than once.
                let Some(bdev) = REGISTERED.take() else {
                    return;
                };
                let mut own = take().unwrap();
                let unregister = bdev.unregister();
                let panics = std::panic::AssertUnwindSafe(|| own.block_on(unregister));
                assert!(std::panic::catch_unwind(panics).is_err());
                OWN.set(Some(own));
            }
            let spdk = started(Calls {
                supports: unregister,
                ..NOTHING
            });
            assert!(spdk_safe::bdev::find(&spdk, "dev").is_ok());
            if REGISTERED.take().is_some() {
                println!("this version has asked before, and knows");
                assert_ne!(spdk_sys::VERSION.0, 20);
            }
            let mut own = take().unwrap();
            while own.poll() {}
            own.shutdown().unwrap();
        },
    );
}

/// Polls the loop, which does nothing.
fn poll() {
    let mut own = take().unwrap();
    assert!(!own.poll());
    OWN.set(Some(own));
    POLLED.fetch_add(1, Ordering::Relaxed);
}

static POLLED: AtomicUsize = AtomicUsize::new(0);

#[test]
fn r1_nothing_moves_while_a_channel_is_made_or_io_submitted() {
    in_process(
        "r1_nothing_moves_while_a_channel_is_made_or_io_submitted",
        || {
            let spdk = started(Calls {
                create_channel: poll,
                submit: poll,
                ..NOTHING
            });
            let desc = BdevDesc::open(&spdk, "dev").read_only().unwrap();
            let (send, moved) = std::sync::mpsc::channel();
            thread::app()
                .unwrap()
                .try_send(move || send.send(()).unwrap())
                .unwrap();
            let ch = desc.channel().unwrap();
            assert_eq!(POLLED.load(Ordering::Relaxed), 1);
            let mut cx = Context::from_waker(Waker::noop());
            {
                let read = pin!(ch.read(Lba(0), ch.alloc(Blocks(1)).unwrap()));
                let _ = read.poll(&mut cx);
                assert_eq!(POLLED.load(Ordering::Relaxed), 2);
                assert!(moved.try_recv().is_err());
            }
            let mut own = take().unwrap();
            while own.poll() {}
            assert!(moved.try_recv().is_ok());
            own.block_on(async {
                drop(ch);
                desc.close().await;
                REGISTERED.take().unwrap().unregister().await;
            });
            own.shutdown().unwrap();
        },
    );
}
