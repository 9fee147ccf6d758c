//! Operations that wait for a `spdk_bdev_io`, in an order that can't starve.
//!
//! Every I/O takes a `spdk_bdev_io` from one pool, and an I/O to a block device of ours holds its own while it waits
//! for those below it. If freed ones went to newcomers first, all of the pool could end up in requests that wait for
//! more of it, and nothing would ever move (MISUSE M10; contract B-62). SPDK 25.09 has `dep_unblock` against that,
//! older versions serve in the order of arrival. So each SPDK thread has two queues of ours, and what others wait
//! for goes first, on every version:
//!
//! ```text
//!   below a device of ours ──► ops ─┐  serve: this one first
//!   everything else ─────────► ops ─┴──► submit again, until -ENOMEM
//! ```
//!
//! SPDK knows of a queue through one wait entry, which belongs to the queue: the queue is then *armed*. SPDK can't take
//! the entry back, so the channel that it was armed with stays until a `spdk_bdev_io` comes free on its thread, also
//! when its bdev goes meanwhile. What else waits on a channel that goes is ended at once.
//!
//! SPDK wakes a thread only for what comes free on that thread, and gives it nothing from the pool while it waits. So a
//! thread must not hold all that it has for what waits here: its cache (`bdev_io_cache_size`, 256 by default, filled with
//! the thread's first channel) has to be larger than a stack of devices is high, and than the zero-copies it holds.

use std::cell::{Cell, RefCell, UnsafeCell};
use std::collections::VecDeque;
use std::ffi::c_void;
use std::ptr::NonNull;
use std::rc::{Rc, Weak};

use super::channel_core::ChannelCore;
use super::op::{self, Op};
use crate::inside;
use crate::panic::contain;
use crate::thread::Home;

/// The waiting operations of one SPDK thread.
pub(super) struct WaitQueues {
    home: Home,
    below: WaitQueue,
    other: WaitQueue,
}

/// # Invariants
///
/// The slots in `ops` are not idle. While `armed`, SPDK has a pointer to `entry` and a strong count of the
/// [`WaitQueues`]; the channel that it was armed with is held, and counts as busy, so SPDK keeps its own queue.
struct WaitQueue {
    ops: RefCell<VecDeque<NonNull<Op>>>,
    entry: UnsafeCell<spdk_sys::spdk_bdev_io_wait_entry>,
    armed: Cell<Option<Rc<ChannelCore>>>,
    is_armed: Cell<bool>,
}

thread_local! {
    /// Of the SPDK threads that this OS thread runs.
    static QUEUES: RefCell<Vec<(Home, Weak<WaitQueues>)>> = const { RefCell::new(Vec::new()) };
}

impl WaitQueues {
    /// Those of `home`, which is current.
    pub(super) fn of(home: Home) -> Rc<Self> {
        QUEUES.with_borrow_mut(|list| {
            list.retain(|(_, queues)| queues.strong_count() != 0);
            let found = list.iter().find(|(have, _)| *have == home);
            found
                .and_then(|(_, queues)| queues.upgrade())
                .unwrap_or_else(|| {
                    let queues = Rc::new(Self {
                        home,
                        below: WaitQueue::new(),
                        other: WaitQueue::new(),
                    });
                    list.push((home, Rc::downgrade(&queues)));
                    queues
                })
        })
    }

    /// Whether a channel on `home` would be its first, for which there are too few `spdk_bdev_io`s. Before 23.01 SPDK
    /// crashes then.
    pub(super) fn is_too_early_for_a_channel(home: Home) -> bool {
        // With a channel of ours it has SPDK's cache of `spdk_bdev_io`s.
        let has_one = QUEUES.with_borrow(|list| {
            list.iter()
                .any(|(have, queues)| *have == home && queues.strong_count() != 0)
        });
        // SAFETY: only counts.
        !has_one && unsafe { spdk_sys::spdk_shim_bdev_io_pool_is_short() }
    }

    /// Has `op` wait: at the end of its queue, or at the front if it was its turn. Right after an -ENOMEM on this
    /// thread, as B-61 demands.
    pub(super) fn push(self: &Rc<Self>, op: NonNull<Op>, channel: &Rc<ChannelCore>, turn: Turn) {
        let queue = self.queue(channel.is_below);
        match turn {
            Turn::First if !channel.is_below => queue.ops.borrow_mut().push_back(op),
            // Below a device the newest goes first, as SPDK has it with `dep_unblock`: in a stack that is the I/O
            // furthest down, on which all others wait.
            _ => queue.ops.borrow_mut().push_front(op),
        }
        if !queue.is_armed.get() {
            self.arm(channel);
        }
    }

    /// Whether something waits in a queue.
    pub(super) fn is_waiting(&self, is_below: bool) -> bool {
        self.queue(is_below).is_armed.get()
    }

    fn queue(&self, is_below: bool) -> &WaitQueue {
        if is_below { &self.below } else { &self.other }
    }

    /// Gives SPDK the entry of the queue that `channel`'s operations are in.
    fn arm(self: &Rc<Self>, channel: &Rc<ChannelCore>) {
        let Some((raw, _)) = channel.raw() else {
            // The channel goes, and its operations end when they are served: soon.
            return self.serve_later(channel);
        };
        let queue = self.queue(channel.is_below);
        let bdev = channel.desc.bdev().as_ptr();
        let callback = match channel.is_below {
            true => below_wait_callback as unsafe extern "C" fn(_),
            false => other_wait_callback,
        };
        let ctx = Rc::into_raw(Rc::clone(self)).cast_mut().cast::<c_void>();
        // SAFETY: the queue is not armed, so SPDK does not have the entry.
        unsafe {
            spdk_sys::spdk_shim_io_wait_init(
                queue.entry.get(),
                bdev,
                Some(callback),
                ctx,
                channel.is_below,
            );
        }
        // SAFETY: bdev and channel are alive; the entry stays where it is, since SPDK has a count of the queues.
        let rc = unsafe { spdk_sys::spdk_bdev_queue_io_wait(bdev, raw, queue.entry.get()) };
        if rc == 0 {
            // INVARIANT: SPDK has the entry and `ctx`.
            channel.begin_io();
            queue.is_armed.set(true);
            queue.armed.set(Some(Rc::clone(channel)));
            return;
        }
        // SAFETY: SPDK did not take the entry, so the count that `into_raw` leaked is ours again.
        drop(unsafe { Rc::from_raw(ctx.cast_const().cast::<Self>()) });
        // One came free in between.
        self.serve_later(channel);
    }

    /// After whoever is below us on the stack.
    fn serve_later(self: &Rc<Self>, channel: &ChannelCore) {
        let queues = Rc::clone(self);
        channel.home.send(Box::new(move || queues.serve()));
    }

    /// Ends those that were given up.
    pub(super) fn sweep(&self) {
        let mut given_up = Vec::new();
        for queue in [&self.below, &self.other] {
            queue.ops.borrow_mut().retain(|op| {
                // SAFETY: by the invariant of `WaitQueue` the slot is not idle.
                let stays = !unsafe { op.as_ref() }.is_given_up();
                if !stays {
                    given_up.push(*op);
                }
                stays
            });
        }
        for op in given_up {
            contain("I/O that was given up", || op::resubmit(op));
        }
    }

    /// SPDK has let go of the entry of a queue: there is a `spdk_bdev_io`.
    fn woken(self: &Rc<Self>, queue: &WaitQueue) {
        queue.is_armed.set(false);
        let channel = queue.armed.take();
        self.serve();
        if let Some(channel) = channel {
            channel.end_io();
        }
    }

    /// Submits what waits, until there is no `spdk_bdev_io` left.
    fn serve(self: &Rc<Self>) {
        loop {
            // Two statements: nothing is borrowed while SPDK is called.
            let next = self.below.pop().or_else(|| self.other.pop());
            match next {
                // A panic in somebody's waker or destructor ends that operation alone.
                Some(op)
                    if contain("I/O that waited for memory", || op::resubmit(op))
                        .unwrap_or(true) => {}
                _ => return,
            }
        }
    }
}

/// Whether an operation waits for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It comes after those that wait already.
    First,
    /// It was its turn, and there was nothing for it.
    Again,
}

impl WaitQueue {
    fn new() -> Self {
        Self {
            ops: RefCell::default(),
            // SAFETY: the C struct has only pointers and flags, for which zeroes are valid.
            entry: UnsafeCell::new(unsafe { std::mem::zeroed() }),
            armed: Cell::new(None),
            is_armed: Cell::new(false),
        }
    }

    fn pop(&self) -> Option<NonNull<Op>> {
        self.ops.borrow_mut().pop_front()
    }
}

/// # Safety
///
/// SPDK calls this once, on the thread that armed the queue for I/O below devices of ours, with what it was armed with.
unsafe extern "C" fn below_wait_callback(ctx: *mut c_void) {
    let _inside = inside::enter();
    contain("I/O that waited for memory", || {
        // SAFETY: by the invariant of `WaitQueue`.
        if unsafe { is_moved(ctx) } {
            return;
        }
        // SAFETY: by the invariant of `WaitQueue`; the count is handed to this `Rc`, on its home thread.
        let queues = unsafe { Rc::from_raw(ctx.cast_const().cast::<WaitQueues>()) };
        queues.woken(&queues.below);
    });
}

/// # Safety
///
/// As [`below_wait_callback`], for all other I/O.
unsafe extern "C" fn other_wait_callback(ctx: *mut c_void) {
    let _inside = inside::enter();
    contain("I/O that waited for memory", || {
        // SAFETY: as in `below_wait_callback`.
        if unsafe { is_moved(ctx) } {
            return;
        }
        // SAFETY: as in `below_wait_callback`.
        let queues = unsafe { Rc::from_raw(ctx.cast_const().cast::<WaitQueues>()) };
        queues.woken(&queues.other);
    });
}

/// Whether SPDK's scheduler has moved the thread of these queues to another OS thread, where they must not be touched
/// (design rule 2): they leak, and it is said.
///
/// # Safety
///
/// `ctx` is a [`WaitQueues`] that SPDK has a count of.
unsafe fn is_moved(ctx: *mut c_void) -> bool {
    // SAFETY: by this function's contract; the field never changes.
    let home = unsafe { (*ctx.cast::<WaitQueues>()).home };
    let moved = home.check().is_err();
    if moved {
        crate::log::error(
            "an SPDK thread was moved to another OS thread; I/O that waits there never ends",
        );
    }
    moved
}
