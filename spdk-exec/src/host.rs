//! What the executor asks of the loop that runs it: who am I, wake up, what time is it.

use core::fmt;
use core::num::NonZeroUsize;

#[cfg(feature = "alloc")]
use alloc::sync::Arc;

/// Which thread is running, for hosts whose threads are not the operating system's.
///
/// A wake asks it whether it happens on the executor's home thread; if so it goes to the run queue
/// without any atomic operation, else through the lock-free remote queue. Under SPDK it is the
/// pointer that `spdk_get_thread()` returns.
///
/// # Safety
/// While an executor is bound to the thread that `current` named then, no two OS threads get that
/// same name at the same time, one that gets it later has synchronised with the one that had it
/// before, and no new thread gets it. Else two threads change one run queue at once.
///
/// ```no_run
/// # use core::num::NonZeroUsize;
/// struct Core;
/// # fn core_id() -> usize { 0 }
///
/// // SAFETY: one OS thread is pinned to each core, and nothing else runs there.
/// unsafe impl spdk_exec::ThreadIdentity for Core {
///     fn current() -> Option<NonZeroUsize> { NonZeroUsize::new(core_id() + 1) }
/// }
///
/// struct Wrong;
/// // WRONG: every thread claims to be the home thread.
/// unsafe impl spdk_exec::ThreadIdentity for Wrong {
///     fn current() -> Option<NonZeroUsize> { NonZeroUsize::new(1) }
/// }
/// ```
pub unsafe trait ThreadIdentity: 'static {
    /// A name for the thread that runs now, or `None` outside any.
    fn current() -> Option<NonZeroUsize>;
}

/// Tells an idle host that there is something to do.
pub trait Notify: Send + Sync + 'static {
    /// A wake or a spawn from another thread made the remote queue non-empty. Called by that other
    /// thread, once per transition; poll the home thread's executor soon.
    fn notify_remote(&self);

    /// A wake or a spawn on the home thread, outside any poll, made the run queue non-empty.
    ///
    /// Needed only by a host that sleeps between such a wake and its next poll, such as an SPDK
    /// thread in interrupt mode; does nothing by default.
    fn notify_local(&self) {}
}

/// The time that timers run on.
pub trait Clock: Sync {
    /// Ticks since some moment; never goes back.
    fn now(&self) -> u64;

    /// How many ticks a second has; the same at every call, and not 0.
    fn ticks_per_second(&self) -> u64;
}

/// What an executor needs to know of the loop that runs it.
///
/// # Examples
/// ```
/// use spdk_exec::{Clock, Host, LocalExecutor};
///
/// struct Cycles;
/// impl Clock for Cycles {
///     fn now(&self) -> u64 { 0 }
///     fn ticks_per_second(&self) -> u64 { 2_400_000_000 }
/// }
///
/// let executor = LocalExecutor::with_host(Host::thread().clock(&Cycles))?;
/// # Ok::<(), spdk_exec::BindError>(())
/// ```
#[must_use = "pass it to `Executor::bind_to` or `LocalExecutor::with_host`"]
pub struct Host {
    pub(crate) identity: Identity,
    pub(crate) notifier: Notifier,
    pub(crate) clock: Option<&'static dyn Clock>,
    /// The notifier unparks the home thread.
    #[cfg(feature = "std")]
    pub(crate) unparks: bool,
    /// The home thread stays on this OS thread; 0 if that was not said.
    #[cfg(feature = "std")]
    pub(crate) os_thread: usize,
}

impl Host {
    /// A host that knows nothing: every wake takes the remote queue, nobody is told, timers panic.
    pub const fn bare() -> Self {
        Self {
            identity: Identity::Unknown,
            notifier: Notifier::None,
            clock: None,
            #[cfg(feature = "std")]
            unparks: false,
            #[cfg(feature = "std")]
            os_thread: 0,
        }
    }

    /// This OS thread, with the system's monotonic clock in nanoseconds; a wake from another thread
    /// unparks it.
    #[cfg(feature = "std")]
    pub fn thread() -> Self {
        Self {
            identity: Identity::OsThread,
            notifier: Notifier::Shared(Arc::new(plain::Unpark(std::thread::current()))),
            clock: Some(&plain::MONOTONIC),
            unparks: true,
            os_thread: 0,
        }
    }

    /// Wakes ask `I` whether they are at home.
    pub fn identity<I: ThreadIdentity>(mut self) -> Self {
        self.identity = Identity::Custom(|| I::current().map_or(0, NonZeroUsize::get));
        self
    }

    /// The executor's tasks run on this OS thread alone, whatever its home thread does: a wake that happens on it goes to
    /// the run queue without a question to [`identity`](Self::identity), and one on any other does not.
    ///
    /// For a host several of whose threads share one OS thread, as SPDK's do.
    #[cfg(feature = "std")]
    pub fn on_this_os_thread(mut self) -> Self {
        self.os_thread = plain::thread_id();
        self
    }

    /// Tells `notify` when there is something to do.
    pub fn notify_static(mut self, notify: &'static dyn Notify) -> Self {
        self.set_notifier(Notifier::Static(notify));
        self
    }

    /// As [`notify_static`](Self::notify_static); dropped when the executor closes.
    #[cfg(feature = "alloc")]
    pub fn notify(mut self, notify: Arc<dyn Notify>) -> Self {
        self.set_notifier(Notifier::Shared(notify));
        self
    }

    pub(crate) fn unparks(&self) -> bool {
        #[cfg(feature = "std")]
        return self.unparks;
        #[cfg(not(feature = "std"))]
        false
    }

    fn set_notifier(&mut self, notifier: Notifier) {
        self.notifier = notifier;
        #[cfg(feature = "std")]
        {
            self.unparks = false;
        }
    }

    /// Timers run on `clock`.
    pub fn clock(mut self, clock: &'static dyn Clock) -> Self {
        self.clock = Some(clock);
        self
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("identity", &self.identity)
            .field("notifier", &self.notifier)
            .field("clock", &self.clock.map(Clock::ticks_per_second))
            .finish()
    }
}

/// How to ask which thread runs.
#[derive(Clone, Copy)]
pub(crate) enum Identity {
    Unknown,
    #[cfg(feature = "std")]
    OsThread,
    Custom(fn() -> usize),
}

impl Identity {
    /// The thread that runs now: 0 if that is not known.
    pub(crate) fn current(self) -> usize {
        match self {
            Self::Unknown => 0,
            #[cfg(feature = "std")]
            Self::OsThread => plain::thread_id(),
            Self::Custom(current) => current(),
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown",
            #[cfg(feature = "std")]
            Self::OsThread => "OS thread",
            Self::Custom(_) => "custom",
        })
    }
}

/// Whom to tell.
pub(crate) enum Notifier {
    None,
    Static(&'static dyn Notify),
    #[cfg(feature = "alloc")]
    Shared(Arc<dyn Notify>),
}

impl Notifier {
    #[inline]
    pub(crate) fn get(&self) -> Option<&dyn Notify> {
        match self {
            Self::None => None,
            Self::Static(notify) => Some(*notify),
            #[cfg(feature = "alloc")]
            Self::Shared(notify) => Some(&**notify),
        }
    }
}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.get().is_some() { "some" } else { "none" })
    }
}

#[cfg(feature = "std")]
pub(crate) use plain::thread_id;

/// Plain OS threads as a host.
#[cfg(feature = "std")]
mod plain {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread::Thread;
    use std::time::Instant;

    use super::{Clock, Notify};
    use crate::loom::{Cell, local};

    pub(super) struct Unpark(pub(super) Thread);

    impl Notify for Unpark {
        fn notify_remote(&self) {
            self.0.unpark();
        }
    }

    pub(super) struct Monotonic(OnceLock<Instant>);

    pub(super) static MONOTONIC: Monotonic = Monotonic(OnceLock::new());

    impl Clock for Monotonic {
        fn now(&self) -> u64 {
            let start = self.0.get_or_init(Instant::now);
            // 584 years of nanoseconds.
            u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
        }

        fn ticks_per_second(&self) -> u64 {
            1_000_000_000
        }
    }

    local! { static ID: Cell<usize> = Cell::new(0); }

    /// A number for this OS thread that no other thread ever has; not 0.
    #[inline(always)]
    pub(crate) fn thread_id() -> usize {
        ID.with(|id| match id.get() {
            0 => assign(id),
            id => id,
        })
    }

    #[cold]
    fn assign(id: &Cell<usize>) -> usize {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        id.set(next);
        next
    }
}
