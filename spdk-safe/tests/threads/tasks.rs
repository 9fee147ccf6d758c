//! Tasks and spawners: T3, T9, T12.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Waker};

use spdk_safe::app::yield_now;
use spdk_safe::error::{JoinError, ThreadCreateError, ThreadError};
use spdk_safe::prelude::*;
use spdk_safe::thread::{
    self, LocalTask, Poller, PollerStatus, Spawner, ThreadHandle, for_each_thread,
};

use crate::{Court, SPDK, here, migratable, pinned};

#[test]
fn tasks_run_on_their_thread_and_give_their_output() {
    SPDK.run(async |spdk| {
        let (stays, moves) = (
            pinned(&spdk, "stays").await,
            migratable(&spdk, "moves").await,
        );
        let task = stays.spawn(|| async {
            // Not `Send`, and kept across an await.
            let local = Rc::new(Cell::new(0));
            yield_now().await;
            local.set(here());
            local.get()
        });
        assert_eq!(task.await.unwrap().await, Ok(stays.id().get()));
        let task = moves.spawn(|| async {
            let sent = Arc::new(AtomicUsize::new(0));
            yield_now().await;
            sent.store(here() as usize, Ordering::Relaxed);
            sent.load(Ordering::Relaxed) as u64
        });
        assert_eq!(task.await.unwrap().await, Ok(moves.id().get()));
        let any: ThreadHandle = stays.handle().into();
        assert!(any.pinned().is_some());
        let task = any.spawn(|| async { here() }).await.unwrap();
        assert_eq!(task.await, Ok(stays.id().get()));
        assert!(ThreadHandle::from(moves.handle()).pinned().is_none());
        let local = thread::spawn_local(async { Rc::new(1) }).unwrap();
        assert_eq!(local.await, Ok(Rc::new(1)));
        moves.exit().await;
        stays.exit().await;
    });
}

#[test]
fn a_task_whose_handle_is_dropped_runs_on_and_one_that_is_aborted_ends() {
    SPDK.run(async |spdk| {
        let thread = pinned(&spdk, "join").await;
        let court = Court::new();
        let (detached, aborted) = (court.witness("detached"), court.witness("aborted"));
        let done = Arc::new(AtomicUsize::new(0));
        let theirs = Arc::clone(&done);
        let task = thread.spawn(move || async move {
            let _detached = detached;
            yield_now().await;
            theirs.store(1, Ordering::SeqCst);
        });
        drop(task.await.unwrap());
        while done.load(Ordering::SeqCst) == 0 {
            yield_now().await;
        }
        let task = thread.try_spawn(move || async move {
            let _aborted = aborted;
            std::future::pending::<()>().await;
        });
        let task = task.unwrap();
        thread.call(|| ()).await.unwrap();
        assert!(!task.is_finished());
        task.abort();
        assert!(matches!(task.await, Err(JoinError::Aborted { .. })));
        let id = thread.id().get();
        assert_eq!(court.said(), [("detached", id), ("aborted", id)]);
        thread.exit().await;
    });
}

#[test]
fn t9_wakers_work_from_everywhere_and_late_ones_do_nothing() {
    SPDK.run(async |spdk| {
        let thread = pinned(&spdk, "t9").await;
        let (wakers, inbox) = mpsc::channel::<Waker>();
        let mut polls = 0;
        let task = thread.spawn(move || {
            poll_fn(move |cx| {
                polls += 1;
                // From its own poll, and dropped there.
                drop(cx.waker().clone());
                if polls == 1 {
                    wakers.send(cx.waker().clone()).unwrap();
                    return Poll::Pending;
                }
                Poll::Ready(polls)
            })
        });
        let task = task.await.unwrap();
        let waker = loop {
            match inbox.try_recv() {
                Ok(waker) => break waker,
                Err(_) => yield_now().await,
            }
        };
        let theirs = waker.clone();
        std::thread::spawn(move || {
            theirs.wake_by_ref();
            theirs.wake();
        })
        .join()
        .unwrap();
        assert_eq!(task.await, Ok(2), "two wakes, one poll");
        waker.wake_by_ref();
        thread.exit().await;
        waker.wake_by_ref();
        std::thread::spawn(move || waker.wake()).join().unwrap();
    });
}

#[test]
fn t10_wakers_are_cloned_woken_and_dropped_on_four_os_threads_at_once() {
    SPDK.run(async |spdk| {
        let thread = pinned(&spdk, "t10").await;
        let done = Arc::new(AtomicUsize::new(0));
        let (theirs, mut started) = (Arc::clone(&done), false);
        let task = thread.spawn(move || {
            poll_fn(move |cx| {
                if !std::mem::replace(&mut started, true) {
                    for _ in 0..4 {
                        let (waker, done) = (cx.waker().clone(), Arc::clone(&theirs));
                        std::thread::spawn(move || {
                            for _ in 0..10_000 {
                                let clone = waker.clone();
                                clone.wake_by_ref();
                                drop(clone);
                            }
                            done.fetch_add(1, Ordering::SeqCst);
                            waker.wake();
                        });
                    }
                }
                // The last wake of each comes after its count.
                match theirs.load(Ordering::SeqCst) {
                    4 => Poll::Ready(()),
                    _ => Poll::Pending,
                }
            })
        });
        task.await.unwrap().await.unwrap();
        thread.exit().await;
    });
}

#[test]
fn t9_a_task_that_is_woken_by_its_own_destructor_is_not_run_again() {
    struct Wakes(Option<Waker>);
    impl Drop for Wakes {
        fn drop(&mut self) {
            self.0.take().unwrap().wake();
        }
    }
    SPDK.run(async |spdk| {
        let thread = pinned(&spdk, "t9-drop").await;
        for ends in [true, false] {
            let task = thread.spawn(move || {
                let mut wakes = None;
                poll_fn(move |cx| {
                    assert!(wakes.is_none(), "polled again");
                    wakes = Some(Wakes(Some(cx.waker().clone())));
                    match ends {
                        true => Poll::Ready(()),
                        false => Poll::Pending,
                    }
                })
            });
            drop(task.await.unwrap());
        }
        thread.exit().await;
    });
}

#[test]
fn t12_a_task_that_wakes_itself_for_ever_starves_nobody() {
    SPDK.run(async |spdk| {
        let thread = pinned(&spdk, "t12").await;
        let spin = || async {
            loop {
                yield_now().await;
            }
        };
        let spinning: Vec<_> = (0..100).map(|_| thread.try_spawn(spin).unwrap()).collect();
        let polled = thread.call(|| {
            let calls = Rc::new(Cell::new(0));
            let count = Rc::clone(&calls);
            let poller = Poller::register(None, move || {
                count.set(count.get() + 1);
                PollerStatus::Idle
            });
            thread::spawn_local(async move {
                let _poller = poller.unwrap();
                while calls.get() < 10 {
                    yield_now().await;
                }
            })
            .unwrap()
        });
        polled.await.unwrap().await.unwrap();
        assert_eq!(thread.call(|| 1).await, Ok(1));
        // A thread that is never idle exits all the same.
        thread.exit().await;
        for task in spinning {
            assert!(matches!(task.await, Err(JoinError::Exited { .. })));
        }
    });
}

/// Polls all its tasks again and again, from a poller of its own.
struct Round {
    tasks: Rc<RefCell<Vec<LocalTask>>>,
    _poller: Poller,
}

static IN_ROUND: AtomicUsize = AtomicUsize::new(0);

impl Round {
    fn new() -> Result<Self, ThreadError> {
        let tasks = Rc::new(RefCell::new(Vec::<LocalTask>::new()));
        let theirs = Rc::clone(&tasks);
        let poller = Poller::register_named(c"round", None, move || {
            for mut task in theirs.take() {
                let polled = std::pin::Pin::new(&mut task);
                let mut cx = Context::from_waker(Waker::noop());
                if polled.poll(&mut cx).is_pending() {
                    theirs.borrow_mut().push(task);
                }
            }
            PollerStatus::Busy
        })?;
        Ok(Self {
            tasks,
            _poller: poller,
        })
    }
}

impl Spawner for Round {
    fn spawn(&self, task: LocalTask) {
        IN_ROUND.fetch_add(1, Ordering::SeqCst);
        self.tasks.borrow_mut().push(task);
    }
}

#[test]
fn a_thread_runs_its_tasks_on_the_spawner_that_it_was_given() {
    SPDK.run(async |spdk| {
        let builder = Thread::builder("spawner").spawner(Round::new);
        let thread = builder.create(&spdk).await.unwrap();
        let task = thread.spawn(|| async {
            yield_now().await;
            let nested = thread::spawn_local(async { here() }).unwrap();
            nested.await.unwrap()
        });
        assert_eq!(task.await.unwrap().await, Ok(thread.id().get()));
        let any: ThreadHandle = thread.handle().into();
        let task = any.spawn(|| async { here() }).await.unwrap();
        assert_eq!(task.await, Ok(thread.id().get()));
        assert_eq!(IN_ROUND.load(Ordering::SeqCst), 3);
        let court = Court::new();
        let witness = court.witness("alive");
        let task = thread.spawn(move || async move {
            let _witness = witness;
            std::future::pending::<()>().await;
        });
        let task = task.await.unwrap();
        let id = thread.id().get();
        thread.exit().await;
        assert_eq!(court.said(), [("alive", id)]);
        assert!(matches!(task.await, Err(JoinError::Exited { .. })));
    });
}

#[test]
fn a_spawner_that_cant_be_made_is_an_error_and_the_thread_goes() {
    SPDK.run(async |spdk| {
        let fails = || Err::<Round, _>(ThreadError::Ending);
        let error = Thread::builder("fails").spawner(fails).create(&spdk).await;
        let Err(ThreadCreateError::Spawner { error, .. }) = error else {
            panic!("{error:?}");
        };
        assert_eq!(error, Some(ThreadError::Ending));
        let panics = || -> Result<Round, ThreadError> { panic!("on purpose") };
        let error = Thread::builder("panics")
            .spawner(panics)
            .create(&spdk)
            .await;
        let Err(ThreadCreateError::Spawner { error, .. }) = error else {
            panic!("{error:?}");
        };
        assert_eq!(error, None);
    });
}

#[test]
fn for_each_thread_visits_all_of_ours_one_after_the_other() {
    SPDK.run(async |spdk| {
        let threads = [
            pinned(&spdk, "first").await,
            pinned(&spdk, "second").await,
            pinned(&spdk, "third").await,
        ];
        let gone = pinned(&spdk, "gone").await;
        let (gone_id, second) = (gone.id(), threads[1].id().get());
        gone.exit().await;
        let before = spdk_safe::contained_panics();
        let seen = for_each_thread(move || match here() == second {
            true => panic!("on purpose"),
            false => here(),
        })
        .await;
        assert_eq!(spdk_safe::contained_panics(), before + 1);
        let mut ids: Vec<_> = threads.iter().map(|thread| thread.id()).collect();
        ids.insert(0, thread::app().unwrap().id());
        assert!(seen.iter().map(|(id, _)| *id).eq(ids));
        for (id, result) in seen {
            assert_ne!(id, gone_id);
            match id.get() == second {
                true => assert!(result.is_err()),
                false => assert_eq!(result, Ok(id.get())),
            }
        }
        for thread in threads {
            thread.exit().await;
        }
    });
}

#[test]
fn statistics_tell_busy_from_idle() {
    SPDK.run(async |spdk| {
        let thread = pinned(&spdk, "stats").await;
        let first = thread.stats().await.unwrap();
        for _ in 0..100 {
            yield_now().await;
        }
        let second = thread.stats().await.unwrap();
        assert!(second.busy_ticks > first.busy_ticks, "it ran messages");
        assert!(second.uptime_ticks > first.uptime_ticks);
        assert!(second.busy_ticks + second.idle_ticks <= second.uptime_ticks);
        let own = thread::stats().unwrap();
        assert!(own.busy_ticks > 0);
        thread.exit().await;
    });
}
