//! The executor on real SPDK threads.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use spdk_exec::spdk::{Attached, attach};
use spdk_exec::{JoinError, yield_now};
use spdk_safe::error::ThreadError;
use spdk_safe::prelude::*;
use spdk_safe::test::Harness;
use spdk_safe::thread::ticks;

static SPDK: Harness = Harness::new(&[]);

#[test]
fn tasks_run_and_give_their_output() {
    SPDK.run(async |_spdk| {
        let executor = attach().unwrap();
        let shared = Rc::new(Cell::new(0));
        let tasks: Vec<_> = (1..=100)
            .map(|at| {
                let shared = Rc::clone(&shared);
                executor.spawn(async move {
                    yield_now().await;
                    shared.set(shared.get() + at);
                    at
                })
            })
            .collect();
        let mut sum = 0;
        for task in tasks {
            sum += task.await.unwrap();
        }
        assert_eq!((sum, shared.get()), (5050, 5050));
    });
}

#[test]
fn there_is_one_executor_on_a_thread_and_the_last_handle_detaches_it() {
    SPDK.run(async |_spdk| {
        let first = attach().unwrap();
        let second = attach().unwrap();
        let task = first.spawn(std::future::pending::<()>());
        assert_eq!(second.stats().unwrap().alive, 1, "the same executor");
        drop(first);
        assert!(!task.is_finished());
        drop(second);
        assert!(task.is_finished());
        assert!(matches!(task.await, Err(JoinError::Aborted)));
    });
}

#[test]
fn no_spdk_thread_no_executor() {
    assert!(matches!(attach(), Err(ThreadError::NoThread)));
}

#[test]
fn t9_a_wake_from_a_plain_os_thread_arrives_and_a_late_one_does_nothing() {
    SPDK.run(async |_spdk| {
        let executor = attach().unwrap();
        let (wakers, inbox) = std::sync::mpsc::channel::<std::task::Waker>();
        let (sent, done) = std::sync::mpsc::channel();
        let os_thread = std::thread::spawn(move || {
            let waker = inbox.recv().unwrap();
            waker.wake_by_ref();
            done.recv().unwrap();
            waker.wake();
        });
        let mut polls = 0;
        let task = executor.spawn(std::future::poll_fn(move |cx| {
            polls += 1;
            if polls == 1 {
                wakers.send(cx.waker().clone()).unwrap();
                return std::task::Poll::Pending;
            }
            std::task::Poll::Ready(polls)
        }));
        assert_eq!(task.await.unwrap(), 2);
        assert!(executor.stats().unwrap().remote_wakes >= 1);
        drop(executor);
        // The task is done and its executor gone; the waker is woken once more.
        sent.send(()).unwrap();
        os_thread.join().unwrap();
    });
}

#[test]
fn timers_run_on_spdks_clock() {
    SPDK.run(async |_spdk| {
        let executor = attach().unwrap();
        let before = ticks();
        let spawner = executor.spawner();
        let order = Rc::new(RefCell::new(Vec::new()));
        let sleepers: Vec<_> = [30_u64, 10, 20]
            .into_iter()
            .map(|millis| {
                let order = Rc::clone(&order);
                executor.spawn(async move {
                    spawner.sleep(Duration::from_millis(millis)).await;
                    order.borrow_mut().push(millis);
                })
            })
            .collect();
        for sleeper in sleepers {
            sleeper.await.unwrap();
        }
        assert_eq!(*order.borrow(), [10, 20, 30]);
        assert!(ticks() > before);
    });
}

#[test]
fn t12_a_task_that_wakes_itself_for_ever_starves_nobody() {
    SPDK.run(async |_spdk| {
        let executor = attach().unwrap();
        let spinning = executor.spawn(async {
            loop {
                yield_now().await;
            }
        });
        // Another task, and another user of the thread: main.
        executor.spawn(yield_now()).await.unwrap();
        spdk_safe::app::yield_now().await;
        spinning.abort();
        assert!(matches!(spinning.await, Err(JoinError::Aborted)));
    });
}

#[test]
fn t13_a_panic_in_a_task_is_its_own() {
    SPDK.run(async |_spdk| {
        let executor = attach().unwrap();
        let bad = executor.spawn(async { panic!("on purpose") });
        let good = executor.spawn(async { 1 });
        assert!(bad.await.is_err());
        assert_eq!(good.await.unwrap(), 1);
        assert_eq!(executor.stats().unwrap().panics, 1);
    });
}

#[test]
fn t11_a_task_that_drops_the_last_handle_ends_its_own_executor() {
    SPDK.run(async |_spdk| {
        let executor = attach().unwrap();
        let slot: Rc<RefCell<Option<Attached>>> = Rc::default();
        let own = Rc::clone(&slot);
        let task = executor.spawn(async move {
            drop(own.take());
            yield_now().await;
            unreachable!("the executor is gone");
        });
        slot.replace(Some(executor));
        assert!(task.await.is_err());
    });
}

#[test]
fn io_runs_in_tasks() {
    SPDK.run(async |spdk| {
        MallocBdev::builder("exec")
            .blocks(64)
            .create(&spdk)
            .await
            .unwrap();
        let desc = BdevDesc::open(&spdk, "exec").read_write().unwrap();
        let ch = Rc::new(desc.channel().unwrap());
        let executor = attach().unwrap();
        let tasks: Vec<_> = (0..64)
            .map(|lba| {
                let ch = Rc::clone(&ch);
                executor.spawn(async move {
                    let mut buf = ch.alloc(Blocks(1)).unwrap();
                    buf.fill(lba as u8);
                    let (result, buf) = ch.write(Lba(lba), buf).await;
                    result.unwrap();
                    let (result, buf) = ch.read(Lba(lba), buf).await;
                    result.unwrap();
                    buf.iter().all(|byte| *byte == lba as u8)
                })
            })
            .collect();
        for task in tasks {
            assert!(task.await.unwrap());
        }
        drop((ch, desc, executor));
        MallocBdev::delete(&spdk, "exec").await.unwrap();
    });
}
