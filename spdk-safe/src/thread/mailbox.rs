//! What is to run on a thread: messages, bounded, in order, and tasks that were woken.
//!
//! ```text
//!            room                     one pass: take all, run some
//!  push ──────────► jobs ─────────────────────► running ──► run
//!   │   no room      ▲                                       │ as many as were run
//!   └──► waiting ────┴───────────────────────────────────────┘
//! ```
//!
//! One SPDK message is under way to the thread while there is something to do (`scheduled`); it runs one pass, and the
//! next one is sent only if something is left. So a burst costs few SPDK messages, a pass is bounded, and SPDK's own
//! ring, where a full one aborts the process (T-20), has at most one entry of ours for each thread.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Waker;

use super::task::Task;
use crate::sync::lock;

/// A message.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// How many messages, and how many woken tasks, one pass runs at most.
const PASS: usize = 32;

/// See the module's page.
pub(super) struct Mailbox {
    state: Mutex<State>,
    /// How many messages may be in flight: accepted, and not run.
    room: usize,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Taken from `jobs` by a pass, and left by it.
    running: VecDeque<Job>,
    /// Messages in `jobs` and `running`, also while a pass has them out.
    in_flight: usize,
    /// By ticket, ascending.
    waiting: VecDeque<Waiting>,
    next_ticket: u64,
    woken: VecDeque<Arc<Task>>,
    /// An SPDK message is under way, or a pass runs.
    scheduled: bool,
    /// Nothing is accepted any more.
    closed: bool,
    /// The thread is gone, or goes: nothing is kept any more.
    sealed: bool,
}

/// A message that waits for room. It lies here and not in the future that waits, which may be forgotten.
pub(super) struct Waiting {
    ticket: u64,
    job: Job,
    waker: Waker,
}

/// Why a message was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    Full,
    Closed,
}

/// What the caller is to do after the lock was released: send the SPDK message that runs a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(super) enum Kick {
    Send,
    /// One is under way.
    No,
}

/// Where a message is, whose sender asks.
pub(super) enum Accepted {
    Yes(Kick),
    /// It waits for room, under this ticket.
    Waits(u64),
    Closed(Job),
}

/// What a pass does.
pub(super) struct Pass {
    pub(super) jobs: VecDeque<Job>,
    pub(super) woken: VecDeque<Arc<Task>>,
}

/// What is left after a pass.
pub(super) struct After {
    /// Another pass is wanted.
    pub(super) again: bool,
    /// No message is left, and none will come.
    pub(super) is_over: bool,
    /// Senders whose messages found room.
    pub(super) wakers: Vec<Waker>,
}

impl State {
    /// Then nobody waits: room that comes free goes to them first, in the same step.
    fn has_room(&self, room: usize) -> bool {
        self.in_flight < room
    }

    fn accept(&mut self, job: Job) {
        self.jobs.push_back(job);
        self.in_flight += 1;
    }

    fn schedule(&mut self) -> Kick {
        match std::mem::replace(&mut self.scheduled, true) {
            false => Kick::Send,
            true => Kick::No,
        }
    }

    /// Accepts what waits, as far as there is room.
    fn promote(&mut self, room: usize) -> Vec<Waker> {
        let mut wakers = Vec::new();
        while self.in_flight < room {
            let Some(first) = self.waiting.pop_front() else {
                break;
            };
            self.accept(first.job);
            wakers.push(first.waker);
        }
        wakers
    }
}

impl Mailbox {
    pub(super) fn new(room: usize) -> Self {
        Self {
            state: Mutex::default(),
            room,
        }
    }

    /// Accepts `job` if there is room.
    pub(super) fn try_push<F: FnOnce() + Send + 'static>(
        &self,
        job: Box<F>,
    ) -> Result<Kick, (Refused, Box<F>)> {
        let mut state = self.state();
        if state.closed {
            return Err((Refused::Closed, job));
        }
        if !state.has_room(self.room) {
            return Err((Refused::Full, job));
        }
        state.accept(job);
        Ok(state.schedule())
    }

    /// Accepts `job`, or has it wait and `waker` woken when it was accepted.
    pub(super) fn push(&self, job: Job, waker: Waker) -> Accepted {
        let mut state = self.state();
        if state.closed {
            return Accepted::Closed(job);
        }
        if state.has_room(self.room) {
            state.accept(job);
            return Accepted::Yes(state.schedule());
        }
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.waiting.push_back(Waiting { ticket, job, waker });
        Accepted::Waits(ticket)
    }

    /// Whether what waited under `ticket` was accepted; if not, `waker` is woken when it is.
    pub(super) fn is_accepted(&self, ticket: u64, waker: Waker) -> bool {
        // The old waker goes when nothing is locked: it is somebody's code.
        let _old;
        let mut state = self.state();
        match state.waiting.binary_search_by_key(&ticket, |w| w.ticket) {
            Err(_) => true,
            Ok(at) => {
                _old = std::mem::replace(&mut state.waiting[at].waker, waker);
                false
            }
        }
    }

    /// Takes back what waits under `ticket`, if it was not accepted. The caller drops it with no lock held: it is
    /// somebody's code, and so is the waker.
    pub(super) fn take_back(&self, ticket: u64) -> Option<Waiting> {
        let mut state = self.state();
        let at = state
            .waiting
            .binary_search_by_key(&ticket, |w| w.ticket)
            .ok()?;
        state.waiting.remove(at)
    }

    /// Accepts `task`, which was woken, for a pass.
    pub(super) fn push_woken(&self, task: Arc<Task>) -> Kick {
        let mut state = self.state();
        if state.sealed {
            return Kick::No;
        }
        state.woken.push_back(task);
        state.schedule()
    }

    /// Keeps nothing any more. The caller drops what is left, with no lock held.
    pub(super) fn seal(&self) -> Pass {
        let mut state = self.state();
        state.closed = true;
        state.sealed = true;
        let mut jobs = std::mem::take(&mut state.running);
        jobs.append(&mut state.jobs);
        let waiting = std::mem::take(&mut state.waiting);
        state.in_flight = 0;
        let woken = std::mem::take(&mut state.woken);
        drop(state);
        jobs.extend(waiting.into_iter().map(|waiting| waiting.job));
        Pass { jobs, woken }
    }

    /// Asks for a pass, though there may be nothing to do.
    pub(super) fn schedule(&self) -> Kick {
        self.state().schedule()
    }

    /// The SPDK message was refused: the next one that asks for a pass is to send one.
    pub(super) fn unschedule(&self) {
        self.state().scheduled = false;
    }

    /// Accepts nothing any more, but what waits already. Returns the wakers of those.
    pub(super) fn close(&self) -> Vec<Waker> {
        let mut state = self.state();
        state.closed = true;
        state.promote(usize::MAX)
    }

    /// Messages in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.state().in_flight
    }

    /// Takes what a pass is to run. On the thread itself.
    pub(super) fn begin_pass(&self) -> Pass {
        let mut state = self.state();
        if state.running.is_empty() {
            let State { jobs, running, .. } = &mut *state;
            std::mem::swap(jobs, running);
        }
        Pass {
            jobs: std::mem::take(&mut state.running),
            woken: std::mem::take(&mut state.woken),
        }
    }

    /// Gives back what a pass left, after it has run `ran` messages.
    pub(super) fn end_pass(&self, mut left: Pass, ran: usize) -> After {
        let mut state = self.state();
        state.running = left.jobs;
        // Those that were woken before come first.
        left.woken.append(&mut state.woken);
        state.woken = left.woken;
        state.in_flight = state.in_flight.saturating_sub(ran);
        let wakers = match state.closed {
            true => Vec::new(),
            false => state.promote(self.room),
        };
        let is_over = state.closed && state.in_flight == 0;
        let again = state.in_flight != 0 || !state.woken.is_empty();
        state.scheduled = again;
        After {
            again,
            is_over,
            wakers,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Pass {
    /// Up to as many messages as one pass may run.
    pub(super) fn next_job(&mut self, ran: &mut usize) -> Option<Job> {
        if *ran == PASS {
            return None;
        }
        let job = self.jobs.pop_front()?;
        *ran += 1;
        Some(job)
    }

    /// The same for tasks.
    pub(super) fn next_woken(&mut self, ran: &mut usize) -> Option<Arc<Task>> {
        if *ran == PASS {
            return None;
        }
        let task = self.woken.pop_front()?;
        *ran += 1;
        Some(task)
    }
}
