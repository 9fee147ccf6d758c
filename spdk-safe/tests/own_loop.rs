//! SPDK without its reactors. One SPDK in a process, so each test runs in a process of its own.

use std::cell::{Cell, RefCell};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use spdk_safe::app::{Builder, OwnLoop, at_exit, yield_now};
use spdk_safe::bdev::{IoChannel, SharedDesc};
use spdk_safe::error::ThreadError;
use spdk_safe::module::{BdevModule, BlockDevice, BlockDeviceBuilder, Request};
use spdk_safe::prelude::*;
use spdk_safe::thread::{Poller, PollerStatus, Thread};

/// Says which test a child process is to run.
const CHILD: &str = "SPDK_SAFE_TEST_CHILD";

/// Runs `test` in a process of its own. Its output becomes ours, and its failure.
fn in_process(name: &str, test: impl FnOnce()) -> String {
    if std::env::var(CHILD).as_deref() == Ok(name) {
        test();
        return String::new();
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
    said.into_owned()
}

fn app() -> Builder {
    App::builder("own-loop-test")
        .no_huge()
        .no_pci()
        .memory(Mib(400))
        .pools(Pools::small())
        .log_level(LogLevel::Warn)
}

async fn malloc(spdk: &Spdk, name: &str) {
    MallocBdev::builder(name)
        .blocks(64)
        .create(spdk)
        .await
        .unwrap();
}

#[test]
fn client_io_works_in_a_loop_of_ones_own() {
    in_process("client_io_works_in_a_loop_of_ones_own", || {
        let mut own = app().own_loop().unwrap();
        let spdk = own.spdk();
        let local = 7_u8;
        let read = own.block_on(async {
            malloc(&spdk, "m").await;
            let desc = BdevDesc::open(&spdk, "m").read_write().unwrap();
            let ch = desc.channel().unwrap();
            let mut buf = desc.alloc(Blocks(8)).unwrap();
            buf.fill(local);
            let (res, buf) = ch.write(Lba(8), buf).await;
            res.unwrap();
            let (res, buf) = ch.read(Lba(8), buf).await;
            res.unwrap();
            drop(ch);
            desc.close().await;
            buf[100]
        });
        assert_eq!(read, 7);
        own.shutdown().unwrap();
    });
}

#[test]
fn t8_nothing_works_after_the_loop_and_nothing_starts_twice() {
    in_process(
        "t8_nothing_works_after_the_loop_and_nothing_starts_twice",
        || {
            assert!(DmaBuf::zeroed(Bytes(512), 64).is_err(), "before SPDK is up");
            let own = app().own_loop().unwrap();
            let spdk = own.spdk();
            // The app thread is current outside of `block_on` too.
            let poller = Poller::register(None, || PollerStatus::Idle).unwrap();
            let buf = DmaBuf::zeroed(Bytes(512), 64).unwrap();
            own.shutdown().unwrap();
            assert!(
                buf.iter().all(|byte| *byte == 0),
                "memory outlives the loop"
            );
            drop((poller, buf));
            assert!(
                DmaBuf::zeroed(Bytes(512), 64).is_err(),
                "after SPDK is down"
            );
            let error = BdevDesc::open(&spdk, "any").read_only().unwrap_err();
            assert!(
                matches!(error, OpenError::Thread(ThreadError::NoThread)),
                "{error}"
            );
            assert_eq!(
                Poller::register(None, || PollerStatus::Idle).unwrap_err(),
                ThreadError::NoThread
            );
            assert!(matches!(
                app().own_loop().unwrap_err(),
                AppError::StartedBefore
            ));
            assert!(matches!(
                app().run(async |_| ()).unwrap_err(),
                AppError::StartedBefore
            ));
        },
    );
}

#[test]
fn t8_no_spdk_thread_is_current_on_another_os_thread() {
    in_process("t8_no_spdk_thread_is_current_on_another_os_thread", || {
        let mut own = app().own_loop().unwrap();
        let spdk = own.spdk();
        own.block_on(malloc(&spdk, "m"));
        let error = std::thread::spawn(|| Poller::register(None, || PollerStatus::Idle).map(drop))
            .join()
            .unwrap()
            .unwrap_err();
        assert_eq!(error, ThreadError::NoThread);
        drop(own);
    });
}

static MODULE: BdevModule = BdevModule::new(c"rust_own_loop_test");

/// Keeps a base open, and keeps what it is asked, until it is told to let go.
struct Keeper(SharedDesc<ReadWrite>);

thread_local!(static KEPT: RefCell<Vec<Request>> = const { RefCell::new(Vec::new()) });

impl BlockDevice for Keeper {
    type Channel = IoChannel<ReadWrite>;

    fn create_channel(&self) -> Result<Self::Channel, ChannelError> {
        self.0.channel()
    }

    fn submit(&self, _channel: &Rc<Self::Channel>, request: Request) {
        KEPT.with_borrow_mut(|kept| kept.push(request));
    }
}

/// "top" over "base", with a read that "top" never answers.
fn stuck(own: &mut OwnLoop) {
    let spdk = own.spdk();
    own.block_on(async {
        malloc(&spdk, "base").await;
        let desc = BdevDesc::open(&spdk, "base").read_write().unwrap();
        let bdev = BlockDeviceBuilder::new("top")
            .blocks(Blocks(64))
            .register(&spdk, &MODULE, Keeper(desc.share()))
            .unwrap();
        std::mem::forget((bdev, desc));
        let top = BdevDesc::open(&spdk, "top").read_only().unwrap();
        let ch = top.channel().unwrap();
        let mut io = Box::pin(ch.read(Lba(0), top.alloc(Blocks(1)).unwrap()));
        std::future::poll_fn(|cx| {
            assert!(io.as_mut().poll(cx).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
        std::mem::forget(io);
        std::mem::forget((ch, top));
    });
}

#[test]
fn t11_what_was_forgotten_is_closed_at_the_end() {
    in_process("t11_what_was_forgotten_is_closed_at_the_end", || {
        let mut own = app().module(&MODULE).own_loop().unwrap();
        stuck(&mut own);
        let hooks = Rc::new(Cell::new(0));
        let count = Rc::clone(&hooks);
        at_exit(move || {
            count.set(count.get() + 1);
            KEPT.take(); // fails them
        })
        .unwrap();
        std::mem::forget(Poller::register(None, || PollerStatus::Idle).unwrap());
        drop(own);
        assert_eq!(hooks.get(), 1);
    });
}

#[test]
fn an_end_that_misses_its_deadline_says_what_was_open_and_leaves_it_alone() {
    in_process(
        "an_end_that_misses_its_deadline_says_what_was_open_and_leaves_it_alone",
        || {
            let mut own = app()
                .module(&MODULE)
                .end_deadline(Duration::from_millis(50))
                .own_loop()
                .unwrap();
            let spdk = own.spdk();
            stuck(&mut own);
            own.spawn_lane().unwrap();
            let desc = BdevDesc::open(&spdk, "base").read_only().unwrap();
            let ch = desc.channel().unwrap();
            let poller = Poller::register(None, || PollerStatus::Idle).unwrap();
            let error = own.shutdown().unwrap_err();
            assert!(
                matches!(&error, AppError::StillOpen { open } if !open.is_empty()),
                "{error}"
            );
            assert!(error.to_string().contains("\"top\""), "{error}");
            // What is left is valid: it answers with errors, and can be dropped.
            assert!(desc.channel().is_err());
            let error = BdevDesc::open(&spdk, "base").read_only().unwrap_err();
            assert!(matches!(error, OpenError::Thread(_)), "{error}");
            assert!(DmaBuf::zeroed(Bytes(512), 64).is_err());
            drop((poller, ch, desc));
            KEPT.take();
        },
    );
}

#[test]
fn t13_a_panic_goes_on_from_block_on_and_the_loop_still_works() {
    in_process(
        "t13_a_panic_goes_on_from_block_on_and_the_loop_still_works",
        || {
            let mut own = app().own_loop().unwrap();
            let spdk = own.spdk();
            let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                own.block_on(async {
                    malloc(&spdk, "m").await;
                    let _open = BdevDesc::open(&spdk, "m").read_only().unwrap();
                    yield_now().await;
                    panic!("on purpose");
                })
            }));
            assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"on purpose"));
            let spdk = own.spdk();
            own.block_on(async { MallocBdev::delete(&spdk, "m").await.unwrap() });
            own.shutdown().unwrap();
        },
    );
}

#[test]
fn a_future_may_be_woken_from_another_os_thread() {
    in_process("a_future_may_be_woken_from_another_os_thread", || {
        let mut own = app().own_loop().unwrap();
        let (mut waking, mut polls) = (None, 0);
        own.block_on(std::future::poll_fn(|cx| {
            polls += 1;
            let waker = cx.waker().clone();
            let thread: &std::thread::JoinHandle<()> =
                waking.get_or_insert_with(|| std::thread::spawn(move || waker.wake()));
            match polls {
                1 => std::task::Poll::Pending,
                _ => {
                    let _ = thread;
                    std::task::Poll::Ready(())
                }
            }
        }));
        assert_eq!(polls, 2, "polled when woken, and then only");
        waking.unwrap().join().unwrap();
    });
}

#[test]
fn a_loop_of_ones_own_refuses_an_rpc_socket() {
    in_process("a_loop_of_ones_own_refuses_an_rpc_socket", || {
        let error = app().rpc_socket("/tmp/x.sock").own_loop().unwrap_err();
        assert!(error.to_string().contains("RPC socket"), "{error}");
        // That was no start.
        app().own_loop().unwrap().shutdown().unwrap();
    });
}

const CONFIG: &str = r#"{"subsystems": [{"subsystem": "bdev", "config": [
    {"method": "bdev_malloc_create", "params": {"name": "cfg0", "num_blocks": 64, "block_size": 512}}
]}]}"#;

#[test]
fn a_json_configuration_is_loaded_or_the_version_is_named() {
    in_process(
        "a_json_configuration_is_loaded_or_the_version_is_named",
        || match app().config_json(CONFIG).own_loop() {
            Ok(own) => {
                let desc = BdevDesc::open(&own.spdk(), "cfg0").read_only().unwrap();
                assert_eq!(desc.num_blocks(), Blocks(64));
            }
            Err(error) => {
                assert!(
                    matches!(error, AppError::NeedsVersion { needs: "24.05", .. }),
                    "{error}"
                );
                assert_ne!(spdk_sys::VERSION.0, 26);
                println!("not on this version: {error}");
            }
        },
    );
}

#[test]
fn r3_a_configuration_that_fails_is_an_error_and_spdk_is_down_again() {
    in_process(
        "r3_a_configuration_that_fails_is_an_error_and_spdk_is_down_again",
        || {
            let error = app().config_json("{ nonsense").own_loop().unwrap_err();
            assert!(matches!(error, AppError::ConfigSyntax { .. }), "{error}");
            // Well-formed, and refused by the method.
            let config = r#"{"subsystems": [{"subsystem": "bdev", "config": [
                {"method": "bdev_malloc_create", "params": {"num_blocks": 64}}]}]}"#;
            let error = app().config_json(config).own_loop().unwrap_err();
            assert!(
                matches!(error, AppError::Start(_) | AppError::NeedsVersion { .. }),
                "{error}"
            );
            assert!(DmaBuf::zeroed(Bytes(512), 64).is_err());
        },
    );
}

#[test]
fn a_forgotten_loop_with_lanes_does_not_disturb_the_end_of_the_process() {
    in_process(
        "a_forgotten_loop_with_lanes_does_not_disturb_the_end_of_the_process",
        || {
            let mut own = app().own_loop().unwrap();
            own.spawn_lane().unwrap();
            std::mem::forget(own);
        },
    );
}

#[test]
fn spdk_threads_on_a_second_os_thread_do_io_and_exit() {
    in_process("spdk_threads_on_a_second_os_thread_do_io_and_exit", || {
        let mut own = app().own_loop().unwrap();
        let spdk = own.spdk();
        let (desc, here) = own.block_on(async {
            malloc(&spdk, "m").await;
            let desc = BdevDesc::open(&spdk, "m").read_write().unwrap();
            let here = Thread::builder("here").create(&spdk).await.unwrap();
            (desc, here)
        });
        own.spawn_lane().unwrap();
        own.spawn_lane().unwrap();
        let mine = std::thread::current().id();
        own.block_on(async {
            let os_thread = async || here.call(|| std::thread::current().id()).await.unwrap();
            assert_eq!(os_thread().await, mine, "made before the lanes");
            let mut lanes = std::collections::HashSet::new();
            let mut threads = Vec::new();
            let mut tasks = Vec::new();
            for at in 0..4_u64 {
                let thread = Thread::builder(format!("there-{at}"))
                    .create(&spdk)
                    .await
                    .unwrap();
                let shared = desc.share();
                tasks.push(
                    thread
                        .spawn(move || async move {
                            for _ in 0..200 {
                                let ch = shared.channel().unwrap();
                                let buf = ch.alloc(Blocks(1)).unwrap();
                                ch.write(Lba(at), buf).await.0.unwrap();
                            }
                            std::thread::current().id()
                        })
                        .await
                        .unwrap(),
                );
                threads.push(thread);
            }
            for task in tasks {
                let os_thread = task.await.unwrap();
                assert_ne!(os_thread, mine);
                lanes.insert(os_thread);
            }
            assert_eq!(lanes.len(), 2, "in turn");
            let exits: Vec<_> = threads.drain(1..).map(Thread::exit).collect();
            for exit in exits {
                exit.await;
            }
            desc.close().await;
            // One is left for the end.
            std::mem::forget(threads);
        });
        own.shutdown().unwrap();
    });
}

#[test]
fn a_deadline_that_never_comes_is_none() {
    in_process("a_deadline_that_never_comes_is_none", || {
        let own = app().end_deadline(Duration::MAX).own_loop().unwrap();
        own.shutdown().unwrap();
    });
}
