//! SPDK without its reactors: the program polls, for tests and for programs that have a loop of their own.
//!
//! C functions: `spdk_env_init`, `spdk_thread_lib_init_ext`, `spdk_thread_poll`, `spdk_subsystem_init` (contract 1.1).
//!
//! ```text
//!                  1                     2                  3               4
//!  Builder ────────────────► running ────────► draining ────────► closing ────────► ended
//!                             │    ▲              │                  │
//!                             └────┘ poll,        └──────────────────┴── the deadline: stuck (nothing is polled any
//!                                    block_on                             more, nothing is torn down)
//!  1: Builder::own_loop   2: shutdown, drop   3: Root has nothing open   4: subsystems down, SPDK threads exited
//! ```

mod lane;
mod threads;

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::future::Future;
use std::pin::Pin;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use super::root::Root;
use super::{Spdk, builder::Prepared, subsystem};
use crate::error::{AppError, Errno};
use crate::thread::{ThreadBound, app_thread, table};
use crate::{env, inside, log, module, panic};
use lane::Lane;
use threads::Threads;

/// SPDK's pool of messages where its size is not chosen (`SPDK_DEFAULT_MSG_MEMPOOL_SIZE`).
const DEFAULT_MESSAGES: u64 = 262_143;

/// A running SPDK that the program polls itself; see [`Builder::own_loop`](super::Builder::own_loop).
///
/// Everything that works under [`Builder::run`](super::Builder::run) works here, with the same checks and the same
/// orderly end. The app thread belongs to the OS thread that made the loop, and is current there as long as the loop
/// lives: calls that need it can be made directly, not only inside of [`block_on`](Self::block_on). SPDK threads that
/// come later are polled here too, or by the OS threads of [`spawn_lane`](Self::spawn_lane).
///
/// Nothing moves but while [`poll`](Self::poll) or `block_on` runs. Signals stay as the program has them.
///
/// Dropping the loop shuts SPDK down as [`shutdown`](Self::shutdown) does.
///
/// SPDK is not re-entrant. Code that it calls while it is half-way through something (a receiver of log lines, the
/// functions of a [`BlockDevice`](crate::module::BlockDevice), the making of a device's channel, a completion, its
/// waker, an event) may have come by the loop, through a thread-local say. There `poll` does nothing, `block_on`
/// panics, and a `shutdown` or drop leaves SPDK as it is for good.
///
/// # Invariants
///
/// Until `ended`, SPDK is up, `app` is its app thread and the first of `threads`, and it is current on this OS thread.
#[must_use = "nothing moves unless the loop is polled; dropping it shuts SPDK down"]
pub struct OwnLoop {
    app: NonNull<spdk_sys::spdk_thread>,
    threads: Threads,
    lanes: Vec<Lane>,
    root: Box<Root<'static>>,
    deadline: Option<Duration>,
    ended: bool,
    _bound: ThreadBound,
}

/// What SPDK's start and stop of subsystems have to say.
#[derive(Default)]
struct Outcome(Cell<Option<i32>>);

impl OwnLoop {
    /// Starts SPDK. The caller has checked that it is the first time in this process.
    pub(super) fn start(prepared: &Prepared, deadline: Option<Duration>) -> Result<Self, AppError> {
        let mut json = prepared.config_text()?;
        let opts = prepared.opts();
        let start_error =
            |rc: i32| AppError::Start(Errno::new(if rc == 0 { libc::EIO } else { rc }));
        let mut threads = Threads::default();
        let messages = match opts.msg_mempool_size {
            0 => DEFAULT_MESSAGES,
            _ if !spdk_sys::MESSAGE_POOL_CAN_BE_SET => DEFAULT_MESSAGES,
            messages => messages,
        };
        threads::open(threads.inbox(), messages);
        table::set_messages(messages);
        // SAFETY: SPDK was not started before in this process; `opts` points to strings that live across the call, and
        // the callback is a function.
        let rc = unsafe {
            spdk_sys::spdk_shim_loop_env_init(&raw const opts, Some(threads::new_thread_callback))
        };
        if rc != 0 {
            threads::close();
            return Err(start_error(rc));
        }
        // SAFETY: the thread library is up. Without a mask the thread may be anywhere.
        let app = unsafe { spdk_sys::spdk_thread_create(c"app_thread".as_ptr(), ptr::null_mut()) };
        let Some(app) = NonNull::new(app) else {
            down(env::set_down());
            return Err(start_error(-libc::ENOMEM));
        };
        threads.receive();
        // SAFETY: the thread was just made, and this OS thread is the one that polls it.
        unsafe { spdk_sys::spdk_set_thread(app.as_ptr()) };
        // INVARIANT: SPDK's first thread is its app thread (T-04), and it is current.
        let mut this = Self {
            app,
            threads,
            lanes: Vec::new(),
            root: Box::new(Root::of_own_loop()),
            deadline,
            ended: false,
            _bound: ThreadBound::new(),
        };
        let outcome = Outcome::default();
        let (text, len) = match &mut json {
            Some(text) => (text.as_mut_ptr().cast(), text.len()),
            None => (ptr::null_mut(), 0),
        };
        let ctx = (&raw const outcome).cast_mut().cast();
        // SAFETY: the app thread is current; `json` and `outcome` live until the callback has come, for which we wait.
        let rc = unsafe { spdk_sys::spdk_shim_loop_init(text, len, Some(started_callback), ctx) };
        let rc = match rc {
            0 => this.poll_until(&outcome),
            rc => rc,
        };
        if rc != 0 {
            this.take_down(None)?;
            if let Some(failure) = module::take_failure() {
                return Err(failure.into());
            }
            return Err(match Errno::new(rc).code() {
                libc::ENOTSUP if json.is_some() => AppError::NeedsVersion {
                    what: "a JSON configuration in a loop of your own",
                    needs: "24.05",
                },
                _ => start_error(rc),
            });
        }
        subsystem::open();
        if let Some(failure) = module::take_failure() {
            this.end()?;
            return Err(failure.into());
        }
        Ok(this)
    }

    /// The app thread's context, as `main` gets it from [`Builder::run`](super::Builder::run).
    #[must_use]
    pub fn spdk(&self) -> Spdk {
        Spdk::of_app_thread()
    }

    /// One pass: polls each SPDK thread of this OS thread once. Whether one of them did something; if not, the program
    /// may yield, or wait a little. From inside of a callback of SPDK's it does nothing.
    pub fn poll(&mut self) -> bool {
        !inside::is_inside() && self.threads.poll_all()
    }

    /// Runs `future` on the app thread, and polls until it is done. A panic in it goes on unwinding from here.
    ///
    /// The future need not be `'static`. Wakers of it may be used anywhere.
    ///
    /// # Panics
    ///
    /// From inside of a callback of SPDK's, where it would wait for ever.
    pub fn block_on<F: Future>(&mut self, future: F) -> F::Output {
        assert!(
            !inside::is_inside(),
            "`OwnLoop::block_on` in code that SPDK has called, and waits for; return first"
        );
        let mut main = Main::new(future);
        loop {
            if let Some(output) = main.poll() {
                return output;
            }
            self.poll();
        }
    }

    /// A further OS thread that polls SPDK threads: those that come from now on go there, and in turn if there are
    /// several. The app thread stays here. The OS thread spins; it ends with the loop.
    ///
    /// # Errors
    ///
    /// The operating system's, when it has no more threads.
    pub fn spawn_lane(&mut self) -> std::io::Result<()> {
        let number = self.lanes.len() + 1;
        self.lanes.push(Lane::spawn(number)?);
        Ok(())
    }

    /// How many SPDK threads this OS thread polls; the app thread is number 0.
    #[cfg(feature = "test")]
    pub(crate) fn threads(&mut self) -> usize {
        self.threads.receive()
    }

    /// Polls one SPDK thread.
    #[cfg(feature = "test")]
    pub(crate) fn poll_thread(&mut self, at: usize, max_messages: u32) -> bool {
        self.threads.poll(at, max_messages)
    }

    /// Shuts SPDK down in order: exit hooks run, what is still open is closed, then come the subsystems, the SPDK
    /// threads, and the memory.
    ///
    /// # Errors
    ///
    /// [`AppError::StillOpen`] when that takes longer than the [`end_deadline`](super::Builder::end_deadline): nothing
    /// is polled any more, and nothing is torn down, since SPDK can't be under live objects; its memory stays mapped.
    /// Without a deadline this waits for ever, and says every five seconds what for.
    ///
    /// [`AppError::InCallback`] from inside of a callback of SPDK's: nothing is polled any more either.
    pub fn shutdown(mut self) -> Result<(), AppError> {
        self.end()
    }

    fn end(&mut self) -> Result<(), AppError> {
        if std::mem::replace(&mut self.ended, true) {
            return Ok(());
        }
        if inside::is_inside() {
            self.abandon();
            return Err(AppError::InCallback);
        }
        // What is too far away to be told is never.
        let deadline = self
            .deadline
            .and_then(|most| Instant::now().checked_add(most));
        self.root.begin_drain();
        while !self.root.is_drained() {
            self.poll();
            if is_over(deadline) {
                let open = super::root::open_names();
                return Err(self.give_up(open));
            }
        }
        self.take_down(deadline)
    }

    /// Nothing of ours is open: subsystems, SPDK threads, memory.
    fn take_down(&mut self, deadline: Option<Instant>) -> Result<(), AppError> {
        self.ended = true;
        // Leaked if SPDK never calls back.
        let outcome: &'static Outcome = Box::leak(Box::default());
        let ctx = ptr::from_ref(outcome).cast_mut().cast();
        // SAFETY: the app thread is current, and `outcome` lives for ever.
        unsafe { spdk_sys::spdk_shim_loop_fini(Some(stopped_callback), ctx) };
        while outcome.0.get().is_none() {
            self.poll();
            if is_over(deadline) {
                return Err(self.give_up(vec!["SPDK's subsystems".into()]));
            }
        }
        self.lanes.iter().for_each(Lane::end);
        self.threads.exit_all(Some(self.app));
        while self.threads.left() > 1 || !self.lanes.iter().all(Lane::is_finished) {
            self.poll();
            if is_over(deadline) {
                let names = self.threads.names();
                return Err(self.give_up(names));
            }
        }
        self.lanes.drain(..).for_each(Lane::join);
        // The app thread is the last (T-13). It is current, and stays so until it is destroyed.
        self.threads.exit_all(None);
        while self.threads.left() != 0 {
            self.poll();
        }
        threads::close();
        // SAFETY: the app thread is gone.
        unsafe { spdk_sys::spdk_set_thread(ptr::null_mut()) };
        down(env::set_down());
        Ok(())
    }

    /// Leaves SPDK as it is. What is still open stays valid, but nothing moves it any more.
    fn give_up(&mut self, open: Vec<String>) -> AppError {
        self.lanes.iter().for_each(Lane::halt);
        threads::close();
        app_thread::close();
        env::set_down();
        // SAFETY: no SPDK thread is current from now on, which every call of ours answers with an error.
        unsafe { spdk_sys::spdk_set_thread(ptr::null_mut()) };
        // The poller of the drain, which nobody calls any more, points to it.
        std::mem::forget(std::mem::replace(
            &mut self.root,
            Box::new(Root::of_own_loop()),
        ));
        AppError::StillOpen { open }
    }

    /// As [`give_up`](Self::give_up), while SPDK is half-way through something: its thread stays current, as SPDK's
    /// locks expect, and nothing is run.
    fn abandon(&mut self) {
        self.lanes.iter().for_each(Lane::halt);
        threads::close();
        // SAFETY: reads a thread-local.
        let current = unsafe { spdk_sys::spdk_get_thread() };
        // SAFETY: writes it; no SPDK thread is current is a state that SPDK knows, and so messages are dropped unrun.
        unsafe { spdk_sys::spdk_set_thread(ptr::null_mut()) };
        app_thread::close();
        // SAFETY: it was current before, and is alive: this loop, which would have destroyed it, is not polled.
        unsafe { spdk_sys::spdk_set_thread(current) };
        env::set_down();
    }

    fn poll_until(&mut self, outcome: &Outcome) -> i32 {
        loop {
            if let Some(rc) = outcome.0.get() {
                return rc;
            }
            self.poll();
        }
    }
}

impl Drop for OwnLoop {
    fn drop(&mut self) {
        if let Some(Err(error)) = panic::contain("the end of SPDK", || self.end()) {
            log::error(&error.to_string());
        }
    }
}

impl std::fmt::Debug for OwnLoop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OwnLoop")
            .field("threads", &self.threads)
            .field("lanes", &self.lanes.len())
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

fn is_over(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| Instant::now() >= deadline)
}

/// No SPDK thread is left. The memory goes too, if nobody has any of it.
fn down(no_buffers: bool) {
    // SAFETY: every SPDK thread is destroyed, or there never was one.
    unsafe { spdk_sys::spdk_thread_lib_fini() };
    if no_buffers {
        // SAFETY: no buffer in SPDK's memory is alive, and nothing of SPDK runs any more.
        unsafe { spdk_sys::spdk_env_fini() };
    } else {
        log::warn("DMA buffers outlive the loop: SPDK's memory stays mapped");
    }
}

/// A future that runs on the app thread, between passes.
pub(crate) struct Main<F> {
    future: Pin<Box<F>>,
    woken: Arc<Woken>,
    waker: Waker,
}

impl<F: Future> Main<F> {
    pub(crate) fn new(future: F) -> Self {
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        Self {
            future: Box::pin(future),
            waker: Waker::from(Arc::clone(&woken)),
            woken,
        }
    }

    /// Polls the future if it was woken. Not again when it is done.
    pub(crate) fn poll(&mut self) -> Option<F::Output> {
        if !self.woken.0.swap(false, Ordering::AcqRel) {
            return None;
        }
        let mut cx = Context::from_waker(&self.waker);
        match self.future.as_mut().poll(&mut cx) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }
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

/// # Safety
///
/// SPDK calls this once, on the app thread, with the [`Outcome`] that waits for it.
unsafe extern "C" fn started_callback(rc: c_int, ctx: *mut c_void) {
    // SAFETY: by this function's contract.
    unsafe { &*ctx.cast::<Outcome>() }.0.set(Some(rc));
}

/// # Safety
///
/// As [`started_callback`].
unsafe extern "C" fn stopped_callback(ctx: *mut c_void) {
    // SAFETY: by this function's contract.
    unsafe { &*ctx.cast::<Outcome>() }.0.set(Some(0));
}
