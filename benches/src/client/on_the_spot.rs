//! Wakers that stay on their thread and act at once.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

/// What a wake does.
trait LocalWake: Sized {
    fn wake(self: Rc<Self>);

    const VTABLE: RawWakerVTable = RawWakerVTable::new(
        clone_local::<Self>,
        wake_local::<Self>,
        wake_by_ref_local::<Self>,
        drop_local::<Self>,
    );
}

/// # Safety
///
/// The waker, and no clone of it, may leave this thread.
unsafe fn local_waker<T: LocalWake>(this: Rc<T>) -> Waker {
    let data = Rc::into_raw(this).cast();
    // SAFETY: the four functions keep the count of an `Rc` that `data` came from, on its thread by this function's
    // contract.
    unsafe { Waker::new(data, &T::VTABLE) }
}

unsafe fn clone_local<T: LocalWake>(data: *const ()) -> RawWaker {
    // SAFETY: the waker that is cloned has a count.
    unsafe { Rc::increment_strong_count(data.cast::<T>()) };
    RawWaker::new(data, &T::VTABLE)
}

unsafe fn wake_local<T: LocalWake>(data: *const ()) {
    // SAFETY: the waker that is used up has a count.
    unsafe { Rc::from_raw(data.cast::<T>()) }.wake();
}

unsafe fn wake_by_ref_local<T: LocalWake>(data: *const ()) {
    // SAFETY: the waker has a count, which it keeps.
    let this = ManuallyDrop::new(unsafe { Rc::from_raw(data.cast::<T>()) });
    Rc::clone(&this).wake();
}

unsafe fn drop_local<T: LocalWake>(data: *const ()) {
    // SAFETY: the waker that is dropped has a count.
    drop(unsafe { Rc::from_raw(data.cast::<T>()) });
}

/// A future that its waker polls.
struct Spot<F> {
    /// Taken out while it is polled.
    future: RefCell<Option<Pin<Box<F>>>>,
    /// Woken while it is polled.
    again: Cell<bool>,
}

/// Polls `future` now, and then whenever it is woken, within the wake.
///
/// # Safety
///
/// The future must not let its waker leave this thread.
pub(super) unsafe fn start<F: Future<Output = ()>>(future: F) {
    let spot = Rc::new(Spot {
        future: RefCell::new(Some(Box::pin(future))),
        again: Cell::new(false),
    });
    spot.wake();
}

impl<F: Future<Output = ()>> LocalWake for Spot<F> {
    fn wake(self: Rc<Self>) {
        self.again.set(true);
        let Some(mut future) = self.future.take() else {
            return;
        };
        // SAFETY: by the contract of `start`.
        let waker = unsafe { local_waker(Rc::clone(&self)) };
        let mut cx = Context::from_waker(&waker);
        while self.again.replace(false) {
            if future.as_mut().poll(&mut cx).is_ready() {
                return;
            }
        }
        self.future.replace(Some(future));
    }
}

/// The task of an executor, which is run from within the wake.
#[derive(Default)]
struct RunNow {
    task: Cell<Option<Waker>>,
}

impl LocalWake for RunNow {
    fn wake(self: Rc<Self>) {
        if let Some(task) = self.task.take() {
            spdk_exec::run_now(task);
        }
    }
}

/// `future`, such that a task of `spdk-exec` that consists of it is run within the wake.
///
/// # Safety
///
/// The future must not let its waker leave this thread.
pub(super) unsafe fn run_now<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let spot = Rc::new(RunNow::default());
    // SAFETY: by this function's contract.
    let waker = unsafe { local_waker(Rc::clone(&spot)) };
    let mut future = Box::pin(future);
    std::future::poll_fn(move |cx: &mut Context<'_>| -> Poll<F::Output> {
        spot.task.set(Some(cx.waker().clone()));
        future.as_mut().poll(&mut Context::from_waker(&waker))
    })
}
