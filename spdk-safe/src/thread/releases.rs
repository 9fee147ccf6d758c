//! What is to be released on a thread, or done there a little later: jobs that nobody waits for, in order.
//!
//! ```text
//!        first job             one pass: up to 32
//!  push ──────────► one SPDK message ──────────► run ──► another message, while jobs are left
//!                      │ refused (up to 25.09)
//!                      └──► late: the app thread tries again
//! ```
//!
//! A loop that drops channels, or a vector of descriptors dropped elsewhere, has no bound, and SPDK aborts the process
//! when it has no message left (T-20). So each thread has one queue here, and one message under way. Jobs may make SPDK
//! send a message each; the next pass is behind those in SPDK's ring, so there are never more than a pass's.
//!
//! Nothing here takes SPDK's list of threads for a thread of ours: a log receiver may push while SPDK has that locked.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::c_void;
use std::num::NonZeroU64;
use std::ptr::{self, NonNull};
use std::sync::Mutex;

use super::{Home, app_thread, table};
use crate::panic::contain;
use crate::sync::lock;

/// How many jobs one pass runs at most.
const PASS: usize = 32;

/// By the thread's id, which is never used again.
static QUEUES: Mutex<BTreeMap<NonZeroU64, Queue>> = Mutex::new(BTreeMap::new());

struct Queue {
    thread: NonNull<spdk_sys::spdk_thread>,
    jobs: VecDeque<Job>,
    /// The message that runs a pass is under way.
    sent: bool,
}

// SAFETY: the pointer is only sent to, which any OS thread may; jobs run where their makers said that they may.
unsafe impl Send for Queue {}

/// Something to do on a thread.
pub(super) enum Job {
    /// On this OS thread alone.
    Bound(Home, Box<dyn FnOnce()>),
    /// It touches nothing but what belongs to the SPDK thread.
    Anywhere(Box<dyn FnOnce()>),
    /// It may be dropped unrun.
    Travels(Box<dyn FnOnce() + Send>),
}

impl Job {
    fn run(self) {
        match self {
            Self::Bound(home, job) if home.check().is_err() => {
                // The thread was moved to another OS thread, and the job need not be `Send`.
                std::mem::forget(job);
                crate::log::error("an SPDK thread was moved to another OS thread; a handle leaks");
            }
            Self::Bound(_, job) | Self::Anywhere(job) => drop(contain("a message", job)),
            Self::Travels(job) => drop(contain("a message", job)),
        }
    }

    /// Its thread is gone.
    fn lose(self) {
        match self {
            Self::Bound(_, job) | Self::Anywhere(job) => std::mem::forget(job),
            Self::Travels(job) => {
                contain("the destructor of a message", || drop(job));
            }
        }
    }
}

/// Has `job` run on the thread `id`, after what runs now.
///
/// # Safety
///
/// The thread does not exit before the job was run, since it holds what the job is to release (T-09); or it is current;
/// or it is the app thread, and we are inside its gate.
pub(super) unsafe fn push(thread: NonNull<spdk_sys::spdk_thread>, id: NonZeroU64, job: Job) {
    let is_first = {
        let mut queues = lock(&QUEUES);
        let queue = queues.entry(id).or_insert_with(|| Queue {
            thread,
            jobs: VecDeque::new(),
            sent: false,
        });
        queue.jobs.push_back(job);
        !std::mem::replace(&mut queue.sent, true)
    };
    // SAFETY: by this function's contract.
    if is_first && !unsafe { kick(thread, id) } {
        table::want_attention();
    }
}

/// Sends the message that runs a pass; `false` if that is to be tried again.
///
/// # Safety
///
/// As [`push`]; the queue is marked as sent.
unsafe fn kick(thread: NonNull<spdk_sys::spdk_thread>, id: NonZeroU64) -> bool {
    let ctx = ptr::without_provenance_mut::<c_void>(id.get() as usize);
    let sent = if table::is_app_thread(id) && app_thread::is_open() {
        app_thread::send_one(pass_callback, ctx)
    } else {
        table::get(id).and_then(|shared| shared.send_one(pass_callback, ctx))
    };
    let sent = match sent {
        Some(rc) => rc == 0,
        // Somebody else's thread, or one that has told SPDK that it exits: SPDK's list of threads knows. It may be
        // locked below a log receiver.
        None if crate::log::in_receiver() => false,
        None if is_gone(id) => {
            lose(id);
            return true;
        }
        // SAFETY: it has not exited, and by this function's contract it does not now.
        None => unsafe {
            spdk_sys::spdk_thread_send_msg(thread.as_ptr(), Some(pass_callback), ctx) == 0
        },
    };
    if !sent {
        if let Some(queue) = lock(&QUEUES).get_mut(&id) {
            queue.sent = false;
        }
    }
    sent
}

/// Whether the thread has exited.
fn is_gone(id: NonZeroU64) -> bool {
    // SAFETY: only looks the id up, under SPDK's lock.
    let raw = unsafe { spdk_sys::spdk_thread_get_by_id(id.get()) };
    // SAFETY: the thread was found; it holds what a job is to release, so it is destroyed only if SPDK forces it out,
    // seconds after it was told to exit.
    raw.is_null() || unsafe { spdk_sys::spdk_thread_is_exited(raw) }
}

/// Forgets what was to be done on a thread that SPDK has forced out with what it held (T-10).
fn lose(id: NonZeroU64) {
    let queue = lock(&QUEUES).remove(&id);
    for job in queue.into_iter().flat_map(|queue| queue.jobs) {
        job.lose();
    }
    crate::log::error(&format!(
        "SPDK thread {id} has exited with something that was still held; it leaks"
    ));
}

/// Sends the messages that SPDK had no room for; whether it still has none. On the app thread.
pub(super) fn retry() -> bool {
    let late: Vec<_> = {
        let mut queues = lock(&QUEUES);
        let late = queues
            .iter_mut()
            .filter(|(_, queue)| !queue.sent && !queue.jobs.is_empty());
        late.map(|(id, queue)| {
            queue.sent = true;
            (queue.thread, *id)
        })
        .collect()
    };
    let mut again = false;
    for (thread, id) in late {
        // SAFETY: jobs lie there, and nobody else runs them: no message is under way. So the thread holds what they are
        // to release; a thread of ours runs them before it exits, and its gate is closed then.
        again |= !unsafe { kick(thread, id) };
    }
    again
}

/// Runs all that is to be done on the thread `id`, which is current.
pub(super) fn run_all(id: NonZeroU64) {
    loop {
        let jobs = take(id, usize::MAX);
        if jobs.is_empty() {
            return;
        }
        jobs.into_iter().for_each(Job::run);
    }
}

/// Drops or forgets what was to be done on the thread `id`, which is polled no more.
pub(super) fn lose_all(id: NonZeroU64) {
    take(id, usize::MAX).into_iter().for_each(Job::lose);
}

/// Takes up to `most` jobs.
fn take(id: NonZeroU64, most: usize) -> VecDeque<Job> {
    let mut queues = lock(&QUEUES);
    let Some(queue) = queues.get_mut(&id) else {
        return VecDeque::new();
    };
    let most = most.min(queue.jobs.len());
    let jobs = queue.jobs.drain(..most).collect();
    if !queue.sent && queue.jobs.is_empty() {
        queues.remove(&id);
    }
    jobs
}

/// Runs some of it, and sends the next message if something is left.
fn pass(id: NonZeroU64) {
    take(id, PASS).into_iter().for_each(Job::run);
    let left = {
        let mut queues = lock(&QUEUES);
        match queues.get(&id) {
            Some(queue) if queue.jobs.is_empty() => {
                queues.remove(&id);
                None
            }
            Some(queue) => Some(queue.thread),
            None => None,
        }
    };
    // SAFETY: the thread is current, so it has not exited.
    if left.is_some_and(|thread| !unsafe { kick(thread, id) }) {
        table::want_attention();
    }
}

/// # Safety
///
/// SPDK calls this on the thread that the message was sent to; `ctx` is the thread's id.
unsafe extern "C" fn pass_callback(ctx: *mut c_void) {
    contain("what is to be released", || {
        if let Some(id) = NonZeroU64::new(ctx.addr() as u64) {
            pass(id);
        }
    });
}
