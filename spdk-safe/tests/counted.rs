//! Counted, not believed: what a read and a write cost in heap allocations and calls to SPDK.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use spdk_safe::prelude::*;
use spdk_safe::test::{Calls, Harness};

static SPDK: Harness = Harness::new(&[]);

/// Counts on the thread that allocates, where it has been told to.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<Option<u64>> = const { Cell::new(None) };
}

// SAFETY: everything is the system allocator's; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get().map(|count| count + 1));
        // SAFETY: by this function's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: by this function's contract.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How many allocations `work` makes on this thread.
async fn allocations(work: impl AsyncFnOnce()) -> u64 {
    ALLOCATIONS.set(Some(0));
    work().await;
    ALLOCATIONS.take().unwrap_or(u64::MAX)
}

#[test]
fn in_steady_state_reads_and_writes_allocate_nothing_and_take_two_calls_each() {
    SPDK.run(async |spdk| {
        MallocBdev::builder("m")
            .blocks(64)
            .create(&spdk)
            .await
            .unwrap();
        let desc = BdevDesc::open(&spdk, "m").read_write().unwrap();
        let ch = desc.channel().unwrap();
        let mut buf = desc.alloc(Blocks(8)).unwrap();
        // The first ones make their slot.
        buf = ch.write(Lba(0), buf).await.1;
        let control = allocations(async || drop(std::hint::black_box(Box::new(1)))).await;
        assert_eq!(control, 1, "the count counts");

        let before = Calls::so_far();
        let mut held = Some(buf);
        let count = allocations(async || {
            for _ in 0..1_000 {
                let (result, buf) = ch.write(Lba(0), held.take().unwrap()).await;
                result.unwrap();
                let (result, buf) = ch.read(Lba(8), buf).await;
                result.unwrap();
                held = Some(buf);
            }
        })
        .await;
        let after = Calls::so_far();
        assert_eq!(count, 0, "allocations in 1,000 writes and reads");
        assert_eq!(after.submit - before.submit, 2_000, "one submission each");
        assert_eq!(
            after.free - before.free,
            2_000,
            "one spdk_bdev_free_io each"
        );
        // Which thread is current: once when it starts, once when it is done; and once for each wake of main.
        assert!(
            after.thread - before.thread <= 3 * 2_000,
            "{before:?} {after:?}"
        );
        drop(ch);
        desc.close().await;
        MallocBdev::delete(&spdk, "m").await.unwrap();
    });
}
