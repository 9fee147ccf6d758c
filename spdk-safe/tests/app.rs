//! The app from start to end. DPDK initialises once per process, so each test runs in a process of its own.

use std::cell::{Cell, RefCell};
use std::ffi::{c_char, c_int, c_void};
use std::future::Future;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Output, Stdio};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Waker};
use std::time::Duration;

use spdk_safe::app::{Builder, at_exit, yield_now};
use spdk_safe::bdev::{ErrorBdev, Fault, Injection, IoChannel, NullBdev};
use spdk_safe::error::ThreadError;
use spdk_safe::module::{BdevModule, BlockDevice, BlockDeviceBuilder, Request};
use spdk_safe::prelude::*;
use spdk_safe::test::{Harness, SeededHarness};
use spdk_safe::thread::{self, Poller, PollerStatus};

/// Says which test a child process is to run.
const CHILD: &str = "SPDK_SAFE_TEST_CHILD";

/// Runs `test` in a process of its own. Its output becomes ours, and its failure.
fn in_process(name: &str, test: impl FnOnce()) {
    let Some(output) = child(name, test) else {
        return;
    };
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}:\n{said}", output.status);
    assert!(said.contains("1 passed"), "the child ran no test:\n{said}");
}

/// As [`in_process`], for a process that `signal` ends.
fn dies_of(signal: i32, name: &str, test: impl FnOnce()) {
    use std::os::unix::process::ExitStatusExt;
    let Some(output) = child(name, test) else {
        panic!("the process still lives");
    };
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        output.status.signal(),
        Some(signal),
        "{}:\n{said}",
        output.status
    );
}

/// Runs `test` here if this is the process for it; else has it run, and returns how that ended.
fn child(name: &str, test: impl FnOnce()) -> Option<Output> {
    if std::env::var(CHILD).as_deref() == Ok(name) {
        test();
        return None;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, name)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Some(output)
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

fn raise(signal: c_int) {
    // SAFETY: the process has a handler for it, or is to end.
    unsafe { libc::raise(signal) };
}

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_main_that_listens_ends_itself_when_the_app_is_asked_to_stop() {
    in_process(
        "a_main_that_listens_ends_itself_when_the_app_is_asked_to_stop",
        || {
            let outcome = app().grace(HOUR).run(async |spdk| {
                let first = spdk.shutdown();
                MallocBdev::builder("m")
                    .blocks(8)
                    .create(&spdk)
                    .await
                    .unwrap();
                raise(libc::SIGTERM);
                first.await;
                // From now on it is done at once, and everything still works.
                spdk.shutdown().await;
                MallocBdev::delete(&spdk, "m").await.unwrap();
                "goodbye"
            });
            assert_eq!(outcome.unwrap(), "goodbye");
        },
    );
}

#[test]
fn a_main_that_listens_and_does_not_end_is_dropped_after_its_grace() {
    in_process(
        "a_main_that_listens_and_does_not_end_is_dropped_after_its_grace",
        || {
            let heard = Rc::new(Cell::new(false));
            let told = Rc::clone(&heard);
            let outcome = app().grace(Duration::from_millis(20)).run(async |spdk| {
                raise(libc::SIGTERM);
                spdk.shutdown().await;
                told.set(true);
                std::future::pending::<()>().await;
            });
            assert!(matches!(outcome, Err(AppError::Stopped)), "{outcome:?}");
            assert!(heard.get());
        },
    );
}

#[test]
fn a_main_that_listens_no_more_is_dropped_at_once() {
    in_process("a_main_that_listens_no_more_is_dropped_at_once", || {
        let outcome = app().grace(HOUR).run(async |spdk| {
            let mut listener = Box::pin(spdk.shutdown());
            std::future::poll_fn(|cx| {
                assert!(listener.as_mut().poll(cx).is_pending());
                std::task::Poll::Ready(())
            })
            .await;
            drop(listener);
            raise(libc::SIGINT);
            std::future::pending::<()>().await;
        });
        assert!(matches!(outcome, Err(AppError::Stopped)), "{outcome:?}");
    });
}

#[test]
fn a_second_signal_ends_the_process() {
    dies_of(libc::SIGTERM, "a_second_signal_ends_the_process", || {
        let _ = app().grace(HOUR).run(async |spdk| {
            raise(libc::SIGINT);
            spdk.shutdown().await;
            raise(libc::SIGTERM);
            std::future::pending::<()>().await;
        });
    });
}

#[test]
fn a_handler_of_the_program_s_own_is_back_from_the_second_signal_on() {
    in_process(
        "a_handler_of_the_program_s_own_is_back_from_the_second_signal_on",
        || {
            static HEARD: AtomicBool = AtomicBool::new(false);
            extern "C" fn handler(_signal: c_int) {
                HEARD.store(true, Ordering::Release);
            }
            let mine: extern "C" fn(c_int) = handler;
            // SAFETY: the handler stores a flag and nothing else.
            unsafe { libc::signal(libc::SIGTERM, mine as libc::sighandler_t) };
            app()
                .grace(HOUR)
                .run(async |spdk| {
                    raise(libc::SIGTERM);
                    spdk.shutdown().await;
                    assert!(!HEARD.load(Ordering::Acquire), "the first one is the app's");
                    raise(libc::SIGTERM);
                    assert!(HEARD.load(Ordering::Acquire));
                })
                .unwrap();
        },
    );
}

unsafe extern "C" {
    fn spdk_rpc_register_method(
        method: *const c_char,
        func: unsafe extern "C" fn(*mut c_void, *const c_void),
        state_mask: u32,
    );
}

/// # Safety
///
/// An RPC handler that never answers.
unsafe extern "C" fn never_answers(_request: *mut c_void, _params: *const c_void) {
    raise(libc::SIGINT);
    // The second one comes when the first was heard.
    std::thread::spawn(|| {
        loop {
            // SAFETY: numbers and pointers, for which zeroes are valid.
            let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
            // SAFETY: asks alone.
            unsafe { libc::sigaction(libc::SIGINT, std::ptr::null(), &raw mut action) };
            if action.sa_sigaction == libc::SIG_DFL {
                break;
            }
            std::thread::yield_now();
        }
        raise(libc::SIGINT);
    });
}

#[test]
fn a_second_signal_ends_a_start_that_never_ends() {
    dies_of(
        libc::SIGINT,
        "a_second_signal_ends_a_start_that_never_ends",
        || {
            // A job in the background of a shell ignores it, and this process after it.
            // SAFETY: sets the default.
            unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
            // SAFETY: before SPDK starts; the name is copied, and the handler is a function. Allowed in both states.
            unsafe { spdk_rpc_register_method(c"test_never_answers".as_ptr(), never_answers, 3) };
            let _ = app()
            .config_json(
                r#"{"subsystems": [{"subsystem": "bdev", "config": [{"method": "test_never_answers", "params": {}}]}]}"#,
            )
            .run(async |_spdk| ());
        },
    );
}

#[test]
fn reactors_sleep_in_interrupt_mode_or_the_version_is_named() {
    in_process(
        "reactors_sleep_in_interrupt_mode_or_the_version_is_named",
        || {
            let outcome = app().interrupt_mode().run(async |spdk| {
                MallocBdev::builder("m")
                    .blocks(64)
                    .create(&spdk)
                    .await
                    .unwrap();
                let desc = BdevDesc::open(&spdk, "m").read_write().unwrap();
                let ch = desc.channel().unwrap();
                let mut buf = desc.alloc(Blocks(1)).unwrap();
                buf.fill(9);
                ch.write(Lba(3), buf).await.0.unwrap();
                let (res, buf) = ch.read(Lba(3), desc.alloc(Blocks(1)).unwrap()).await;
                res.unwrap();
                assert_eq!(buf[7], 9);
                drop(ch);
                desc.close().await;
                // The channel polled. Now the reactor sleeps, and a wake from a plain OS thread reaches it.
                // SAFETY: asks for the id of this OS thread.
                let reactor = unsafe { libc::gettid() };
                let slept = Arc::new(OnceLock::<bool>::new());
                std::future::poll_fn(|cx| {
                    if let Some(slept) = slept.get() {
                        assert!(*slept, "the reactor polls");
                        return std::task::Poll::Ready(());
                    }
                    let (slept, waker) = (Arc::clone(&slept), cx.waker().clone());
                    std::thread::spawn(move || {
                        let stat = format!("/proc/self/task/{reactor}/stat");
                        let sleeps = (0..200_000).any(|_| {
                            let stat = std::fs::read_to_string(&stat).unwrap();
                            stat.rsplit(')')
                                .next()
                                .unwrap()
                                .trim_start()
                                .starts_with('S')
                        });
                        slept.set(sleeps).unwrap();
                        waker.wake();
                    });
                    std::task::Poll::Pending
                })
                .await;
                // So does a poller that is due, and a signal.
                let ticks = Rc::new(Cell::new(0));
                let count = Rc::clone(&ticks);
                let _poller = Poller::register(Some(Duration::from_millis(1)), move || {
                    count.set(count.get() + 1);
                    if count.get() == 5 {
                        raise(libc::SIGTERM);
                    }
                    PollerStatus::Busy
                });
                spdk.shutdown().await;
                assert!(ticks.get() >= 5);
            });
            match outcome {
                Err(error @ AppError::NeedsVersion { needs: "21.01", .. }) => {
                    assert_eq!(spdk_sys::VERSION.0, 20);
                    println!("not on this version: {error}");
                }
                outcome => outcome.unwrap(),
            }
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

thread_local!(static KEPT: RefCell<Vec<Request>> = const { RefCell::new(Vec::new()) });

/// Keeps what it is asked.
struct Keeper;

impl BlockDevice for Keeper {
    type Channel = ();

    fn create_channel(&self) -> Result<(), ChannelError> {
        Ok(())
    }

    fn submit(&self, _channel: &Rc<()>, request: Request) {
        KEPT.with_borrow_mut(|kept| kept.push(request));
    }
}

#[test]
fn an_end_that_misses_its_deadline_says_so_and_still_ends_when_it_can() {
    in_process(
        "an_end_that_misses_its_deadline_says_so_and_still_ends_when_it_can",
        || {
            static SAID: AtomicBool = AtomicBool::new(false);
            app()
                .module(&MODULE)
                .end_deadline(Duration::from_millis(20))
                .log_to(|line| {
                    if line.text.contains("before its deadline") && line.text.contains("\"kept\"") {
                        SAID.store(true, Ordering::Release);
                    }
                })
                .run(async |spdk| {
                    let bdev = BlockDeviceBuilder::new("kept")
                        .blocks(Blocks(64))
                        .register(&spdk, &MODULE, Keeper)
                        .unwrap();
                    std::mem::forget(bdev);
                    let desc = BdevDesc::open(&spdk, "kept").read_only().unwrap();
                    let ch = desc.channel().unwrap();
                    let mut io = Box::pin(ch.read(Lba(0), desc.alloc(Blocks(1)).unwrap()));
                    std::future::poll_fn(|cx| {
                        assert!(io.as_mut().poll(cx).is_pending());
                        std::task::Poll::Ready(())
                    })
                    .await;
                    std::mem::forget((io, ch, desc));
                    // Lets go when the deadline was missed, and not before.
                    let poller = Poller::register(None, || {
                        if SAID.load(Ordering::Acquire) {
                            KEPT.take();
                        }
                        PollerStatus::Busy
                    });
                    std::mem::forget(poller);
                })
                .unwrap();
            assert!(SAID.load(Ordering::Acquire));
        },
    );
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
        let error = outcome.unwrap_err();
        assert!(matches!(error, AppError::ConfigSyntax { .. }), "{error}");
        assert_eq!(
            error.to_string(),
            "the JSON configuration, line 1, column 3: key must be a string"
        );
        // Nothing was started: the next one is right.
        app().config_json(CONFIG).run(async |_spdk| ()).unwrap();
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
                use std::os::unix::fs::PermissionsExt;
                let mode = socket.metadata().unwrap().permissions().mode();
                assert_eq!(mode & 0o777, 0o600, "others could use it");
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

#[test]
fn d8_io_that_an_error_bdev_holds_back_does_not_keep_the_app_from_ending() {
    in_process(
        "d8_io_that_an_error_bdev_holds_back_does_not_keep_the_app_from_ending",
        || {
            let held = Rc::new(RefCell::new(None));
            let slot = Rc::clone(&held);
            app()
                .run(async move |spdk| {
                    NullBdev::builder("base")
                        .blocks(8)
                        .create(&spdk)
                        .await
                        .unwrap();
                    let name = ErrorBdev::on("base").create(&spdk).await.unwrap();
                    ErrorBdev::inject(&spdk, &name, Injection::new(Fault::Hold)).unwrap();
                    let desc = BdevDesc::open(&spdk, &name).read_write().unwrap();
                    let ch = desc.channel().unwrap();
                    let mut io = Box::pin(ch.read(Lba(0), desc.alloc(Blocks(1)).unwrap()));
                    let mut cx = Context::from_waker(Waker::noop());
                    assert!(io.as_mut().poll(&mut cx).is_pending());
                    // One is let go of, one is leaked in flight.
                    let mut leaked = Box::pin(ch.read(Lba(0), desc.alloc(Blocks(1)).unwrap()));
                    assert!(leaked.as_mut().poll(&mut cx).is_pending());
                    std::mem::forget((leaked, desc));
                    slot.replace(Some((io, ch)));
                })
                .unwrap();
            drop(held.take());
        },
    );
}

/// Adds an exit hook when it is dropped, and notes the answer.
struct AddsHook;

static LATE: OnceLock<Result<(), ThreadError>> = OnceLock::new();
static LATE_RAN: AtomicBool = AtomicBool::new(false);

impl Drop for AddsHook {
    fn drop(&mut self) {
        let hook = || LATE_RAN.store(true, Ordering::Relaxed);
        let _ = LATE.set(thread::at_exit(hook));
    }
}

spdk_safe::thread_storage! { static ADDS_HOOK: AddsHook = AddsHook; }

#[test]
fn t11_an_exit_hook_that_comes_too_late_is_refused() {
    in_process("t11_an_exit_hook_that_comes_too_late_is_refused", || {
        app()
            .run(async |_spdk| ADDS_HOOK.with(|_| ()).unwrap())
            .unwrap();
        assert_eq!(LATE.get(), Some(&Err(ThreadError::Exiting)));
        assert!(!LATE_RAN.load(Ordering::Relaxed));
    });
}

#[test]
fn t11_an_exit_hook_can_not_add_itself_for_ever() {
    in_process("t11_an_exit_hook_can_not_add_itself_for_ever", || {
        static RAN: AtomicUsize = AtomicUsize::new(0);
        fn hook() {
            RAN.fetch_add(1, Ordering::Relaxed);
            assert_eq!(at_exit(hook), Err(ThreadError::Exiting));
        }
        app()
            .run(async |_spdk| {
                at_exit(hook).unwrap();
                at_exit(hook).unwrap();
            })
            .unwrap();
        assert_eq!(RAN.load(Ordering::Relaxed), 2);
        assert_eq!(spdk_safe::contained_panics(), 0);
    });
}

/// Asks for the end when its OS thread has none of the app's thread-locals any more.
struct Asks(RefCell<Option<Spdk>>);

static ASKED: AtomicBool = AtomicBool::new(false);

impl Drop for Asks {
    fn drop(&mut self) {
        if let Some(spdk) = self.0.take() {
            let mut shutdown = Box::pin(spdk.shutdown());
            let mut cx = Context::from_waker(Waker::noop());
            assert!(shutdown.as_mut().poll(&mut cx).is_pending());
            ASKED.store(true, Ordering::Relaxed);
        }
    }
}

thread_local!(static ASKS: Asks = const { Asks(RefCell::new(None)) });

#[test]
fn r1_a_destructor_of_an_os_thread_may_ask_for_the_end() {
    in_process(
        "r1_a_destructor_of_an_os_thread_may_ask_for_the_end",
        || {
            let run = || {
                app()
                    .run(async |spdk| {
                        // First, so that it is dropped last.
                        ASKS.with(|asks| asks.0.replace(Some(spdk.clone())));
                        drop(spdk.shutdown());
                    })
                    .unwrap();
            };
            std::thread::spawn(run).join().unwrap();
            assert!(ASKED.load(Ordering::Relaxed));
        },
    );
}

#[test]
fn a_test_in_a_harness_may_end_the_process() {
    static HARNESS: Harness = Harness::new(&[]);
    let output = child("a_test_in_a_harness_may_end_the_process", || {
        HARNESS.run(async |_spdk| std::process::exit(7));
    });
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(7), "{output:?}");
}

#[test]
fn a_test_in_a_seeded_harness_may_end_the_process() {
    static HARNESS: SeededHarness = SeededHarness::new(&[]);
    let output = child("a_test_in_a_seeded_harness_may_end_the_process", || {
        HARNESS.run(0..1, 1, async |_case| std::process::exit(7));
    });
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(7), "{output:?}");
}
