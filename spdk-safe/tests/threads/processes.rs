//! The end of the app, and two reactors: each test is a process of its own.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use spdk_safe::app::{Builder, yield_now};
use spdk_safe::error::{CallError, ThreadError};
use spdk_safe::prelude::*;
use spdk_safe::thread::{self, Poller, PollerStatus};

use crate::{Court, here, migratable};

/// Says which test a child process is to run.
const CHILD: &str = "SPDK_SAFE_TEST_CHILD";

/// Runs `test` in a process of its own. Its output becomes ours, and its failure. What it said.
fn in_process(name: &str, test: impl FnOnce()) -> String {
    let name = format!("processes::{name}");
    if std::env::var(CHILD).as_deref() == Ok(&name) {
        test();
        return String::new();
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args([&name, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, &name)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}:\n{said}", output.status);
    assert!(said.contains("1 passed"), "the child ran no test:\n{said}");
    said.into_owned()
}

fn app() -> Builder {
    App::builder("threads-test")
        .no_huge()
        .no_pci()
        .share_cores()
        .memory(Mib(400))
        .pools(Pools::small())
        // What other crates have linked must not do I/O to the bdevs of the tests.
        .auto_examine(false)
        .log_level(LogLevel::Warn)
}

/// On two reactors, where there are two cores.
fn on_two_cores(name: &str, main: impl AsyncFnOnce(Spdk, [u32; 2])) {
    // SAFETY: a cpu_set_t is a bit array, for which zeroes are valid.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` has the size that is said.
    unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) };
    let cores: Vec<u32> = (0..1024)
        // SAFETY: the range ends at the size of the set.
        .filter(|core| unsafe { libc::CPU_ISSET(*core as usize, &set) })
        .collect();
    let [one, two, ..] = cores[..] else {
        return println!("skipped: needs two cores, and has {}", cores.len());
    };
    in_process(name, || {
        app()
            .cores(Cores::of([one, two]))
            .run(async |spdk| main(spdk, [one, two]).await)
            .unwrap();
    });
}

/// The OS thread.
fn os_thread() -> std::thread::ThreadId {
    std::thread::current().id()
}

#[test]
fn t11_the_end_of_the_app_has_forgotten_threads_exit() {
    in_process("t11_the_end_of_the_app_has_forgotten_threads_exit", || {
        let court = Court::new();
        let handles = app()
            .run(async |spdk| {
                let disk = MallocBdev::builder("m").blocks(64).create(&spdk);
                disk.await.unwrap();
                let desc = BdevDesc::open(&spdk, "m").read_write().unwrap();
                let mut handles = Vec::new();
                for name in ["one", "two"] {
                    let thread = Thread::builder(name).create(&spdk).await.unwrap();
                    let (share, witness) = (desc.share(), court.witness(name));
                    let work = move || async move {
                        let ch = share.channel().unwrap();
                        let poller = Poller::register(None, || PollerStatus::Busy).unwrap();
                        std::mem::forget(poller);
                        let _witness = witness;
                        let mut buf = ch.alloc(Blocks(8)).unwrap();
                        loop {
                            buf = ch.write(Lba(0), buf).await.1;
                        }
                    };
                    drop(thread.spawn(work).await.unwrap());
                    thread.call(|| ()).await.unwrap();
                    handles.push(thread.handle());
                    std::mem::forget(thread);
                }
                let moves = migratable(&spdk, "three").await;
                let pending = std::future::pending::<()>;
                drop(moves.spawn(pending).await.unwrap());
                std::mem::forget(moves);
                // The app thread's own.
                let witness = court.witness("app");
                let task = thread::spawn_local(async move {
                    let _all = (witness, desc);
                    std::future::pending::<()>().await;
                });
                drop(task.unwrap());
                handles.push(thread::app().unwrap());
                handles
            })
            .unwrap();
        let mut said: Vec<_> = court.said().into_iter().map(|said| said.0).collect();
        said.sort_unstable();
        assert_eq!(said, ["app", "one", "two"]);
        // T6, T8: the handles outlive the app.
        for handle in handles {
            assert!(!handle.is_open());
            let called = crate::block_on(handle.call(|| ()));
            assert!(matches!(called, Err(CallError::Exited { .. })));
            crate::block_on(handle.exited());
        }
        assert!(thread::app().is_none());
    });
}

#[test]
fn t11_what_keeps_a_thread_from_exiting_is_said() {
    use spdk_safe::module::{BdevModule, BlockDevice, BlockDeviceBuilder, Request, RequestStatus};
    use std::cell::RefCell;
    use std::rc::Rc;

    static MODULE: BdevModule = BdevModule::new(c"rust_keeps");
    thread_local!(static HELD: RefCell<Vec<Request>> = const { RefCell::new(Vec::new()) });
    struct Keeps;
    impl BlockDevice for Keeps {
        type Channel = ();

        fn create_channel(&self) -> Result<(), ChannelError> {
            Ok(())
        }

        fn submit(&self, _channel: &Rc<()>, request: Request) {
            HELD.with_borrow_mut(|held| held.push(request));
        }
    }
    in_process("t11_what_keeps_a_thread_from_exiting_is_said", || {
        let said = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&said);
        let log = move |line: &spdk_safe::log::Line<'_>| {
            lines.lock().unwrap().push(line.text.to_string());
        };
        let app = app().module(&MODULE).log_to(log);
        app.run(async |spdk| {
            let device = BlockDeviceBuilder::new("keeps").blocks(Blocks(64));
            let _bdev = device.register(&spdk, &MODULE, Keeps).unwrap();
            let desc = BdevDesc::open(&spdk, "keeps").read_write().unwrap();
            let share = desc.share();
            let thread = Thread::builder("stuck").create(&spdk).await.unwrap();
            let start = move || async move {
                let ch = share.channel().unwrap();
                let buf = ch.alloc(Blocks(1)).unwrap();
                ch.write(Lba(0), buf).await.0
            };
            drop(thread.spawn(start).await.unwrap());
            while HELD.with_borrow(Vec::is_empty) {
                yield_now().await;
            }
            let exit = thread.exit();
            // As long as it takes.
            let is_said = |line: &String| {
                line.contains("\"stuck\" can't exit yet")
                    && line.contains("channel of \"keeps\" (1 I/Os in flight)")
            };
            while !said.lock().unwrap().iter().any(is_said) {
                yield_now().await;
            }
            for request in HELD.take() {
                request.complete(RequestStatus::Success);
            }
            exit.await;
        })
        .unwrap();
    });
}

#[test]
fn threads_live_and_exit_in_interrupt_mode() {
    in_process("threads_live_and_exit_in_interrupt_mode", || {
        let outcome = app().interrupt_mode().run(async |spdk| {
            for _ in 0..10 {
                let thread = Thread::builder("sleeps").create(&spdk).await.unwrap();
                assert_eq!(thread.call(here).await, Ok(thread.id().get()));
                let task = thread.spawn(|| async {
                    yield_now().await;
                    drop(Poller::register(None, || PollerStatus::Idle).unwrap());
                });
                task.await.unwrap().await.unwrap();
                // From an OS thread that no reactor runs on.
                let handle = thread.handle();
                let other = std::thread::spawn(move || crate::block_on(handle.call(here)));
                while !other.is_finished() {
                    yield_now().await;
                }
                assert_eq!(other.join().unwrap(), Ok(thread.id().get()));
                thread.exit().await;
            }
        });
        match outcome {
            Err(error @ AppError::NeedsVersion { .. }) => println!("skipped: {error}"),
            outcome => outcome.unwrap(),
        }
    });
}

#[test]
fn t11_calls_to_the_app_thread_at_its_end_are_run_or_errors() {
    in_process(
        "t11_calls_to_the_app_thread_at_its_end_are_run_or_errors",
        || {
            let (accepted, ran) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let (count, theirs) = (Arc::clone(&accepted), Arc::clone(&ran));
            let other = app()
                .run(async |_spdk| {
                    let handle = thread::app().unwrap();
                    let other = std::thread::spawn(move || {
                        loop {
                            let ran = Arc::clone(&theirs);
                            let add = move || _ = ran.fetch_add(1, Ordering::SeqCst);
                            if crate::block_on(handle.send(add)).is_err() {
                                return;
                            }
                            count.fetch_add(1, Ordering::SeqCst);
                        }
                    });
                    while accepted.load(Ordering::SeqCst) < 10_000 {
                        yield_now().await;
                    }
                    other
                })
                .unwrap();
            other.join().unwrap();
            assert_eq!(ran.load(Ordering::SeqCst), accepted.load(Ordering::SeqCst));
        },
    );
}

#[test]
fn pinned_threads_run_on_their_cores_and_talk_to_each_other() {
    on_two_cores(
        "pinned_threads_run_on_their_cores_and_talk_to_each_other",
        async |spdk, cores| {
            let app_os = os_thread();
            let mut threads = Vec::new();
            for core in cores {
                let builder = Thread::builder("t").core(core).max_in_flight(16);
                let thread = builder.create(&spdk).await.unwrap();
                // SAFETY: reads a number.
                let at = thread.call(|| unsafe { libc::sched_getcpu() }).await;
                assert_eq!(at, Ok(core as i32));
                threads.push(thread);
            }
            assert_eq!(threads[0].call(os_thread).await, Ok(app_os));
            assert_ne!(threads[1].call(os_thread).await, Ok(app_os));
            // Each floods the other, and the app thread both.
            let seen = Arc::new(Mutex::new([const { Vec::new() }; 3]));
            let flood = |who: usize, to: thread::ThreadHandle<thread::Pinned>| {
                let seen = Arc::clone(&seen);
                async move {
                    for n in 0..20_000_u32 {
                        let seen = Arc::clone(&seen);
                        let note = move || seen.lock().unwrap()[who].push(n);
                        to.send(note).await.unwrap();
                    }
                }
            };
            let (there, back) = (flood(1, threads[1].handle()), flood(2, threads[0].handle()));
            let there = threads[0].spawn(move || there).await.unwrap();
            let back = threads[1].spawn(move || back).await.unwrap();
            flood(0, threads[1].handle()).await;
            there.await.unwrap();
            back.await.unwrap();
            for thread in threads {
                thread.exit().await;
            }
            for who in &*seen.lock().unwrap() {
                assert!(who.iter().copied().eq(0..20_000));
            }
        },
    );
}

#[test]
fn t11_threads_on_two_cores_come_and_go_while_others_send_to_them() {
    on_two_cores(
        "t11_threads_on_two_cores_come_and_go_while_others_send_to_them",
        async |spdk, cores| {
            for round in 0..100 {
                let core = cores[round % 2];
                let builder = Thread::builder("t").core(core).max_in_flight(8);
                let thread = builder.create(&spdk).await.unwrap();
                let other = Thread::builder("other").core(cores[1 - round % 2]);
                let other = other.create(&spdk).await.unwrap();
                let handle = thread.handle();
                let ran = Arc::new(AtomicUsize::new(0));
                let theirs = Arc::clone(&ran);
                let send = move || async move {
                    for accepted in 0.. {
                        let ran = Arc::clone(&theirs);
                        let add = move || _ = ran.fetch_add(1, Ordering::SeqCst);
                        if handle.send(add).await.is_err() {
                            return accepted;
                        }
                    }
                    unreachable!("it exits");
                };
                let sender = other.spawn(send).await.unwrap();
                for _ in 0..round {
                    yield_now().await;
                }
                thread.exit().await;
                assert_eq!(sender.await, Ok(ran.load(Ordering::SeqCst)));
                other.exit().await;
            }
        },
    );
}

#[test]
fn t3_a_migratable_thread_is_moved_with_its_tasks_and_messages() {
    on_two_cores(
        "t3_a_migratable_thread_is_moved_with_its_tasks_and_messages",
        async |spdk, cores| {
            let thread = Thread::builder("moves").migratable(Cores::of([cores[0]]));
            let thread = thread.create(&spdk).await.unwrap();
            let stop = Arc::new(AtomicBool::new(false));
            let (theirs, turns) = (Arc::clone(&stop), Arc::new(AtomicU64::new(0)));
            let count = Arc::clone(&turns);
            let spin = move || async move {
                let mut seen = vec![os_thread()];
                while !theirs.load(Ordering::Relaxed) {
                    count.fetch_add(1, Ordering::Relaxed);
                    if seen.last() != Some(&os_thread()) {
                        seen.push(os_thread());
                    }
                    yield_now().await;
                }
                seen
            };
            let task = thread.spawn(spin).await.unwrap();
            while turns.load(Ordering::Relaxed) == 0 {
                yield_now().await;
            }
            for round in 1..=20 {
                let core = cores[round % 2];
                thread.set_cores(Cores::of([core])).await.unwrap();
                // SAFETY: reads a number.
                let at = || unsafe { libc::sched_getcpu() };
                while thread.call(at).await.unwrap() != core as i32 {}
                assert_eq!(thread.call(here).await, Ok(thread.id().get()));
                let before = turns.load(Ordering::Relaxed);
                while turns.load(Ordering::Relaxed) == before {
                    yield_now().await;
                }
                // Refused on both.
                let poller = thread.call(|| Poller::register(None, || PollerStatus::Idle).err());
                assert_eq!(poller.await, Ok(Some(ThreadError::Migratable)));
            }
            stop.store(true, Ordering::Relaxed);
            assert_eq!(task.await.unwrap().len(), 21, "the task went along");
            thread.exit().await;
        },
    );
}

/// Rule 2: what happens to `!Send` things on a thread that somebody moves. Not one of ours: on those that may be moved
/// they are refused, and the others are not moved.
#[test]
fn rule_2_a_poller_on_a_foreign_thread_that_is_moved_is_not_called_elsewhere() {
    use std::ffi::c_void;

    /// A message to a raw thread.
    fn send(thread: *mut spdk_sys::spdk_thread, job: impl FnOnce() + Send + 'static) {
        unsafe extern "C" fn run(ctx: *mut c_void) {
            // SAFETY: `send` made the pointer so, and each message is delivered once.
            let job = unsafe { Box::from_raw(ctx.cast::<Box<dyn FnOnce() + Send>>()) };
            job();
        }
        let job: Box<dyn FnOnce() + Send> = Box::new(job);
        let ctx = Box::into_raw(Box::new(job)).cast();
        // SAFETY: the thread has not exited.
        let rc = unsafe { spdk_sys::spdk_thread_send_msg(thread, Some(run), ctx) };
        assert_eq!(rc, 0);
    }

    thread_local!(static KEPT: std::cell::RefCell<Option<Poller>> = const { std::cell::RefCell::new(None) });

    on_two_cores(
        "rule_2_a_poller_on_a_foreign_thread_that_is_moved_is_not_called_elsewhere",
        async |_spdk, cores| {
            // SAFETY: the app runs; the array lives across the call.
            let raw = unsafe {
                spdk_sys::spdk_shim_thread_create(c"foreign".as_ptr(), cores.as_ptr(), 1, false)
            };
            assert!(!raw.is_null());
            let calls = Arc::new(Mutex::new(Vec::new()));
            let theirs = Arc::clone(&calls);
            let (tell, told) = mpsc::channel();
            let other = cores[1];
            send(raw, move || {
                assert!(thread::current().is_none(), "not ours");
                assert_eq!(
                    thread::spawn_local(async {}).unwrap_err(),
                    ThreadError::Foreign
                );
                let poller = Poller::register(None, move || {
                    theirs.lock().unwrap().push(os_thread());
                    PollerStatus::Busy
                });
                KEPT.set(Some(poller.unwrap()));
                // SAFETY: the thread is current, and the core has a reactor.
                let rc = unsafe { spdk_sys::spdk_shim_thread_set_cores(&raw const other, 1) };
                tell.send(rc).unwrap();
            });
            let answer = async |told: &mpsc::Receiver<i32>| loop {
                match told.try_recv() {
                    Ok(answer) => return answer,
                    Err(_) => yield_now().await,
                }
            };
            assert_eq!(answer(&told).await, 0);
            let own = os_thread();
            loop {
                let (tell, told) = mpsc::channel();
                send(raw, move || {
                    tell.send(i32::from(os_thread() != own)).unwrap();
                });
                if answer(&told).await == 1 {
                    break;
                }
            }
            let before = calls.lock().unwrap().len();
            for _ in 0..1000 {
                yield_now().await;
            }
            let after = calls.lock().unwrap();
            assert_eq!(after.len(), before);
            assert!(after.iter().all(|at| *at == own));
            drop(after);
            // Its release goes to the thread, which is not where the closure may be touched: it leaks, and is said.
            drop(KEPT.take());
            // With the poller it can't exit in order; the end of the app forces it out.
        },
    );
}

/// Leaves a poller behind, if it may.
fn leave_a_poller() -> bool {
    let poller = Poller::register(Some(std::time::Duration::from_secs(1000)), || {
        PollerStatus::Idle
    });
    let made = poller.is_ok();
    std::mem::forget(poller);
    made
}

#[test]
fn t11_the_app_thread_takes_nothing_new_when_it_has_let_go_of_all() {
    struct Leaves;
    impl Drop for Leaves {
        fn drop(&mut self) {
            assert!(!leave_a_poller());
            println!("the destructor ran");
        }
    }
    fn last_message() {
        if thread::app().is_none_or(|app| app.try_send(last_message).is_err()) {
            assert!(leave_a_poller(), "it is let go of");
            println!("the message ran");
        }
    }
    let said = in_process(
        "t11_the_app_thread_takes_nothing_new_when_it_has_let_go_of_all",
        || {
            let main = async |_spdk: Spdk| {
                let leaves = Leaves;
                let poller = Poller::register(None, move || {
                    let _ = &leaves;
                    PollerStatus::Idle
                });
                std::mem::forget(poller);
                thread::app().unwrap().try_send(last_message).unwrap();
            };
            app().run(main).unwrap();
        },
    );
    if !said.is_empty() {
        assert!(said.contains("the destructor ran"), "{said}");
        assert!(said.contains("the message ran"), "{said}");
        assert!(!said.contains("forc"), "a poller was left:\n{said}");
    }
}
