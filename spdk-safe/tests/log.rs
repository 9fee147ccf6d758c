//! SPDK's log. One SPDK in a process, so each test runs in a process of its own.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use spdk_safe::app::Builder;
use spdk_safe::error::ThreadError;
use spdk_safe::io_device::{self, ForEachChannel, IoDevice, SharedIoDevice};
use spdk_safe::log::{self, FlagError, Line, Source};
use spdk_safe::prelude::*;
use spdk_safe::test::Open;
use spdk_safe::thread::{Poller, PollerStatus};

/// Says which test a child process is to run.
const CHILD: &str = "SPDK_SAFE_TEST_CHILD";

/// Runs `test` in a process of its own, whose failure becomes ours. What it printed, if this is the parent.
fn in_process(name: &str, test: impl FnOnce()) -> Option<String> {
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
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}:\n{said}", output.status);
    assert!(said.contains("1 passed"), "the child ran no test:\n{said}");
    Some(said.into_owned())
}

fn app() -> Builder {
    App::builder("log-test")
        .no_huge()
        .no_pci()
        .share_cores()
        .memory(Mib(400))
        .pools(Pools::small())
        .log_level(LogLevel::Notice)
}

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<Line<'static>>>>);

impl Kept {
    fn receiver(&self) -> impl Fn(&Line<'_>) + Send + Sync + 'static {
        let kept = self.clone();
        move |line| kept.0.lock().unwrap().push(line.clone().into_owned())
    }

    fn take(&self) -> Vec<Line<'static>> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// # Safety
///
/// Events of a descriptor that never opens.
unsafe extern "C" fn no_event(
    _event: spdk_sys::spdk_bdev_event_type,
    _bdev: *mut spdk_sys::spdk_bdev,
    _ctx: *mut std::ffi::c_void,
) {
}

/// Has SPDK's C code log that it does not find `name`: on some versions an error, under a lock, on others a notice.
fn provoke(_spdk: &Spdk, name: &str) {
    let name = std::ffi::CString::new(name).unwrap();
    let mut desc = std::ptr::null_mut();
    // SAFETY: the app thread is current; the name lives across the call, which fails.
    let rc = unsafe {
        spdk_sys::spdk_shim_bdev_open(
            name.as_ptr(),
            false,
            Some(no_event),
            std::ptr::null_mut(),
            &raw mut desc,
        )
    };
    assert!(rc < 0);
}

fn raw_line(level: spdk_sys::spdk_log_level, text: &[u8]) {
    let text = std::ffi::CString::new(text).unwrap();
    // SAFETY: all strings live across the call.
    unsafe {
        spdk_sys::spdk_shim_log(
            level.0,
            c"somewhere.c".as_ptr(),
            42,
            c"some_function".as_ptr(),
            text.as_ptr(),
        );
    }
}

#[test]
fn spdk_s_lines_come_with_level_file_and_line_and_nothing_is_printed() {
    let name = "spdk_s_lines_come_with_level_file_and_line_and_nothing_is_printed";
    let said = in_process(name, || {
        let kept = Kept::default();
        app()
            .log_to(kept.receiver())
            .run(async |spdk| {
                kept.take();
                provoke(&spdk, "%s%n%d");
                let lines = kept.take();
                let line = lines.iter().find(|line| line.text.contains("%s%n%d"));
                let line = line.unwrap_or_else(|| panic!("{lines:?}"));
                assert_eq!(line.source, Source::Spdk);
                let level = match spdk_sys::VERSION.0 {
                    20 => LogLevel::Error,
                    _ => LogLevel::Notice,
                };
                assert_eq!(line.level, level);
                assert!(line.file.as_deref().unwrap().ends_with(".c"), "{line:?}");
                assert!(
                    line.line.unwrap() > 0 && line.function.is_some(),
                    "{line:?}"
                );
                assert!(!line.text.contains('\n') && !line.truncated, "{line:?}");
            })
            .unwrap();
    });
    assert!(said.is_none_or(|said| !said.contains("*ERROR*") && !said.contains("*NOTICE*")));
}

#[test]
fn long_lines_are_cut_and_bytes_that_are_no_text_are_replaced() {
    in_process(
        "long_lines_are_cut_and_bytes_that_are_no_text_are_replaced",
        || {
            let kept = Kept::default();
            app()
                .log_to(kept.receiver())
                .run(async |_spdk| {
                    kept.take();
                    let error = spdk_sys::spdk_log_level::SPDK_LOG_ERROR;
                    for len in [4094, 4095, 4096, 100_000] {
                        raw_line(error, &vec![b'x'; len]);
                    }
                    raw_line(error, b"a\xffb");
                    raw_line(error, b"");
                    let lines = kept.take();
                    let sizes: Vec<_> = lines
                        .iter()
                        .map(|line| (line.text.len(), line.truncated))
                        .collect();
                    // SPDK's newline is a part of the line.
                    assert_eq!(
                        sizes,
                        [
                            (4094, false),
                            (4095, true),
                            (4095, true),
                            (4095, true),
                            (5, false),
                            (0, false)
                        ]
                    );
                    assert_eq!(lines[4].text, "a\u{fffd}b");
                    assert_eq!(lines[4].line, Some(42));
                    assert_eq!(lines[4].function.as_deref(), Some("some_function"));
                })
                .unwrap();
        },
    );
}

#[test]
fn dpdk_s_lines_come_too() {
    in_process("dpdk_s_lines_come_too", || {
        let kept = Kept::default();
        app()
            .log_level(LogLevel::Debug)
            .eal_arg("--log-level=lib.eal:8")
            .log_to(kept.receiver())
            .run(async |_spdk| ())
            .unwrap();
        let lines = kept.take();
        let dpdk: Vec<_> = lines
            .iter()
            .filter(|line| line.source == Source::Dpdk)
            .collect();
        assert!(
            dpdk.iter().any(|line| line.level == LogLevel::Debug),
            "{lines:?}"
        );
        assert!(
            dpdk.iter().all(|line| !line.text.contains('\n')),
            "{dpdk:?}"
        );
        assert!(
            dpdk.iter().any(|line| line.text.starts_with("EAL: ")),
            "{dpdk:?}"
        );
    });
}

#[test]
fn levels_change_while_the_app_runs() {
    in_process("levels_change_while_the_app_runs", || {
        let kept = Kept::default();
        app()
            .log_to(kept.receiver())
            .run(async |_spdk| {
                kept.take();
                assert_eq!(log::print_level(), LogLevel::Notice);
                let all = [
                    LogLevel::Error,
                    LogLevel::Warn,
                    LogLevel::Notice,
                    LogLevel::Info,
                    LogLevel::Debug,
                ];
                let raw = spdk_sys::spdk_log_level::SPDK_LOG_ERROR.0;
                for (at, level) in all.into_iter().enumerate() {
                    log::set_print_level(level);
                    assert_eq!(log::print_level(), level);
                    for other in 0..all.len() {
                        raw_line(spdk_sys::spdk_log_level(raw + other as i32), b"line");
                    }
                    let seen: Vec<_> = kept.take().iter().map(|line| line.level).collect();
                    assert_eq!(seen, all[..=at]);
                }
                log::set_print_level(LogLevel::Disabled);
                raw_line(spdk_sys::spdk_log_level::SPDK_LOG_ERROR, b"line");
                assert_eq!(kept.take(), []);
                log::set_level(LogLevel::Debug);
                assert_eq!(log::level(), LogLevel::Debug);
            })
            .unwrap();
    });
}

#[test]
fn flags_let_the_lines_of_one_part_through() {
    in_process("flags_let_the_lines_of_one_part_through", || {
        let flags = log::flags();
        assert!(
            flags
                .iter()
                .any(|flag| flag.name == "thread" && !flag.enabled),
            "{flags:?}"
        );
        for name in ["no_such_flag", "", "thr*", "thread\0", "\0"] {
            let unknown = FlagError::Unknown { name: name.into() };
            assert_eq!(log::set_flag(name), Err(unknown.clone()));
            assert_eq!(log::clear_flag(name), Err(unknown));
        }
        let kept = Kept::default();
        app()
            .log_level(LogLevel::Info)
            .log_to(kept.receiver())
            .run(async |_spdk| {
                log::set_flag("THREAD").unwrap();
                let on = |name: &str| {
                    log::flags()
                        .iter()
                        .any(|flag| flag.name == name && flag.enabled)
                };
                assert!(on("thread") && !on("log"));
                log::clear_flag("thread").unwrap();
                assert!(!on("thread"));
                log::set_flag("all").unwrap();
                assert!(log::flags().iter().all(|flag| flag.enabled));
                log::clear_flag("all").unwrap();
                assert!(log::flags().iter().all(|flag| !flag.enabled));
            })
            .unwrap();
    });
}

#[test]
fn t13_a_receiver_that_panics_is_contained_and_what_it_causes_goes_to_stderr() {
    let name = "t13_a_receiver_that_panics_is_contained_and_what_it_causes_goes_to_stderr";
    let said = in_process(name, || {
        let before = spdk_safe::contained_panics();
        app()
            .log_to(|line| {
                raw_line(
                    spdk_sys::spdk_log_level::SPDK_LOG_ERROR,
                    b"from the receiver",
                );
                assert!(!line.text.contains("twice"), "on purpose");
            })
            .run(async |spdk| {
                raw_line(spdk_sys::spdk_log_level::SPDK_LOG_ERROR, b"once");
                raw_line(spdk_sys::spdk_log_level::SPDK_LOG_ERROR, b"twice");
                provoke(&spdk, "after");
            })
            .unwrap();
        assert_eq!(spdk_safe::contained_panics() - before, 1);
    });
    if let Some(said) = said {
        assert!(said.contains("spdk: Error: from the receiver"), "{said}");
        assert!(
            said.contains("panic in the receiver of SPDK's log: on purpose"),
            "{said}"
        );
    }
}

#[test]
fn t8_a_receiver_can_not_call_into_the_spdk_that_called_it() {
    in_process(
        "t8_a_receiver_can_not_call_into_the_spdk_that_called_it",
        || {
            thread_local!(static SPDK: std::cell::RefCell<Option<Spdk>> = const { std::cell::RefCell::new(None) });
            let outcomes = Arc::new(Mutex::new(Vec::new()));
            let seen = Arc::clone(&outcomes);
            app()
                .log_to(move |line| {
                    let Some(spdk) = SPDK.with_borrow(Clone::clone) else {
                        return;
                    };
                    if line.source != Source::Spdk {
                        return;
                    }
                    // Some versions hold the lock of their list of bdevs when they find no such name.
                    let open = BdevDesc::open(&spdk, "m").read_only().map(drop);
                    let poller = Poller::register(None, || PollerStatus::Idle).map(drop);
                    let buffer = DmaBuf::zeroed(Bytes(512), 64).map(drop);
                    seen.lock().unwrap().push((open, poller, buffer));
                })
                .run(async |spdk| {
                    MallocBdev::builder("m")
                        .blocks(8)
                        .create(&spdk)
                        .await
                        .unwrap();
                    SPDK.set(Some(spdk.clone()));
                    provoke(&spdk, "lost");
                    SPDK.take();
                    // And afterwards everything is as before.
                    drop(BdevDesc::open(&spdk, "m").read_only().unwrap());
                })
                .unwrap();
            let outcomes = outcomes.lock().unwrap();
            assert!(!outcomes.is_empty());
            for (open, poller, buffer) in &*outcomes {
                assert!(
                    matches!(open, Err(OpenError::Thread(ThreadError::NoThread))),
                    "{open:?}"
                );
                assert_eq!(*poller, Err(ThreadError::NoThread));
                assert!(buffer.is_err());
            }
        },
    );
}

/// A logger of the `log` crate.
struct Logger(Mutex<Vec<String>>);

impl ::log::Log for Logger {
    fn enabled(&self, metadata: &::log::Metadata<'_>) -> bool {
        metadata.target() != "dpdk"
    }

    fn log(&self, record: &::log::Record<'_>) {
        let file = record
            .file()
            .map_or("", |file| file.rsplit('/').next().unwrap_or(file));
        let line = format!(
            "{} {} {file} {}",
            record.level(),
            record.target(),
            record.args()
        );
        self.0.lock().unwrap().push(line);
    }

    fn flush(&self) {}
}

#[test]
fn the_log_crate_gets_them_with_target_and_level() {
    in_process("the_log_crate_gets_them_with_target_and_level", || {
        static LOGGER: Logger = Logger(Mutex::new(Vec::new()));
        ::log::set_logger(&LOGGER).unwrap();
        ::log::set_max_level(::log::LevelFilter::Debug);
        app()
            .log_level(LogLevel::Debug)
            .log_crate()
            .run(async |_spdk| {
                LOGGER.0.lock().unwrap().clear();
                let notice = spdk_sys::spdk_log_level::SPDK_LOG_NOTICE;
                raw_line(notice, b"a notice");
                raw_line(
                    spdk_sys::spdk_log_level::SPDK_LOG_DEBUG,
                    b"too much for the logger",
                );
                raw_line(notice, &[b'y'; 5000]);
                // A line of this crate's own.
                let _poller = Poller::register(None, || panic!("on purpose")).unwrap();
                spdk_safe::app::yield_now().await;
                spdk_safe::app::yield_now().await;
                let lines = std::mem::take(&mut *LOGGER.0.lock().unwrap());
                assert_eq!(lines[0], "INFO spdk somewhere.c a notice");
                assert!(lines[1].ends_with("yyy [...]"), "{lines:?}");
                assert_eq!(lines[2], "ERROR spdk_safe  panic in a poller: on purpose");
                assert_eq!(lines.len(), 3);
            })
            .unwrap();
    });
}

#[test]
fn a_loop_of_ones_own_logs_there_too() {
    in_process("a_loop_of_ones_own_logs_there_too", || {
        let kept = Kept::default();
        let own = app().log_to(kept.receiver()).own_loop().unwrap();
        let spdk = own.spdk();
        provoke(&spdk, "lost");
        own.shutdown().unwrap();
        assert!(kept.take().iter().any(|line| line.text.contains("lost")));
    });
}

struct Device;

impl IoDevice for Device {
    type Channel = ();

    fn create_channel(&self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(())
    }
}

/// # Safety
///
/// None.
unsafe extern "C" fn nothing(_ctx: *mut std::ffi::c_void) {}

#[test]
fn r1_a_receiver_may_use_the_device_whose_message_was_refused() {
    in_process(
        "r1_a_receiver_may_use_the_device_whose_message_was_refused",
        || {
            if spdk_sys::VERSION >= (26, 1, 0) {
                return println!("this version aborts where there is no room for a message");
            }
            static DEVICE: Mutex<Option<SharedIoDevice<Device>>> = Mutex::new(None);
            static USED: AtomicUsize = AtomicUsize::new(0);
            app()
                .log_to(|line| {
                    if line.source != Source::Spdk || !line.text.contains("msg could not") {
                        return;
                    }
                    let device = DEVICE.lock().unwrap().take();
                    if let Some(device) = device {
                        // Takes the device's lock.
                        drop(device.for_each_channel(|()| Ok::<_, ()>(())));
                        USED.fetch_add(1, Ordering::Relaxed);
                    }
                })
                .run(async |spdk| {
                    let device = io_device::register(&spdk, "d", Device).unwrap();
                    let channel = device.channel().unwrap();
                    // SAFETY: reads a thread-local.
                    let thread = unsafe { spdk_sys::spdk_get_thread() };
                    let is_full = || {
                        // SAFETY: the thread is current, and the callback needs no context.
                        unsafe {
                            spdk_sys::spdk_thread_send_msg(
                                thread,
                                Some(nothing),
                                std::ptr::null_mut(),
                            ) != 0
                        }
                    };
                    while !is_full() {}
                    *DEVICE.lock().unwrap() = Some(device.share());
                    drop(device.for_each_channel(|()| Ok::<_, ()>(())));
                    assert_eq!(USED.load(Ordering::Relaxed), 1);
                    // There is no room to put them; the end of the app does.
                    std::mem::forget((channel, device));
                })
                .unwrap();
        },
    );
}

/// What a receiver has in its hands.
#[derive(Default)]
struct Hands {
    pollers: Vec<Poller>,
    buffer: Option<DmaBuf>,
    device: Option<SharedIoDevice<Device>>,
    visit: Option<ForEachChannel<()>>,
}

thread_local!(static HANDS: std::cell::RefCell<Hands> = std::cell::RefCell::default());

#[test]
fn t5_a_receiver_lets_go_of_things_while_spdk_has_its_list_of_threads_locked() {
    in_process(
        "t5_a_receiver_lets_go_of_things_while_spdk_has_its_list_of_threads_locked",
        || {
            app()
                .log_to(|line| {
                    if !line.text.contains("could not find io_device") {
                        return;
                    }
                    HANDS.with_borrow_mut(|hands| {
                        hands.pollers.clear();
                        hands.buffer = None;
                        let device = hands.device.take().unwrap();
                        hands.visit = Some(device.for_each_channel(|()| Ok(())));
                    });
                })
                .run(async |spdk| {
                    let alive = Arc::new(());
                    let poller = |alive: Arc<()>| {
                        let poll = move || {
                            let _alive = &alive;
                            PollerStatus::Idle
                        };
                        let poller = Poller::register(None, poll).unwrap();
                        HANDS.with_borrow_mut(|hands| hands.pollers.push(poller));
                    };
                    poller(Arc::clone(&alive));
                    let thread = Thread::builder("other").create(&spdk).await.unwrap();
                    let theirs = Arc::clone(&alive);
                    thread.call(move || poller(theirs)).await.unwrap();
                    let device = io_device::register(&spdk, "d", Device).unwrap();
                    let channel = device.channel().unwrap();
                    HANDS.with_borrow_mut(|hands| {
                        hands.buffer = Some(DmaBuf::zeroed(Bytes(512), 64).unwrap());
                        hands.device = Some(device.share());
                    });
                    assert_eq!((Arc::strong_count(&alive), Open::now().dma_buffers), (3, 1));

                    let unknown = std::ptr::from_ref(&spdk).cast_mut().cast();
                    // SAFETY: an SPDK thread is current; the address is only looked for.
                    let none = unsafe { spdk_sys::spdk_get_io_channel(unknown) };
                    assert!(none.is_null());

                    let visit = HANDS.with_borrow_mut(|hands| hands.visit.take());
                    assert_eq!(visit.unwrap().await.unwrap(), 1);
                    while Arc::strong_count(&alive) != 1 {
                        spdk_safe::app::yield_now().await;
                    }
                    // Freed when the next one is made.
                    assert_eq!(Open::now().dma_buffers, 1);
                    let buffer = DmaBuf::zeroed(Bytes(512), 64).unwrap();
                    assert_eq!(Open::now().dma_buffers, 1);
                    drop((buffer, channel));
                    assert_eq!(Open::now().dma_buffers, 0);
                    device.unregister().await;
                    thread.exit().await;
                })
                .unwrap();
        },
    );
}

/// Counts how often it is formatted.
struct Costly;

static FORMATTED: AtomicUsize = AtomicUsize::new(0);

impl std::fmt::Display for Costly {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        FORMATTED.fetch_add(1, Ordering::Relaxed);
        f.write_str("costly")
    }
}

#[test]
fn lines_of_ones_own_are_printed_by_spdk_with_file_and_line() {
    let at = line!() + 4;
    let said = in_process(
        "lines_of_ones_own_are_printed_by_spdk_with_file_and_line",
        || {
            log::write(LogLevel::Error, "before SPDK is up: 100%s%n");
            log::Logger::install().unwrap();
            log::Logger::install().unwrap_err();
            app()
                .run(async |_spdk| {
                    log::write(LogLevel::Notice, format_args!("one\ntwo {}", "thr\0ee"));
                    log::write(LogLevel::Info, Costly);
                    ::log::debug!("{Costly}");
                    assert_eq!(FORMATTED.load(Ordering::Relaxed), 0);
                    ::log::warn!(target: "mine", "%n {}", 7);
                    log::set_print_level(LogLevel::Info);
                    log::write(LogLevel::Info, Costly);
                    ::log::debug!(target: "mine", "{Costly}");
                    ::log::trace!("{Costly}");
                    log::write(LogLevel::Disabled, Costly);
                    assert_eq!(FORMATTED.load(Ordering::Relaxed), 2);
                    std::thread::spawn(|| ::log::error!("from elsewhere"))
                        .join()
                        .unwrap();
                })
                .unwrap();
        },
    );
    let Some(said) = said else {
        return;
    };
    for line in [
        &format!("log.rs: {at}:rust: *ERROR*: before SPDK is up: 100%s%n\n"),
        "rust: *NOTICE*: one\n",
        "rust: *NOTICE*: two thr\u{fffd}ee\n",
        "mine: *WARNING*: %n 7\n",
        "rust: *INFO*: costly\n",
        "mine: *INFO*: costly\n",
        ":log: *ERROR*: from elsewhere\n",
    ] {
        assert!(said.contains(line), "{line}{said}");
    }
}

#[test]
fn lines_of_ones_own_go_to_a_receiver_too() {
    in_process("lines_of_ones_own_go_to_a_receiver_too", || {
        let kept = Kept::default();
        log::Logger::install().unwrap();
        app()
            .log_to(kept.receiver())
            .run(async |_spdk| {
                kept.take();
                let at = line!() + 1;
                log::write(LogLevel::Warn, "%s");
                // This crate's receiver, not syslog, decides.
                log::set_level(LogLevel::Debug);
                log::write(LogLevel::Info, Costly);
                ::log::info!(target: "mine", "{}", "z".repeat(5000));
                assert_eq!(FORMATTED.load(Ordering::Relaxed), 0);
                let lines = kept.take();
                assert_eq!(lines.len(), 2, "{lines:?}");
                let [ours, theirs] = &lines[..] else {
                    unreachable!()
                };
                assert_eq!((ours.source, ours.level), (Source::Program, LogLevel::Warn));
                assert_eq!((&*ours.text, ours.line), ("%s", Some(at)));
                assert!(ours.file.as_deref().unwrap().ends_with("log.rs"));
                assert_eq!(ours.function, None);
                assert_eq!(
                    (theirs.source, theirs.level),
                    (Source::Program, LogLevel::Notice)
                );
                assert_eq!(theirs.function.as_deref(), Some("mine"));
                assert_eq!((theirs.text.len(), theirs.truncated), (5000, false));
            })
            .unwrap();
    });
}

#[test]
fn both_directions_at_once_are_no_loop() {
    let said = in_process("both_directions_at_once_are_no_loop", || {
        log::Logger::install().unwrap();
        app()
            .log_crate()
            .run(async |_spdk| {
                raw_line(spdk_sys::spdk_log_level::SPDK_LOG_NOTICE, b"from SPDK");
                log::write(LogLevel::Error, "from us");
                ::log::warn!("from the log crate");
            })
            .unwrap();
    });
    let Some(said) = said else {
        return;
    };
    for line in [
        "program: Notice: from SPDK\n",
        "program: Error: from us\n",
        "program: Warn: from the log crate\n",
    ] {
        assert_eq!(said.matches(line).count(), 1, "{line}{said}");
    }
}

#[test]
fn a_receiver_in_c_that_logs_through_rust_is_no_loop() {
    unsafe extern "C" {
        fn spdk_log_open(log: Option<unsafe extern "C" fn(i32)>);
    }
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    /// # Safety
    ///
    /// None. The other arguments are left alone.
    unsafe extern "C" fn receiver(level: i32) {
        CALLS.fetch_add(1, Ordering::Relaxed);
        log::write(LogLevel::Error, format_args!("again {level}"));
        ::log::error!("and again");
    }
    let name = "a_receiver_in_c_that_logs_through_rust_is_no_loop";
    let said = in_process(name, || {
        log::Logger::install().unwrap();
        // SAFETY: what the function ignores of its arguments its caller takes away.
        unsafe { spdk_log_open(Some(receiver)) };
        ::log::error!("first");
        log::write(LogLevel::Error, "second");
        assert_eq!(CALLS.load(Ordering::Relaxed), 2);
    });
    if let Some(said) = said {
        assert_eq!(said.matches("program: Error: again 0\n").count(), 2);
        assert_eq!(said.matches("program: Error: and again\n").count(), 2);
    }
}
