//! T13: a panic ends its task, and nothing else.

#![cfg(feature = "std")]

use std::cell::Cell;
use std::future::pending;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Wake;

use spdk_exec::{Budget, JoinError, LocalExecutor, TaskSpace, yield_now};

struct PanicsOnDrop;

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        panic!("in a destructor");
    }
}

fn message<T: std::fmt::Debug>(output: Result<T, JoinError>) -> String {
    match output.unwrap_err() {
        JoinError::Panicked(panic) => panic.message().unwrap().to_owned(),
        other => panic!("{other}"),
    }
}

#[test]
fn a_panic_is_told_to_the_handle_and_the_others_go_on() {
    let executor = LocalExecutor::new();
    let other = executor.spawn(async {
        yield_now().await;
        2
    });
    let panics = executor.spawn(async { panic!("at {}", 1) });
    let detached = executor.spawn(async { panic!("nobody asks") });
    drop(detached);
    while executor.poll(Budget::ALL).is_busy() {}
    assert_eq!(message::<()>(executor.block_on(panics)), "at 1");
    assert_eq!(executor.block_on(other).unwrap(), 2);
    assert_eq!(executor.stats().panics, 2);
    assert_eq!(executor.stats().alive, 0);
}

#[test]
fn a_panic_in_a_destructor_is_contained() {
    let executor = LocalExecutor::new();
    let aborted = executor.spawn(async {
        let _guard = PanicsOnDrop;
        pending::<()>().await;
    });
    let output = executor.spawn(async { PanicsOnDrop });
    output.detach();
    let _ = executor.poll(Budget::ALL);
    assert_eq!(executor.stats().panics, 1); // the output's
    aborted.abort();
    let _ = executor.poll(Budget::ALL);
    assert_eq!(executor.stats().panics, 2);
    assert!(matches!(
        executor.block_on(aborted),
        Err(JoinError::Aborted)
    ));
}

#[test]
fn a_panic_in_a_foreign_waker_is_contained() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("in a waker");
        }
    }
    let executor = LocalExecutor::new();
    let mut task = Box::pin(executor.spawn(yield_now()));
    let waker = Arc::new(Panics).into();
    assert!(
        task.as_mut()
            .poll(&mut std::task::Context::from_waker(&waker))
            .is_pending()
    );
    while executor.poll(Budget::ALL).is_busy() {}
    assert_eq!(executor.stats().panics, 1);
    assert!(task.is_finished());
}

#[test]
fn closing_goes_on_after_a_panic() {
    let executor = LocalExecutor::new();
    executor
        .spawn(async {
            let _guard = PanicsOnDrop;
            pending::<()>().await;
        })
        .detach();
    let dropped = Rc::new(Cell::new(false));
    struct Sets(Rc<Cell<bool>>);
    impl Drop for Sets {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }
    let sets = Sets(dropped.clone());
    executor
        .spawn(async move {
            let _sets = sets;
            pending::<()>().await;
        })
        .detach();
    let _ = executor.poll(Budget::ALL);
    drop(executor);
    assert!(dropped.get());
}

#[test]
fn an_output_that_panics_when_its_handle_drops_it_leaves_its_place_free() {
    static PLACE: TaskSpace<256> = TaskSpace::new();
    let executor = LocalExecutor::new();
    for _ in 0..3 {
        let task = executor.spawn_in(&PLACE, async { PanicsOnDrop }).unwrap();
        let _ = executor.poll(Budget::ALL);
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(task)));
        assert!(caught.is_err());
    }
    assert_eq!(executor.stats().panics, 0); // it was the handle's owner's
}

#[test]
#[should_panic(expected = "await the future instead")]
fn blocking_inside_a_task_says_what_to_do() {
    let executor = Rc::new(LocalExecutor::new());
    let inner = executor.clone();
    let task = executor.spawn(async move { inner.block_on(async {}) });
    if let Err(JoinError::Panicked(panic)) = executor.block_on(task) {
        std::panic::resume_unwind(panic.into_payload());
    }
}

#[test]
fn a_payload_can_be_thrown_on() {
    let executor = LocalExecutor::new();
    let task = executor.spawn(async { std::panic::panic_any(5_u32) });
    match executor.block_on(task) {
        Err(JoinError::Panicked(panic)) => {
            assert_eq!(panic.message(), None);
            assert_eq!(*panic.into_payload().downcast::<u32>().unwrap(), 5);
        }
        other => panic!("{other:?}"),
    }
}
