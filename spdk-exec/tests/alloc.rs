//! What allocates, counted: a boxed task once, everything else never.

#![cfg(feature = "std")]

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::ptr::NonNull;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use spdk_exec::raw::spawn_at;
use spdk_exec::{Budget, LocalExecutor, TaskSpace, run_now, yield_now};

mod counting;
use counting::allocations;

fn drain(executor: &LocalExecutor) {
    while executor.poll(Budget::ALL).is_busy() {}
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(Box::new(1))), 1);
}

#[test]
fn a_task_in_a_static_place_allocates_nothing() {
    static PLACE: TaskSpace<256> = TaskSpace::new();
    let executor = LocalExecutor::new();
    let count = allocations(|| {
        for _ in 0..1_000 {
            let task = executor.spawn_in(&PLACE, yield_now()).unwrap();
            drain(&executor);
            assert!(task.is_finished());
        }
    });
    assert_eq!(count, 0);
}

#[test]
fn a_task_in_borrowed_memory_allocates_nothing() {
    let executor = LocalExecutor::new();
    executor.reserve(1);
    let mut memory = [0_u64; 64];
    let count = allocations(|| {
        for _ in 0..1_000 {
            let at = NonNull::from(&mut memory).cast();
            // SAFETY: the memory outlives the executor's poll, which ends the task.
            let started = unsafe { spawn_at(&executor, at, 512, yield_now(), |_| ()) };
            assert!(started.is_ok());
            drain(&executor);
        }
    });
    assert_eq!(count, 0);
    assert_eq!(executor.stats().alive, 0);
}

#[test]
fn a_boxed_task_allocates_its_box_only() {
    let executor = LocalExecutor::new();
    executor.reserve(10);
    let count = allocations(|| {
        for _ in 0..100 {
            (0..10).for_each(|_| executor.spawn(yield_now()).detach());
            drain(&executor);
        }
    });
    assert_eq!(count, 1_000);
}

#[test]
fn wakes_timers_and_run_now_allocate_nothing() {
    let executor = LocalExecutor::new();
    let spawner = executor.spawner();
    let slot = Rc::new(Cell::new(None::<Waker>));
    let theirs = slot.clone();
    executor
        .spawn(poll_fn::<(), _>(move |cx| {
            theirs.set(Some(cx.waker().clone()));
            Poll::Pending
        }))
        .detach();
    executor
        .spawn(async move {
            loop {
                let sleep = pin!(spawner.sleep(Duration::from_secs(3600)));
                assert_eq!(
                    spawner.timeout(Duration::ZERO, sleep).await,
                    Err(spdk_exec::Elapsed)
                );
                yield_now().await;
            }
        })
        .detach();
    let _ = executor.poll(Budget::ALL);
    let count = allocations(|| {
        for _ in 0..1_000 {
            slot.take().unwrap().wake();
            let _ = executor.poll(Budget::ALL);
            run_now(slot.take().unwrap());
        }
    });
    assert_eq!(count, 0);
}

#[test]
fn a_wake_from_another_thread_allocates_nothing() {
    let executor = LocalExecutor::new();
    let slot = std::sync::Arc::new(std::sync::Mutex::new(None::<Waker>));
    let theirs = slot.clone();
    executor
        .spawn(poll_fn::<(), _>(move |cx| {
            *theirs.lock().unwrap() = Some(cx.waker().clone());
            Poll::Pending
        }))
        .detach();
    let _ = executor.poll(Budget::ALL);
    let waker = slot.lock().unwrap().take().unwrap();
    let count =
        std::thread::spawn(move || allocations(|| (0..1_000).for_each(|_| waker.wake_by_ref())))
            .join()
            .unwrap();
    assert_eq!(count, 0);
    assert_eq!(allocations(|| drain(&executor)), 0);
    assert_eq!(executor.stats().remote_wakes, 1); // they coalesced
}
