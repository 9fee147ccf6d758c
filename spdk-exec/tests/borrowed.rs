//! Tasks in memory that something else owns and recycles, like an SPDK `bdev_io`'s context.

#![cfg(feature = "std")]

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::ptr::NonNull;
use std::rc::Rc;
use std::task::{Poll, Waker};

use spdk_exec::raw::{Started, frame_bytes, spawn_at};
use spdk_exec::{Budget, JoinError, LocalExecutor, RunNow, SpawnError, run_now};

/// 8-byte aligned memory, as SPDK's driver contexts are: never 16.
#[repr(align(16))]
struct Context([u64; 65]);

impl Context {
    fn new() -> Box<Self> {
        Box::new(Self([!0; 65]))
    }

    fn memory(&mut self) -> (NonNull<u8>, usize) {
        let memory = NonNull::from(&mut self.0[1]).cast();
        assert_eq!(memory.addr().get() % 16, 8);
        (memory, 64 * 8)
    }
}

type Trace = Rc<RefCell<Vec<&'static str>>>;

struct OnDrop(Trace, &'static str);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.borrow_mut().push(self.1);
    }
}

type Slot = Rc<Cell<Option<Waker>>>;

/// Leaves its waker `times` times.
fn waits(slot: &Slot, mut times: u32) -> impl Future<Output = ()> + use<> {
    let slot = slot.clone();
    poll_fn(move |cx| {
        slot.set(Some(cx.waker().clone()));
        if times == 0 {
            return Poll::Ready(());
        }
        times -= 1;
        Poll::Pending
    })
}

#[test]
fn the_future_is_gone_before_its_completion_is_called() {
    let executor = LocalExecutor::new();
    let (trace, slot) = (Trace::default(), Slot::default());
    let (guard, wait) = (OnDrop(trace.clone(), "future dropped"), waits(&slot, 1));
    let done = trace.clone();
    let mut context = Context::new();
    let (memory, len) = context.memory();
    let future = async move {
        let _guard = guard;
        wait.await;
        7
    };
    let done = move |output: Result<i32, JoinError>| {
        // The owner recycles the memory first thing.
        // SAFETY: it is the owner's again.
        unsafe { memory.write_bytes(0xAA, len) };
        assert_eq!(output.unwrap(), 7);
        done.borrow_mut().push("done");
    };
    // SAFETY: the context lives to the end of the test, and is not touched before `done`.
    let started = unsafe { spawn_at(&executor, memory, len, future, done) };
    let Ok(Started::Pending(task)) = started else {
        panic!("polled at once, and waits: {started:?}");
    };
    assert_eq!(trace.take(), [""; 0]);
    assert!(!task.is_finished());

    // The completion from below resumes it on the spot.
    let waker = slot.take().unwrap();
    assert_eq!(run_now(waker.clone()), RunNow::Ran);
    assert_eq!(trace.take(), ["future dropped", "done"]);
    assert!(task.is_finished());

    // T9: the memory is something else by now; a stale waker does not look at it.
    waker.wake_by_ref();
    task.abort();
    assert_eq!(run_now(waker), RunNow::Stale);
    assert!(!executor.poll(Budget::ALL).is_busy());
    assert_eq!(executor.stats().alive, 0);
}

#[test]
fn a_future_that_is_ready_at_once_is_done_before_spawn_returns() {
    let executor = LocalExecutor::new();
    let mut context = Context::new();
    let (memory, len) = context.memory();
    let output = Cell::new(0);
    // Neither the future nor its completion need be `'static`.
    let (future, done) = (async { output.get() + 1 }, |result: Result<i32, _>| {
        output.set(result.unwrap())
    });
    // SAFETY: the context and `output` live to the end of the test, and the task does not.
    let started = unsafe { spawn_at(&executor, memory, len, future, done) };
    assert!(matches!(started, Ok(Started::Done)));
    assert_eq!(output.get(), 1);
}

#[test]
fn memory_is_aligned_by_hand() {
    #[repr(align(16))]
    struct Wide(u128);
    let executor = LocalExecutor::new();
    let mut context = Context::new();
    let (memory, _) = context.memory();
    let wide = Wide(5);
    let future = async move {
        let wide = wide;
        spdk_exec::yield_now().await;
        assert_eq!(std::ptr::from_ref(&wide).addr() % 16, 0);
        wide.0
    };
    fn bytes<F: Future, D>(_: &F, _: &D) -> (usize, usize) {
        (frame_bytes::<F, D>(8), frame_bytes::<F, D>(16))
    }
    let got = Rc::new(Cell::new(0));
    let theirs = got.clone();
    let done = move |output: Result<u128, JoinError>| theirs.set(output.unwrap());
    let (at_8, at_16) = bytes(&future, &done);
    assert_eq!(at_8, at_16 + 8);
    // SAFETY: the context lives to the end of the test.
    let started = unsafe { spawn_at(&executor, memory, at_8, future, done) };
    assert!(matches!(started, Ok(Started::Pending(_))));
    while executor.poll(Budget::ALL).is_busy() {}
    assert_eq!(got.get(), 5);
}

#[test]
#[should_panic(expected = "check it with `frame_bytes`")]
fn memory_that_is_too_small_is_refused() {
    let executor = LocalExecutor::new();
    let mut context = Context::new();
    let (memory, _) = context.memory();
    // SAFETY: the context lives to the end of the test; the length is checked first.
    let _ = unsafe { spawn_at(&executor, memory, 15, async {}, |_| ()) };
}

/// M2, and T11: whatever ends a task, its completion is called once.
#[test]
fn every_end_is_told_once() {
    let trace = Trace::default();
    let spawn = |executor: &LocalExecutor, context: &mut Context, slot: &Slot, panics: bool| {
        let (memory, len) = context.memory();
        let (wait, done) = (waits(slot, 1), trace.clone());
        let future = async move {
            wait.await;
            assert!(!panics, "on purpose");
        };
        // SAFETY: the contexts live to the end of the test.
        let started = unsafe {
            spawn_at(executor, memory, len, future, move |output| {
                done.borrow_mut().push(match output {
                    Ok(()) => "ok",
                    Err(JoinError::Aborted) => "aborted",
                    Err(_) => "panicked",
                });
            })
        };
        match started {
            Ok(Started::Pending(task)) => task,
            other => panic!("{other:?}"),
        }
    };
    let mut contexts: Vec<_> = (0..3).map(|_| Context::new()).collect();
    let slot = Slot::default();
    let executor = LocalExecutor::new();

    spawn(&executor, &mut contexts[0], &slot, false).abort();
    let _ = executor.poll(Budget::ALL);
    assert_eq!(trace.take(), ["aborted"]);

    spawn(&executor, &mut contexts[1], &slot, true);
    slot.take().unwrap().wake();
    let _ = executor.poll(Budget::ALL);
    assert_eq!(trace.take(), ["panicked"]);
    assert_eq!(executor.stats().panics, 1);

    spawn(&executor, &mut contexts[2], &slot, false);
    let spawner = executor.spawner();
    drop(executor);
    assert_eq!(trace.take(), ["aborted"]);

    let (memory, len) = contexts[0].memory();
    // SAFETY: refused, as the executor is closed.
    let refused = unsafe { spawn_at(&spawner, memory, len, async { 3 }, |_| ()) };
    assert_eq!(refused.unwrap_err().error, SpawnError::Closed);
}

/// A completion that wakes the task above it runs that on the spot too, and so on up a stack of
/// block devices, but never deeper than 8.
#[test]
fn completions_run_up_a_stack_of_bounded_depth() {
    let executor = LocalExecutor::new();
    let trace = Trace::default();
    let mut contexts: Vec<_> = (0..12).map(|_| Context::new()).collect();
    let slots: Vec<Slot> = (0..12).map(|_| Slot::default()).collect();
    for (level, context) in contexts.iter_mut().enumerate() {
        let (memory, len) = context.memory();
        let (done, above) = (trace.clone(), slots.get(level + 1).cloned());
        // SAFETY: the contexts live to the end of the test.
        let started = unsafe {
            spawn_at(&executor, memory, len, waits(&slots[level], 1), move |_| {
                done.borrow_mut().push("done");
                if let Some(waker) = above.and_then(|slot| slot.take()) {
                    run_now(waker);
                }
            })
        };
        assert!(matches!(started, Ok(Started::Pending(_))));
    }
    assert_eq!(run_now(slots[0].take().unwrap()), RunNow::Ran);
    assert_eq!(trace.take().len(), 8);
    let _ = executor.poll(Budget::ALL); // the ninth, and up from there
    assert_eq!(trace.take().len(), 4);
}

/// A request that is submitted from inside a task of the same executor starts there and then.
#[test]
fn a_task_may_start_another_inside_its_own_turn() {
    let executor = LocalExecutor::new();
    let spawner = executor.spawner();
    let trace = Trace::default();
    let said = trace.clone();
    let mut context = Context::new();
    let (memory, len) = context.memory();
    executor
        .spawn(async move {
            said.borrow_mut().push("before");
            let (inside, done) = (said.clone(), said.clone());
            let future = async move { inside.borrow_mut().push("inside") };
            // SAFETY: the context lives to the end of the test.
            let started = unsafe {
                spawn_at(&spawner, memory, len, future, move |_| {
                    done.borrow_mut().push("done")
                })
            };
            assert!(matches!(started, Ok(Started::Done)));
            said.borrow_mut().push("after");
        })
        .detach();
    let _ = executor.poll(Budget::ALL);
    assert_eq!(trace.take(), ["before", "inside", "done", "after"]);
}
