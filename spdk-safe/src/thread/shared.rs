//! One thread of ours, as everybody sees it: what is sent to it, and how it ends.
//!
//! ```text
//!            1            2                3               4          5
//!  (create) ───► Open ───────► Closing ───────► Draining ─────► Left ─────► Gone
//!                 takes messages  runs what it has  lets go       SPDK's
//!  1: table::add   2: `ask_to_exit`: the owner was dropped, or the app ends   3: the last message was run
//!  4: `exit_step` finds nothing held, and calls spdk_thread_exit   5: `look_after`: SPDK has destroyed it
//! ```

use std::ffi::{c_int, c_void};
use std::num::NonZeroU64;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::{Duration, Instant};

use super::gate::Gate;
use super::mailbox::{Accepted, Job, Kick, Mailbox, Refused};
use super::spawner::LocalTask;
use super::task::{self, SendTask, Stay, Task, Tasks};
use super::{Home, local, registry, releases, table};
use crate::panic::{contain, wake_all};
use crate::sync::lock;

/// How long a thread may take to exit before what it still holds is reported, again and again.
const REPORT_AFTER: Duration = Duration::from_secs(5);

/// How long SPDK may take to destroy a thread that has nothing of ours. After 5 s it forces it out; one that still has
/// somebody's poller then is never destroyed while reactors run.
const GIVE_UP_AFTER: Duration = Duration::from_secs(10);

/// See the module's page.
///
/// # Invariants
///
/// `raw` has not exited while the gate is open.
pub(super) struct Shared {
    pub(super) id: NonZeroU64,
    pub(super) name: String,
    /// It stays on one OS thread.
    pub(super) pinned: bool,
    /// Ticks when it was made.
    pub(super) since: u64,
    raw: NonNull<spdk_sys::spdk_thread>,
    gate: Gate,
    mailbox: Mailbox,
    /// Of the built-in spawner.
    pub(super) tasks: Mutex<Tasks>,
    phase: AtomicU8,
    /// SPDK had no room for the message that runs a pass; the app thread tries again.
    is_late: AtomicBool,
    report_at: Mutex<Option<Instant>>,
    left_at: Mutex<Option<Instant>>,
    /// Woken when it is gone.
    joining: Mutex<Joining>,
}

/// Who waits for the end.
#[derive(Default)]
struct Joining {
    /// By ticket.
    wakers: Vec<(u64, Waker)>,
    next_ticket: u64,
}

// SAFETY: the raw pointer is sent to inside the gate, where SPDK takes messages from any thread, and otherwise used on
// the thread itself. Everything else is atomics and mutexes.
unsafe impl Send for Shared {}
// SAFETY: as for `Send`.
unsafe impl Sync for Shared {}

/// How far a thread is; see the module's page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Phase {
    Open,
    Closing,
    Draining,
    Left,
    Gone,
}

impl Shared {
    /// # Safety
    ///
    /// The thread runs, and is told to exit by nobody but `exit_step`, or it is the app thread.
    pub(super) unsafe fn new(
        (raw, id): (NonNull<spdk_sys::spdk_thread>, NonZeroU64),
        name: String,
        pinned: bool,
        room: usize,
    ) -> Arc<Self> {
        // INVARIANT: by this function's contract.
        let shared = Arc::new(Self {
            id,
            name,
            pinned,
            since: super::ticks(),
            raw,
            gate: Gate::new(),
            mailbox: Mailbox::new(room),
            tasks: Mutex::default(),
            phase: AtomicU8::new(Phase::Open as u8),
            is_late: AtomicBool::new(false),
            report_at: Mutex::new(None),
            left_at: Mutex::new(None),
            joining: Mutex::default(),
        });
        shared.gate.open();
        shared
    }

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Open,
            1 => Phase::Closing,
            2 => Phase::Draining,
            3 => Phase::Left,
            _ => Phase::Gone,
        }
    }

    /// Whether it lets go of what it holds, or has.
    pub(super) fn is_exiting(&self) -> bool {
        self.phase() >= Phase::Draining
    }

    fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// Whether the thread is current, on whichever OS thread.
    pub(super) fn is_current(&self) -> bool {
        super::current_id() == Some(self.id)
    }

    /// Accepts `job`, or gives it back with the reason.
    pub(super) fn try_send<F: FnOnce() + Send + 'static>(
        self: &Arc<Self>,
        job: Box<F>,
    ) -> Result<(), (Refused, Box<F>)> {
        let kick = self.mailbox.try_push(job)?;
        self.kick(kick);
        Ok(())
    }

    /// Accepts `job`, or has it wait; see [`Mailbox::push`].
    pub(super) fn push(self: &Arc<Self>, job: Job, waker: Waker) -> Accepted {
        let accepted = self.mailbox.push(job, waker);
        if let Accepted::Yes(kick) = accepted {
            self.kick(kick);
        }
        accepted
    }

    pub(super) fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }

    /// Has `task` polled soon.
    pub(super) fn wake_task(self: &Arc<Self>, task: Arc<Task>) {
        let kick = self.mailbox.push_woken(task);
        self.kick(kick);
    }

    /// Starts a task that stays on the OS thread of `home`.
    pub(super) fn start_local(self: &Arc<Self>, home: Home, task: LocalTask) {
        self.start(Box::pin(Stay::new(home, task)));
    }

    /// Starts a task; it is dropped if the thread takes none any more.
    pub(super) fn start(self: &Arc<Self>, task: SendTask) {
        drop(Task::start(self, task));
    }

    /// Sends the message that runs a pass, if it is wanted.
    fn kick(self: &Arc<Self>, kick: Kick) {
        if kick == Kick::No {
            return;
        }
        let ctx = Arc::into_raw(Arc::clone(self)).cast_mut().cast::<c_void>();
        let sent = self.gate.pass(|| {
            // SAFETY: by the type invariant: we are inside the gate. `ctx` is what the callback expects.
            unsafe { spdk_sys::spdk_thread_send_msg(self.raw.as_ptr(), Some(pass_callback), ctx) }
        });
        if sent == Some(0) {
            return;
        }
        // SAFETY: SPDK did not take the message, so the count that `into_raw` leaked is ours again.
        drop(unsafe { Arc::from_raw(ctx.cast_const().cast::<Self>()) });
        if sent.is_some() {
            // Only old versions answer so. Nothing is lost: what was accepted stays, and is run a little later.
            self.mailbox.unschedule();
            self.is_late.store(true, Ordering::Release);
            table::want_attention();
        }
    }

    /// Sends `f(ctx)` to the thread in a message of SPDK's: what SPDK answered, or `None` when it takes none.
    pub(super) fn send_one(
        &self,
        f: unsafe extern "C" fn(*mut c_void),
        ctx: *mut c_void,
    ) -> Option<c_int> {
        self.gate.pass(|| {
            // SAFETY: by the type invariant: we are inside the gate.
            unsafe { spdk_sys::spdk_thread_send_msg(self.raw.as_ptr(), Some(f), ctx) }
        })
    }

    /// Runs some of what was sent, and of the tasks that were woken. On the thread.
    fn pass(self: &Arc<Self>) {
        let mut pass = self.mailbox.begin_pass();
        let (mut jobs, mut woken) = (0, 0);
        while let Some(job) = pass.next_job(&mut jobs) {
            contain("a message", job);
        }
        while let Some(task) = pass.next_woken(&mut woken) {
            task.run();
        }
        let after = self.mailbox.end_pass(pass, jobs);
        wake_all(after.wakers);
        if after.is_over && self.phase() >= Phase::Closing {
            self.exit_step();
        }
        if after.again {
            self.kick(Kick::Send);
        }
    }

    /// Runs what is left of the messages, all of it: nothing new is accepted, and from then on the thread lets go of what
    /// it holds. For the app thread, which ends otherwise.
    pub(super) fn run_last(self: &Arc<Self>, is_current: bool) {
        wake_all(self.mailbox.close());
        let left = self.mailbox.seal();
        for job in left.jobs {
            match is_current {
                true => drop(contain("a message", job)),
                false => drop(contain("the destructor of a message", || drop(job))),
            }
        }
        let woken = left.woken;
        contain("the destructor of a task", || drop(woken));
        self.set_phase(Phase::Draining);
    }

    /// Ends the app thread.
    pub(super) fn close_for_good(self: &Arc<Self>, is_current: bool) {
        self.run_last(is_current);
        self.gate.close();
        self.set_phase(Phase::Left);
        self.gone();
    }

    /// Takes no more messages; when those that it has were run, the thread lets go of what it holds, and exits.
    pub(super) fn ask_to_exit(self: &Arc<Self>) {
        let closing = self.phase.compare_exchange(
            Phase::Open as u8,
            Phase::Closing as u8,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        if closing.is_err() {
            return;
        }
        *lock(&self.report_at) = Some(Instant::now() + REPORT_AFTER);
        wake_all(self.mailbox.close());
        table::want_attention();
        self.nudge();
    }

    /// Asks for a pass.
    fn nudge(self: &Arc<Self>) {
        let kick = self.mailbox.schedule();
        self.kick(kick);
    }

    /// Lets go of everything, and exits when nothing is held any more. On the thread; again and again until it is done.
    fn exit_step(self: &Arc<Self>) {
        let local = local::current();
        if self.phase() == Phase::Closing {
            self.set_phase(Phase::Draining);
            match &local {
                Some(local) => {
                    local.drop_tasks();
                    local.drop_storage();
                    registry::drain(local.home());
                }
                None => task::drop_all(self),
            }
            if self.pinned && local.is_none() {
                crate::log::error(&format!(
                    "SPDK thread {:?} was moved away from its core; what it holds leaks",
                    self.name
                ));
            }
        }
        if self.phase() != Phase::Draining {
            return;
        }
        // What was sent home by handles that were dropped elsewhere is let go of while the gate is open.
        releases::run_all(self.id);
        if let Some(local) = &local {
            let held = registry::held_by(local.home());
            if !held.is_empty() {
                return self.report(&held);
            }
        }
        // Nothing of ours has to reach the thread any more.
        self.gate.close();
        local::forget(self.raw);
        let left = self.mailbox.seal();
        contain("the destructor of a task", || drop(left));
        *lock(&self.left_at) = Some(Instant::now());
        self.set_phase(Phase::Left);
        // SAFETY: this is the thread, and it exists; nobody sends to it, since the gate is closed.
        unsafe { spdk_sys::spdk_thread_exit(self.raw.as_ptr()) };
    }

    /// Says what keeps the thread from exiting, every few seconds.
    fn report(&self, held: &[String]) {
        let due = {
            let mut at = lock(&self.report_at);
            let due = at.is_some_and(|at| Instant::now() >= at);
            if due {
                *at = Some(Instant::now() + REPORT_AFTER);
            }
            due
        };
        if due {
            crate::log::warn(&format!(
                "SPDK thread {:?} can't exit yet; it still holds: {}",
                self.name,
                held.join(", ")
            ));
        }
    }

    /// Helps it along. On the app thread, now and then; whether it wants to be looked after again.
    pub(super) fn look_after(self: &Arc<Self>) -> bool {
        let is_late = self.is_late.swap(false, Ordering::AcqRel);
        match self.phase() {
            Phase::Open => {
                if is_late {
                    self.nudge();
                }
                false
            }
            Phase::Closing | Phase::Draining => {
                self.nudge();
                true
            }
            Phase::Left => {
                // SAFETY: only looks the id up, under SPDK's lock. A thread that was destroyed is not found.
                let is_there = !unsafe { spdk_sys::spdk_thread_get_by_id(self.id.get()) }.is_null();
                if is_there && !self.is_overdue() {
                    return true;
                }
                if is_there {
                    crate::log::error(&format!(
                        "SPDK thread {:?} was forced out with a poller or channel of somebody else's, which leaks",
                        self.name
                    ));
                }
                self.gone();
                false
            }
            Phase::Gone => false,
        }
    }

    fn is_overdue(&self) -> bool {
        lock(&self.left_at).is_some_and(|at| at.elapsed() >= GIVE_UP_AFTER)
    }

    fn gone(&self) {
        self.set_phase(Phase::Gone);
        table::remove(self.id);
        let joining = std::mem::take(&mut lock(&self.joining).wakers);
        wake_all(joining.into_iter().map(|(_, waker)| waker).collect());
    }

    /// Has `waker` woken when the thread is gone; `true` if it is. The caller keeps the ticket, and gives it back.
    pub(super) fn poll_gone(&self, ticket: &mut Option<u64>, waker: &Waker) -> bool {
        // Cloned, and dropped, while nothing is locked: a waker is somebody's code.
        let waker = waker.clone();
        let _old;
        {
            let mut joining = lock(&self.joining);
            let mine = joining
                .wakers
                .iter()
                .position(|(id, _)| Some(*id) == *ticket);
            match mine {
                Some(at) => _old = std::mem::replace(&mut joining.wakers[at].1, waker),
                None => {
                    let id = joining.next_ticket;
                    joining.next_ticket += 1;
                    joining.wakers.push((id, waker));
                    *ticket = Some(id);
                }
            }
        }
        // `gone` sets the phase before it takes the list.
        self.phase() == Phase::Gone
    }

    /// Nobody waits under `ticket` any more.
    pub(super) fn leave(&self, ticket: u64) {
        let mut joining = lock(&self.joining);
        let mine = joining.wakers.iter().position(|(id, _)| *id == ticket);
        let mine = mine.map(|at| joining.wakers.swap_remove(at));
        drop(joining);
        drop(mine);
    }
}

/// # Safety
///
/// SPDK calls this once, on the thread, with the count of its [`Shared`] that `kick` sent.
unsafe extern "C" fn pass_callback(ctx: *mut c_void) {
    // SAFETY: by this function's contract.
    let shared = unsafe { Arc::from_raw(ctx.cast_const().cast::<Shared>()) };
    contain("messages to an SPDK thread", || shared.pass());
}
