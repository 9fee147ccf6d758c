//! An allocator that counts, for each thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! { static COUNT: Cell<usize> = const { Cell::new(0) }; }

// SAFETY: forwards to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: by the caller.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// How often this thread allocates while `f` runs.
pub(crate) fn allocations(f: impl FnOnce()) -> usize {
    let before = so_far();
    f();
    so_far() - before
}

/// How often this thread has allocated.
pub(crate) fn so_far() -> usize {
    COUNT.get()
}
