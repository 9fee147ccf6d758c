//! Waiting for a task, and ending it.

use core::fmt;
use core::future::Future;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

use crate::raw::cell::{put_join_waker, take_join_waker};
use crate::raw::header::HeaderRef;
use crate::raw::state::{DropHandle, JoinAccess};

/// A task's output, as a future; dropping it lets the task run on.
///
/// It is `Send` if the output is: wait for a task, abort it or drop the handle on any thread. The
/// task's future stays on its home thread, and is dropped there.
///
/// # Examples
/// ```
/// # use spdk_exec::{Budget, JoinError, LocalExecutor};
/// let executor = LocalExecutor::new();
/// let sum = executor.spawn(async { 1 + 2 });
/// let never = executor.spawn(core::future::pending::<()>());
/// never.abort();
/// assert_eq!(executor.block_on(sum).unwrap(), 3);
/// assert!(matches!(executor.block_on(never), Err(JoinError::Aborted)));
/// ```
#[must_use = "await it for the task's output, or `detach` it to let the task run on its own"]
pub struct JoinHandle<T> {
    /// None: the output was taken, or there never was a task.
    header: Option<HeaderRef>,
    /// The task was refused, its future dropped.
    refused: bool,
    _output: PhantomData<T>,
}

/// Why a task has no output.
#[derive(Debug)]
#[non_exhaustive]
pub enum JoinError {
    /// Somebody called [`JoinHandle::abort`], or the executor closed before the task was done.
    Aborted,
    /// The task panicked; the others went on.
    Panicked(Panic),
}

impl<T> JoinHandle<T> {
    /// For a task that was published with a handle, which is this one.
    ///
    /// # Invariants
    /// While `header` is set, HANDLE is set in its state, and the task's output is a
    /// `Result<T, JoinError>`.
    pub(crate) fn new(header: HeaderRef) -> Self {
        Self {
            header: Some(header),
            refused: false,
            _output: PhantomData,
        }
    }

    /// For a task that was not spawned.
    #[cfg(feature = "alloc")]
    pub(crate) fn refused() -> Self {
        Self {
            header: None,
            refused: true,
            _output: PhantomData,
        }
    }

    /// Asks for the task to end: at its next turn its home thread drops its future instead of
    /// polling it, and the handle gives [`JoinError::Aborted`].
    ///
    /// A task that is being polled right now, or that has its output, may still give it.
    pub fn abort(&self) {
        if let Some(header) = self.header
            && !header.state.load().is_complete()
            && let Some(engine) = header.engine()
        {
            engine.abort(header);
        }
    }

    /// Lets the task run on its own; its output will be dropped.
    pub fn detach(self) {}

    /// Whether the output is there, or was taken: awaiting the handle would not wait.
    pub fn is_finished(&self) -> bool {
        self.header
            .is_none_or(|header| header.state.load().is_complete())
    }

    fn take_output(&mut self, header: HeaderRef) -> Result<T, JoinError> {
        let (vtable, data) = header.task();
        let mut output = MaybeUninit::<Result<T, JoinError>>::uninit();
        // SAFETY: the task is complete, so by the type's invariant the output is this handle's, and
        // of this type.
        unsafe { (vtable.take)(data, output.as_mut_ptr().cast()) };
        // INVARIANT: HANDLE is cleared next.
        self.header = None;
        release(header, |free| {
            // SAFETY: the output was taken.
            unsafe { free(data) }
        });
        // SAFETY: `take` wrote it.
        unsafe { output.assume_init() }
    }
}

/// Frees a complete task's memory, and lets go of its header.
fn release(header: HeaderRef, free: impl FnOnce(unsafe fn(core::ptr::NonNull<()>))) {
    let (vtable, _) = header.task();
    free(vtable.free);
    if let Some(engine) = header.engine() {
        engine.release_handle(header);
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    /// # Panics
    /// If it is polled again after it was ready.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(header) = self.header else {
            assert!(self.refused, "`JoinHandle` polled after completion");
            self.refused = false;
            return Poll::Ready(Err(JoinError::Aborted));
        };
        let old = match header.state.open_join() {
            JoinAccess::Complete => return Poll::Ready(self.take_output(header)),
            JoinAccess::Empty => None,
            JoinAccess::Full => Some(read_join_waker(header)),
        };
        let waker = match old {
            Some(old) if old.will_wake(cx.waker()) => old,
            _ => cx.waker().clone(),
        };
        let (_, data) = header.task();
        // SAFETY: `open_join` gave the cell to this handle, and it is empty.
        unsafe { put_join_waker(data, waker) };
        if header.state.close_join() {
            return Poll::Pending;
        }
        drop(read_join_waker(header));
        Poll::Ready(self.take_output(header))
    }
}

/// Empties the cell, which is the handle's, and full.
fn read_join_waker(header: HeaderRef) -> Waker {
    let (_, data) = header.task();
    // SAFETY: callers were told by `open_join` or `close_join` that the cell is theirs and full.
    unsafe { take_join_waker(data) }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        let Some(header) = self.header else {
            return;
        };
        if header.state.open_join() == JoinAccess::Full {
            drop(read_join_waker(header));
        }
        match header.state.drop_handle() {
            DropHandle::Detached => {}
            DropHandle::Output => {
                // Also if the output's destructor panics.
                let release = ReleaseOnDrop(header);
                let (vtable, data) = header.task();
                // SAFETY: the task is complete and its output this handle's, by the type's
                // invariant.
                unsafe { (vtable.drop_output)(data) };
                drop(release);
            }
        }
    }
}

struct ReleaseOnDrop(HeaderRef);

impl Drop for ReleaseOnDrop {
    fn drop(&mut self) {
        let (_, data) = self.0.task();
        release(self.0, |free| {
            // SAFETY: the output is gone, as far as it goes.
            unsafe { free(data) }
        });
    }
}

impl<T> Unpin for JoinHandle<T> {}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aborted => f.write_str("the task was aborted before it was done"),
            Self::Panicked(panic) => fmt::Display::fmt(panic, f),
        }
    }
}

impl core::error::Error for JoinError {}

/// A panic that was contained.
pub struct Panic {
    #[cfg(feature = "std")]
    payload: Option<alloc::boxed::Box<dyn core::any::Any + Send>>,
}

// SAFETY: `&Panic` gives out only the message, and only if it is a `&str` or a `String`, which are
// `Sync`; asking any value for its type is fine from any thread.
#[cfg(feature = "std")]
unsafe impl Sync for Panic {}

impl Panic {
    #[cfg(feature = "std")]
    pub(crate) fn new(payload: alloc::boxed::Box<dyn core::any::Any + Send>) -> Self {
        Self {
            payload: Some(payload),
        }
    }

    /// One that nothing caught.
    pub(crate) fn unknown() -> Self {
        Self {
            #[cfg(feature = "std")]
            payload: None,
        }
    }

    /// What `panic!` was given, if that is text.
    pub fn message(&self) -> Option<&str> {
        #[cfg(feature = "std")]
        {
            let payload = self.payload.as_deref()?;
            payload
                .downcast_ref::<&str>()
                .copied()
                .or_else(|| Some(payload.downcast_ref::<alloc::string::String>()?.as_str()))
        }
        #[cfg(not(feature = "std"))]
        None
    }

    /// What was thrown, for `std::panic::resume_unwind`.
    #[cfg(feature = "std")]
    pub fn into_payload(self) -> alloc::boxed::Box<dyn core::any::Any + Send> {
        self.payload
            .unwrap_or_else(|| alloc::boxed::Box::new("unknown panic"))
    }
}

impl fmt::Debug for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Panic").field(&self.message()).finish()
    }
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.message() {
            Some(message) => write!(f, "the task panicked: {message}"),
            None => f.write_str("the task panicked"),
        }
    }
}
