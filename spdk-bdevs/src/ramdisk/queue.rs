//! Requests that wait, on one SPDK thread.
//!
//! ```text
//!           1              2
//!  (asked) ───► held ───────────► carried out
//!                 │   3
//!                 └─────────────► aborted
//!  1: hold   2: poll, when it is due   3: poll after `Core::let_go`, abort, the end of the poller
//! ```
//!
//! A poller counts, so that a schedule of a test decides and no clock does. It is paused while nothing is held, and the
//! end of its thread drops its closure: that lets go of what is left.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use spdk_safe::module::{Request, RequestId, RequestStatus};
use spdk_safe::thread::{Poller, PollerStatus};

use super::core::Core;
use super::device;
use super::faults::{Delay, Outcome};

/// Borrowed for single looks, never across a call.
pub(super) struct Queue {
    pub(super) core: Arc<Core>,
    held: RefCell<Vec<Held>>,
    poller: RefCell<Option<Rc<Poller>>>,
}

struct Held {
    due: Due,
    epoch: u64,
    request: Request,
    outcome: Outcome,
}

enum Due {
    Polls(u32),
    At(Instant),
    Never,
    /// A RESET: nothing is held any more, on no thread.
    Drained,
}

impl Queue {
    pub(super) fn new(core: &Arc<Core>) -> Rc<Self> {
        Rc::new(Self {
            core: Arc::clone(core),
            held: RefCell::new(Vec::new()),
            poller: RefCell::new(None),
        })
    }

    /// Has `request` wait for `delay`; carries it out at once where nothing may wait.
    pub(super) fn hold(self: &Rc<Self>, request: Request, outcome: Outcome, delay: Delay) {
        let due = match delay {
            Delay::Polls(polls) => Due::Polls(polls.max(1)),
            Delay::For(time) => Instant::now().checked_add(time).map_or(Due::Never, Due::At),
            Delay::Forever => Due::Never,
        };
        // Before the look at whether it may wait: what is let go of for good afterwards is let go of then.
        let epoch = self.core.epoch();
        let Some(poller) = self.poller().filter(|_| self.core.may_hold()) else {
            return device::carry_out(self, request, outcome);
        };
        self.core.count_held();
        self.push(due, epoch, request, outcome);
        let _ = poller.resume();
    }

    /// Aborts what is held on all threads, and completes `reset` when that has ended.
    pub(super) fn reset(self: &Rc<Self>, reset: Request) {
        self.core.let_go();
        if self.core.held() == 0 {
            return reset.complete(RequestStatus::Success);
        }
        let Some(poller) = self.poller() else {
            // This thread ends. Other threads let go of theirs.
            return reset.complete(RequestStatus::Success);
        };
        self.push(Due::Drained, self.core.epoch(), reset, Outcome::Normal);
        let _ = poller.resume();
    }

    fn push(&self, due: Due, epoch: u64, request: Request, outcome: Outcome) {
        let held = Held {
            due,
            epoch,
            request,
            outcome,
        };
        self.held.borrow_mut().push(held);
    }

    /// Aborts the request `id`. Whether it was held.
    pub(super) fn abort(self: &Rc<Self>, id: RequestId) -> bool {
        let victim = self.remove(|held| device::id_of(&held.request) == Some(id));
        let found = victim.is_some();
        if let Some(victim) = victim {
            self.end(victim, true);
        }
        found
    }

    /// Aborts what is held on this thread.
    fn let_go(self: &Rc<Self>) {
        while let Some(held) = self.remove(|_| true) {
            self.end(held, true);
        }
    }

    fn remove(&self, which: impl FnMut(&Held) -> bool) -> Option<Held> {
        let mut all = self.held.borrow_mut();
        let at = all.iter().position(which)?;
        Some(all.remove(at))
    }

    fn end(self: &Rc<Self>, held: Held, abort: bool) {
        if matches!(held.due, Due::Drained) {
            return held.request.complete(RequestStatus::Success);
        }
        self.core.uncount_held();
        match abort {
            true => held.request.complete(RequestStatus::Aborted),
            false => device::carry_out(self, held.request, held.outcome),
        }
    }

    /// The poller, if it runs: it does not on a thread that ends, nor on one that may be moved.
    fn poller(self: &Rc<Self>) -> Option<Rc<Poller>> {
        let poller = self.poller.borrow().clone();
        let poller = match poller {
            Some(poller) => poller,
            None => {
                let queue = LetGo(Rc::clone(self));
                let poller = Poller::register_named(c"ramdisk", None, move || queue.0.poll());
                let poller = Rc::new(poller.ok()?);
                *self.poller.borrow_mut() = Some(Rc::clone(&poller));
                poller
            }
        };
        poller.is_registered().then_some(poller)
    }

    fn poll(self: &Rc<Self>) -> PollerStatus {
        let epoch = self.core.epoch();
        let count = {
            let mut all = self.held.borrow_mut();
            for held in all.iter_mut() {
                if let Due::Polls(left) = &mut held.due {
                    *left = left.saturating_sub(1);
                }
            }
            all.len()
        };
        let mut status = PollerStatus::Idle;
        // What completions bring anew waits for the next poll.
        for _ in 0..count {
            let next = self.remove(|held| match held.due {
                Due::Drained => self.core.held() == 0,
                _ if held.epoch < epoch => true,
                Due::Polls(left) => left == 0,
                Due::At(at) => at <= Instant::now(),
                Due::Never => false,
            });
            let Some(held) = next else {
                break;
            };
            status = PollerStatus::Busy;
            let abort = held.epoch < epoch;
            self.end(held, abort);
        }
        if self.held.borrow().is_empty() {
            let poller = self.poller.borrow().clone();
            if let Some(poller) = poller {
                let _ = poller.pause();
            }
        }
        status
    }

    /// The channel goes: the poller does, which has the queue.
    pub(super) fn close(&self) {
        let poller = self.poller.borrow_mut().take();
        drop(poller);
    }
}

/// The queue, as its poller has it.
struct LetGo(Rc<Queue>);

impl Drop for LetGo {
    fn drop(&mut self) {
        self.0.let_go();
    }
}
