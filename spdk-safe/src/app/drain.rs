//! What the end of an app closes, step by step.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::thread::{app_thread, table};
use crate::{bdev, io_device, module};

/// How soon what is still open is asked again to close, at most.
const AGAIN_AFTER: Duration = Duration::from_millis(1);

/// Where the end has got to.
#[derive(Debug)]
pub(crate) struct Steps {
    phase: Cell<Phase>,
    /// When what is still open may be asked again.
    again_at: Cell<Instant>,
}

/// What a step found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Something is still open.
    Waits,
    /// It goes on.
    Went,
    /// Nothing of ours is open any more.
    Drained,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Modules are told, while everything still works.
    Begin,
    /// Their `fini_start`s run.
    Modules,
    /// Exit hooks.
    Exit,
    /// Threads of ours exit.
    Threads,
    /// Bdevs of ours are going.
    Bdevs,
    /// Descriptors that somebody forgot are closing.
    Descriptors,
    /// Devices of ours are going, with their channels on all threads.
    Devices,
    /// Nothing of ours is open.
    Drained,
}

impl Steps {
    /// Of our own app, which ends before SPDK does.
    pub(crate) fn of_app() -> Self {
        Self::from(Phase::Begin)
    }

    /// When SPDK itself ends, and has told modules.
    pub(crate) fn of_spdk() -> Self {
        Self::from(Phase::Exit)
    }

    fn from(phase: Phase) -> Self {
        Self {
            phase: Cell::new(phase),
            again_at: Cell::new(Instant::now()),
        }
    }

    /// One look at what is still open, on the app thread. It calls SPDK and user code.
    pub(crate) fn step(&self) -> Step {
        let phase = self.phase.get();
        let next = self.next(phase);
        self.phase.set(next);
        match next {
            // Said before.
            _ if phase == Phase::Drained => Step::Went,
            Phase::Drained => Step::Drained,
            _ if next == phase => Step::Waits,
            _ => Step::Went,
        }
    }

    fn next(&self, phase: Phase) -> Phase {
        match phase {
            Phase::Begin => {
                module::begin_fini_start();
                Phase::Modules
            }
            Phase::Modules if !module::is_in_fini_start() => Phase::Exit,
            Phase::Exit => {
                app_thread::begin_end();
                super::exit::run_hooks();
                module::cancel_examines();
                // Channels on them are put while what is below still works.
                app_thread::end_threads();
                crate::rpc::answer_all();
                Phase::Threads
            }
            Phase::Threads if table::names().is_empty() => {
                module::unregister_all();
                Phase::Bdevs
            }
            Phase::Bdevs if module::registered() == 0 => {
                bdev::revoke_all();
                Phase::Descriptors
            }
            Phase::Descriptors if bdev::open_descriptors() == 0 => {
                io_device::revoke_all();
                Phase::Devices
            }
            Phase::Devices if !io_device::any_registered() => Phase::Drained,
            Phase::Modules | Phase::Threads | Phase::Drained => phase,
            // Again, for what SPDK had no room for the first time.
            Phase::Bdevs | Phase::Descriptors | Phase::Devices => {
                self.seldom(|| match phase {
                    Phase::Bdevs => module::unregister_all(),
                    Phase::Descriptors => bdev::revoke_all(),
                    _ => io_device::revoke_all(),
                });
                phase
            }
        }
    }

    /// Calls `f` now and then: the more is open, the longer it takes, and what is open needs its time to close.
    fn seldom(&self, f: impl FnOnce()) {
        let start = Instant::now();
        if start < self.again_at.get() {
            return;
        }
        f();
        let next = Instant::now() + AGAIN_AFTER.max(start.elapsed() * 8);
        self.again_at.set(next);
    }
}
