//! A task's header: everything that a waker, a queue or a handle needs, and never the future.
//!
//! Headers are type-stable: part of a `'static` [`TaskStorage`](crate::TaskStorage), or slots of a
//! pool whose memory is reused for headers only and never freed. So a waker is an address that
//! stays valid for ever, needs no count, and clones and drops for nothing; the generation tells
//! whether it still means the task that it was made for.

use core::ptr::{self, NonNull};

use super::cell::VTable;
use super::engine::Engine;
use super::state::{Kind, Snapshot, State, TAG_MASK};
use crate::loom::atomic::{AtomicPtr, Ordering::*};
use crate::loom::{Cell, const_fn};

/// A header that stays where it is for ever.
pub(crate) type HeaderRef = &'static Header;

/// A queue or list link: null ends the list, [`UNLINKED`] means not in it.
pub(crate) type Link = *const Header;

/// The link of a header that is not in that list.
pub(crate) const UNLINKED: Link = ptr::without_provenance(1);

/// See the [module](self).
///
/// # Invariants
/// - Its memory holds a `Header` for as long as the program runs.
/// - While it is live, `engine` is the executor it runs on, and `vtable` and `data` describe one
///   future that belongs to that executor's home thread.
/// - `queue_next` and the `owned_*` links are touched on that home thread only.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Header {
    pub(crate) state: State,
    /// Link in the remote queue, and in the lists of free slots that threads share.
    pub(crate) remote_next: AtomicPtr<Header>,
    /// Atomic because a stale waker may look while the header moves to another executor.
    engine: AtomicPtr<Engine>,
    task: Cell<Option<(&'static VTable, NonNull<()>)>>,
    /// Link in the run queue.
    pub(crate) queue_next: Cell<Link>,
    /// Links in the list of live tasks; `owned_next` also in the home thread's free list.
    pub(crate) owned_prev: Cell<Link>,
    pub(crate) owned_next: Cell<Link>,
}

// A waker keeps the generation's low bits in the address bits that the alignment leaves free.
#[cfg(not(loom))]
const _: () = assert!(align_of::<Header>() == TAG_MASK + 1);
// One cache line a task.
#[cfg(all(not(loom), target_pointer_width = "64"))]
const _: () = assert!(size_of::<Header>() == 64);

// SAFETY: the atomics are for everyone. `queue_next` and the `owned_*` links are touched on the
// home thread only, by the type's invariant. `task` is written before `publish` releases it and
// not again until `vacate`, and read by the home thread and by the holder of HANDLE, both of which
// acquired the state and hold off `vacate`.
unsafe impl Sync for Header {}
// SAFETY: as for `Sync`; nothing in it is tied to the thread that made it.
unsafe impl Send for Header {}

impl Header {
    const_fn! {
        /// A vacant header.
        pub(crate) fn new(kind: Kind) -> Self {
            Self {
                state: State::vacant(kind),
                remote_next: AtomicPtr::new(ptr::null_mut()),
                engine: AtomicPtr::new(ptr::null_mut()),
                task: Cell::new(None),
                queue_next: Cell::new(UNLINKED),
                owned_prev: Cell::new(UNLINKED),
                owned_next: Cell::new(UNLINKED),
            }
        }
    }

    /// Says what the header stands for; the caller has claimed it and publishes it next.
    ///
    /// # Safety
    /// `data` is what `vtable` expects, and stays valid until the task's `discard` or `free` ran.
    #[inline]
    pub(crate) unsafe fn set_task(
        &self,
        engine: &'static Engine,
        vtable: &'static VTable,
        data: NonNull<()>,
    ) {
        self.task.set(Some((vtable, data)));
        // Release: a stale waker, which may read it before it sees the new life, finds an executor
        // that is fully made.
        self.engine.store(ptr::from_ref(engine).cast_mut(), Release);
    }

    /// The executor of the header's present task, or of its last one, or of its next one.
    #[inline(always)]
    pub(crate) fn engine(&self) -> Option<&'static Engine> {
        // Acquire: pairs with `set_task`.
        let engine = self.engine.load(Acquire);
        // SAFETY: `set_task` stores only `'static` references, and null was there before.
        unsafe { engine.as_ref() }
    }

    /// The functions and the data of the live task, or of the complete one while its handle lives.
    #[inline(always)]
    pub(crate) fn task(&self) -> (&'static VTable, NonNull<()>) {
        self.task.get().expect("a published header has a task")
    }

    #[inline(always)]
    pub(crate) fn is_queued(&self) -> bool {
        !ptr::eq(self.queue_next.get(), UNLINKED)
    }

    /// The data word of a waker for the present life: the address, with the generation's low bits.
    #[inline(always)]
    pub(crate) fn tagged(&'static self, now: Snapshot) -> *const () {
        ptr::from_ref(self)
            .cast::<u8>()
            .wrapping_add(now.tag())
            .cast()
    }

    /// The header and the tag of a waker's data word.
    ///
    /// # Safety
    /// `data` comes from [`tagged`](Self::tagged).
    #[inline(always)]
    pub(crate) unsafe fn from_tagged(data: *const ()) -> (HeaderRef, usize) {
        let tag = data.addr() & TAG_MASK;
        let header = data.cast::<u8>().wrapping_sub(tag).cast::<Header>();
        // SAFETY: by the caller this undoes `tagged`, whose header lives for ever.
        (unsafe { &*header }, tag)
    }

    /// The header behind a link.
    ///
    /// # Safety
    /// `link` is null, or was made from a `HeaderRef`.
    #[inline(always)]
    pub(crate) unsafe fn from_link(link: Link) -> Option<HeaderRef> {
        // SAFETY: by the caller it is null or points to a header, which lives for ever.
        unsafe { link.as_ref() }
    }
}
