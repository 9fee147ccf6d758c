//! Timers, on a clock that the test turns by hand.

#![cfg(feature = "std")]

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use spdk_exec::{Budget, Clock, Elapsed, Host, LocalExecutor, Spawner, yield_now};

/// 1,000 ticks a second.
struct Hand(AtomicU64);

impl Hand {
    fn executor() -> (&'static Self, LocalExecutor) {
        // For ever, and a leak checker finds them.
        static ALL: Mutex<Vec<&'static Hand>> = Mutex::new(Vec::new());
        let clock: &'static Self = Box::leak(Box::new(Self(AtomicU64::new(100))));
        ALL.lock().unwrap().push(clock);
        let executor = LocalExecutor::with_host(Host::thread().clock(clock)).unwrap();
        (clock, executor)
    }

    fn pass(&self, ticks: u64) {
        self.0.fetch_add(ticks, Ordering::Relaxed);
    }
}

impl Clock for Hand {
    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn ticks_per_second(&self) -> u64 {
        1_000
    }
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn drain(executor: &LocalExecutor) {
    while executor.poll(Budget::ALL).is_busy() {}
}

#[test]
fn sleeps_end_in_the_order_of_their_deadlines() {
    let (clock, executor) = Hand::executor();
    let trace = Rc::new(RefCell::new(Vec::new()));
    for (name, time) in [
        ("30", 30),
        ("10", 10),
        ("20", 20),
        ("10 again", 10),
        ("0", 0),
    ] {
        let (trace, sleep) = (trace.clone(), executor.sleep(ms(time)));
        executor
            .spawn(async move {
                sleep.await;
                trace.borrow_mut().push(name);
            })
            .detach();
    }
    drain(&executor);
    assert_eq!(trace.take(), ["0"]); // ready at its first poll
    assert_eq!(executor.next_deadline(), Some(110));
    clock.pass(9);
    drain(&executor);
    assert_eq!(trace.take(), [""; 0]);
    clock.pass(1);
    drain(&executor);
    assert_eq!(trace.take(), ["10", "10 again"]);
    clock.pass(100);
    drain(&executor);
    assert_eq!(trace.take(), ["20", "30"]);
    assert_eq!(executor.next_deadline(), None);
    assert_eq!(executor.stats().timers_fired, 4);
}

#[test]
fn a_sleep_that_is_dropped_or_reset_leaves_no_timer() {
    let (clock, executor) = Hand::executor();
    let spawner = executor.spawner();
    let task = executor.spawn(async move {
        let mut sleep = pin!(spawner.sleep(ms(10)));
        let mut dropped = Box::pin(spawner.sleep(ms(5)));
        std::future::poll_fn(|cx| {
            assert!(sleep.as_mut().poll(cx).is_pending());
            assert!(dropped.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        drop(dropped);
        sleep.as_mut().reset(spawner.now() + 50);
        sleep.await;
        spawner.now()
    });
    drain(&executor);
    assert_eq!(executor.next_deadline(), Some(150));
    clock.pass(49);
    drain(&executor);
    assert!(!task.is_finished());
    clock.pass(1);
    assert_eq!(executor.block_on(task).unwrap(), 150);
}

#[test]
fn a_timeout_gives_the_output_or_elapsed() {
    let (clock, executor) = Hand::executor();
    let spawner = executor.spawner();
    let in_time = executor.spawn(async move { spawner.timeout(ms(10), async { 1 }).await });
    let late = executor.spawn(async move { spawner.timeout(ms(10), spawner.sleep(ms(11))).await });
    // Both at once: the future counts.
    let both = executor.spawn(async move { spawner.timeout(ms(10), spawner.sleep(ms(10))).await });
    drain(&executor);
    clock.pass(10);
    drain(&executor);
    assert_eq!(executor.block_on(in_time).unwrap(), Ok(1));
    assert_eq!(executor.block_on(late).unwrap(), Err(Elapsed));
    assert_eq!(executor.block_on(both).unwrap(), Ok(()));
    assert_eq!(executor.next_deadline(), None); // the late sleep was dropped
}

#[test]
fn an_interval_keeps_its_grid_and_counts_what_it_missed() {
    let (clock, executor) = Hand::executor();
    let spawner = executor.spawner();
    let seen = Rc::new(RefCell::new(Vec::new()));
    let ticks = seen.clone();
    executor
        .spawn(async move {
            let mut interval = pin!(spawner.interval(ms(10)));
            loop {
                let passed = interval.tick().await;
                ticks.borrow_mut().push((spawner.now(), passed));
            }
        })
        .detach();
    drain(&executor);
    clock.pass(10); // 110
    drain(&executor);
    clock.pass(14); // 124: late by 4
    drain(&executor);
    clock.pass(6); // 130: on the grid again
    drain(&executor);
    clock.pass(35); // 165: 140 and 150 were missed
    drain(&executor);
    clock.pass(4); // 169
    drain(&executor);
    clock.pass(1); // 170
    drain(&executor);
    assert_eq!(
        seen.take(),
        [(110, 1), (124, 1), (130, 1), (165, 3), (170, 1)]
    );
}

#[test]
fn a_poll_fires_no_more_timers_than_its_budget() {
    let (clock, executor) = Hand::executor();
    for _ in 0..5 {
        executor.spawn(executor.sleep(ms(1))).detach();
    }
    drain(&executor);
    clock.pass(1);
    let _ = executor.poll(Budget(2));
    assert_eq!(executor.stats().timers_fired, 2);
    drain(&executor);
    assert_eq!(executor.stats().timers_fired, 5);
}

/// A sleep may be awaited elsewhere, and ends when its executor does.
#[test]
fn closing_ends_every_sleep() {
    let (_, executor) = Hand::executor();
    let other = LocalExecutor::new();
    let task = other.spawn(executor.sleep(ms(1_000)));
    let never_polled = executor.sleep(ms(1_000));
    drain(&other);
    assert!(!task.is_finished());
    drop(executor);
    drain(&other);
    assert!(task.is_finished());
    other.block_on(never_polled);
}

#[test]
fn a_task_finds_the_timers_of_its_executor() {
    let (clock, executor) = Hand::executor();
    let done = Rc::new(Cell::new(false));
    let theirs = done.clone();
    executor
        .spawn(async move {
            spdk_exec::sleep(ms(5)).await;
            assert_eq!(
                spdk_exec::timeout(ms(5), std::future::pending::<()>()).await,
                Err(Elapsed)
            );
            pin!(spdk_exec::interval(ms(5))).tick().await;
            theirs.set(true);
        })
        .detach();
    for _ in 0..3 {
        assert!(!done.get());
        drain(&executor);
        clock.pass(5);
    }
    drain(&executor);
    assert!(done.get());
}

#[test]
#[should_panic(expected = "use `Spawner::sleep`")]
fn sleep_outside_a_task_says_what_to_use() {
    drop(spdk_exec::sleep(ms(1)));
}

#[test]
#[should_panic(expected = "give it one with `Host::clock`")]
fn sleep_without_a_clock_says_what_to_give() {
    let executor = LocalExecutor::with_host(Host::bare()).unwrap();
    drop(executor.sleep(ms(1)));
}

/// On the real clock: sleeps at least as long as it says, and the thread sleeps meanwhile.
#[test]
fn block_on_sleeps_until_the_next_timer() {
    let executor = LocalExecutor::new();
    let spawner: Spawner = executor.spawner();
    let (before, after) = executor.block_on(async {
        let before = spawner.now();
        spawner.sleep(ms(20)).await;
        yield_now().await;
        (before, spawner.now())
    });
    assert!(after - before >= 20_000_000);
    assert_eq!(executor.stats().timers_fired, 1);
}

#[test]
fn durations_round_up_to_ticks() {
    let (_, executor) = Hand::executor();
    assert_eq!(executor.sleep(Duration::from_nanos(1)).deadline(), 101);
    assert_eq!(executor.sleep(Duration::from_micros(1_001)).deadline(), 102);
    assert_eq!(executor.sleep(Duration::ZERO).deadline(), 100);
    assert_eq!(executor.sleep(Duration::MAX).deadline(), u64::MAX);
}
