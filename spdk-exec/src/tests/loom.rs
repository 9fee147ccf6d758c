//! Every interleaving, up to a bound, of what crosses threads.
//!
//! Home-only fields are loom's cells here, so touching one from two threads without
//! synchronisation fails the test too. The `control_*` tests break something on purpose and must
//! panic: they show that each detector fires.

use core::future::{Future, pending, poll_fn};
use core::task::{Poll, Waker};
use std::boxed::Box;
use std::sync::Arc as StdArc;
use std::vec::Vec;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicUsize, Ordering::*};
use loom::sync::{Arc, Mutex, Notify as LoomNotify};
use loom::thread;

use crate::{Budget, Host, JoinError, JoinHandle, LocalExecutor, Notify, SpawnError, TaskSpace};

/// Data that one thread writes and another reads, which loom checks for a race.
#[derive(Clone)]
struct Mail(Arc<UnsafeCell<u32>>);

// SAFETY: that accesses are ordered is what the tests check.
unsafe impl Send for Mail {}

impl Mail {
    fn new() -> Self {
        Self(Arc::new(UnsafeCell::new(0)))
    }

    fn write(&self, value: u32) {
        // SAFETY: loom reports a race.
        self.0.with_mut(|mail| unsafe { *mail = value });
    }

    fn read(&self) -> u32 {
        // SAFETY: loom reports a race.
        self.0.with(|mail| unsafe { *mail })
    }
}

/// A waker that a task leaves.
#[derive(Clone)]
struct Left(Arc<Mutex<Option<Waker>>>);

impl Left {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(None)))
    }

    /// A future that leaves its waker and is ready as soon as `done` says so.
    fn until<D: FnMut() -> bool>(&self, mut done: D) -> impl Future<Output = ()> + use<D> {
        let left = self.clone();
        poll_fn(move |cx| {
            *left.0.lock().unwrap() = Some(cx.waker().clone());
            if done() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
    }

    fn waker(&self) -> Waker {
        self.0
            .lock()
            .unwrap()
            .clone()
            .expect("the task left its waker")
    }
}

fn executor() -> LocalExecutor {
    LocalExecutor::with_host(Host {
        notifier: crate::host::Notifier::None,
        ..Host::thread()
    })
    .expect("every thread has a name")
}

fn poll(executor: &LocalExecutor) {
    let _ = executor.poll(Budget::ALL);
}

/// The output of a task that is over. To be asked for wherever a task checks anything: what loom
/// reports inside a task is a panic, and so contained.
fn joined<T>(task: JoinHandle<T>) -> T {
    loom::future::block_on(task).unwrap()
}

fn poll_until(executor: &LocalExecutor, mut done: impl FnMut() -> bool) {
    while !done() {
        poll(executor);
        thread::yield_now();
    }
}

#[test]
fn a_remote_wake_is_not_lost_and_carries_what_was_done_before_it() {
    loom::model(|| {
        let executor = executor();
        let (mail, left) = (Mail::new(), Left::new());
        let theirs = mail.clone();
        let mut turns = 0;
        let task = executor.spawn(left.until(move || {
            turns += 1;
            turns == 2 && theirs.read() == 1
        }));
        poll(&executor);
        let waker = left.waker();
        let thread = thread::spawn(move || {
            mail.write(1);
            waker.wake();
        });
        poll_until(&executor, || task.is_finished());
        thread.join().unwrap();
        joined(task);
    });
}

#[test]
fn a_wake_that_coalesces_carries_it_too() {
    loom::model(|| {
        let executor = executor();
        let (mails, left) = ([Mail::new(), Mail::new()], Left::new());
        let woken = Arc::new(AtomicUsize::new(0));
        let theirs = mails.clone();
        let count = woken.clone();
        let task = executor.spawn(left.until(move || {
            // Relaxed: it tells that both wakes have returned, but orders nothing.
            count.load(Relaxed) == 2 && theirs[0].read() + theirs[1].read() == 3
        }));
        poll(&executor);
        let threads: Vec<_> = mails
            .into_iter()
            .zip([1, 2])
            .map(|(mail, value)| {
                let (waker, woken) = (left.waker(), woken.clone());
                thread::spawn(move || {
                    mail.write(value);
                    waker.wake_by_ref();
                    woken.fetch_add(1, Relaxed);
                })
            })
            .collect();
        while woken.load(Relaxed) < 2 {
            thread::yield_now();
        }
        // Both wakes are one entry of the queue: nobody took it off in between.
        poll_until(&executor, || executor.stats().turns == 2);
        assert!(task.is_finished(), "one turn after both wakes");
        for thread in threads {
            thread.join().unwrap();
        }
        joined(task);
    });
}

/// A host that sleeps whenever a poll was idle: loom reports a deadlock if it is not told.
#[test]
fn a_sleeping_host_is_told() {
    struct Bell(StdArc<LoomNotify>);
    impl Notify for Bell {
        fn notify_remote(&self) {
            self.0.notify();
        }
    }
    loom::model(|| {
        let bell = StdArc::new(LoomNotify::new());
        let host = Host::thread().notify(StdArc::new(Bell(bell.clone())));
        let executor = LocalExecutor::with_host(host).unwrap();
        let left = Left::new();
        let count = Arc::new(AtomicUsize::new(0));
        let theirs = count.clone();
        let task = executor.spawn(left.until(move || theirs.load(Relaxed) == 2));
        poll(&executor);
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (waker, count) = (left.waker(), count.clone());
                thread::spawn(move || {
                    count.fetch_add(1, Relaxed);
                    waker.wake();
                })
            })
            .collect();
        while !task.is_finished() {
            if !executor.poll(Budget::ALL).is_busy() {
                bell.wait();
            }
        }
        drop(executor);
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

/// The future is dropped once, at home, whoever is first.
#[test]
fn abort_wake_and_completion_race() {
    loom::model(|| {
        let executor = executor();
        let left = Left::new();
        let alive = Arc::new(());
        let mine = alive.clone();
        let wait = left.until({
            let mut turns = 0;
            move || {
                turns += 1;
                turns == 2
            }
        });
        let task = executor.spawn(async move {
            let _mine = mine;
            wait.await;
        });
        poll(&executor);
        let waker = left.waker();
        let wakes = thread::spawn(move || waker.wake());
        let aborts = thread::spawn(move || {
            task.abort();
            task
        });
        poll(&executor);
        let task = aborts.join().unwrap();
        wakes.join().unwrap();
        poll_until(&executor, || task.is_finished());
        assert_eq!(Arc::strong_count(&alive), 1);
        match loom::future::block_on(task) {
            Ok(()) | Err(JoinError::Aborted) => {}
            Err(other) => panic!("{other}"),
        }
    });
}

#[test]
fn closing_races_a_wake_and_the_header_is_reused() {
    loom::model(|| {
        let first = executor();
        let left = Left::new();
        let alive = Arc::new(());
        let mine = alive.clone();
        let wait = left.until(|| false);
        let task = first.spawn(async move {
            let _mine = mine;
            wait.await;
        });
        poll(&first);
        let waker = left.waker();
        let thread = thread::spawn(move || {
            waker.wake_by_ref();
            waker.wake();
        });
        task.detach();
        drop(first);
        assert_eq!(Arc::strong_count(&alive), 1);
        // The same engine, from the shelf, and the same header.
        let second = executor();
        let task = second.spawn(pending::<()>());
        poll(&second);
        thread.join().unwrap();
        poll(&second);
        // A panic in a task is contained.
        assert_eq!((second.stats().turns, second.stats().panics), (1, 0));
        drop(task);
    });
}

#[test]
fn closing_waits_for_a_notifier_in_use() {
    struct Bell(Mail);
    impl Notify for Bell {
        fn notify_remote(&self) {
            self.0.read();
        }
    }
    // SAFETY: the tests check that accesses are ordered.
    unsafe impl Sync for Bell {}
    impl Drop for Bell {
        fn drop(&mut self) {
            self.0.write(1);
        }
    }
    loom::model(|| {
        let host = Host::thread().notify(StdArc::new(Bell(Mail::new())));
        let executor = LocalExecutor::with_host(host).unwrap();
        let left = Left::new();
        executor.spawn(left.until(|| false)).detach();
        poll(&executor);
        let waker = left.waker();
        let thread = thread::spawn(move || waker.wake());
        drop(executor);
        thread.join().unwrap();
    });
}

#[test]
fn a_handle_on_another_thread_gets_the_output() {
    loom::model(|| {
        let executor = executor();
        let (mail, theirs) = (Mail::new(), Mail::new());
        let output = theirs.clone();
        let task = executor.spawn(async move {
            mail.write(7);
            output.write(8);
            (mail, Box::new(9))
        });
        let thread = thread::spawn(move || {
            let (mail, nine) = joined(task);
            assert_eq!((mail.read(), theirs.read(), *nine), (7, 8, 9));
        });
        poll(&executor);
        thread.join().unwrap();
    });
}

#[test]
fn a_handle_that_changes_its_waker_is_woken_by_the_last() {
    loom::model(|| {
        let executor = executor();
        let mut task = executor.spawn(async { 5 });
        let thread = thread::spawn(move || {
            use core::pin::Pin;
            let noop = Waker::noop();
            if let Poll::Ready(output) =
                Pin::new(&mut task).poll(&mut core::task::Context::from_waker(noop))
            {
                return output.unwrap();
            }
            joined(task)
        });
        poll(&executor);
        assert_eq!(thread.join().unwrap(), 5);
    });
}

#[test]
fn a_handle_that_is_dropped_elsewhere_drops_the_output_once() {
    loom::model(|| {
        let executor = executor();
        let alive = Arc::new(());
        let mine = alive.clone();
        let task = executor.spawn(async move { mine });
        let thread = thread::spawn(move || drop(task));
        poll(&executor);
        thread.join().unwrap();
        assert_eq!(Arc::strong_count(&alive), 1);
        // Both slots of the chunk can be had again.
        let again = [executor.spawn(async {}), executor.spawn(async {})];
        poll(&executor);
        assert!(again.iter().all(|task| task.is_finished()));
    });
}

#[test]
fn a_remote_spawn_races_closing() {
    loom::model(|| {
        let executor = executor();
        let remote = executor.remote();
        let alive = Arc::new(());
        let mine = alive.clone();
        let thread = thread::spawn(move || {
            remote.spawn(move || async move {
                let _mine = mine;
                pending::<()>().await;
            })
        });
        poll(&executor);
        drop(executor);
        match thread.join().unwrap() {
            Ok(task) => assert!(matches!(
                loom::future::block_on(task),
                Err(JoinError::Aborted)
            )),
            Err(error) => assert_eq!(error, SpawnError::Closed),
        }
        assert_eq!(Arc::strong_count(&alive), 1);
    });
}

#[test]
fn two_remote_spawns_share_the_depot() {
    loom::model(|| {
        let executor = executor();
        let threads: Vec<_> = (0..2)
            .map(|value| {
                let remote = executor.remote();
                thread::spawn(move || remote.spawn(move || async move { value }).unwrap())
            })
            .collect();
        let tasks: Vec<_> = threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect();
        poll_until(&executor, || tasks.iter().all(|task| task.is_finished()));
        for (value, task) in tasks.into_iter().enumerate() {
            assert_eq!(joined(task), value);
        }
    });
}

/// A stale waker sees a header that another executor, on another thread, has taken over.
#[test]
fn a_static_place_moves_to_another_executor() {
    loom::model(|| {
        let place: &'static TaskSpace<256> = Box::leak(Box::new(TaskSpace::new()));
        let first = executor();
        let left = Left::new();
        let task = first.spawn_in(
            place,
            left.until({
                let mut turns = 0;
                move || {
                    turns += 1;
                    turns == 2
                }
            }),
        );
        poll(&first);
        let stale = left.waker();
        stale.wake_by_ref();
        poll(&first);
        drop(task);
        let thread = thread::spawn(move || {
            let second = executor();
            let task = second.spawn_in(place, pending::<()>()).unwrap();
            poll(&second);
            poll(&second);
            assert_eq!((second.stats().turns, second.stats().panics), (1, 0));
            drop(task);
        });
        // On the first executor's home thread: must not take the task for its own.
        stale.wake();
        poll(&first);
        thread.join().unwrap();
    });
}

/// A place is claimed again only when the handle elsewhere is done with it.
#[test]
fn a_place_is_claimed_after_its_last_handle_let_go() {
    loom::model(|| {
        let place: &'static TaskSpace<256> = Box::leak(Box::new(TaskSpace::new()));
        let executor = executor();
        let mail = Mail::new();
        let output = mail.clone();
        let task = executor.spawn_in(place, async move { output }).unwrap();
        poll(&executor);
        let thread = thread::spawn(move || drop(task));
        let mut again = None;
        for _ in 0..2 {
            if let Ok(task) = executor.spawn_in(place, async { 5 }) {
                assert!(again.replace(task).is_none(), "claimed twice");
            }
            thread::yield_now();
        }
        thread.join().unwrap();
        poll(&executor);
        assert_eq!(Arc::strong_count(&mail.0), 1);
        if let Some(task) = again {
            assert_eq!(joined(task), 5);
        }
    });
}

/// Two threads want the same place at once: one gets it.
#[test]
fn a_place_is_claimed_once() {
    loom::model(|| {
        let place: &'static TaskSpace<256> = Box::leak(Box::new(TaskSpace::new()));
        let claim = move || {
            let executor = executor();
            let task = executor.spawn_in(place, pending::<()>());
            let won = task.is_ok();
            poll(&executor);
            (executor, won, task)
        };
        let thread = thread::spawn(move || {
            let (executor, won, task) = claim();
            drop(executor);
            drop(task);
            won
        });
        let (executor, won, task) = claim();
        drop(executor);
        let other = thread.join().unwrap();
        drop(task);
        assert!(won || other);
    });
}

#[test]
#[should_panic(expected = "Causality violation")]
fn control_a_race_is_reported() {
    loom::model(|| {
        let mail = Mail::new();
        let theirs = mail.clone();
        let thread = thread::spawn(move || theirs.write(1));
        mail.write(2);
        thread.join().unwrap();
    });
}

/// A coalescing wake that only looks, as if `State::wake_remote` skipped its write.
#[test]
#[should_panic(expected = "Causality violation")]
fn control_a_wake_without_release_is_reported() {
    loom::model(|| {
        let (mail, state) = (Mail::new(), Arc::new(AtomicUsize::new(1)));
        let (theirs, done) = (mail.clone(), Arc::new(AtomicUsize::new(0)));
        let (word, told) = (state.clone(), done.clone());
        let thread = thread::spawn(move || {
            theirs.write(1);
            assert_eq!(word.load(Acquire), 1); // REMOTE is set: "coalesced"
            told.store(1, Relaxed);
        });
        while done.load(Relaxed) == 0 {
            thread::yield_now();
        }
        state.fetch_and(0, AcqRel);
        mail.read();
        thread.join().unwrap();
    });
}

/// A host that is not told.
#[test]
#[should_panic(expected = "deadlock")]
fn control_a_lost_wake_is_reported() {
    loom::model(|| {
        let executor = executor();
        let left = Left::new();
        let mut turns = 0;
        let task = executor.spawn(left.until(move || {
            turns += 1;
            turns == 2
        }));
        poll(&executor);
        let waker = left.waker();
        let thread = thread::spawn(move || waker.wake());
        let bell = LoomNotify::new();
        while !task.is_finished() {
            if !executor.poll(Budget::ALL).is_busy() {
                bell.wait();
            }
        }
        thread.join().unwrap();
    });
}

/// A future that is never dropped.
#[test]
#[should_panic(expected = "leaked")]
fn control_a_leak_is_reported() {
    loom::model(|| {
        let executor = executor();
        let alive = Arc::new(());
        executor
            .spawn(async move {
                let _alive = alive;
                pending::<()>().await;
            })
            .detach();
        core::mem::forget(executor);
    });
}

/// A home-only field, touched from elsewhere.
#[test]
#[should_panic(expected = "Causality violation")]
fn control_home_fields_are_watched() {
    struct Smuggled(LocalExecutor);
    // SAFETY: wrong, on purpose.
    unsafe impl Send for Smuggled {}
    // SAFETY: wrong, on purpose.
    unsafe impl Sync for Smuggled {}
    loom::model(|| {
        let executor = StdArc::new(Smuggled(executor()));
        let theirs = executor.clone();
        let thread = thread::spawn(move || drop(theirs.0.spawn(async {})));
        drop(executor.0.spawn(async {}));
        thread.join().unwrap();
    });
}
