//! SPDK threads that come, talk and go, with schedules that seeds choose (MISUSE T6, T7, T9, T11).

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use spdk_safe::app::yield_now;
use spdk_safe::error::{JoinError, TrySendError};
use spdk_safe::prelude::*;
use spdk_safe::test::{Case, SeededHarness};
use spdk_safe::thread::{self, Poller, PollerStatus};

static SPDK: SeededHarness = SeededHarness::new(&[]);

const SEEDS: std::ops::Range<u64> = 0..100;

async fn small(case: &Case, name: &str) -> Thread {
    let builder = Thread::builder(name).max_in_flight(3);
    builder.create(&case.spdk).await.unwrap()
}

async fn yields(count: usize) {
    for _ in 0..count {
        yield_now().await;
    }
}

#[test]
fn t6_t11_each_message_to_a_thread_that_exits_is_run_once_or_refused() {
    SPDK.run(SEEDS, 2, async |mut case| {
        let target = small(&case, "target").await;
        let ran = Arc::new(AtomicUsize::new(0));
        let senders: Vec<_> = case
            .threads
            .iter()
            .map(|thread| {
                let (handle, ran) = (target.handle(), Arc::clone(&ran));
                thread.run(async move || {
                    let mut accepted = 0;
                    loop {
                        let count = Arc::clone(&ran);
                        let add = move || _ = count.fetch_add(1, Ordering::Relaxed);
                        let result = match accepted % 3 {
                            0 => match handle.try_send(add) {
                                Err(TrySendError::Full(add)) => handle.send(add).await.is_ok(),
                                result => result.is_ok(),
                            },
                            1 => handle.send(add).await.is_ok(),
                            _ => handle.call(add).await.is_ok(),
                        };
                        if !result {
                            return accepted;
                        }
                        accepted += 1;
                    }
                })
            })
            .collect();
        yields(case.random.below(100)).await;
        target.exit().await;
        let mut accepted = 0;
        for sender in senders {
            accepted += sender.await.unwrap();
        }
        assert_eq!(ran.load(Ordering::Relaxed), accepted);
    });
}

#[test]
fn t11_threads_with_tasks_pollers_and_io_exit_at_any_time() {
    SPDK.run(SEEDS, 0, async |mut case| {
        let disk = MallocBdev::builder("m").blocks(64);
        disk.create(&case.spdk).await.unwrap();
        let desc = BdevDesc::open(&case.spdk, "m").read_write().unwrap();
        let mut threads = Vec::new();
        for name in ["one", "two", "three"] {
            let thread = small(&case, name).await;
            let share = desc.share();
            let work = move || async move {
                let ch = Rc::new(share.channel().unwrap());
                let polled = Rc::new(Cell::new(0));
                let count = Rc::clone(&polled);
                let poller = Poller::register(None, move || {
                    count.set(count.get() + 1);
                    PollerStatus::Busy
                });
                std::mem::forget(poller.unwrap());
                let other = Rc::clone(&ch);
                let nested = thread::spawn_local(async move {
                    loop {
                        let buf = other.alloc(Blocks(8)).unwrap();
                        other.read(Lba(8), buf).await.0.unwrap();
                    }
                });
                drop(nested.unwrap());
                let mut buf = ch.alloc(Blocks(8)).unwrap();
                loop {
                    buf = ch.write(Lba(0), buf).await.1;
                }
            };
            let task = thread.spawn::<_, _>(work).await.unwrap();
            threads.push((thread, task));
        }
        while !threads.is_empty() {
            yields(case.random.below(30)).await;
            let (thread, task) = threads.swap_remove(case.random.below(threads.len()));
            match case.random.one_in(2) {
                true => thread.exit().await,
                false => {
                    let exited = thread.exited();
                    drop(thread);
                    exited.await;
                }
            }
            let joined: Result<(), JoinError> = task.await.map(|never: ()| never);
            assert!(matches!(joined, Err(JoinError::Exited { .. })));
        }
        desc.close().await;
        MallocBdev::delete(&case.spdk, "m").await.unwrap();
    });
}

#[test]
fn t9_tasks_on_two_threads_wake_each_other_in_turn() {
    SPDK.run(SEEDS, 0, async |case| {
        let (one, two) = (small(&case, "one").await, small(&case, "two").await);
        let turn = Arc::new(AtomicUsize::new(0));
        let wakers: Arc<[std::sync::Mutex<Option<std::task::Waker>>; 2]> = Arc::default();
        let play = |me: usize| {
            let (turn, wakers) = (Arc::clone(&turn), Arc::clone(&wakers));
            move || {
                std::future::poll_fn(move |cx| {
                    loop {
                        *wakers[me].lock().unwrap() = Some(cx.waker().clone());
                        let now = turn.load(Ordering::SeqCst);
                        if now >= 100 {
                            return std::task::Poll::Ready(now);
                        }
                        if now % 2 != me {
                            return std::task::Poll::Pending;
                        }
                        turn.store(now + 1, Ordering::SeqCst);
                        if let Some(other) = wakers[1 - me].lock().unwrap().take() {
                            other.wake();
                        }
                    }
                })
            }
        };
        let first = one.spawn(play(0)).await.unwrap();
        let second = two.spawn(play(1)).await.unwrap();
        assert_eq!((first.await, second.await), (Ok(100), Ok(100)));
        one.exit().await;
        two.exit().await;
    });
}
