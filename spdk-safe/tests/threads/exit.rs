//! The end of a thread: T6, T11, and handles that outlive it.

use std::cell::{Cell, RefCell};
use std::num::NonZeroU64;
use std::rc::Rc;
use std::sync::mpsc;

use spdk_safe::app::yield_now;
use spdk_safe::bdev::SharedDesc;
use spdk_safe::error::{CallError, ThreadError, TrySendError};
use spdk_safe::module::{BlockDevice, BlockDeviceBuilder, Request, RequestStatus};
use spdk_safe::prelude::*;
use spdk_safe::thread::{self, Poller, PollerStatus, current_id};
use spdk_safe::thread_storage;

use crate::{Court, MODULE, SPDK, Witness, migratable, pinned, poll_once};

thread_storage! {
    static KEPT: RefCell<Vec<Box<dyn std::any::Any>>> = RefCell::new(Vec::new());
    static REQUESTS: RefCell<Vec<Request>> = RefCell::new(Vec::new());
}

/// A device that keeps its requests, where a test finds them.
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

thread_local! {
    static HELD: RefCell<Vec<Request>> = const { RefCell::new(Vec::new()) };
    static STALE: RefCell<Vec<(usize, Poller, IoChannel<ReadOnly>)>> = const { RefCell::new(Vec::new()) };
}

/// On the disk `name`.
async fn shared(spdk: &Spdk, name: &str) -> (BdevDesc<ReadWrite>, SharedDesc<ReadWrite>) {
    let disk = MallocBdev::builder(name).blocks(64).create(spdk);
    disk.await.unwrap();
    let desc = BdevDesc::open(spdk, name).read_write().unwrap();
    let share = desc.share();
    (desc, share)
}

#[test]
fn t11_a_thread_lets_go_of_everything_in_order() {
    SPDK.run(async |spdk| {
        let (desc, share) = shared(&spdk, "t11").await;
        let thread = pinned(&spdk, "t11").await;
        let court = Court::new();
        let witnesses = ["hook", "task", "stored", "poller"].map(|name| court.witness(name));
        let fill = move || {
            let [hook, task, stored, poller] = witnesses;
            thread::at_exit(move || drop(hook)).unwrap();
            let ch = share.channel().unwrap();
            let busy = share.channel().unwrap();
            // Waits for ever, with a channel.
            let waits = thread::spawn_local(async move {
                let _all = (ch, task);
                std::future::pending::<()>().await;
            });
            drop(waits.unwrap());
            // Does I/O without end.
            let works = thread::spawn_local(async move {
                let mut buf = busy.alloc(Blocks(8)).unwrap();
                loop {
                    buf = busy.write(Lba(0), buf).await.1;
                }
            });
            drop(works.unwrap());
            let poller = Poller::register(None, move || {
                let _poller = &poller;
                PollerStatus::Busy
            });
            // Forgotten, in more than one way.
            std::mem::forget(poller.unwrap());
            std::mem::forget(share.channel().unwrap());
            let kept: [Box<dyn std::any::Any>; 3] = [
                Box::new(share.channel().unwrap()),
                Box::new(share),
                Box::new(stored),
            ];
            KEPT.with(|list| list.borrow_mut().extend(kept)).unwrap();
        };
        thread.call(fill).await.unwrap();
        for _ in 0..100 {
            yield_now().await;
        }
        let id = thread.id().get();
        thread.exit().await;
        let order = ["hook", "task", "stored", "poller"].map(|name| (name, id));
        assert_eq!(court.said(), order);
        // Waits until every channel was put (B-09).
        desc.close().await;
        MallocBdev::delete(&spdk, "t11").await.unwrap();
    });
}

#[test]
fn t11_io_in_flight_is_awaited() {
    SPDK.run(async |spdk| {
        let device = BlockDeviceBuilder::new("keeps").blocks(Blocks(64));
        let bdev = device.register(&spdk, &MODULE, Keeps).unwrap();
        let desc = BdevDesc::open(&spdk, "keeps").read_write().unwrap();
        let share = desc.share();
        let thread = pinned(&spdk, "io").await;
        let start = move || {
            let ch = share.channel().unwrap();
            let task = thread::spawn_local(async move {
                let buf = ch.alloc(Blocks(1)).unwrap();
                ch.write(Lba(0), buf).await.0
            });
            drop(task.unwrap());
        };
        thread.call(start).await.unwrap();
        while HELD.with_borrow(Vec::is_empty) {
            yield_now().await;
        }
        let handle = thread.handle();
        let mut exit = Box::pin(thread.exit());
        for _ in 0..1000 {
            assert!(poll_once(exit.as_mut()).is_pending());
            yield_now().await;
        }
        assert_eq!(
            handle.call(|| ()).await,
            Err(CallError::Exited {
                thread: "io".into()
            })
        );
        for request in HELD.take() {
            request.complete(RequestStatus::Success);
        }
        exit.await;
        drop(desc);
        bdev.unregister().await;
    });
}

#[test]
fn t11_a_thread_that_exits_takes_nothing_new() {
    SPDK.run(async |spdk| {
        let (desc, share) = shared(&spdk, "t11-new").await;
        let thread = pinned(&spdk, "t11-new").await;
        let handle = thread.handle();
        let (send, seen) = mpsc::channel();
        let fill = move || {
            let at_exit = OnDrop(Some(Box::new(move || {
                assert!(thread::is_exiting());
                assert_eq!(thread::current().unwrap(), handle);
                let poller = Poller::register(None, || PollerStatus::Idle).err();
                let channel = share.channel().err();
                let task = thread::spawn_local(async {}).err();
                let hook = thread::at_exit(|| ()).err();
                let sent = handle.try_send(|| ());
                let _ = send.send((poller, channel, task, hook, sent.is_err()));
            })));
            KEPT.with(|list| list.borrow_mut().push(Box::new(at_exit)))
                .unwrap();
        };
        thread.call(fill).await.unwrap();
        thread.exit().await;
        let (poller, channel, task, hook, sent) = seen.recv().unwrap();
        assert_eq!(poller, Some(ThreadError::Exiting));
        assert!(
            matches!(channel, Some(ChannelError::Thread(ThreadError::Exiting))),
            "{channel:?}"
        );
        assert_eq!(task, Some(ThreadError::Exiting));
        assert_eq!(hook, Some(ThreadError::Exiting));
        assert!(sent);
        drop(desc);
        MallocBdev::delete(&spdk, "t11-new").await.unwrap();
    });
}

struct OnDrop(Option<Box<dyn FnOnce()>>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        (self.0.take().unwrap())();
    }
}

#[test]
fn t13_destructors_that_panic_do_not_keep_a_thread() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("on purpose");
        }
    }
    SPDK.run(async |spdk| {
        let thread = pinned(&spdk, "bombs").await;
        let before = spdk_safe::contained_panics();
        let fill = || {
            thread::at_exit(|| panic!("on purpose")).unwrap();
            for _ in 0..2 {
                let task = thread::spawn_local(async {
                    let _bomb = Bomb;
                    std::future::pending::<()>().await;
                });
                drop(task.unwrap());
            }
            KEPT.with(|list| list.borrow_mut().push(Box::new(Bomb)))
                .unwrap();
            let bomb = Bomb;
            let poller = Poller::register(None, move || {
                let _bomb = &bomb;
                PollerStatus::Idle
            });
            std::mem::forget(poller.unwrap());
        };
        thread.call(fill).await.unwrap();
        // Polled once, so that they are what they hold.
        thread.call(|| ()).await.unwrap();
        thread.exit().await;
        assert_eq!(spdk_safe::contained_panics(), before + 5);
    });
}

#[test]
fn t4_t6_a_handle_of_a_thread_that_has_exited_is_inert_on_a_new_one_at_its_address() {
    SPDK.run(async |spdk| {
        let (desc, _) = shared(&spdk, "again").await;
        fn address() -> usize {
            // SAFETY: reads a thread-local.
            unsafe { spdk_sys::spdk_get_thread() }.addr()
        }
        let mut found = 0;
        for _ in 0..20 {
            let thread = pinned(&spdk, "old").await;
            let share = BdevDesc::open(&spdk, "again").read_only().unwrap().share();
            let make = move || {
                let poller = Poller::register(None, || PollerStatus::Idle).unwrap();
                let ch = share.channel().unwrap();
                STALE.with_borrow_mut(|stale| stale.push((address(), poller, ch)));
            };
            thread.call(make).await.unwrap();
            thread.exit().await;
            let thread = pinned(&spdk, "new").await;
            let share = BdevDesc::open(&spdk, "again").read_only().unwrap().share();
            let use_stale = move || {
                let stale = STALE.with_borrow_mut(Vec::pop).unwrap();
                let (was, poller, ch) = stale;
                assert!(!poller.is_registered());
                poller.pause().ok();
                poller.resume().ok();
                let fresh = share.channel().unwrap();
                let task = thread::spawn_local(async move {
                    let buf = ch.alloc(Blocks(1)).unwrap();
                    let (result, buf) = ch.read(Lba(0), buf).await;
                    assert!(result.is_err());
                    // The thread's own is not disturbed.
                    fresh.read(Lba(0), buf).await.0.unwrap();
                    drop((ch, poller));
                });
                (was == address(), task.unwrap())
            };
            let (same, task) = thread.call(use_stale).await.unwrap();
            task.await.unwrap();
            found += usize::from(same);
            thread.exit().await;
        }
        assert!(found > 0, "SPDK used no address again");
        drop(desc);
        MallocBdev::delete(&spdk, "again").await.unwrap();
    });
}

#[test]
fn ids_are_not_used_again_and_a_hundred_threads_come_and_go() {
    SPDK.run(async |spdk| {
        let mut last = 0;
        for n in 0..100 {
            let id = match n % 2 {
                0 => {
                    let thread = pinned(&spdk, "even").await;
                    let id = thread.call(|| current_id().map(NonZeroU64::get)).await;
                    thread.exit().await;
                    id
                }
                _ => {
                    let thread = migratable(&spdk, "odd").await;
                    let id = thread.call(|| current_id().map(NonZeroU64::get)).await;
                    thread.exit().await;
                    id
                }
            };
            let id = id.unwrap().unwrap();
            assert!(id > last);
            last = id;
        }
    });
}

#[test]
fn t11_messages_race_with_the_exit_and_each_is_run_or_given_back() {
    SPDK.run(async |spdk| {
        for round in 0..50 {
            let thread = pinned(&spdk, "race").await;
            let handle = thread.handle();
            let (send, run) = mpsc::channel();
            let other = std::thread::spawn(move || {
                let mut accepted = 0;
                loop {
                    let send = send.clone();
                    match handle.try_send(move || send.send(()).unwrap()) {
                        Ok(()) => accepted += 1,
                        Err(TrySendError::Exited(_)) => return accepted,
                        Err(_) => std::thread::yield_now(),
                    }
                }
            });
            for _ in 0..round {
                yield_now().await;
            }
            thread.exit().await;
            while !other.is_finished() {
                yield_now().await;
            }
            let accepted = other.join().unwrap();
            assert_eq!(run.iter().count(), accepted);
        }
    });
}

/// Only here so that a value of that kind can be kept too.
#[test]
fn t11_requests_that_a_thread_keeps_fail_when_it_exits() {
    thread_local!(static TAKEN: Cell<usize> = const { Cell::new(0) });
    struct Stores;
    impl BlockDevice for Stores {
        type Channel = ();

        fn create_channel(&self) -> Result<(), ChannelError> {
            Ok(())
        }

        fn submit(&self, _channel: &Rc<()>, request: Request) {
            TAKEN.set(TAKEN.get() + 1);
            REQUESTS
                .with(|list| list.borrow_mut().push(request))
                .unwrap();
        }
    }
    SPDK.run(async |spdk| {
        let device = BlockDeviceBuilder::new("stores").blocks(Blocks(64));
        let bdev = device.register(&spdk, &MODULE, Stores).unwrap();
        let desc = BdevDesc::open(&spdk, "stores").read_write().unwrap();
        let share = desc.share();
        let thread = pinned(&spdk, "stores").await;
        let court = Court::new();
        let witness = court.witness("io");
        let start = move || {
            let ch = share.channel().unwrap();
            let task = thread::spawn_local(async move {
                let _witness: Witness = witness;
                let buf = ch.alloc(Blocks(1)).unwrap();
                let _ = ch.write(Lba(0), buf).await.0;
            });
            drop(task.unwrap());
        };
        thread.call(start).await.unwrap();
        while TAKEN.get() == 0 {
            yield_now().await;
        }
        // Its storage goes, and the request with it, so the channel has nothing in flight any more.
        thread.exit().await;
        assert_eq!(court.said().len(), 1);
        drop(desc);
        bdev.unregister().await;
    });
}

#[test]
fn t11_a_hook_that_adds_itself_is_run_once() {
    fn hook() {
        assert_eq!(thread::at_exit(hook), Err(ThreadError::Exiting));
    }
    SPDK.run(async |spdk| {
        let thread = pinned(&spdk, "hooked").await;
        let add = || thread::at_exit(hook).unwrap();
        thread.call(add).await.unwrap();
        thread.exit().await;
    });
}

#[test]
fn t11_an_end_that_nobody_waits_for_any_more_keeps_no_waker() {
    struct Plain;
    impl std::task::Wake for Plain {
        fn wake(self: std::sync::Arc<Self>) {}
    }
    SPDK.run(async |spdk| {
        let thread = pinned(&spdk, "waited for").await;
        let plain = std::sync::Arc::new(Plain);
        let waker = std::task::Waker::from(std::sync::Arc::clone(&plain));
        let mut exited = Box::pin(thread.exited());
        let mut cx = std::task::Context::from_waker(&waker);
        assert!(exited.as_mut().poll(&mut cx).is_pending());
        drop(exited);
        drop(waker);
        assert_eq!(std::sync::Arc::strong_count(&plain), 1);
        thread.exit().await;
    });
}
