//! Counted, not believed: a request to the ramdisk allocates nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use spdk_bdevs::passthru::{self, Passthru};
use spdk_bdevs::ramdisk::{self, Action, Fault, Ramdisk};
use spdk_safe::prelude::*;
use spdk_safe::test::Harness;

static SPDK: Harness = Harness::new(&[&ramdisk::MODULE, &passthru::MODULE]);

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

/// Every type that is not about whole pieces of memory, so many times.
async fn some_of_all(ch: &IoChannel<ReadWrite>, mut buf: DmaBuf, mut other: DmaBuf, times: u64) {
    for _ in 0..times {
        let (result, back) = ch.write(Lba(124), buf).await;
        result.unwrap();
        let (result, back) = ch.read(Lba(124), back).await;
        result.unwrap();
        let (result, back) = ch.compare(Lba(124), back).await;
        result.unwrap();
        buf = back;
        if ch.info().acwu > 1 && ch.info().name == "r" {
            let (result, one, two) = ch.compare_and_write(Lba(124), buf, other).await;
            result.unwrap();
            (buf, other) = (one, two);
        }
        ch.write_zeroes(Lba(200), Blocks(8)).await.unwrap();
        ch.unmap(Lba(124), Blocks(1)).await.unwrap();
        ch.flush(Lba(0), Blocks(256)).await.unwrap();
        if ch.supports(IoType::Copy) {
            ch.copy(Lba(124), Lba(8), Blocks(8)).await.unwrap();
        }
        if ch.supports(IoType::SeekData) {
            ch.seek_data(Lba(0)).await.unwrap();
            ch.seek_hole(Lba(0)).await.unwrap();
        }
    }
}

#[test]
fn in_steady_state_no_request_allocates() {
    SPDK.run(async |spdk| {
        let disk = Ramdisk::builder("r").blocks(Blocks(256));
        let disk = disk.create(&spdk).await.unwrap();
        let control = allocations(async || drop(std::hint::black_box(Box::new(1)))).await;
        assert_eq!(control, 1, "the count counts");
        for name in ["r", "pt"] {
            if name == "pt" {
                Passthru::builder("pt", "r").create(&spdk).await.unwrap();
            }
            let desc = BdevDesc::open(&spdk, name).read_write().unwrap();
            let ch = desc.channel().unwrap();
            // A plan is looked at by each, and three polls go by in every write.
            let wait = Fault::new(Action::DelayPolls(3)).io(IoType::Write);
            let never = Fault::new(Action::Fail).after(u64::MAX);
            disk.set_faults([never, wait.always()]);
            let bufs = || {
                (
                    desc.alloc(Blocks(8)).unwrap(),
                    desc.alloc(Blocks(8)).unwrap(),
                )
            };
            // The first ones make room.
            let (buf, other) = bufs();
            some_of_all(&ch, buf, other, 3).await;
            let (buf, other) = bufs();
            let count = allocations(async || some_of_all(&ch, buf, other, 300).await).await;
            assert_eq!(count, 0, "allocations on {name:?}");
            assert!(disk.injected() >= 303);
            drop(ch);
            desc.close().await;
        }
        Passthru::delete(&spdk, "pt").await.unwrap();
        disk.delete().await.unwrap();
    });
}
