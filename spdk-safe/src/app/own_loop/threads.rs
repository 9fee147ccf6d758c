//! SPDK threads that one OS thread polls, and how new ones get to theirs.
//!
//! An SPDK thread is polled by one OS thread for its whole life, so what is bound to it is in one place. SPDK tells
//! of a new thread wherever it was created ([`new_thread_callback`]); it is put into the inbox of a lane, and the lane
//! takes it from there.

use std::ffi::c_int;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::sync::lock;

/// Messages that each SPDK thread may keep for itself (`SPDK_MSG_MEMPOOL_CACHE_SIZE`).
pub(super) const MESSAGES_OF_A_THREAD: u64 = 1024;

/// An SPDK thread on its way to the OS thread that will poll it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Raw(NonNull<spdk_sys::spdk_thread>);

// SAFETY: SPDK threads may be polled by any OS thread, by one at a time; an inbox hands each to one lane.
unsafe impl Send for Raw {}

/// Where a lane finds its new threads.
#[derive(Debug, Default)]
pub(super) struct Inbox(Mutex<Vec<Raw>>);

/// Who gets new threads.
struct Router {
    /// The loop's own inbox comes first, then those of further OS threads.
    lanes: Vec<Arc<Inbox>>,
    next: usize,
    /// More SPDK threads than that would leave no messages.
    most: usize,
}

static ROUTER: Mutex<Router> = Mutex::new(Router {
    lanes: Vec::new(),
    next: 0,
    most: 0,
});

/// SPDK threads that are not destroyed yet.
static ALIVE: AtomicUsize = AtomicUsize::new(0);

/// Makes `own` the inbox of the loop. `messages` is the size of SPDK's pool.
pub(super) fn open(own: Arc<Inbox>, messages: u64) {
    let mut router = lock(&ROUTER);
    router.lanes = vec![own];
    // One share is for those who send without an SPDK thread.
    router.most = usize::try_from(messages / MESSAGES_OF_A_THREAD)
        .unwrap_or(usize::MAX)
        .saturating_sub(1);
}

/// From now on new threads go to `lane` and its like, in turn.
pub(super) fn add_lane(lane: Arc<Inbox>) {
    lock(&ROUTER).lanes.push(lane);
}

/// From now on there are no new threads.
pub(super) fn close() {
    lock(&ROUTER).lanes.clear();
}

/// # Safety
///
/// SPDK calls this in `spdk_thread_create`, on any OS thread, with the new thread.
pub(super) unsafe extern "C" fn new_thread_callback(
    thread: *mut spdk_sys::spdk_thread,
    _op: spdk_sys::spdk_thread_op,
) -> c_int {
    crate::panic::contain("a new SPDK thread", || {
        let Some(thread) = NonNull::new(thread) else {
            return -libc::EINVAL;
        };
        let mut router = lock(&ROUTER);
        if router.lanes.is_empty() {
            return -libc::ESHUTDOWN;
        }
        if ALIVE.load(Ordering::Relaxed) >= router.most {
            return -libc::ENOMEM;
        }
        ALIVE.fetch_add(1, Ordering::Relaxed);
        let others = router.lanes.len() - 1;
        let lane = match others {
            0 => 0,
            _ => 1 + router.next % others,
        };
        router.next = router.next.wrapping_add(1);
        lock(&router.lanes[lane].0).push(Raw(thread));
        0
    })
    .unwrap_or(-libc::EINVAL)
}

/// The SPDK threads of one lane, in the order in which they came.
///
/// # Invariants
///
/// Each is alive (not destroyed), and polled through this list alone.
#[derive(Debug, Default)]
pub(super) struct Threads {
    inbox: Arc<Inbox>,
    list: Vec<NonNull<spdk_sys::spdk_thread>>,
}

impl Threads {
    pub(super) fn inbox(&self) -> Arc<Inbox> {
        Arc::clone(&self.inbox)
    }

    /// Takes in new threads. How many there are now.
    pub(super) fn receive(&mut self) -> usize {
        // INVARIANT: SPDK told of each once, and nobody else takes from this inbox.
        self.list
            .extend(lock(&self.inbox.0).drain(..).map(|raw| raw.0));
        self.list.len()
    }

    /// Polls the thread at `at`, at most `max_messages` of its messages (0 is SPDK's own number, 8). Whether it did
    /// something. A thread that has exited is destroyed, and leaves the list.
    pub(super) fn poll(&mut self, at: usize, max_messages: u32) -> bool {
        let Some(&thread) = self.list.get(at) else {
            return false;
        };
        // SAFETY: by the type invariant the thread is alive and nobody else polls it. SPDK restores the thread that
        // was current before (T-06). 0 means that it reads the clock.
        let busy = unsafe { spdk_sys::spdk_thread_poll(thread.as_ptr(), max_messages, 0) } > 0;
        // SAFETY: the thread is alive.
        if unsafe { spdk_sys::spdk_thread_is_exited(thread.as_ptr()) } {
            self.list.remove(at);
            destroy(thread);
        }
        busy
    }

    /// Polls each once. Whether one did something.
    pub(super) fn poll_all(&mut self) -> bool {
        let mut busy = false;
        let mut at = 0;
        self.receive();
        while let Some(&thread) = self.list.get(at) {
            busy |= self.poll(at, 0);
            // It is not there any more if it has exited.
            at += usize::from(self.list.get(at) == Some(&thread));
        }
        busy
    }

    /// Tells each thread but `but` to exit.
    pub(super) fn exit_all(&mut self, but: Option<NonNull<spdk_sys::spdk_thread>>) {
        self.receive();
        // SAFETY: reads a thread-local.
        let current = unsafe { spdk_sys::spdk_get_thread() };
        for thread in self.list.iter().filter(|thread| Some(**thread) != but) {
            // SAFETY: the thread is alive, and this is the OS thread that polls it.
            unsafe { spdk_sys::spdk_set_thread(thread.as_ptr()) };
            // SAFETY: the thread is current (T-08); a second time does nothing.
            unsafe { spdk_sys::spdk_thread_exit(thread.as_ptr()) };
        }
        // SAFETY: `current` was current before, and is alive.
        unsafe { spdk_sys::spdk_set_thread(current) };
    }

    /// Whether there is none, or none but one.
    pub(super) fn left(&mut self) -> usize {
        self.receive()
    }

    /// Their names, for a report.
    pub(super) fn names(&self) -> Vec<String> {
        self.list.iter().map(|thread| name(*thread)).collect()
    }
}

fn name(thread: NonNull<spdk_sys::spdk_thread>) -> String {
    // SAFETY: the caller has the thread from a `Threads`, so it is alive.
    let name = unsafe { spdk_sys::spdk_thread_get_name(thread.as_ptr()) };
    if name.is_null() {
        return String::new();
    }
    // SAFETY: a NUL-terminated string inside of the thread.
    let name = unsafe { std::ffi::CStr::from_ptr(name) };
    format!("SPDK thread {:?}", name.to_string_lossy())
}

/// The thread has exited, is in no list any more, and nobody sends to it.
fn destroy(thread: NonNull<spdk_sys::spdk_thread>) {
    // SAFETY: reads a thread-local.
    let current = unsafe { spdk_sys::spdk_get_thread() };
    // SAFETY: it has exited, and was taken out of the one list that polls it.
    unsafe { spdk_sys::spdk_thread_destroy(thread.as_ptr()) };
    ALIVE.fetch_sub(1, Ordering::Relaxed);
    if ptr::eq(current, thread.as_ptr()) {
        // SAFETY: no thread is current any more.
        unsafe { spdk_sys::spdk_set_thread(ptr::null_mut()) };
    }
}
