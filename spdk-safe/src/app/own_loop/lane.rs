//! A further OS thread that polls SPDK threads.
//!
//! ```text
//!            spawn                end                   no thread left
//!  (nothing) ─────► POLLING ─────────────► EXITING ─────────────────────► (joined)
//!                      │                      │
//!                      └──────────────────────┴── halt: stops, and leaves its threads as they are
//! ```

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Once};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::threads::{self, Threads};

const POLLING: u8 = 0;
const EXITING: u8 = 1;
const HALTED: u8 = 2;

/// The process ends: destructors of C libraries must find no lane at work.
static EXITING_PROCESS: AtomicBool = AtomicBool::new(false);
/// Lanes that run.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static IS_LANE: Cell<bool> = const { Cell::new(false) };
}

/// An OS thread of a loop.
#[derive(Debug)]
pub(super) struct Lane {
    state: Arc<AtomicU8>,
    thread: JoinHandle<()>,
}

impl Lane {
    /// Starts the OS thread; new SPDK threads may go there from now on.
    pub(super) fn spawn(number: usize) -> std::io::Result<Self> {
        static AT_EXIT: Once = Once::new();
        AT_EXIT.call_once(|| {
            // SAFETY: `stop_at_exit` is a plain function that lives for ever.
            unsafe { libc::atexit(stop_at_exit) };
        });
        let state = Arc::new(AtomicU8::new(POLLING));
        let seen = Arc::clone(&state);
        let (send, inbox) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new()
            .name(format!("spdk-lane-{number}"))
            .spawn(move || {
                let mut threads = Threads::default();
                let _ = send.send(threads.inbox());
                run(&mut threads, &seen);
            })?;
        if let Ok(inbox) = inbox.recv() {
            threads::add_lane(inbox);
        }
        Ok(Self { state, thread })
    }

    /// Tells its SPDK threads to exit, and then the OS thread.
    pub(super) fn end(&self) {
        let _ = self
            .state
            .compare_exchange(POLLING, EXITING, Ordering::Release, Ordering::Relaxed);
    }

    /// Stops polling, and leaves everything as it is.
    pub(super) fn halt(&self) {
        self.state.store(HALTED, Ordering::Release);
    }

    pub(super) fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    pub(super) fn join(self) {
        // The thread contains the panics of what it runs.
        let _ = self.thread.join();
    }
}

fn run(threads: &mut Threads, state: &AtomicU8) {
    IS_LANE.set(true);
    RUNNING.fetch_add(1, Ordering::AcqRel);
    while !EXITING_PROCESS.load(Ordering::Acquire) {
        match state.load(Ordering::Acquire) {
            HALTED => break,
            EXITING => {
                threads.exit_all(None);
                if threads.left() == 0 {
                    break;
                }
            }
            _ => {}
        }
        if !threads.poll_all() {
            std::thread::yield_now();
        }
    }
    RUNNING.fetch_sub(1, Ordering::AcqRel);
}

/// Waits for lanes, but not for the one that ends the process, nor long for one that is stuck.
extern "C" fn stop_at_exit() {
    EXITING_PROCESS.store(true, Ordering::Release);
    let mine = usize::from(IS_LANE.try_with(Cell::get).unwrap_or(false));
    let most = Instant::now() + Duration::from_secs(1);
    while RUNNING.load(Ordering::Acquire) > mine && Instant::now() < most {
        std::thread::yield_now();
    }
}
