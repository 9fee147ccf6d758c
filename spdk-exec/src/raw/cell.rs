//! Where a task's future lives, and the functions that know its type.
//!
//! ```text
//!                1 poll: Pending
//!               ┌──────┐
//!               ▼      │
//!   ┌────────────────────┐ 2 poll: Ready, panic  ┌───────┐ 3  ┌────────────┐ 4 take,   ┌───────┐
//!   │ Future             ├──────────────────────►│ Empty ├───►│ Output     ├──────────►│ Empty │
//!   └────────────────────┘   abort               └───────┘    └────────────┘ drop      └───────┘
//! ```
//!
//! Between 2 and 3 the future is dropped in place; if that panics nothing is dropped twice, as the
//! stage says `Empty` before anything is dropped.

use core::future::Future;
use core::mem::{ManuallyDrop, MaybeUninit};
use core::pin::Pin;
use core::ptr::NonNull;
use core::task::{Context, Poll, Waker};

use super::panic::contain;
use crate::JoinError;
use crate::loom::{Cell, UnsafeCell, const_fn};

/// What a turn of a task did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It waits for its next wake.
    Pending,
    /// The future is gone, its output there.
    Ready,
    /// As `Ready`, and something panicked on the way.
    Panicked,
}

/// The functions of one type of future, for a header that does not know it.
///
/// All take the header's `data`. `poll`, `abort` and `discard` run on the home thread, each with
/// no other at work on the same task; `take`, `drop_output` and `free` belong to the handle of a
/// complete task, on any thread (a handle leaves its thread only with an output that is `Send`).
#[derive(Debug)]
pub(crate) struct VTable {
    /// Polls the future once.
    pub(crate) poll: unsafe fn(NonNull<()>, &mut Context<'_>) -> Step,
    /// Drops the future; the error becomes the output.
    pub(crate) abort: unsafe fn(NonNull<()>, JoinError) -> Step,
    /// No handle wants the output: drops it or hands it to its completion, then frees the memory.
    pub(crate) discard: unsafe fn(NonNull<()>) -> Step,
    /// Moves the output to where the second argument points.
    pub(crate) take: unsafe fn(NonNull<()>, *mut ()),
    /// Drops the output.
    pub(crate) drop_output: unsafe fn(NonNull<()>),
    /// Frees the memory, which holds neither future nor output any more.
    pub(crate) free: unsafe fn(NonNull<()>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Empty,
    Future,
    Output,
}

#[repr(C)]
union Slot<F: Future> {
    empty: (),
    _future: ManuallyDrop<F>,
    _output: ManuallyDrop<Result<F::Output, JoinError>>,
}

/// A future or its output, in place.
///
/// # Invariants
/// `slot` holds what `stage` says; a future in it is not moved until it is dropped.
pub(crate) struct Body<F: Future> {
    stage: Cell<Stage>,
    slot: UnsafeCell<Slot<F>>,
}

impl<F: Future> Body<F> {
    const_fn! {
        pub(crate) fn empty() -> Self {
            Self { stage: Cell::new(Stage::Empty), slot: UnsafeCell::new(Slot { empty: () }) }
        }
    }

    /// Moves a future in.
    pub(crate) fn fill(&self, future: F) {
        debug_assert_eq!(self.stage.get(), Stage::Empty);
        self.slot.with_mut(|slot| {
            // SAFETY: the slot is as large and aligned as a future, and empty.
            unsafe { slot.cast::<F>().write(future) }
        });
        // INVARIANT: written above.
        self.stage.set(Stage::Future);
    }

    /// 1 and 2.
    ///
    /// # Safety
    /// The body is pinned and holds a future, the caller is on its home thread and not within a
    /// poll of it.
    #[inline(always)]
    pub(crate) unsafe fn poll(&self, cx: &mut Context<'_>) -> Step {
        debug_assert_eq!(self.stage.get(), Stage::Future);
        let polled = contain(|| {
            self.slot.with_mut(|slot| {
                // SAFETY: by the caller the slot holds a future, and nobody else refers to it.
                let future = unsafe { &mut *slot.cast::<F>() };
                // SAFETY: by the caller it is pinned.
                let future = unsafe { Pin::new_unchecked(future) };
                future.poll(cx)
            })
        });
        let (output, step) = match polled {
            Ok(Poll::Pending) => return Step::Pending,
            Ok(Poll::Ready(output)) => (Ok(output), Step::Ready),
            Err(panic) => (Err(JoinError::Panicked(panic)), Step::Panicked),
        };
        self.finish(output, step)
    }

    /// 2 and 3, with an error in the output's place; also after a panic that nothing contained.
    ///
    /// # Safety
    /// As for [`poll`](Self::poll).
    pub(crate) unsafe fn abort(&self, why: JoinError) -> Step {
        self.finish(Err(why), Step::Ready)
    }

    fn finish(&self, output: Result<F::Output, JoinError>, step: Step) -> Step {
        let dropped = if self.stage.replace(Stage::Empty) == Stage::Future {
            contain(|| {
                self.slot.with_mut(|slot| {
                    // SAFETY: the slot held a future, and will not be taken to hold it again.
                    unsafe { slot.cast::<F>().drop_in_place() }
                })
            })
        } else {
            Ok(())
        };
        self.slot.with_mut(|slot| {
            // SAFETY: the slot is as large and aligned as an output, and empty.
            unsafe { slot.cast::<Result<F::Output, JoinError>>().write(output) }
        });
        // INVARIANT: written above.
        self.stage.set(Stage::Output);
        if dropped.is_err() {
            Step::Panicked
        } else {
            step
        }
    }

    /// 4
    ///
    /// # Safety
    /// The body holds an output, and it is the caller's.
    pub(crate) unsafe fn take(&self) -> Result<F::Output, JoinError> {
        debug_assert_eq!(self.stage.get(), Stage::Output);
        self.stage.set(Stage::Empty);
        self.slot.with(|slot| {
            // SAFETY: by the caller; the stage says that it is gone.
            unsafe { slot.cast::<Result<F::Output, JoinError>>().read() }
        })
    }
}

/// A task's memory where a handle may wait for the output: in a box or in a `TaskStorage`.
#[repr(C)]
pub(crate) struct TaskCell<F: Future> {
    /// First, so that the handle finds it without knowing `F`. Whose it is: see `State`.
    join_waker: UnsafeCell<MaybeUninit<Waker>>,
    body: Body<F>,
}

impl<F: Future> TaskCell<F> {
    const_fn! {
        pub(crate) fn empty() -> Self {
            Self { join_waker: UnsafeCell::new(MaybeUninit::uninit()), body: Body::empty() }
        }
    }

    pub(crate) fn fill(&self, future: F) {
        self.body.fill(future);
    }

    /// The functions for a cell that is `'static`.
    pub(crate) const STATIC: VTable = VTable {
        poll: poll::<F>,
        abort: abort::<F>,
        discard: discard_static::<F>,
        take: take::<F>,
        drop_output: drop_output::<F>,
        free: free_static,
    };

    /// The functions for a cell in a `Box`.
    #[cfg(feature = "alloc")]
    pub(crate) const BOXED: VTable = VTable {
        poll: poll::<F>,
        abort: abort::<F>,
        discard: discard_boxed::<F>,
        take: take::<F>,
        drop_output: drop_output::<F>,
        free: free_boxed::<F>,
    };
}

/// Moves a join waker out of its place.
///
/// # Safety
/// `data` points to a live [`TaskCell`], the state says that its join waker is the caller's, and
/// the place is full.
pub(crate) unsafe fn take_join_waker(data: NonNull<()>) -> Waker {
    // SAFETY: by the caller, and the join waker is the first field of a `repr(C)` struct.
    let cell = unsafe { data.cast::<UnsafeCell<MaybeUninit<Waker>>>().as_ref() };
    let waker = cell.with(|cell| {
        // SAFETY: by the caller; it is taken to be empty from here on.
        unsafe { cell.read() }
    });
    // SAFETY: by the caller.
    unsafe { waker.assume_init() }
}

/// Moves a join waker into its place.
///
/// # Safety
/// As for [`take_join_waker`], and the place is empty.
pub(crate) unsafe fn put_join_waker(data: NonNull<()>, waker: Waker) {
    // SAFETY: by the caller, and the join waker is the first field of a `repr(C)` struct.
    let cell = unsafe { data.cast::<UnsafeCell<MaybeUninit<Waker>>>().as_ref() };
    cell.with_mut(|cell| {
        // SAFETY: by the caller.
        unsafe { cell.write(MaybeUninit::new(waker)) }
    });
}

/// # Safety
/// `data` points to a live `TaskCell<F>`.
#[inline(always)]
unsafe fn cell<'a, F: Future>(data: NonNull<()>) -> &'a TaskCell<F> {
    // SAFETY: by the caller; what changes in it is in cells.
    unsafe { data.cast::<TaskCell<F>>().as_ref() }
}

unsafe fn poll<F: Future>(data: NonNull<()>, cx: &mut Context<'_>) -> Step {
    // SAFETY: `VTable::poll`'s caller passes the data of a live task.
    let cell = unsafe { cell::<F>(data) };
    // SAFETY: ... on its home thread, outside of it; the cell does not move.
    unsafe { cell.body.poll(cx) }
}

unsafe fn abort<F: Future>(data: NonNull<()>, why: JoinError) -> Step {
    // SAFETY: `VTable::abort`'s caller passes the data of a live task.
    let cell = unsafe { cell::<F>(data) };
    // SAFETY: ... on its home thread, outside of it; the cell does not move.
    unsafe { cell.body.abort(why) }
}

unsafe fn take<F: Future>(data: NonNull<()>, to: *mut ()) {
    // SAFETY: `VTable::take`'s caller passes the data of a complete task.
    let cell = unsafe { cell::<F>(data) };
    // SAFETY: ... whose output is the caller's.
    let output = unsafe { cell.body.take() };
    // SAFETY: ... and a place for an output of that type.
    unsafe { to.cast::<Result<F::Output, JoinError>>().write(output) };
}

unsafe fn drop_output<F: Future>(data: NonNull<()>) {
    // SAFETY: `VTable::drop_output`'s caller passes the data of a complete task.
    let cell = unsafe { cell::<F>(data) };
    // SAFETY: ... whose output is the caller's.
    drop(unsafe { cell.body.take() });
}

unsafe fn discard_static<F: Future>(data: NonNull<()>) -> Step {
    let dropped = contain(|| {
        // SAFETY: by `VTable::discard`'s caller.
        unsafe { drop_output::<F>(data) }
    });
    if dropped.is_err() {
        Step::Panicked
    } else {
        Step::Ready
    }
}

unsafe fn free_static(_: NonNull<()>) {}

#[cfg(feature = "alloc")]
unsafe fn discard_boxed<F: Future>(data: NonNull<()>) -> Step {
    // SAFETY: by `VTable::discard`'s caller.
    let step = unsafe { discard_static::<F>(data) };
    // SAFETY: the output is gone.
    unsafe { free_boxed::<F>(data) };
    step
}

#[cfg(feature = "alloc")]
unsafe fn free_boxed<F: Future>(data: NonNull<()>) {
    // SAFETY: a task with this table has its cell in a box, and gives it back once. `Body` has no
    // destructor: what it held is gone.
    drop(unsafe { alloc::boxed::Box::from_raw(data.cast::<TaskCell<F>>().as_ptr()) });
}
