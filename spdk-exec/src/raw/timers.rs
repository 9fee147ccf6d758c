//! The home thread's timers: a pairing heap whose nodes live in the futures that wait.
//!
//! ```text
//!            ┌───────┐                  child: the first of those that are due later
//!   root ──► │ 10    │                  next:  the sibling to the right
//!            └───┬───┘                  back:  the sibling to the left, or the parent
//!          child ▼
//!            ┌───────┐ next ┌───────┐ next ┌───────┐
//!            │ 40    ├─────►│ 20    ├─────►│ 35    ├──► null
//!            └───────┘◄─────┤       │◄─────┤       │
//!                      back └───┬───┘ back └───────┘
//!                         child ▼
//!                           ┌───────┐
//!                           │ 50    │
//!                           └───────┘
//! ```
//!
//! 1. `insert` compares with the root only: O(1).
//! 2. `remove` cuts a node out wherever it is: O(1) for one without children, as a timer that is
//!    cancelled soon after it was set nearly always is; else its children are melded, O(log n)
//!    amortised.
//! 3. `pop_due` takes the root and melds its children in pairs: O(log n) amortised.
//!
//! Timers of the same tick fire in the order in which they were set.

use core::marker::PhantomPinned;
use core::ptr;
use core::task::Waker;

use crate::loom::{Cell, UnsafeCell, const_fn};

type Link = *const TimerNode;

/// Whether a node is in the heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimerState {
    Idle,
    Linked,
    Fired,
}

/// A timer's place in the heap, pinned in the future that waits for it.
///
/// # Invariants
/// While `state` is `Linked` the node is pinned, in the heap of one executor, and the thread that
/// holds it is that executor's home thread.
#[derive(Debug)]
pub(crate) struct TimerNode {
    deadline: Cell<u64>,
    /// Orders timers of the same tick.
    sequence: Cell<u64>,
    child: Cell<Link>,
    next: Cell<Link>,
    back: Cell<Link>,
    state: Cell<TimerState>,
    waker: UnsafeCell<Option<Waker>>,
    _pin: PhantomPinned,
}

// SAFETY: only a `Sleep` holds one, and its spawner keeps that on its thread. (So the compiler says
// that, once, where somebody tries to send a `Sleep`.)
unsafe impl Send for TimerNode {}

impl TimerNode {
    pub(crate) fn new(deadline: u64, fired: bool) -> Self {
        Self {
            deadline: Cell::new(deadline),
            sequence: Cell::new(0),
            child: Cell::new(ptr::null()),
            next: Cell::new(ptr::null()),
            back: Cell::new(ptr::null()),
            state: Cell::new(if fired {
                TimerState::Fired
            } else {
                TimerState::Idle
            }),
            waker: UnsafeCell::new(None),
            _pin: PhantomPinned,
        }
    }

    pub(crate) fn deadline(&self) -> u64 {
        self.deadline.get()
    }

    pub(crate) fn state(&self) -> TimerState {
        self.state.get()
    }

    /// Makes a node that is not linked wait for another time.
    pub(crate) fn rearm(&self, deadline: u64) {
        debug_assert_ne!(self.state.get(), TimerState::Linked);
        self.deadline.set(deadline);
        self.state.set(TimerState::Idle);
    }

    /// Leaves the waker that firing wakes; the one before it is dropped, after the cell is closed.
    pub(crate) fn set_waker(&self, waker: &Waker) {
        let same = self.waker.with(|cell| {
            // SAFETY: only this node's thread gets here, and the reference ends with the closure.
            unsafe { &*cell }
                .as_ref()
                .is_some_and(|old| old.will_wake(waker))
        });
        if !same {
            let waker = waker.clone();
            drop(self.replace_waker(Some(waker)));
        }
    }

    pub(crate) fn take_waker(&self) -> Option<Waker> {
        self.replace_waker(None)
    }

    fn replace_waker(&self, waker: Option<Waker>) -> Option<Waker> {
        self.waker.with_mut(|cell| {
            // SAFETY: only this node's thread gets here; `replace` runs nobody else's code.
            unsafe { cell.replace(waker) }
        })
    }

    fn is_before(&self, other: &Self) -> bool {
        (self.deadline.get(), self.sequence.get()) < (other.deadline.get(), other.sequence.get())
    }
}

/// See the [module](self).
///
/// # Invariants
/// Every link leads to a node whose state is `Linked`; each node is before its children.
#[derive(Debug)]
pub(crate) struct TimerHeap {
    root: Cell<Link>,
    sequence: Cell<u64>,
}

impl TimerHeap {
    const_fn! {
        pub(crate) fn new() -> Self {
            Self { root: Cell::new(ptr::null()), sequence: Cell::new(0) }
        }
    }

    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.root.get().is_null()
    }

    /// When the next timer is due.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        // SAFETY: by the type's invariant.
        unsafe { node(self.root.get()) }.map(TimerNode::deadline)
    }

    /// 1
    ///
    /// # Safety
    /// The node is not linked, is pinned, and is removed before its memory is reused; the caller
    /// is on the heap's home thread.
    pub(crate) unsafe fn insert(&self, timer: &TimerNode) {
        debug_assert_ne!(timer.state.get(), TimerState::Linked);
        timer.sequence.set(self.sequence.get());
        self.sequence.set(self.sequence.get() + 1);
        timer.state.set(TimerState::Linked);
        // SAFETY: by the type's invariant, and by the caller for the new node.
        self.root.set(unsafe { meld(self.root.get(), timer) });
    }

    /// 2: nothing if the node is not linked.
    ///
    /// # Safety
    /// If it is linked, then in this heap; the caller is on the heap's home thread.
    pub(crate) unsafe fn remove(&self, timer: &TimerNode) {
        if timer.state.get() != TimerState::Linked {
            return;
        }
        timer.state.set(TimerState::Idle);
        // SAFETY: by the type's invariant.
        let children = unsafe { meld_all(timer.child.replace(ptr::null())) };
        let next = timer.next.replace(ptr::null());
        let back = timer.back.replace(ptr::null());
        // SAFETY: by the type's invariant.
        let Some(back) = (unsafe { node(back) }) else {
            self.root.set(children);
            return;
        };
        if ptr::eq(back.child.get(), timer) {
            back.child.set(next);
        } else {
            back.next.set(next);
        }
        // SAFETY: by the type's invariant.
        if let Some(next) = unsafe { node(next) } {
            next.back.set(back);
        }
        // SAFETY: by the type's invariant; the children are cut off from the rest.
        self.root.set(unsafe { meld(self.root.get(), children) });
    }

    /// 3: the next timer that is due at `now` has fired; its waker, which may be missing.
    pub(crate) fn pop_due(&self, now: u64) -> Option<Option<Waker>> {
        // SAFETY: by the type's invariant.
        let root = unsafe { node(self.root.get()) }?;
        if root.deadline.get() > now {
            return None;
        }
        // SAFETY: by the type's invariant.
        self.root
            .set(unsafe { meld_all(root.child.replace(ptr::null())) });
        root.state.set(TimerState::Fired);
        Some(root.take_waker())
    }

    /// Checks every invariant, and returns how many timers there are.
    #[cfg(all(test, feature = "std", not(loom)))]
    pub(crate) fn assert_valid(&self) -> usize {
        fn walk(link: Link, parent: &TimerNode) -> usize {
            let (mut link, mut back, mut count) = (link, ptr::from_ref(parent), 0);
            // SAFETY: by the type's invariant.
            while let Some(timer) = unsafe { node(link) } {
                assert!(
                    ptr::eq(timer.back.get(), back),
                    "back must be the node to the left"
                );
                assert!(
                    parent.is_before(timer),
                    "a parent must be due before its children"
                );
                assert_eq!(
                    timer.state.get(),
                    TimerState::Linked,
                    "a node in the heap is linked"
                );
                count += 1 + walk(timer.child.get(), timer);
                back = link;
                link = timer.next.get();
            }
            count
        }
        // SAFETY: by the type's invariant.
        let Some(root) = (unsafe { node(self.root.get()) }) else {
            return 0;
        };
        assert!(root.next.get().is_null(), "the root has no sibling");
        assert!(root.back.get().is_null(), "the root has no parent");
        1 + walk(root.child.get(), root)
    }
}

/// # Safety
/// `link` is null or leads to a node that is linked and will be for `'a`.
unsafe fn node<'a>(link: Link) -> Option<&'a TimerNode> {
    // SAFETY: by the caller; what changes in a node is in cells.
    unsafe { link.as_ref() }
}

/// One heap of two: the later root becomes the first child of the earlier.
///
/// # Safety
/// Both are null or roots of separate heaps, as for [`node`].
unsafe fn meld(a: Link, b: Link) -> Link {
    // SAFETY: by the caller.
    let Some(first) = (unsafe { node(a) }) else {
        return b;
    };
    // SAFETY: by the caller.
    let Some(second) = (unsafe { node(b) }) else {
        return a;
    };
    let (parent, child) = if second.is_before(first) {
        (second, first)
    } else {
        (first, second)
    };
    let sibling = parent.child.replace(child);
    child.next.set(sibling);
    child.back.set(parent);
    // SAFETY: by the caller.
    if let Some(sibling) = unsafe { node(sibling) } {
        sibling.back.set(child);
    }
    parent
}

/// One heap of a list of siblings: in pairs from left to right, then all from right to left.
///
/// # Safety
/// As for [`node`], for the list; nothing else leads to it.
unsafe fn meld_all(mut list: Link) -> Link {
    // The pairs, linked by `next` in reverse order.
    let mut pairs: Link = ptr::null();
    // SAFETY: by the caller.
    while let Some(first) = unsafe { node(list) } {
        let second = first.next.replace(ptr::null());
        first.back.set(ptr::null());
        // SAFETY: by the caller.
        list = match unsafe { node(second) } {
            Some(second) => {
                second.back.set(ptr::null());
                second.next.replace(ptr::null())
            }
            None => ptr::null(),
        };
        // SAFETY: both were cut off from the list.
        let pair = unsafe { meld(first, second) };
        // SAFETY: one of the two.
        if let Some(pair) = unsafe { node(pair) } {
            pair.next.set(pairs);
        }
        pairs = pair;
    }
    let mut root: Link = ptr::null();
    // SAFETY: made above.
    while let Some(pair) = unsafe { node(pairs) } {
        pairs = pair.next.replace(ptr::null());
        // SAFETY: separate heaps.
        root = unsafe { meld(root, pair) };
    }
    root
}
