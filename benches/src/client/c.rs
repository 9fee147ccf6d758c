//! The C loop, `csrc/client.c`.

use std::cell::Cell;
use std::ffi::{CString, c_int, c_void};
use std::future::poll_fn;
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use spdk_safe::app::Spdk;
use spdk_safe::env::DmaBuf;

use super::{Direction, Order, Ran, RigError, Shape, Work};

/// `csrc/client.h`.
mod ffi {
    use super::{c_int, c_void};

    #[repr(C)]
    pub(super) struct Client {
        _opaque: [u8; 0],
    }

    #[repr(C)]
    pub(super) struct BenchWork {
        pub(super) depth: u32,
        pub(super) io_blocks: u32,
        pub(super) places: u64,
        pub(super) count: u64,
        pub(super) seed: u64,
        pub(super) write: bool,
        pub(super) random: bool,
        pub(super) vectored: bool,
    }

    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    pub(super) struct Clock {
        pub(super) wall_ns: u64,
        pub(super) cpu_ns: u64,
    }

    #[repr(C)]
    #[derive(Clone, Copy)]
    pub(super) struct BenchRan {
        pub(super) began: Clock,
        pub(super) ended: Clock,
        pub(super) completed: u64,
        pub(super) failed: u64,
    }

    pub(super) type DoneFn = unsafe extern "C" fn(*mut c_void, *const BenchRan);

    unsafe extern "C" {
        pub(super) fn bench_client_open(
            bdev: *const std::ffi::c_char,
            client: *mut *mut Client,
        ) -> c_int;
        pub(super) fn bench_client_close(client: *mut Client);
        pub(super) fn bench_client_start(
            client: *mut Client,
            work: *const BenchWork,
            bufs: *mut *mut c_void,
            done: DoneFn,
            arg: *mut c_void,
        ) -> c_int;
        pub(super) fn bench_client_stop(client: *mut Client);
        pub(super) fn bench_now(clock: *mut Clock);
        pub(super) fn bench_count_begin() -> bool;
        pub(super) fn bench_count_end();
    }
}

/// A moment, by the wall's clock and by the time that this OS thread had a core.
#[derive(Clone, Copy, Default)]
pub(crate) struct Clock(ffi::Clock);

impl Clock {
    pub(crate) fn now() -> Self {
        let mut clock = ffi::Clock::default();
        // SAFETY: `clock` is written, and has the layout that C knows.
        unsafe { ffi::bench_now(&raw mut clock) };
        Self(clock)
    }

    pub(crate) fn ran(self, ended: Self, completed: u64) -> Ran {
        let nanos = |from: u64, to: u64| Duration::from_nanos(to.saturating_sub(from));
        Ran {
            completed,
            wall: nanos(self.0.wall_ns, ended.0.wall_ns),
            cpu: nanos(self.0.cpu_ns, ended.0.cpu_ns),
        }
    }
}

/// Has callgrind, if this runs under it, count from here on; false if this was built without valgrind's headers.
pub fn count_begin() -> bool {
    // SAFETY: changes nothing but callgrind's own state.
    unsafe { ffi::bench_count_begin() }
}

/// Has callgrind stop counting, and write what it has counted to a file of its own.
pub fn count_end() {
    // SAFETY: as in `count_begin`.
    unsafe { ffi::bench_count_end() };
}

/// A client in C: descriptor, channel, slots.
///
/// # Invariants
///
/// `raw` is open, and was opened on the app thread, which is where this is used and dropped: it is `!Send`, and the
/// rig does not outlive main. While a run is under way, its [`Run`] has a count of this.
pub(crate) struct Client {
    raw: NonNull<ffi::Client>,
}

/// A run that C has a count of.
struct Run {
    /// Keeps the client open.
    _client: Rc<Client>,
    bufs: Cell<Vec<DmaBuf>>,
    ran: Cell<Option<ffi::BenchRan>>,
    waker: Cell<Option<Waker>>,
}

impl Client {
    pub(crate) fn open(_spdk: &Spdk, bdev: &str) -> Result<Rc<Self>, RigError> {
        let what = "open the bdev";
        let name = CString::new(bdev).map_err(|_| RigError::C {
            what,
            errno: libc::EINVAL,
        })?;
        let mut raw = ptr::null_mut();
        // SAFETY: `Spdk` is only on the app thread; `name` lives across the call.
        let rc = unsafe { ffi::bench_client_open(name.as_ptr(), &raw mut raw) };
        let raw = NonNull::new(raw).ok_or(RigError::C { what, errno: -rc })?;
        // INVARIANT: opened, here.
        Ok(Rc::new(Self { raw }))
    }

    /// Does `work` with `bufs`, which come back.
    pub(crate) async fn run(
        self: &Rc<Self>,
        shape: &Shape,
        work: &Work,
        vectored: bool,
        mut bufs: Vec<DmaBuf>,
    ) -> (Result<(Ran, u64), RigError>, Vec<DmaBuf>) {
        assert!(
            bufs.len() >= work.depth as usize,
            "there is a buffer for each slot"
        );
        let mut addresses: Vec<*mut c_void> =
            bufs.iter_mut().map(|buf| buf.as_mut_ptr().cast()).collect();
        let (random, seed) = match work.order {
            Order::Sequential => (false, 1),
            Order::Random(seed) => (true, seed),
        };
        let c_work = ffi::BenchWork {
            depth: work.depth,
            io_blocks: shape.io_blocks,
            places: shape.places(),
            count: work.count,
            seed,
            write: work.direction == Direction::Write,
            random,
            vectored,
        };
        let run = Rc::new(Run {
            _client: Rc::clone(self),
            bufs: Cell::new(bufs),
            ran: Cell::new(None),
            waker: Cell::new(None),
        });
        let arg = Rc::into_raw(Rc::clone(&run)).cast_mut().cast::<c_void>();
        // SAFETY: the client is open and this is its thread; there are `depth` addresses of buffers of `io_blocks`
        // blocks, which the run owns until it is done: C has a count of it.
        let rc = unsafe {
            ffi::bench_client_start(
                self.raw.as_ptr(),
                &raw const c_work,
                addresses.as_mut_ptr(),
                run_done_callback,
                arg,
            )
        };
        if rc != 0 {
            // SAFETY: C did not take the run, so the count that `into_raw` leaked is ours again.
            drop(unsafe { Rc::from_raw(arg.cast_const().cast::<Run>()) });
            let error = RigError::C {
                what: "start",
                errno: -rc,
            };
            return (Err(error), run.bufs.take());
        }
        let ran = poll_fn(|cx| match run.ran.get() {
            Some(ran) => Poll::Ready(ran),
            None => {
                run.waker.set(Some(cx.waker().clone()));
                Poll::Pending
            }
        })
        .await;
        let took = Clock(ran.began).ran(Clock(ran.ended), ran.completed);
        (Ok((took, ran.failed)), run.bufs.take())
    }
}

impl Client {
    /// Has a run that is under way begin no more I/O.
    pub(crate) fn stop(&self) {
        // SAFETY: by the type invariant the client is open.
        unsafe { ffi::bench_client_stop(self.raw.as_ptr()) };
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // SAFETY: by the type invariant the client is open, and no run is under way, since that has a count of this.
        unsafe { ffi::bench_client_close(self.raw.as_ptr()) };
    }
}

/// # Safety
///
/// C calls this once, on the app thread, with the `Run` that was started, and touches neither client nor buffers
/// afterwards.
unsafe extern "C" fn run_done_callback(arg: *mut c_void, ran: *const ffi::BenchRan) {
    // SAFETY: by this function's contract; the count that `into_raw` leaked is handed to this `Rc`.
    let run = unsafe { Rc::from_raw(arg.cast_const().cast::<Run>()) };
    // SAFETY: C passes a result that lives across this call.
    run.ran.set(Some(unsafe { *ran }));
    if let Some(waker) = run.waker.take() {
        waker.wake();
    }
}
