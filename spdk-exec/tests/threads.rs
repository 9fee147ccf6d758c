//! Real threads: wakes, spawns, aborts and handles from elsewhere. The sanitizers run these.

#![cfg(feature = "std")]

use std::cell::Cell;
use std::future::{pending, poll_fn};
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::task::{Poll, Waker};
use std::thread;

use spdk_exec::{
    BindError, Budget, Executor, Host, JoinError, LocalExecutor, Notify, SpawnError, TaskSpace,
    TaskStorage, ThreadIdentity,
};
use static_assertions::{assert_impl_all, assert_not_impl_any};

const THREADS: usize = 4;
const ROUNDS: usize = 2_000;

assert_impl_all!(Executor: Sync);
assert_impl_all!(spdk_exec::RemoteSpawner: Send, Sync, Copy);
assert_impl_all!(spdk_exec::JoinHandle<u32>: Send, Sync);
assert_impl_all!(TaskStorage<std::future::Ready<Rc<()>>>: Sync);
assert_impl_all!(JoinError: Send, Sync);
assert_not_impl_any!(LocalExecutor: Send, Sync);
assert_not_impl_any!(spdk_exec::Spawner: Send, Sync);
assert_not_impl_any!(spdk_exec::Sleep: Send, Sync, Unpin);
assert_not_impl_any!(spdk_exec::raw::TaskRef: Send, Sync);
assert_not_impl_any!(spdk_exec::JoinHandle<Rc<()>>: Send, Sync);

/// T9, T10
#[test]
fn wakers_are_cloned_woken_and_dropped_on_four_threads() {
    let executor = LocalExecutor::new();
    let count = Arc::new(AtomicUsize::new(0));
    let (waker, theirs) = (Arc::new(Mutex::new(None::<Waker>)), count.clone());
    let slot = waker.clone();
    let task = executor.spawn(poll_fn(move |cx| {
        *slot.lock().unwrap() = Some(cx.waker().clone());
        if theirs.load(Ordering::Relaxed) == THREADS * ROUNDS {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }));
    let _ = executor.poll(Budget::ALL);
    let waker = waker.lock().unwrap().clone().unwrap();
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (waker, count) = (waker.clone(), count.clone());
            thread::spawn(move || {
                for _ in 0..ROUNDS {
                    count.fetch_add(1, Ordering::Relaxed);
                    drop(waker.clone());
                    waker.wake_by_ref();
                }
            })
        })
        .collect();
    executor.block_on(task).unwrap();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    assert!(executor.stats().remote_wakes > 0);
    assert_eq!(executor.stats().local_wakes, 0);
}

#[test]
fn tasks_are_spawned_and_joined_from_four_threads() {
    let executor = LocalExecutor::new();
    let home = thread::current().id();
    let done = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (remote, done) = (executor.remote(), done.clone());
            thread::spawn(move || {
                // A plain loop of its own, to wait in.
                let own = LocalExecutor::new();
                for round in 0..ROUNDS / 10 {
                    let task = remote
                        .spawn(move || {
                            let local = Rc::new(Cell::new(thread * round));
                            async move {
                                spdk_exec::yield_now().await;
                                assert_eq!(thread::current().id(), home);
                                local.get()
                            }
                        })
                        .unwrap();
                    match round % 3 {
                        0 => drop(task),
                        1 => task.abort(),
                        _ => assert_eq!(own.block_on(task).unwrap(), thread * round),
                    }
                }
                done.fetch_add(1, Ordering::Release);
                remote.spawn(|| async {}).unwrap().detach(); // wakes the home thread
            })
        })
        .collect();
    executor.block_on(poll_fn(|cx| {
        if done.load(Ordering::Acquire) == THREADS {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }));
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    while executor.poll(Budget::ALL).is_busy() {}
    assert_eq!(executor.stats().alive, 0);
    assert_eq!(
        executor.stats().spawned,
        (THREADS * (ROUNDS / 10 + 1)) as u64
    );
}

/// T11: the future is dropped at home, its handles elsewhere see it.
#[test]
fn executors_close_while_threads_wake_spawn_and_abort() {
    struct AtHome(thread::ThreadId);
    impl Drop for AtHome {
        fn drop(&mut self) {
            assert_eq!(thread::current().id(), self.0);
        }
    }
    for _ in 0..ROUNDS / 20 {
        let executor = LocalExecutor::new();
        let start = Arc::new(Barrier::new(THREADS));
        let threads: Vec<_> = (0..THREADS - 1)
            .map(|_| {
                let waker = Rc::new(Cell::new(None));
                let (slot, guard) = (waker.clone(), AtHome(thread::current().id()));
                let task = executor.spawn(async move {
                    let _guard = guard;
                    poll_fn(|cx| {
                        slot.set(Some(cx.waker().clone()));
                        Poll::<()>::Pending
                    })
                    .await
                });
                let _ = executor.poll(Budget::ALL);
                let (waker, remote, start) =
                    (waker.take().unwrap(), executor.remote(), start.clone());
                thread::spawn(move || {
                    start.wait();
                    waker.wake_by_ref();
                    let spawned = remote.spawn(pending::<()>);
                    waker.wake();
                    task.abort();
                    let own = LocalExecutor::new();
                    assert!(matches!(own.block_on(task), Err(JoinError::Aborted)));
                    match spawned {
                        Ok(task) => {
                            assert!(matches!(own.block_on(task), Err(JoinError::Aborted)));
                        }
                        Err(error) => assert_eq!(error, SpawnError::Closed),
                    }
                })
            })
            .collect();
        start.wait();
        let _ = executor.poll(Budget(2));
        drop(executor);
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
    }
}

#[test]
fn one_static_place_is_used_from_four_threads() {
    static PLACE: TaskSpace<256> = TaskSpace::new();
    let running = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let running = running.clone();
            thread::spawn(move || {
                let executor = LocalExecutor::new();
                let mut won = 0;
                while won < ROUNDS / 20 {
                    let inside = running.clone();
                    match executor.spawn_in(&PLACE, async move {
                        assert!(!inside.swap(true, Ordering::Relaxed));
                        spdk_exec::yield_now().await;
                        assert!(inside.swap(false, Ordering::Relaxed));
                        5
                    }) {
                        Ok(task) => {
                            assert_eq!(executor.block_on(task).unwrap(), 5);
                            won += 1;
                        }
                        Err(error) => {
                            assert_eq!(error, SpawnError::Busy);
                            thread::yield_now();
                        }
                    }
                }
            })
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
}

#[test]
fn a_static_executor_is_bound_by_one_thread_at_a_time() {
    static EXECUTOR: Executor = Executor::new();
    let executor = EXECUTOR.bind().unwrap();
    assert_eq!(EXECUTOR.bind().unwrap_err(), BindError::AlreadyBound);
    let remote = executor.remote();
    drop(executor);
    assert!(!remote.is_open());
    thread::spawn(move || {
        let executor = EXECUTOR.bind().unwrap();
        assert!(!remote.is_open()); // it is of the executor's first life
        assert_eq!(executor.block_on(executor.spawn(async { 1 })).unwrap(), 1);
    })
    .join()
    .unwrap();
}

thread_local! { static HALF: Cell<usize> = const { Cell::new(0) }; }

/// Several threads of the host on one OS thread, like SPDK's.
struct Half;

// SAFETY: each half is entered on one OS thread of this test program only.
unsafe impl ThreadIdentity for Half {
    fn current() -> Option<NonZeroUsize> {
        NonZeroUsize::new(HALF.get())
    }
}

#[derive(Default)]
struct Bell {
    remote: AtomicUsize,
    local: AtomicUsize,
}

impl Notify for Bell {
    fn notify_remote(&self) {
        self.remote.fetch_add(1, Ordering::Relaxed);
    }

    fn notify_local(&self) {
        self.local.fetch_add(1, Ordering::Relaxed);
    }
}

impl Bell {
    fn take(&self) -> (usize, usize) {
        (
            self.remote.swap(0, Ordering::Relaxed),
            self.local.swap(0, Ordering::Relaxed),
        )
    }
}

#[test]
fn the_host_says_which_thread_is_home_and_is_told_of_wakes() {
    assert_eq!(
        LocalExecutor::with_host(Host::bare().identity::<Half>()).unwrap_err(),
        BindError::NoThread
    );
    HALF.set(1001);
    let bell = Arc::new(Bell::default());
    let host = Host::bare().identity::<Half>().notify(bell.clone());
    let executor = LocalExecutor::with_host(host).unwrap();
    let slot = Rc::new(Cell::new(None::<Waker>));
    let theirs = slot.clone();
    executor
        .spawn(poll_fn::<(), _>(move |cx| {
            theirs.set(Some(cx.waker().clone()));
            Poll::Pending
        }))
        .detach();
    assert_eq!(bell.take(), (0, 1)); // the spawn, outside a poll
    let _ = executor.poll(Budget::ALL);
    let waker = slot.take().unwrap();
    waker.wake_by_ref();
    waker.wake_by_ref();
    assert_eq!(bell.take(), (0, 1)); // empty to not empty
    let _ = executor.poll(Budget::ALL);

    HALF.set(1002); // the same OS thread, another thread of the host
    waker.wake_by_ref();
    waker.wake_by_ref();
    assert_eq!(bell.take(), (1, 0));
    assert_eq!(executor.stats().remote_wakes, 0); // not taken yet
    HALF.set(1001);
    let before = executor.stats();
    assert!(executor.has_ready());
    let _ = executor.poll(Budget::ALL);
    let after = executor.stats();
    assert_eq!(after.remote_wakes - before.remote_wakes, 1);
    assert_eq!(after.turns - before.turns, 1);
    assert_eq!(after.local_wakes, before.local_wakes);
    assert!(!executor.has_ready());
    drop(executor);
    waker.wake();
    assert_eq!(bell.take(), (0, 0));
    assert_eq!(Arc::strong_count(&bell), 1);
}

#[test]
fn an_executor_keeps_its_way_of_naming_threads() {
    static EXECUTOR: Executor = Executor::new();
    HALF.set(1003);
    drop(EXECUTOR.bind_to(Host::bare().identity::<Half>()).unwrap());
    assert_eq!(EXECUTOR.bind().unwrap_err(), BindError::OtherIdentity);
    drop(EXECUTOR.bind_to(Host::bare().identity::<Half>()).unwrap());
}

#[test]
fn a_host_without_a_name_takes_every_wake_through_the_remote_queue() {
    let executor = LocalExecutor::with_host(Host::bare()).unwrap();
    executor.spawn(spdk_exec::yield_now()).detach();
    while executor.poll(Budget::ALL).is_busy() {}
    assert_eq!(executor.stats().remote_wakes, 1);
    assert_eq!(executor.stats().local_wakes, 0);
    assert_eq!(executor.stats().alive, 0);
}

/// Shows that ThreadSanitizer reports a race in this program: run by name, it must fail.
#[test]
#[ignore = "a race, on purpose"]
fn control_a_race() {
    struct Shared(std::cell::UnsafeCell<usize>);
    // SAFETY: wrong, on purpose.
    unsafe impl Sync for Shared {}
    static SHARED: Shared = Shared(std::cell::UnsafeCell::new(0));
    let count = || {
        for _ in 0..1_000 {
            // SAFETY: in bounds; the race is the point.
            unsafe { SHARED.0.get().write_volatile(1) };
        }
    };
    let other = thread::spawn(count);
    count();
    other.join().unwrap();
}
