//! The app from start to end. DPDK initialises once per process, so each test runs in a process of its own.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::rc::Rc;

use spdk_safe::app::{Builder, yield_now};
use spdk_safe::bdev::IoChannel;
use spdk_safe::error::ThreadError;
use spdk_safe::module::{BdevModule, BlockDevice, BlockDeviceBuilder, Request};
use spdk_safe::prelude::*;
use spdk_safe::thread::{Poller, PollerStatus};

/// Says which test a child process is to run.
const CHILD: &str = "SPDK_SAFE_TEST_CHILD";

/// Runs `test` in a process of its own. Its output becomes ours, and its failure.
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
    App::builder("app-test")
        .no_huge()
        .no_pci()
        .share_cores()
        .memory(Mib(400))
        .pools(Pools::small())
        .log_level(LogLevel::Warn)
}

#[test]
fn t8_an_app_runs_once_and_its_context_is_worth_nothing_afterwards() {
    in_process(
        "t8_an_app_runs_once_and_its_context_is_worth_nothing_afterwards",
        || {
            assert!(DmaBuf::zeroed(Bytes(512), 64).is_err(), "before SPDK is up");
            let local = String::from("borrowed by main");
            let (spdk, buf) = app()
                .run(async |spdk| {
                    assert_eq!(local.len(), 16);
                    yield_now().await;
                    let mut buf = DmaBuf::zeroed(Bytes(512), 64).unwrap();
                    buf.fill(7);
                    (spdk, buf)
                })
                .unwrap();
            // Memory of SPDK's that outlives the app is still there.
            assert!(buf.iter().all(|byte| *byte == 7));
            drop(buf);
            assert!(
                DmaBuf::zeroed(Bytes(512), 64).is_err(),
                "after SPDK is down"
            );
            let error = BdevDesc::open(&spdk, "any").read_only().unwrap_err();
            assert!(matches!(error, OpenError::Thread(_)), "{error}");
            assert_eq!(
                Poller::register(None, || PollerStatus::Idle).unwrap_err(),
                ThreadError::NoThread
            );
            let again = app().run(async |_spdk| ()).unwrap_err();
            assert!(matches!(again, AppError::StartedBefore), "{again}");
        },
    );
}

#[test]
fn t13_a_panic_in_main_stops_the_app_in_order_and_goes_on_in_the_caller() {
    in_process(
        "t13_a_panic_in_main_stops_the_app_in_order_and_goes_on_in_the_caller",
        || {
            let caught = std::panic::catch_unwind(|| {
                app().run(async |spdk| {
                    MallocBdev::builder("m")
                        .blocks(8)
                        .create(&spdk)
                        .await
                        .unwrap();
                    let _open = BdevDesc::open(&spdk, "m").read_only().unwrap();
                    yield_now().await;
                    panic!("on purpose");
                })
            });
            assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"on purpose"));
        },
    );
}

#[test]
fn sigterm_ends_the_app_in_order_although_main_waits_for_ever() {
    in_process(
        "sigterm_ends_the_app_in_order_although_main_waits_for_ever",
        || {
            struct Dropped(Rc<std::cell::Cell<bool>>);
            impl Drop for Dropped {
                fn drop(&mut self) {
                    self.0.set(true);
                }
            }
            let dropped = Rc::new(std::cell::Cell::new(false));
            let witness = Dropped(Rc::clone(&dropped));
            let outcome = app().run(async |spdk| {
                let _witness = witness;
                MallocBdev::builder("m")
                    .blocks(8)
                    .create(&spdk)
                    .await
                    .unwrap();
                let _open = BdevDesc::open(&spdk, "m").read_write().unwrap();
                // SAFETY: SPDK has a handler for it.
                unsafe { libc::raise(libc::SIGTERM) };
                std::future::pending::<()>().await;
            });
            assert!(matches!(outcome, Err(AppError::Stopped)), "{outcome:?}");
            assert!(dropped.get(), "main was dropped");
        },
    );
}

static MODULE: BdevModule = BdevModule::new(c"rust_app_test");

/// Keeps a base open and answers nothing.
struct Silent(spdk_safe::bdev::SharedDesc<ReadWrite>);

impl BlockDevice for Silent {
    type Channel = IoChannel<ReadWrite>;

    fn create_channel(&self) -> Result<Self::Channel, ChannelError> {
        self.0.channel()
    }

    fn submit(&self, _channel: &Rc<Self::Channel>, request: Request) {
        drop(request);
    }
}

#[test]
fn t11_what_main_forgets_is_closed_at_the_end() {
    in_process("t11_what_main_forgets_is_closed_at_the_end", || {
        thread_local!(static KEPT: std::cell::RefCell<Vec<Box<dyn std::any::Any>>> = const { std::cell::RefCell::new(Vec::new()) });
        let keep = |thing: Box<dyn std::any::Any>| KEPT.with_borrow_mut(|kept| kept.push(thing));
        app()
            .module(&MODULE)
            .run(async |spdk| {
                for name in ["a", "b"] {
                    MallocBdev::builder(name)
                        .blocks(64)
                        .create(&spdk)
                        .await
                        .unwrap();
                }
                let desc = BdevDesc::open(&spdk, "a").read_write().unwrap();
                let ch = desc.channel().unwrap();
                let mut io = Box::pin(ch.read(Lba(0), desc.alloc(Blocks(1)).unwrap()));
                std::future::poll_fn(|cx| {
                    assert!(io.as_mut().poll(cx).is_pending());
                    std::task::Poll::Ready(())
                })
                .await;
                std::mem::forget(io);
                std::mem::forget((ch, desc));
                keep(Box::new(
                    Poller::register(None, || PollerStatus::Idle).unwrap(),
                ));

                let desc = BdevDesc::open(&spdk, "b")
                    .read_write()
                    .unwrap()
                    .claim(&MODULE)
                    .unwrap();
                let bdev = BlockDeviceBuilder::new("c")
                    .blocks(Blocks(64))
                    .register(&spdk, &MODULE, Silent(desc.share()))
                    .unwrap();
                keep(Box::new(desc));
                std::mem::forget(bdev);
                let top = BdevDesc::open(&spdk, "c").read_only().unwrap();
                keep(Box::new(top.channel().unwrap()));
                keep(Box::new(top));
            })
            .unwrap();
        // Handles that survived the app are inert.
        KEPT.with_borrow_mut(Vec::clear);
    });
}

#[test]
fn t11_what_is_opened_while_the_app_ends_is_an_error() {
    in_process("t11_what_is_opened_while_the_app_ends_is_an_error", || {
        app()
            .run(async |spdk| {
                MallocBdev::builder("m")
                    .blocks(64)
                    .create(&spdk)
                    .await
                    .unwrap();
                let mut open: Option<BdevDesc> = None;
                // Opens again what was taken from it, as long as it can.
                let poller = Poller::register(None, move || {
                    if open.as_ref().is_none_or(BdevDesc::is_removed) {
                        open = BdevDesc::open(&spdk, "m").read_only().ok();
                    }
                    PollerStatus::Busy
                });
                std::mem::forget(poller);
                yield_now().await;
            })
            .unwrap();
    });
}

#[test]
fn sigint_while_spdk_starts_ends_it_in_order() {
    in_process("sigint_while_spdk_starts_ends_it_in_order", || {
        // Many bdevs, so that the signal comes while they are being made; if it comes later, main is stopped.
        let bdevs: Vec<_> = (0..300)
            .map(|at| {
                format!(
                    r#"{{"method": "bdev_malloc_create", "params": {{"name": "m{at}", "num_blocks": 8, "block_size": 512}}}}"#
                )
            })
            .collect();
        let config = format!(
            r#"{{"subsystems": [{{"subsystem": "bdev", "config": [{}]}}]}}"#,
            bdevs.join(",")
        );
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("rpc.sock");
        let watched = socket.clone();
        let pid = std::process::id() as libc::pid_t;
        // The socket appears in the middle of the start.
        std::thread::spawn(move || {
            while !watched.exists() {
                std::thread::yield_now();
            }
            // SAFETY: SPDK has a handler for it from early in its start.
            unsafe { libc::kill(pid, libc::SIGINT) };
        });
        let outcome = app()
            .memory(Mib(1200))
            .rpc_socket(socket)
            .config_json(config)
            .run(async |_spdk| std::future::pending::<()>().await);
        assert!(matches!(outcome, Err(AppError::Stopped)), "{outcome:?}");
    });
}

const CONFIG: &str = r#"{"subsystems": [{"subsystem": "bdev", "config": [
    {"method": "bdev_malloc_create", "params": {"name": "cfg0", "num_blocks": 64, "block_size": 512}}
]}]}"#;

#[test]
fn a_json_configuration_is_loaded_before_main_runs() {
    in_process("a_json_configuration_is_loaded_before_main_runs", || {
        app()
            .config_json(CONFIG)
            .run(async |spdk| {
                let desc = BdevDesc::open(&spdk, "cfg0").read_only().unwrap();
                assert_eq!(desc.num_blocks(), Blocks(64));
            })
            .unwrap();
    });
}

#[test]
fn r3_a_malformed_configuration_is_an_error() {
    in_process("r3_a_malformed_configuration_is_an_error", || {
        let outcome = app().config_json("{ nonsense").run(async |_spdk| ());
        assert!(matches!(outcome, Err(AppError::Start(_))), "{outcome:?}");
    });
}

#[test]
fn the_rpc_socket_answers() {
    in_process("the_rpc_socket_answers", || {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("rpc.sock");
        let client_socket = socket.clone();
        let methods = app()
            .rpc_socket(&socket)
            .run(async |_spdk| {
                let client = std::thread::spawn(move || {
                    let mut stream = UnixStream::connect(client_socket).unwrap();
                    stream
                        .write_all(br#"{"jsonrpc": "2.0", "id": 1, "method": "rpc_get_methods"}"#)
                        .unwrap();
                    let mut answer = String::new();
                    let mut part = [0; 4096];
                    while !answer.trim_end().ends_with("]}") && !answer.trim_end().ends_with("]\n}")
                    {
                        let len = stream.read(&mut part).unwrap();
                        assert_ne!(len, 0, "the server hung up after {answer:?}");
                        answer.push_str(std::str::from_utf8(&part[..len]).unwrap());
                    }
                    answer
                });
                while !client.is_finished() {
                    yield_now().await;
                }
                client.join().unwrap()
            })
            .unwrap();
        assert!(methods.contains("bdev_malloc_create"), "{methods}");
    });
}

#[test]
fn too_little_memory_is_an_error_that_says_so() {
    in_process("too_little_memory_is_an_error_that_says_so", || {
        let outcome = App::builder("tiny")
            .no_huge()
            .no_pci()
            .share_cores()
            .memory(Mib(64))
            .run(async |_spdk| ());
        let error = outcome.unwrap_err();
        assert!(matches!(error, AppError::TooLittleMemory { .. }), "{error}");
        assert!(error.to_string().contains(".memory("), "{error}");
    });
}
