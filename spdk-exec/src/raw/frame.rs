//! Tasks in memory that belongs to someone else.

use core::fmt;
use core::future::Future;
use core::ptr::NonNull;

use super::frame_cell::FrameCell;
use super::header::HeaderRef;
use super::state::Snapshot;
use crate::{JoinError, SpawnError, Spawner};

/// How many bytes [`spawn_at`] needs for a future `F` and its completion `D`, in memory that is
/// aligned to `align` bytes only.
///
/// # Examples
/// A cap that is checked when the program is compiled:
/// ```
/// # use core::future::Ready;
/// # use spdk_exec::{JoinError, raw::frame_bytes};
/// # type F = Ready<u32>;
/// # type D = fn(Result<u32, JoinError>);
/// const CONTEXT: usize = 256;
/// const { assert!(frame_bytes::<F, D>(8) <= CONTEXT) };
/// ```
pub const fn frame_bytes<F: Future, D>(align: usize) -> usize {
    let (size, wanted) = (size_of::<FrameCell<F, D>>(), align_of::<FrameCell<F, D>>());
    if wanted > align {
        size + (wanted - align)
    } else {
        size
    }
}

/// Where a task that [`spawn_at`] started stands.
#[derive(Debug)]
#[must_use = "`Done` means that the memory has been given back already"]
pub enum Started {
    /// It is over: its completion was called, and the memory is its owner's again.
    Done,
    /// It had its first turn and waits.
    Pending(TaskRef),
    /// Turns nest too deep on the stack: its first one comes with the executor's next poll.
    Queued(TaskRef),
}

/// What comes back of a task that was not started.
pub struct Refused<F, D> {
    /// Why.
    pub error: SpawnError,
    /// The future, never polled.
    pub future: F,
    /// The completion, not called.
    pub done: D,
}

impl<F, D> fmt::Debug for Refused<F, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Refused").field(&self.error).finish()
    }
}

/// A task in borrowed memory, while it lives; harmless afterwards.
///
/// It can be aborted on its home thread, which it can't leave.
#[derive(Clone, Copy)]
pub struct TaskRef {
    spawner: Spawner,
    header: HeaderRef,
    life: Snapshot,
}

impl TaskRef {
    /// Whether the task is over.
    pub fn is_finished(&self) -> bool {
        !self.header.state.load().is_same_life(self.life)
    }

    /// Asks for the task to end: at its next turn its future is dropped instead of polled, and its
    /// completion gets [`JoinError::Aborted`].
    pub fn abort(&self) {
        if let Ok(engine) = self.spawner.open()
            && !self.is_finished()
        {
            engine.abort_at_home(self.header);
        }
    }
}

impl fmt::Debug for TaskRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskRef")
            .field("finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}

/// Starts a task inside `memory`, and polls it at once.
///
/// Only the future, its output and `done` live there. When the future is ready it is dropped in
/// place, and so with all that it borrows; then `done` is called with the output, on the home
/// thread, as the last thing that happens to the task: the memory is its owner's again when `done`
/// begins, which may give it back from inside. Wakers that are left mean a header of another
/// generation and do nothing, whatever the memory is used for by then.
///
/// `done` is called exactly once, for each task that is not refused: with the output, with
/// [`JoinError::Panicked`] (`std`), or with [`JoinError::Aborted`] after [`TaskRef::abort`] or when
/// the executor closes. It may be called before `spawn_at` returns.
///
/// # Safety
/// - `memory` is valid for reads and writes of `len` bytes, `len` is at least
///   [`frame_bytes::<F, D>`](frame_bytes) of `memory`'s alignment, and until `done` begins nobody
///   else reads, writes, moves or frees any of it.
/// - What `F` and `D` borrow stays valid until `done` begins, and returns, respectively; also if
///   that is when the executor closes.
///
/// Else a poll runs on memory that is something else by then: in SPDK, the driver context of
/// another module's I/O.
///
/// ```no_run
/// # use spdk_exec::{LocalExecutor, raw};
/// # use core::ptr::NonNull;
/// # fn complete(io: *mut u8) {}
/// # let executor = LocalExecutor::new();
/// # let (io, context, len) = (core::ptr::null_mut::<u8>(), NonNull::<u8>::dangling(), 256);
/// # let future = async {};
/// // SAFETY: the context is ours from submission to completion, and nothing completes the I/O but
/// // the last line of `done`.
/// let started = unsafe { raw::spawn_at(&executor, context, len, future, move |_| complete(io)) };
///
/// // WRONG: completes the I/O inside the future, whose memory is the I/O's.
/// // raw::spawn_at(&executor, context, len, async move { complete(io) }, |_| ())
/// # let _ = started;
/// ```
///
/// # Errors
/// [`SpawnError::Closed`], with the future and `done` unused.
///
/// # Panics
/// If `len` is too small.
pub unsafe fn spawn_at<F, D>(
    spawner: &Spawner,
    memory: NonNull<u8>,
    len: usize,
    future: F,
    done: D,
) -> Result<Started, Refused<F, D>>
where
    F: Future,
    D: FnOnce(Result<F::Output, JoinError>),
{
    let engine = match spawner.open() {
        Ok(engine) => engine,
        Err(error) => {
            return Err(Refused {
                error,
                future,
                done,
            });
        }
    };
    let skip = memory.align_offset(align_of::<FrameCell<F, D>>());
    assert!(
        skip.checked_add(size_of::<FrameCell<F, D>>())
            .is_some_and(|end| end <= len),
        "the memory is too small for the task: check it with `frame_bytes`"
    );
    // SAFETY: within the memory, as just checked.
    let at = unsafe { memory.add(skip) }.cast::<FrameCell<F, D>>();
    // SAFETY: aligned by `skip`; large enough and ours, by the caller.
    unsafe { FrameCell::write(at, future, done) };
    let header = engine.pool.acquire();
    // SAFETY: `at` is what the table is for, and by the caller stays so until `discard` calls
    // `done`.
    unsafe { header.set_task(engine, &FrameCell::<F, D>::VTABLE, at.cast()) };
    let life = header.state.publish(false, false);
    engine.adopt(header);
    let task = TaskRef {
        spawner: *spawner,
        header,
        life,
    };
    if !engine.run_first(header) {
        return Ok(Started::Queued(task));
    }
    if task.is_finished() {
        Ok(Started::Done)
    } else {
        Ok(Started::Pending(task))
    }
}
