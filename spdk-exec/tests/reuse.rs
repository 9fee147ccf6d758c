//! Headers and executors are used again: what was open at once bounds the memory. A program of its
//! own, as other tests would take executors off the shelf.

#![cfg(feature = "std")]

use spdk_exec::{Budget, LocalExecutor};

mod counting;
use counting::allocations;

#[test]
fn executors_and_their_headers_are_used_again() {
    let run = || {
        let executor = LocalExecutor::new();
        (0..100).for_each(|_| executor.spawn(std::future::pending::<()>()).detach());
        let remote = executor.remote();
        remote.spawn(std::future::pending::<()>).unwrap().detach();
        let _ = executor.poll(Budget::ALL);
    };
    let first = allocations(run);
    let again = allocations(run);
    // Each task's box, and the notifier that unparks this thread.
    assert_eq!(again, 102);
    // Two chunks of headers, one for the other thread's, the executor.
    assert_eq!(first, again + 4);
    for _ in 0..10 {
        assert_eq!(allocations(run), again);
    }
}
