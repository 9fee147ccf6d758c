//! A future in memory that belongs to someone else, with the function that gets its output.

use core::future::Future;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;
use core::task::Context;

use super::cell::{Body, Step, VTable};
use super::panic::contain;
use crate::JoinError;
use crate::loom::UnsafeCell;

/// A task's memory where no handle exists: someone else's memory, for which a completion function
/// gets the output once the future is gone.
#[repr(C)]
pub(crate) struct FrameCell<F: Future, D> {
    body: Body<F>,
    /// Moved out, once, by `discard`.
    done: UnsafeCell<ManuallyDrop<D>>,
}

impl<F: Future, D: FnOnce(Result<F::Output, JoinError>)> FrameCell<F, D> {
    pub(crate) const VTABLE: VTable = VTable {
        poll: frame_poll::<F, D>,
        abort: frame_abort::<F, D>,
        discard: frame_discard::<F, D>,
        take: no_take,
        drop_output: no_handle,
        free: no_handle,
    };

    /// Makes a frame out of memory.
    ///
    /// # Safety
    /// `at` is aligned for, and valid for writes of, a `Self`.
    pub(crate) unsafe fn write(at: NonNull<Self>, future: F, done: D) {
        let frame = Self {
            body: Body::empty(),
            done: UnsafeCell::new(ManuallyDrop::new(done)),
        };
        frame.body.fill(future);
        // SAFETY: by the caller. Not pinned before this move.
        unsafe { at.write(frame) };
    }
}

unsafe fn frame_poll<F: Future, D>(data: NonNull<()>, cx: &mut Context<'_>) -> Step {
    // SAFETY: `VTable::poll`'s caller passes the data of a live task.
    let frame = unsafe { data.cast::<FrameCell<F, D>>().as_ref() };
    // SAFETY: ... on its home thread, outside of it; the frame does not move.
    unsafe { frame.body.poll(cx) }
}

unsafe fn frame_abort<F: Future, D>(data: NonNull<()>, why: JoinError) -> Step {
    // SAFETY: `VTable::abort`'s caller passes the data of a live task.
    let frame = unsafe { data.cast::<FrameCell<F, D>>().as_ref() };
    // SAFETY: ... on its home thread, outside of it; the frame does not move.
    unsafe { frame.body.abort(why) }
}

unsafe fn frame_discard<F, D>(data: NonNull<()>) -> Step
where
    F: Future,
    D: FnOnce(Result<F::Output, JoinError>),
{
    let (output, done) = {
        // SAFETY: `VTable::discard`'s caller passes the data of a complete task, once.
        let frame = unsafe { data.cast::<FrameCell<F, D>>().as_ref() };
        // SAFETY: the output is there, and no handle exists.
        let output = unsafe { frame.body.take() };
        let done = frame.done.with(|done| {
            // SAFETY: written by `write`, and read only here.
            unsafe { done.read() }
        });
        (output, ManuallyDrop::into_inner(done))
    };
    // From here on the memory may be anything: `done` gives it back.
    match contain(|| done(output)) {
        Ok(()) => Step::Ready,
        Err(_) => Step::Panicked,
    }
}

unsafe fn no_take(_: NonNull<()>, _: *mut ()) {
    unreachable!("a task in borrowed memory has no handle");
}

unsafe fn no_handle(_: NonNull<()>) {
    unreachable!("a task in borrowed memory has no handle");
}
