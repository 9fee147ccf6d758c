//! Drives main on the app thread, and the orderly end.
//!
//! Main is polled in messages to the app thread and nowhere else (design rule 12): its waker sends one, and
//! coalesces with one under way. No reactor is ever polled from inside a callback.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_void};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::ptr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use super::builder::Prepared;
use super::drain::{Step, Steps};
use super::rpc_socket::OwnerOnly;
use super::{Spdk, shutdown, signals, subsystem};
use crate::error::{AppError, Errno};
use crate::thread::{Poller, PollerStatus, app_thread, table};
use crate::{bdev, env, io_device, log, module, panic};

/// How long the end of the app may take before what is still open is reported.
const REPORT_AFTER: Duration = Duration::from_secs(5);

/// How many things a report names.
const NAMED: usize = 32;

/// The root of the running app, for callbacks that get no pointer. Null while none runs.
static ROOT: AtomicPtr<Root<'static>> = AtomicPtr::new(ptr::null_mut());

/// Starts SPDK with `opts`, drives `main`, and returns when SPDK is down again.
pub(super) fn run<T>(
    prepared: &Prepared,
    times: Times,
    main: impl AsyncFnOnce(Spdk) -> T,
) -> Result<T, AppError> {
    let opts = prepared.opts();
    table::set_messages(opts.msg_mempool_size);
    let output: Cell<Option<T>> = Cell::new(None);
    let future = async {
        output.set(Some(main(Spdk::of_app_thread()).await));
    };
    let root = Root {
        times,
        waits_for_rpc: opts.wait_for_rpc,
        rpc_socket: Cell::new(prepared.rpc_socket().map(OwnerOnly::begin)),
        ..Root::new(Some(Box::pin(future)))
    };
    let this = (&raw const root).cast_mut();
    ROOT.store(this.cast(), Ordering::Release);
    signals::save();
    // SAFETY: no other app runs (`STARTED`). `opts` points to strings that live across the call, and `root` too:
    // the call returns when the reactors have stopped.
    let rc = unsafe {
        spdk_sys::spdk_shim_app_start(&raw const opts, Some(start_callback), this.cast())
    };
    signals::restore();
    app_thread::close();
    ROOT.store(ptr::null_mut(), Ordering::Release);
    let (started, stopped) = (root.started.get(), root.stopped.get());
    let (panicked, socket) = (root.panic.take(), root.socket_error.take());
    // Normally done long ago; not so if SPDK stopped by itself.
    panic::contain("the destructor of main", || drop(root));
    if env::set_down() || !started {
        // SAFETY: the reactors have stopped, and no buffer in SPDK's memory is alive.
        unsafe { spdk_sys::spdk_app_fini() };
    } else {
        log::warn("DMA buffers outlive the app: SPDK's memory stays mapped");
    }
    if let Some(payload) = panicked {
        resume_unwind(payload);
    }
    if let Some(error) = socket {
        return Err(error);
    }
    match (output.into_inner(), module::take_failure()) {
        (Some(value), _) => Ok(value),
        (None, Some(failure)) if !stopped => Err(failure.into()),
        (None, _) => Err(not_started(rc, started || stopped)),
    }
}

/// Why main did not end.
fn not_started(rc: c_int, is_stopped: bool) -> AppError {
    match (is_stopped, rc) {
        (true, _) => AppError::Stopped,
        (false, 0) => AppError::Start(Errno::new(libc::EIO)),
        (false, rc) => AppError::Start(Errno::new(rc)),
    }
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// From the request to stop until main is dropped, if somebody listens.
    pub(super) grace: Duration,
    /// From the end of main until somebody should be told.
    pub(super) end: Option<Duration>,
}

/// State of the running app; lives in the frame of [`run`], or in an `OwnLoop`, and is touched on the app thread only.
pub(super) struct Root<'a> {
    main: RefCell<Option<Pin<Box<dyn Future<Output = ()> + 'a>>>>,
    wake: Arc<RootWake>,
    panic: Cell<Option<Box<dyn Any + Send>>>,
    started: Cell<bool>,
    /// Asked to stop before it had started.
    stopped: Cell<bool>,
    drain: RefCell<Option<Drain>>,
    /// Who hears that nothing is open any more.
    runs_on: RunsOn,
    drained: Cell<bool>,
    times: Times,
    /// Drops main when its grace is over.
    grace: RefCell<Option<Poller>>,
    /// SPDK ends by itself, and waits for us.
    spdk_waits: Cell<bool>,
    /// SPDK's subsystems start when an RPC says so.
    waits_for_rpc: bool,
    /// All else is closed, and the end waits for buffers.
    buffers_wait: Cell<bool>,
    /// Until SPDK has started: the socket that it is to make, for its owner only.
    rpc_socket: Cell<Option<OwnerOnly>>,
    /// Why it could not.
    socket_error: Cell<Option<AppError>>,
}

/// What drives SPDK's threads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RunsOn {
    /// `spdk_app_start`, which `spdk_app_stop` ends.
    Reactors,
    /// An `OwnLoop`, which looks at `is_drained`.
    OwnLoop,
}

impl Root<'static> {
    /// The root of a loop that the program polls: without a main.
    pub(super) fn of_own_loop() -> Self {
        Self {
            started: Cell::new(true),
            runs_on: RunsOn::OwnLoop,
            ..Root::new(None)
        }
    }
}

impl<'a> Root<'a> {
    fn new(main: Option<Pin<Box<dyn Future<Output = ()> + 'a>>>) -> Self {
        Self {
            main: RefCell::new(main),
            wake: Arc::new(RootWake::default()),
            panic: Cell::new(None),
            started: Cell::new(false),
            stopped: Cell::new(false),
            drain: RefCell::new(None),
            runs_on: RunsOn::Reactors,
            drained: Cell::new(false),
            times: Times {
                grace: Duration::ZERO,
                end: None,
            },
            grace: RefCell::new(None),
            spdk_waits: Cell::new(false),
            waits_for_rpc: false,
            buffers_wait: Cell::new(false),
            rpc_socket: Cell::new(None),
            socket_error: Cell::new(None),
        }
    }

    /// Whether nothing is open any more, and the app thread takes no messages of ours.
    pub(super) fn is_drained(&self) -> bool {
        self.drained.get()
    }

    /// Polls main, unless it has ended. On the app thread, from a message.
    fn poll(&self) {
        // From here on a wake sends a new message.
        self.wake.scheduled.store(false, Ordering::Release);
        // Taken out while it is polled: nothing is borrowed while user code calls SPDK (design rule 7).
        let Some(mut main) = self.main.take() else {
            return;
        };
        let waker = Waker::from(Arc::clone(&self.wake));
        let polled = catch_unwind(AssertUnwindSafe(|| {
            main.as_mut().poll(&mut Context::from_waker(&waker))
        }));
        match polled {
            Ok(Poll::Pending) => {
                if self.drain.borrow().is_none() {
                    self.main.replace(Some(main));
                    return;
                }
                // Asked to stop meanwhile: main ends here.
                panic::contain("the destructor of main", || drop(main));
            }
            Ok(Poll::Ready(())) => {
                panic::contain("the destructor of main", || drop(main));
            }
            Err(payload) => {
                self.panic.set(Some(payload));
                panic::contain("the destructor of main", || drop(main));
            }
        }
        self.begin_drain();
    }

    /// Asked to stop: main ends itself, if it listens, or is dropped.
    fn stop(&self) {
        signals::restore();
        if !self.started.get() && self.awaits_init() {
            // Nothing is up, and nothing would come to be.
            self.stopped.set(true);
            // SAFETY: the app runs, and this is its thread.
            return unsafe { spdk_sys::spdk_app_stop(0) };
        }
        if !self.started.get() {
            // SPDK is still starting, and its subsystems must not be torn down under it: `start` will see this.
            log::warn("the app is to stop; SPDK still starts, and has to do that first");
            self.stopped.set(true);
            return module::interrupt_start();
        }
        if self.drain.borrow().is_some() || self.grace.borrow().is_some() {
            return;
        }
        if !shutdown::request() {
            return self.stop_now();
        }
        let root = (&raw const *self).cast::<Root<'static>>();
        let grace = Poller::register(Some(self.times.grace), move || {
            log::warn("the app was asked to stop, and its main did not end in time: it is dropped");
            // SAFETY: as in `begin_drain`.
            unsafe { &*root }.stop_now();
            PollerStatus::Busy
        });
        match grace {
            Ok(poller) => drop(self.grace.replace(Some(poller))),
            Err(_) => self.stop_now(),
        }
    }

    /// Whether SPDK does nothing but wait for the RPC `framework_start_init`.
    fn awaits_init(&self) -> bool {
        // SAFETY: reads a flag that the app thread, which is current, has written.
        if !self.waits_for_rpc || unsafe { spdk_sys::spdk_shim_subsystems_began() } {
            return false;
        }
        // Before it listens, it calls what a configuration has for it.
        let socket = self.rpc_socket.take();
        let listens = socket.as_ref().is_some_and(OwnerOnly::is_served);
        self.rpc_socket.set(socket);
        listens
    }

    /// Drops main, if it still runs, and ends the app in order.
    fn stop_now(&self) {
        let main = self.main.take();
        panic::contain("the destructor of main", || drop(main));
        self.begin_drain();
    }

    /// Begins to close what is open. On the app thread.
    pub(super) fn begin_drain(&self) {
        if self.drain.borrow().is_some() {
            return;
        }
        let grace = self.grace.take();
        drop(grace);
        let root = (&raw const *self).cast::<Root<'static>>();
        let poller = Poller::register(Some(Duration::from_micros(100)), move || {
            // SAFETY: `root` is in the frame of `run`, which returns only after the reactors have stopped, and the
            // poller runs on a reactor; or an `OwnLoop` keeps it until nothing is polled any more.
            unsafe { &*root }.drain_step();
            PollerStatus::Busy
        });
        let drain = Drain {
            poller: poller.ok(),
            steps: Rc::new(Steps::of_app()),
            report_at: Cell::new(Instant::now() + REPORT_AFTER),
            overdue_at: Cell::new(
                self.times
                    .end
                    .and_then(|most| Instant::now().checked_add(most)),
            ),
        };
        self.drain.replace(Some(drain));
    }

    /// One look at what is still open; runs until nothing is.
    fn drain_step(&self) {
        let steps = match self.drain.borrow().as_ref() {
            Some(drain) => Rc::clone(&drain.steps),
            None => return,
        };
        if self.buffers_wait.get() {
            return self.finish_without_buffers();
        }
        // Nothing is borrowed in here: each step calls SPDK and user code.
        match steps.step() {
            Step::Waits => self.report(),
            Step::Went => {}
            Step::Drained => {
                // A C program unmaps SPDK's memory afterwards, and knows nothing of buffers. The last of our modules waits
                // for them, if there is one.
                let last = !super::is_ours() && !module::has_modules();
                self.buffers_wait.set(self.spdk_waits.get() && last);
                self.finish_without_buffers();
            }
        }
    }

    /// Nothing is open any more, but for buffers, perhaps.
    fn finish_without_buffers(&self) {
        match self.buffers_wait.get() && !env::set_down() {
            true => self.report(),
            false => self.finish(),
        }
    }

    /// Nothing is open any more: lets go of the thread and tells SPDK to stop.
    fn finish(&self) {
        let poller = self
            .drain
            .borrow_mut()
            .as_mut()
            .and_then(|drain| drain.poller.take());
        drop(poller);
        table::drain_app_thread();
        app_thread::close();
        self.drained.set(true);
        if self.spdk_waits.get() {
            subsystem::done();
        } else if self.runs_on == RunsOn::Reactors {
            // SAFETY: the app runs, and this is its thread.
            unsafe { spdk_sys::spdk_app_stop(0) };
        }
    }

    /// Says what keeps the app from ending, every few seconds.
    fn report(&self) {
        let due = match self.drain.borrow().as_ref() {
            Some(drain) if Instant::now() >= drain.report_at.get() => {
                drain.report_at.set(Instant::now() + REPORT_AFTER);
                true
            }
            _ => false,
        };
        let overdue = self.drain.borrow().as_ref().is_some_and(|drain| {
            let overdue = drain
                .overdue_at
                .get()
                .is_some_and(|at| Instant::now() >= at);
            if overdue {
                drain.overdue_at.set(None);
            }
            overdue
        });
        if overdue {
            // From now on a signal ends the process.
            signals::restore();
            let open = open_names();
            log::error(&format!(
                "{}; waiting for them",
                AppError::StillOpen { open }
            ));
        } else if due {
            log::warn(&format!(
                "the app can't end yet; still open: {}",
                open_names().join(", ")
            ));
        }
    }
}

/// SPDK ends by itself, and waits until nothing is open: a configuration failed, or it is a C application. On the app
/// thread.
pub(super) fn end_by_spdk() {
    if !app_thread::is_open() {
        // It is we who ended it.
        return subsystem::done();
    }
    let root = ROOT.load(Ordering::Acquire);
    // SAFETY: as in `poll_callback`.
    let root = unsafe { root.as_ref() };
    // Leaked: a process has one end.
    let root = root.unwrap_or_else(|| Box::leak(Box::new(Root::of_own_loop())));
    root.spdk_waits.set(true);
    root.stop_now();
}

/// What is open, for a report.
pub(crate) fn open_names() -> Vec<String> {
    let mut names = module::names();
    names.extend(module::busy_names());
    names.extend(table::names());
    names.extend(bdev::open_names());
    names.extend(io_device::names());
    if env::has_only_old_buffers() {
        names.push("DMA buffers".into());
    }
    if names.len() > NAMED {
        let more = names.len() - NAMED;
        names.truncate(NAMED);
        names.push(format!("{more} more"));
    }
    names
}

/// The end of the app, under way.
struct Drain {
    poller: Option<Poller>,
    steps: Rc<Steps>,
    report_at: Cell<Instant>,
    /// When that is to be an error; `None` when it was, or never is.
    overdue_at: Cell<Option<Instant>>,
}

/// Main's waker: one message to the app thread at a time.
#[derive(Default)]
struct RootWake {
    scheduled: AtomicBool,
}

impl Wake for RootWake {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.scheduled.swap(true, Ordering::AcqRel) {
            let is_over = match app_thread::send_one(poll_callback, ptr::null_mut()) {
                Some(0) => false,
                // By old versions, when there is no room: that queue tries again.
                Some(_) => app_thread::send(poll_callback, ptr::null_mut()).is_err(),
                None => true,
            };
            // Then there is no main to wake.
            if is_over {
                self.scheduled.store(false, Ordering::Release);
            }
        }
    }
}

/// # Safety
///
/// SPDK calls this once, on the app thread, with the `Root` given to `spdk_app_start`, which outlives the app.
unsafe extern "C" fn start_callback(ctx: *mut c_void) {
    // SAFETY: by this function's contract.
    let root = unsafe { &*ctx.cast::<Root<'_>>() };
    panic::contain("the start of the app", || {
        subsystem::open();
        root.started.set(true);
        if let Some(Err(error)) = root.rpc_socket.take().map(OwnerOnly::end) {
            // Old versions only log it, and go on.
            root.socket_error.set(Some(error));
            return root.stop_now();
        }
        match root.stopped.get() || module::has_failed() {
            true => root.stop_now(),
            false => root.poll(),
        }
    });
}

/// # Safety
///
/// SPDK calls this on the app thread, in a message that a [`RootWake`] sent.
unsafe extern "C" fn poll_callback(_ctx: *mut c_void) {
    let root = ROOT.load(Ordering::Acquire);
    // SAFETY: `ROOT` is null or points into the frame of `run`, which is still below us: messages run on a
    // reactor, and `run` returns after the reactors have stopped.
    if let Some(root) = unsafe { root.as_ref() } {
        panic::contain("main", || root.poll());
    }
}

/// # Safety
///
/// SPDK calls this on the app thread after SIGINT or SIGTERM, or the RPC that stands for them.
pub(super) unsafe extern "C" fn shutdown_callback() {
    let root = ROOT.load(Ordering::Acquire);
    // SAFETY: as in `poll_callback`.
    if let Some(root) = unsafe { root.as_ref() } {
        panic::contain("the shutdown of the app", || root.stop());
    }
}
