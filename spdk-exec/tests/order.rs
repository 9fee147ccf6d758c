//! Exact traces: which task runs when, and what a poll counts.

#![cfg(feature = "std")]

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use spdk_exec::{Budget, JoinError, LocalExecutor, Polled, RunNow, Spawner, run_now, yield_now};

/// What happened, in order.
#[derive(Clone, Default)]
struct Trace(Rc<RefCell<Vec<&'static str>>>);

impl Trace {
    fn push(&self, event: &'static str) {
        self.0.borrow_mut().push(event);
    }

    fn take(&self) -> Vec<&'static str> {
        self.0.take()
    }
}

/// A place where a task leaves its waker for the test to wake.
#[derive(Clone, Default)]
struct Signal(Rc<(Cell<Option<Waker>>, Cell<bool>)>);

impl Signal {
    fn waker(&self) -> Option<Waker> {
        let waker = self.0.0.take();
        self.0.0.set(waker.clone());
        waker
    }

    fn set(&self) {
        self.0.1.set(true);
    }

    fn wait(&self) -> impl Future<Output = ()> + use<> {
        let signal = self.clone();
        poll_fn(move |cx| {
            signal.0.0.set(Some(cx.waker().clone()));
            if signal.0.1.replace(false) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
    }
}

/// Pushes its name when it is dropped.
struct OnDrop(Trace, &'static str);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.push(self.1);
    }
}

async fn says(trace: Trace, events: &'static [&'static str]) {
    for event in events {
        trace.push(event);
        yield_now().await;
    }
}

#[test]
fn tasks_take_turns_in_the_order_in_which_they_were_woken() {
    let executor = LocalExecutor::new();
    let trace = Trace::default();
    executor
        .spawn(says(trace.clone(), &["a1", "a2", "a3"]))
        .detach();
    executor.spawn(says(trace.clone(), &["b1", "b2"])).detach();
    executor.spawn(says(trace.clone(), &["c1"])).detach();

    assert_eq!(executor.poll(Budget::ALL), Polled::Busy);
    assert_eq!(trace.take(), ["a1", "b1", "c1"]);
    assert_eq!(executor.poll(Budget::ALL), Polled::Busy);
    assert_eq!(trace.take(), ["a2", "b2"]); // c is over
    assert_eq!(executor.poll(Budget::ALL), Polled::Busy);
    assert_eq!(trace.take(), ["a3"]); // b is over
    assert_eq!(executor.poll(Budget::ALL), Polled::Busy); // a is over
    assert_eq!(executor.poll(Budget::ALL), Polled::Idle);
    assert_eq!(executor.stats().alive, 0);
    assert_eq!(executor.stats().turns, 9);
}

#[test]
fn a_budget_leaves_the_rest_in_order() {
    let executor = LocalExecutor::new();
    let trace = Trace::default();
    executor.spawn(says(trace.clone(), &["a1", "a2"])).detach();
    executor.spawn(says(trace.clone(), &["b1"])).detach();
    executor.spawn(says(trace.clone(), &["c1"])).detach();

    let _ = executor.poll(Budget(2));
    assert_eq!(trace.take(), ["a1", "b1"]);
    let _ = executor.poll(Budget(2));
    assert_eq!(trace.take(), ["c1", "a2"]); // c was left over, so it goes first
    assert_eq!(executor.stats().budget_exhausted, 2); // b and a were left over
    assert_eq!(executor.poll(Budget(0)), Polled::Busy); // there is something to do
    assert_eq!(trace.take(), [""; 0]);
}

/// T12
#[test]
fn a_task_that_wakes_itself_for_ever_gets_one_turn_a_poll() {
    let executor = LocalExecutor::new();
    let (turns, other) = (Rc::new(Cell::new(0)), Trace::default());
    let counter = turns.clone();
    executor
        .spawn(poll_fn::<(), _>(move |cx| {
            counter.set(counter.get() + 1);
            cx.waker().wake_by_ref();
            cx.waker().wake_by_ref(); // coalesces
            Poll::Pending
        }))
        .detach();
    for poll in 1..=10 {
        executor.spawn(says(other.clone(), &["other"])).detach();
        let _ = executor.poll(Budget::ALL);
        assert_eq!(turns.get(), poll);
        assert_eq!(other.take(), ["other"]);
    }
}

#[test]
fn a_task_that_is_spawned_or_woken_during_a_poll_runs_in_the_next() {
    let executor = LocalExecutor::new();
    let (trace, signal) = (Trace::default(), Signal::default());
    let (spawner, inner) = (executor.spawner(), trace.clone());
    let (waiting, said) = (signal.wait(), trace.clone());
    executor
        .spawn(async move {
            waiting.await;
            said.push("woken");
        })
        .detach();
    let _ = executor.poll(Budget::ALL);
    executor
        .spawn(async move {
            inner.push("outer");
            spawner.spawn(says(inner, &["inner"])).detach();
            signal.set();
            signal.waker().unwrap().wake();
        })
        .detach();

    let _ = executor.poll(Budget::ALL);
    assert_eq!(trace.take(), ["outer"]);
    let _ = executor.poll(Budget::ALL);
    assert_eq!(trace.take(), ["inner", "woken"]);
}

#[test]
fn wakes_coalesce_and_are_counted() {
    let executor = LocalExecutor::new();
    let signal = Signal::default();
    let task = executor.spawn(signal.wait());
    let _ = executor.poll(Budget::ALL);
    let before = executor.stats();
    for _ in 0..3 {
        signal.waker().unwrap().wake();
    }
    assert_eq!(executor.stats().queued, 1);
    let _ = executor.poll(Budget::ALL);
    let after = executor.stats();
    assert_eq!(after.local_wakes - before.local_wakes, 3);
    assert_eq!(after.turns - before.turns, 1);
    assert_eq!(after.remote_wakes, 0);
    drop(task);
}

/// T9: from its own drop, twice, after completion, after the header was reused, after the executor.
#[test]
fn stale_wakers_do_nothing() {
    struct WakeOnDrop(Signal);
    impl Drop for WakeOnDrop {
        fn drop(&mut self) {
            self.0.waker().unwrap().wake();
            self.0.waker().unwrap().wake();
        }
    }
    let executor = LocalExecutor::new();
    let signal = Signal::default();
    let (guard, wait) = (WakeOnDrop(signal.clone()), signal.wait());
    let task = executor.spawn(async move {
        let _guard = guard;
        wait.await;
    });
    let _ = executor.poll(Budget::ALL);
    signal.set();
    signal.waker().unwrap().wake();
    let _ = executor.poll(Budget::ALL); // ready; its drop woke it
    assert!(task.is_finished());
    let _ = executor.poll(Budget::ALL);
    executor.block_on(task).unwrap();

    let stale = signal.waker().unwrap();
    let turns = Rc::new(Cell::new(0));
    let counter = turns.clone();
    // More tasks than a chunk of the pool has slots: one of them has the old task's header.
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let counter = counter.clone();
            executor.spawn(poll_fn::<(), _>(move |_| {
                counter.set(counter.get() + 1);
                Poll::Pending
            }))
        })
        .collect();
    let _ = executor.poll(Budget::ALL);
    assert_eq!(turns.get(), 100);
    stale.wake_by_ref();
    assert_eq!(run_now(stale.clone()), RunNow::Stale);
    let _ = executor.poll(Budget::ALL);
    assert_eq!(turns.get(), 100);
    drop(tasks);
    drop(executor);
    stale.wake_by_ref();
    std::thread::spawn(move || stale.wake()).join().unwrap();
}

#[test]
fn run_now_runs_on_the_spot_but_never_inside_a_task() {
    let executor = LocalExecutor::new();
    let (trace, signal) = (Trace::default(), Signal::default());
    let (said, again) = (trace.clone(), signal.clone());
    executor
        .spawn(async move {
            again.wait().await;
            said.push("first");
            again.wait().await;
            said.push("second");
        })
        .detach();
    let _ = executor.poll(Budget::ALL);

    signal.set();
    assert_eq!(run_now(signal.waker().unwrap()), RunNow::Ran);
    assert_eq!(trace.take(), ["first"]);
    assert_eq!(executor.stats().run_now, 1);

    // From inside a task it queues.
    let (said, theirs) = (trace.clone(), signal.clone());
    executor
        .spawn(async move {
            theirs.set();
            assert_eq!(run_now(theirs.waker().unwrap()), RunNow::Queued);
            said.push("caller");
        })
        .detach();
    let _ = executor.poll(Budget::ALL);
    assert_eq!(trace.take(), ["caller"]);
    let _ = executor.poll(Budget::ALL);
    assert_eq!(trace.take(), ["second"]);
    // Over.
    assert_eq!(run_now(signal.waker().unwrap()), RunNow::Stale);
}

#[test]
fn run_now_leaves_a_queued_task_its_place() {
    let executor = LocalExecutor::new();
    let (trace, signal) = (Trace::default(), Signal::default());
    executor.spawn(signal.wait()).detach();
    let _ = executor.poll(Budget::ALL);
    executor.spawn(says(trace.clone(), &["other"])).detach();
    signal.waker().unwrap().wake();
    assert_eq!(run_now(signal.waker().unwrap()), RunNow::Queued);
    assert_eq!(executor.stats().queued, 2);
}

#[test]
fn abort_drops_the_future_at_the_next_poll() {
    let executor = LocalExecutor::new();
    let trace = Trace::default();
    let guard = OnDrop(trace.clone(), "dropped");
    let task = executor.spawn(async move {
        let _guard = guard;
        pending::<()>().await;
    });
    let _ = executor.poll(Budget::ALL);
    task.abort();
    task.abort();
    assert_eq!(trace.take(), [""; 0]);
    assert!(!task.is_finished());
    let _ = executor.poll(Budget::ALL);
    assert_eq!(trace.take(), ["dropped"]);
    assert!(task.is_finished());
    task.abort(); // too late, and harmless
    assert!(matches!(executor.block_on(task), Err(JoinError::Aborted)));
}

#[test]
fn a_dropped_handle_lets_the_task_run_on() {
    let executor = LocalExecutor::new();
    let trace = Trace::default();
    drop(executor.spawn(says(trace.clone(), &["a", "b"])));
    while executor.poll(Budget::ALL).is_busy() {}
    assert_eq!(trace.take(), ["a", "b"]);
}

/// T11
#[test]
fn closing_drops_tasks_in_order_and_resolves_their_handles() {
    let executor = LocalExecutor::new();
    let spawner = executor.spawner();
    let trace = Trace::default();
    let handles: Vec<_> = ["first", "second", "third"]
        .into_iter()
        .map(|name| {
            let guard = OnDrop(trace.clone(), name);
            executor.spawn(async move {
                let _guard = guard;
                pending::<()>().await;
            })
        })
        .collect();
    let _ = executor.poll(Budget(2)); // the third never ran
    drop(executor);
    assert_eq!(trace.take(), ["first", "second", "third"]);
    let other = LocalExecutor::new();
    for handle in handles {
        assert!(matches!(other.block_on(handle), Err(JoinError::Aborted)));
    }
    // A spawner that is left over refuses.
    assert!(spawner.remote().spawn(|| async {}).is_err());
    let refused = spawner.spawn(async {});
    assert!(refused.is_finished());
    assert!(matches!(other.block_on(refused), Err(JoinError::Aborted)));
}

#[test]
fn a_task_may_drop_the_executor_that_it_runs_on() {
    let trace = Trace::default();
    let executor = Rc::new(RefCell::new(Some(LocalExecutor::new())));
    let signal = Signal::default();
    let spawner = executor.borrow().as_ref().unwrap().spawner();
    let (own, said, wait) = (executor.clone(), trace.clone(), signal.wait());
    let guard = OnDrop(trace.clone(), "task dropped");
    spawner
        .spawn(async move {
            let _guard = guard;
            wait.await;
            drop(own.take());
            said.push("executor dropped");
            pending::<()>().await;
        })
        .detach();
    let other = OnDrop(trace.clone(), "other dropped");
    spawner
        .spawn(async move {
            let _other = other;
            pending::<()>().await;
        })
        .detach();
    let _ = executor.borrow().as_ref().unwrap().poll(Budget::ALL);
    signal.set();
    assert_eq!(run_now(signal.waker().unwrap()), RunNow::Ran);
    assert_eq!(
        trace.take(),
        ["executor dropped", "task dropped", "other dropped"]
    );
    assert!(spawner.remote().spawn(|| async {}).is_err());
}

#[test]
fn a_poll_within_a_poll_does_nothing() {
    let executor = Rc::new(LocalExecutor::new());
    let inner = executor.clone();
    let trace = Trace::default();
    let said = trace.clone();
    executor
        .spawn(async move {
            inner.spawn(says(said.clone(), &["inner"])).detach();
            assert_eq!(inner.poll(Budget::ALL), Polled::Idle);
            said.push("outer");
        })
        .detach();
    let _ = executor.poll(Budget::ALL);
    assert_eq!(trace.take(), ["outer"]);
}

#[test]
fn a_handle_wakes_the_task_that_awaits_it() {
    let executor = LocalExecutor::new();
    let (trace, signal) = (Trace::default(), Signal::default());
    let (said, wait) = (trace.clone(), signal.wait());
    let inner = executor.spawn(async move {
        wait.await;
        said.push("inner");
        5
    });
    let said = trace.clone();
    let outer = executor.spawn(async move {
        let five = inner.await.unwrap();
        said.push("outer");
        five
    });
    while executor.poll(Budget::ALL).is_busy() {}
    signal.set();
    signal.waker().unwrap().wake();
    let _ = executor.poll(Budget::ALL);
    assert_eq!(trace.take(), ["inner"]);
    let _ = executor.poll(Budget::ALL);
    assert_eq!(trace.take(), ["outer"]);
    assert_eq!(executor.block_on(outer).unwrap(), 5);
}

#[test]
fn current_is_the_executor_whose_task_runs() {
    assert!(Spawner::current().is_none());
    let executor = LocalExecutor::new();
    let task = executor.spawn(async {
        // The innermost of two.
        let other = LocalExecutor::new();
        let inner = other.spawn(async { Spawner::current().is_some() });
        assert!(other.block_on(inner).unwrap());
        let spawner = Spawner::current().unwrap();
        drop(other);
        spawner.spawn(async { 3 }).await.unwrap()
    });
    assert_eq!(executor.block_on(task).unwrap(), 3);
    assert!(Spawner::current().is_none());
}

/// A future that is polled by hand sees its own waker, whichever executor's task polls it.
#[test]
fn handles_work_with_any_executor() {
    let executor = LocalExecutor::new();
    let mut handle = executor.spawn(yield_now());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut handle).poll(&mut cx).is_pending());
    assert!(Pin::new(&mut handle).poll(&mut cx).is_pending());
    while executor.poll(Budget::ALL).is_busy() {}
    assert!(Pin::new(&mut handle).poll(&mut cx).is_ready());
}
