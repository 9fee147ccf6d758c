//! Memory for tasks that need no allocation.

use core::fmt;
use core::future::Future;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

use crate::loom::{UnsafeCell, const_fn};
use crate::raw::cell::{TaskCell, VTable};
use crate::raw::header::Header;
use crate::raw::state::Kind;

/// A `static` place for one task at a time, whose future has a type with a name.
///
/// For `async` blocks and functions, whose types have none, see [`TaskSpace`]. The place is busy
/// until the task is over and its handle gone.
///
/// # Examples
/// ```
/// # use core::{future::{ready, Ready}};
/// # use spdk_exec::{Budget, Executor, SpawnError, TaskStorage};
/// static EXECUTOR: Executor = Executor::new();
/// static ANSWER: TaskStorage<Ready<u32>> = TaskStorage::new();
///
/// let executor = EXECUTOR.bind()?;
/// let handle = executor.spawn_in(&ANSWER, ready(42))?;
/// assert_eq!(executor.spawn_in(&ANSWER, ready(43)).unwrap_err(), SpawnError::Busy);
/// assert_eq!(executor.block_on(handle)?, 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TaskStorage<F: Future> {
    header: Header,
    cell: UnsafeCell<TaskCell<F>>,
}

/// A `static` place of `BYTES` bytes for one task at a time, of any type that fits.
///
/// Whether it fits is checked when the program is compiled.
///
/// # Examples
/// ```
/// # use spdk_exec::{Budget, Executor, TaskSpace};
/// static EXECUTOR: Executor = Executor::new();
/// static BLINK: TaskSpace<256> = TaskSpace::new();
///
/// let executor = EXECUTOR.bind()?;
/// executor.spawn_in(&BLINK, async { /* ... */ })?.detach();
/// while executor.poll(Budget(64)).is_busy() {}
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TaskSpace<const BYTES: usize> {
    header: Header,
    space: UnsafeCell<Space<BYTES>>,
}

#[repr(C, align(16))]
struct Space<const BYTES: usize>(MaybeUninit<[u8; BYTES]>);

/// A `static` place that a task with the future `F` fits into: [`TaskStorage`] or [`TaskSpace`].
///
/// It can't be implemented outside this crate.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no place for a task",
    label = "not a `TaskStorage` of this future, and not a `TaskSpace`",
    note = "declare `static PLACE: TaskSpace<256> = TaskSpace::new();` and pass `&PLACE`"
)]
pub trait Place<F: Future>: sealed::Parts<F> {}

pub(crate) mod sealed {
    use super::{Header, NonNull, VTable};

    pub trait Parts<F> {
        #[expect(private_interfaces, reason = "sealed: only this crate calls it")]
        fn header(&'static self) -> &'static Header;
        /// Moves the future in; the caller has claimed the header.
        #[expect(private_interfaces, reason = "sealed: only this crate calls it")]
        fn fill(&'static self, future: F) -> (&'static VTable, NonNull<()>);
    }
}

impl<F: Future> TaskStorage<F> {
    const_fn! {
        /// An empty place.
        pub fn new() -> Self {
            Self { header: Header::new(Kind::Static), cell: UnsafeCell::new(TaskCell::empty()) }
        }
    }
}

impl<F: Future> Default for TaskStorage<F> {
    fn default() -> Self {
        Self::new()
    }
}

impl<F: Future + 'static> Place<F> for TaskStorage<F> {}

impl<F: Future + 'static> sealed::Parts<F> for TaskStorage<F> {
    #[expect(private_interfaces, reason = "sealed: only this crate calls it")]
    fn header(&'static self) -> &'static Header {
        &self.header
    }

    #[expect(private_interfaces, reason = "sealed: only this crate calls it")]
    fn fill(&'static self, future: F) -> (&'static VTable, NonNull<()>) {
        self.cell.with_mut(|cell| {
            // SAFETY: the place is `'static`; the header is claimed, so nobody else uses the cell.
            let cell = unsafe { &*cell };
            cell.fill(future);
            (&TaskCell::<F>::STATIC, NonNull::from(cell).cast())
        })
    }
}

impl<const BYTES: usize> TaskSpace<BYTES> {
    const_fn! {
        /// An empty place.
        pub fn new() -> Self {
            Self {
                header: Header::new(Kind::Static),
                space: UnsafeCell::new(Space(MaybeUninit::uninit())),
            }
        }
    }

    /// How many bytes a task with the future `F` takes.
    pub const fn bytes_for<F: Future>() -> usize {
        size_of::<TaskCell<F>>()
    }
}

impl<const BYTES: usize> Default for TaskSpace<BYTES> {
    fn default() -> Self {
        Self::new()
    }
}

impl<F: Future + 'static, const BYTES: usize> Place<F> for TaskSpace<BYTES> {}

impl<F: Future + 'static, const BYTES: usize> sealed::Parts<F> for TaskSpace<BYTES> {
    #[expect(private_interfaces, reason = "sealed: only this crate calls it")]
    fn header(&'static self) -> &'static Header {
        &self.header
    }

    #[expect(private_interfaces, reason = "sealed: only this crate calls it")]
    fn fill(&'static self, future: F) -> (&'static VTable, NonNull<()>) {
        const {
            assert!(
                size_of::<TaskCell<F>>() <= BYTES,
                "the future does not fit: declare its `TaskSpace` with more bytes"
            );
            assert!(
                align_of::<TaskCell<F>>() <= align_of::<Space<BYTES>>(),
                "the future's alignment is above 16 bytes: use a `TaskStorage`, or box it"
            );
        }
        self.space.with_mut(|space| {
            let cell = space.cast::<TaskCell<F>>();
            // SAFETY: it fits, as checked above; the header is claimed, so nobody else uses it.
            unsafe { cell.write(TaskCell::empty()) };
            // SAFETY: written above, in a `'static` place.
            let cell = unsafe { &*cell };
            cell.fill(future);
            (&TaskCell::<F>::STATIC, NonNull::from(cell).cast())
        })
    }
}

// SAFETY: the header says whose the cell is: the claimer's, then the home thread's of the executor
// that it was spawned on, where the future stays until it is dropped, then its handle's.
unsafe impl<F: Future> Sync for TaskStorage<F> {}
// SAFETY: as above.
unsafe impl<const BYTES: usize> Sync for TaskSpace<BYTES> {}

impl<F: Future> fmt::Debug for TaskStorage<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TaskStorage")
            .field(&self.header.state.load())
            .finish()
    }
}

impl<const BYTES: usize> fmt::Debug for TaskSpace<BYTES> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TaskSpace")
            .field(&self.header.state.load())
            .finish()
    }
}
