//! Without `std` nothing contains a panic: it ends its task and goes on to the host, and the executor
//! stays usable. `cargo test -p spdk-exec --no-default-features --test unwinding`

#![cfg(not(feature = "std"))]

use std::future::{Future, pending};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use spdk_exec::{Budget, Executor, Host, JoinError, TaskSpace, yield_now};

struct PanicsOnDrop;

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        panic!("in a destructor");
    }
}

fn poll<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn a_panic_ends_its_task_and_the_executor_goes_on() {
    static EXECUTOR: Executor = Executor::new();
    static PLACES: [TaskSpace<256>; 3] = [const { TaskSpace::new() }; 3];
    let executor = EXECUTOR.bind_to(Host::bare()).unwrap();
    let mut panics = executor
        .spawn_in(&PLACES[0], async { panic!("on purpose") })
        .unwrap();
    let mut aborted = executor
        .spawn_in(&PLACES[1], async {
            let _guard = PanicsOnDrop;
            pending::<()>().await;
        })
        .unwrap();
    let mut other = executor
        .spawn_in(&PLACES[2], async {
            yield_now().await;
            5
        })
        .unwrap();
    let host = || catch_unwind(AssertUnwindSafe(|| executor.poll(Budget::ALL)));
    assert!(host().is_err());
    while host().unwrap().is_busy() {}
    assert!(matches!(poll(&mut other), Poll::Ready(Ok(5))));
    let ended: Poll<Result<(), _>> = poll(&mut panics);
    assert!(matches!(ended, Poll::Ready(Err(JoinError::Panicked(_)))));

    // The destructor of an aborted future.
    aborted.abort();
    assert!(host().is_err());
    assert!(matches!(
        poll(&mut aborted),
        Poll::Ready(Err(JoinError::Panicked(_)))
    ));
    while host().unwrap().is_busy() {}
    assert_eq!((executor.stats().alive, executor.stats().panics), (0, 2));
}
