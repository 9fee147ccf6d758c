//! Polls the futures of modules' starts and ends, on the app thread.
//!
//! A poller of its own, while there is something to poll: it works before the app's own machinery is up and after it is
//! gone, and its wakers only set a flag, so they may be kept for ever, and called anywhere.

use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_void};
use std::future::Future;
use std::pin::Pin;
use std::ptr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use super::behaviour::Boxed;
use crate::panic::{self, contain};

/// What a future is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Init,
    Examine,
    FiniStart,
    Fini,
    Destruct,
}

struct Job {
    kind: Kind,
    module: &'static str,
    /// Out of here while it is polled.
    future: RefCell<Option<Boxed<()>>>,
    is_done: Cell<bool>,
    is_cancelled: Cell<bool>,
    woken: Arc<Woken>,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

thread_local! {
    /// On the app's OS thread.
    static JOBS: RefCell<Vec<Rc<Job>>> = const { RefCell::new(Vec::new()) };
    static POLLER: Cell<*mut spdk_sys::spdk_poller> = const { Cell::new(ptr::null_mut()) };
}

/// Polls `future` from now on, the first time by the poller. On the app thread. It is dropped if that can't be.
pub(super) fn spawn(kind: Kind, module: &'static str, future: Boxed<()>) {
    let _job = add(kind, module, future);
}

fn add(kind: Kind, module: &'static str, future: Boxed<()>) -> Option<Rc<Job>> {
    let job = Rc::new(Job {
        kind,
        module,
        future: RefCell::new(Some(future)),
        is_done: Cell::new(false),
        is_cancelled: Cell::new(false),
        woken: Arc::new(Woken(AtomicBool::new(true))),
    });
    if !poller_is_there() {
        crate::log::error(&format!("no memory for {}", job.name()));
        job.cancel();
        return None;
    }
    JOBS.with_borrow_mut(|jobs| jobs.push(Rc::clone(&job)));
    Some(job)
}

/// As [`spawn`], and polls it at once. SPDK is below us.
pub(super) fn start(kind: Kind, module: &'static str, future: Boxed<()>) {
    if let Some(job) = add(kind, module, future) {
        {
            let _inside = crate::inside::enter();
            job.poll();
        }
        sweep();
    }
}

/// Drops the futures of this kind.
pub(super) fn cancel(kind: Kind) {
    for job in jobs() {
        if job.kind == kind {
            job.cancel();
        }
    }
}

/// Drops the futures of this kind that are for `module`.
pub(super) fn cancel_for(kind: Kind, module: &'static str) {
    for job in jobs() {
        if job.kind == kind && job.module == module {
            job.cancel();
        }
    }
}

/// Whether there are futures of this kind.
pub(super) fn has(kind: Kind) -> bool {
    jobs().iter().any(|job| job.kind == kind)
}

/// What there is, for a report.
pub(super) fn names() -> Vec<String> {
    jobs().iter().map(|job| job.name()).collect()
}

fn jobs() -> Vec<Rc<Job>> {
    let jobs = JOBS.try_with(|jobs| {
        let jobs = jobs.borrow();
        let open = jobs.iter().filter(|job| !job.is_done.get());
        open.map(Rc::clone).collect()
    });
    jobs.unwrap_or_default()
}

impl Job {
    fn poll(&self) {
        self.woken.0.store(false, Ordering::Release);
        let Some(mut future) = self.future.take() else {
            return;
        };
        let waker = Waker::from(Arc::clone(&self.woken));
        let polled = contain("a module", || {
            future.as_mut().poll(&mut Context::from_waker(&waker))
        });
        if polled == Some(Poll::Pending) && !self.is_cancelled.get() {
            self.future.replace(Some(future));
            return;
        }
        self.is_done.set(true);
        contain("the destructor of a module's future", || drop(future));
    }

    fn cancel(&self) {
        self.is_cancelled.set(true);
        let Some(future) = self.future.take() else {
            // It is being polled, below us.
            return;
        };
        self.is_done.set(true);
        contain("the destructor of a module's future", || drop(future));
    }

    fn name(&self) -> String {
        let what = match self.kind {
            Kind::Init => "the init",
            Kind::Examine => "an examine",
            Kind::FiniStart => "the fini_start",
            Kind::Fini => "the fini",
            Kind::Destruct => "the destruct of a bdev",
        };
        format!("{what} of module {:?}", self.module)
    }
}

fn poller_is_there() -> bool {
    if POLLER.get().is_null() {
        // SPDK's names of pollers are copies.
        let name = c"spdk_safe_modules";
        // SAFETY: the app thread is current, and the function needs no argument.
        let poller = unsafe {
            spdk_sys::spdk_poller_register_named(
                Some(poll_callback),
                ptr::null_mut(),
                0,
                name.as_ptr(),
            )
        };
        POLLER.set(poller);
    }
    !POLLER.get().is_null()
}

/// # Safety
///
/// SPDK calls this on the app thread, as long as the poller is registered.
unsafe extern "C" fn poll_callback(_ctx: *mut c_void) -> c_int {
    contain("the modules' poller", pass);
    1
}

fn pass() {
    for job in jobs() {
        if job.woken.0.load(Ordering::Acquire) {
            job.poll();
        }
    }
    sweep();
}

/// Lets go of what is done, and of the poller when nothing is left.
fn sweep() {
    let done: Vec<_> = JOBS.with_borrow_mut(|jobs| {
        let (done, open) = std::mem::take(jobs)
            .into_iter()
            .partition(|job| job.is_done.get());
        *jobs = open;
        done
    });
    drop(done);
    if JOBS.with_borrow(Vec::is_empty) && !POLLER.get().is_null() {
        let mut poller = POLLER.replace(ptr::null_mut());
        // SAFETY: registered on this thread, and unregistered once; from its own function SPDK allows that.
        unsafe { spdk_sys::spdk_poller_unregister(&raw mut poller) };
    }
}

/// A future of the user's, whose panic is its output. It is dropped when it is done.
pub(super) struct Caught<T>(Option<Boxed<T>>);

impl<T> Caught<T> {
    pub(super) fn new(future: Boxed<T>) -> Self {
        Self(Some(future))
    }
}

impl<T> Future for Caught<T> {
    type Output = Result<T, String>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(future) = &mut self.0 else {
            return Poll::Pending;
        };
        let polled = panic::contain_message("a module", || future.as_mut().poll(cx));
        let result = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(value)) => Ok(value),
            Err(text) => Err(text),
        };
        let future = self.0.take();
        contain("the destructor of a module's future", || drop(future));
        Poll::Ready(result)
    }
}

impl<T> Drop for Caught<T> {
    fn drop(&mut self) {
        let future = self.0.take();
        contain("the destructor of a module's future", || drop(future));
    }
}
