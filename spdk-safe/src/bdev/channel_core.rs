//! A channel as it is inside: what is in flight on it, and how its descriptor reaches it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ptr::{self, NonNull};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use super::IoTypes;
use super::core::DescCore;
use super::op::Op;
use super::put::Put;
use super::wait::WaitQueues;
use super::zcopy::RegionCore;
use crate::error::{ChannelError, IoType, ThreadError};
use crate::thread::Home;
use crate::thread::registry::{self, Held};
use crate::units::Blocks;

/// A channel as its descriptor knows it: how to reach it from another thread.
#[derive(Debug, Clone)]
pub(super) struct ChannelLink {
    pub(super) id: u64,
    home: Home,
    /// Null until `ChannelCore::open` is done, and from the core's drop on. Followed on the home thread alone.
    core: Arc<AtomicPtr<ChannelCore>>,
}

impl ChannelLink {
    /// Whether the channel's thread is current.
    pub(super) fn is_here(&self) -> bool {
        self.home.check().is_ok()
    }

    /// Has the channel put as soon as nothing is in flight on it, by message to its thread.
    ///
    /// # Safety
    ///
    /// The lock that guards the list of links is held, and this link is listed: its thread can't take it off the
    /// list meanwhile, so it has not exited.
    pub(super) unsafe fn send_revoke(&self, desc: &Arc<DescCore>) {
        let (link, desc) = (self.clone(), Arc::clone(desc));
        // SAFETY: by this function's contract.
        unsafe { self.home.run(Box::new(move || link.revoke(&desc))) };
    }

    /// The same, on the channel's thread.
    pub(super) fn revoke(&self, desc: &Arc<DescCore>) {
        let channel = self.core.load(Ordering::Acquire).cast_const();
        if channel.is_null() || !desc.is_linked(self.id) {
            return;
        }
        // SAFETY: the core clears the pointer before it is dropped, on this OS thread.
        unsafe { Rc::increment_strong_count(channel) };
        // SAFETY: the count just added is handed to this `Rc`, on the channel's home thread.
        let channel = unsafe { Rc::from_raw(channel) };
        channel.release();
    }
}

/// A channel with what is in flight on it.
///
/// # Invariants
///
/// - While `raw` is not null it is a channel of `home` for `desc`, whose descriptor `raw_desc` is open: the link `id`
///   is listed in `desc`. It is not null before `revoked` is set.
/// - Every slot of the list `idle` came from a `Box`, and neither SPDK nor a future has a pointer to it.
/// - Every other slot holds a strong count of this core.
/// - While there are `children` they hold one strong count of this core together.
/// - `plain` is nobody's from when `revoked` is set.
pub(super) struct ChannelCore {
    pub(super) desc: Arc<DescCore>,
    pub(super) home: Home,
    raw: Cell<*mut spdk_sys::spdk_io_channel>,
    raw_desc: NonNull<spdk_sys::spdk_bdev_desc>,
    id: u64,
    /// What the link follows to this core: null before the core is dropped.
    slot: Arc<AtomicPtr<Self>>,
    /// What the bdev takes.
    types: IoTypes,
    pub(super) block_size: u32,
    /// log2 of the block size, if it is a power of two; else 0.
    block_shift: u32,
    /// What a length that is whole blocks has none of; all bits if the block size is not a power of two.
    block_mask: u64,
    /// A power of two.
    pub(super) align: usize,
    align_mask: usize,
    /// What a compare-and-write can change.
    pub(super) atomic_unit: Blocks,
    /// Bytes for each block in a buffer of its own; 0 is none.
    pub(super) metadata_size: u32,
    /// Made by a block device of ours for its own channel: requests to that device wait for the I/O on this one.
    pub(super) is_below: bool,
    /// Where its operations wait for memory.
    pub(super) waits: Rc<WaitQueues>,
    /// Set when the channel is to be put as soon as nothing is outstanding.
    revoked: Cell<bool>,
    /// It is being put.
    leaving: Arc<AtomicBool>,
    /// Who may read and write whole blocks without a further look, as long as the channel takes it.
    plain: Cell<PlainKey>,
    /// I/Os that SPDK has: submitted and not completed, or waiting for a `spdk_bdev_io`. Without `children`.
    outstanding: Cell<usize>,
    /// I/Os of requests above that SPDK has, less one: so there is none at [`NO_CHILDREN`].
    children: Cell<usize>,
    /// The first idle slot; each has the next.
    idle: Cell<Option<NonNull<Op>>>,
    /// Zero-copy regions that somebody holds.
    regions: RefCell<Vec<Weak<RegionCore>>>,
}

/// An SPDK thread and a block size, so that one compare tells whether both are a channel's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PlainKey(u64);

impl PlainKey {
    /// No channel's: what is asked of one.
    pub(crate) const NONE: Self = Self(1);
    /// Nobody's: what a channel has that is asked of no more.
    const NOBODY: Self = Self(0);

    /// That of a request of a thread, in blocks of `block_size` bytes. None, of a thread that comes after four billion
    /// others: its requests take the long way.
    pub(crate) fn of(home: Home, block_size: u32) -> Self {
        match u32::try_from(home.id().get()) {
            Ok(id) => Self(u64::from(id) << 32 | u64::from(block_size)),
            Err(_) => Self::NONE,
        }
    }

    /// That of a channel.
    fn of_channel(home: Home, block_size: u32) -> Self {
        match Self::of(home, block_size) {
            Self::NONE => Self::NOBODY,
            key => key,
        }
    }
}

/// So that one more, or one less, says by itself whether it is the first or the last.
const NO_CHILDREN: usize = usize::MAX;

impl ChannelCore {
    pub(super) fn open(desc: &Arc<DescCore>, below: bool) -> Result<Rc<Self>, ChannelError> {
        let home = Home::current()?;
        if crate::module::is_creating_channel_of(desc.bdev().as_ptr()) {
            return Err(ChannelError::Cycle {
                name: desc.info.name.clone(),
            });
        }
        if WaitQueues::is_too_early_for_a_channel(home) {
            return Err(ChannelError::Refused {
                name: desc.info.name.clone(),
            });
        }
        let slot = Arc::new(AtomicPtr::new(ptr::null_mut()));
        let link = |id| ChannelLink {
            id,
            home,
            core: Arc::clone(&slot),
        };
        let (id, raw_desc) = desc.link(link)?;
        // SAFETY: the link keeps the descriptor open; any SPDK thread may get a channel (B-04).
        let raw = unsafe { spdk_sys::spdk_bdev_get_io_channel(raw_desc.as_ptr()) };
        if raw.is_null() {
            desc.unlink(id);
            return Err(ChannelError::Refused {
                name: desc.info.name.clone(),
            });
        }
        let info = &desc.info;
        let (block_shift, block_mask) = match info.block_size.is_power_of_two() {
            true => (
                info.block_size.trailing_zeros(),
                u64::from(info.block_size) - 1,
            ),
            false => (0, u64::MAX),
        };
        // INVARIANT: fresh from SPDK, on `home`, and linked.
        let core = Rc::new(Self {
            types: info.io_types,
            block_size: info.block_size,
            block_shift,
            block_mask,
            align: info.align.max(1),
            align_mask: info.align.max(1) - 1,
            atomic_unit: Blocks(info.acwu.into()),
            metadata_size: if info.metadata_interleaved {
                0
            } else {
                info.metadata_size
            },
            regions: RefCell::default(),
            desc: Arc::clone(desc),
            home,
            raw: Cell::new(raw),
            raw_desc,
            id,
            slot: Arc::clone(&slot),
            is_below: below || crate::module::in_create_channel(),
            waits: WaitQueues::of(home),
            revoked: Cell::new(false),
            leaving: Arc::default(),
            plain: Cell::new(
                match info.io_types.contains(IoType::Read) && info.io_types.contains(IoType::Write)
                {
                    true => PlainKey::of_channel(home, info.block_size),
                    false => PlainKey::NOBODY,
                },
            ),
            outstanding: Cell::new(0),
            children: Cell::new(NO_CHILDREN),
            idle: Cell::new(None),
        });
        slot.store(Rc::as_ptr(&core).cast_mut(), Ordering::Release);
        registry::add(&core);
        if desc.is_removed() {
            // Removed while the channel was made: `revoke` may have come too early to see it.
            core.release();
        }
        Ok(core)
    }

    /// The raw channel and descriptor, for a submission on the home thread; `None` once it was put, or is to be.
    #[inline]
    pub(super) fn raw(
        &self,
    ) -> Option<(
        *mut spdk_sys::spdk_io_channel,
        *mut spdk_sys::spdk_bdev_desc,
    )> {
        // By the type invariant that is not null.
        (!self.revoked.get()).then_some((self.raw.get(), self.raw_desc.as_ptr()))
    }

    /// The same, for who knows that it is not to be put.
    #[inline(always)] // on the path of each I/O
    pub(super) fn raw_unless_revoked(
        &self,
    ) -> (
        *mut spdk_sys::spdk_io_channel,
        *mut spdk_sys::spdk_bdev_desc,
    ) {
        debug_assert!(!self.revoked.get());
        (self.raw.get(), self.raw_desc.as_ptr())
    }

    /// Whether the home thread is current.
    #[inline]
    pub(super) fn check(&self) -> Result<(), ThreadError> {
        self.home.check()
    }

    /// Whether the bdev takes such I/O. Emulation counts.
    #[inline]
    pub(super) fn supports(&self, io: IoType) -> bool {
        self.types.contains(io)
    }

    /// How many blocks `len` bytes are; `None` if that is not a whole number.
    #[inline]
    pub(super) fn blocks_of(&self, len: u64) -> Option<Blocks> {
        match len & self.block_mask {
            0 => Some(Blocks(len >> self.block_shift)),
            _ => self.divide(len),
        }
    }

    #[cold]
    fn divide(&self, len: u64) -> Option<Blocks> {
        let size = u64::from(self.block_size);
        (size != 0 && len % size == 0).then(|| Blocks(len / size))
    }

    /// Whether the address may be that of an I/O's memory.
    #[inline]
    pub(super) fn is_aligned(&self, addr: usize) -> bool {
        addr & self.align_mask == 0
    }

    /// Takes an idle slot, or makes one. In steady state nothing is allocated.
    #[inline]
    pub(super) fn take_op(&self) -> NonNull<Op> {
        let Some(slot) = self.idle.get() else {
            return make_op();
        };
        // SAFETY: by the type invariant.
        self.idle.set(unsafe { slot.as_ref() }.next.get());
        slot
    }

    /// Takes a slot back.
    #[inline]
    pub(super) fn give_op(&self, slot: NonNull<Op>) {
        // SAFETY: the slot is the caller's, so it is there.
        unsafe { slot.as_ref() }.next.set(self.idle.get());
        self.idle.set(Some(slot));
    }

    /// SPDK is about to get an I/O.
    #[inline]
    pub(super) fn begin_io(&self) {
        self.outstanding.set(self.outstanding.get() + 1);
    }

    /// The same, for an I/O of a request above. All of these hold one count of this core together.
    #[inline(always)] // on the path of each I/O
    pub(super) fn begin_child(self: &Rc<Self>) {
        let others = self.children.get().wrapping_add(1);
        self.children.set(others);
        if others == 0 {
            // INVARIANT: the first one.
            std::mem::forget(Rc::clone(self));
        }
    }

    /// SPDK is done with an I/O of a request above. On the home thread. If the answer is true, that was the last one, and
    /// the count that they had is the caller's, for [`last_child`](Self::last_child).
    #[inline(always)] // on the path of each I/O
    pub(super) fn end_child(&self) -> bool {
        let (left, was_last) = self.children.get().overflowing_sub(1);
        self.children.set(left);
        was_last
    }

    /// Takes the count of those that have ended.
    #[inline]
    pub(super) fn last_child(self: Rc<Self>) {
        if self.revoked.get() {
            self.put_if_idle();
        }
    }

    /// The block size, if reads and writes of whole blocks may go to the bdev now without a further look; else 0.
    #[inline(always)] // on the path of each I/O
    pub(super) fn plain_size(&self) -> u32 {
        // The lower half of a key: nobody's is 0.
        self.plain.get().0 as u32
    }

    /// Whether reads and writes of whole blocks by who has `key` may go to the bdev now.
    #[inline(always)] // on the path of each I/O
    pub(super) fn is_plain_for(&self, key: PlainKey) -> bool {
        self.plain.get() == key
    }

    /// I/Os that SPDK has.
    fn in_flight(&self) -> usize {
        let children = self.children.get().wrapping_add(1);
        self.outstanding.get() + children
    }

    /// Whether it is to be put as soon as nothing is outstanding.
    #[inline]
    pub(super) fn is_revoked(&self) -> bool {
        self.revoked.get()
    }

    /// SPDK is done with an I/O. On the home thread. Nobody's code runs in here, unless the channel goes.
    #[inline]
    pub(super) fn end_io(&self) {
        self.outstanding.set(self.outstanding.get() - 1);
        if self.revoked.get() {
            self.put_if_idle();
        }
    }

    /// Keeps the channel, and so the descriptor, until what runs now has returned. On the home thread.
    #[cold]
    pub(super) fn stay_for_now(self: &Rc<Self>) {
        self.begin_io();
        let core = Rc::clone(self);
        self.home.send(Box::new(move || core.end_io()));
    }

    /// Puts the channel unless something is outstanding. On the home thread. The caller has a count.
    #[cold]
    fn put_if_idle(&self) {
        if self.in_flight() != 0 {
            return;
        }
        // INVARIANT: it was revoked.
        let raw = self.raw.replace(ptr::null_mut());
        if raw.is_null() {
            return;
        }
        self.leaving.store(true, Ordering::Relaxed);
        let put = self.put_of(raw);
        // May close the descriptor and wake whoever waits for that, which is somebody's code.
        // SAFETY: taken out, so this happens once; on the channel's thread, with nothing in flight (B-64).
        unsafe { put.begin() };
    }

    /// What puts `raw`.
    fn put_of(&self, raw: *mut spdk_sys::spdk_io_channel) -> Put {
        Put {
            raw,
            home: self.home,
            desc: Arc::clone(&self.desc),
            id: self.id,
            leaving: Arc::clone(&self.leaving),
        }
    }

    /// Lists a region of the bdev's memory, which ends with the channel.
    pub(super) fn add_region(&self, region: &Rc<RegionCore>) {
        let mut regions = self.regions.borrow_mut();
        regions.retain(|region| region.strong_count() != 0);
        regions.push(Rc::downgrade(region));
    }
}

#[cold]
fn make_op() -> NonNull<Op> {
    NonNull::from(Box::leak(Box::new(Op::new())))
}

impl Held for ChannelCore {
    fn home(&self) -> Home {
        self.home
    }

    fn release(&self) {
        self.revoked.set(true);
        self.plain.set(PlainKey::NOBODY);
        let regions = self.regions.take();
        for region in regions.iter().filter_map(Weak::upgrade) {
            region.revoke();
        }
        // What waits for memory would keep the channel until there is some.
        self.waits.sweep();
        self.put_if_idle();
    }

    fn is_held(&self) -> bool {
        !self.raw.get().is_null() || self.leaving.load(Ordering::Relaxed)
    }

    fn what(&self) -> String {
        format!(
            "channel of {:?} ({} I/Os in flight)",
            self.desc.info.name,
            self.in_flight()
        )
    }
}

impl Drop for ChannelCore {
    fn drop(&mut self) {
        // The link stays listed until the channel is put, which may be later and on another SPDK thread.
        self.slot.store(ptr::null_mut(), Ordering::Release);
        while let Some(slot) = self.idle.get() {
            // SAFETY: by the type invariant the slot came from a `Box`, and nobody else has it.
            let op = unsafe { Box::from_raw(slot.as_ptr()) };
            self.idle.set(op.next.get());
        }
        let raw = self.raw.replace(ptr::null_mut());
        if raw.is_null() {
            return;
        }
        let put = self.put_of(raw);
        let put = move || {
            // SAFETY: taken out of the core, so this happens once, and `run_later` brings it to the channel's thread;
            // nothing is in flight, since that holds a strong count of the core.
            unsafe { put.begin() };
        };
        // Never at once: SPDK sends a message for each last put, and the next get may come before.
        // SAFETY: the channel was not put, so its thread has not exited (T-09). The closure has the raw channel, which
        // belongs to the SPDK thread, and a count that may travel.
        unsafe { self.home.run_later(Box::new(put)) };
    }
}

impl fmt::Debug for ChannelCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IoChannel")
            .field("bdev", &self.desc.info.name)
            .field("home", &self.home)
            .field("outstanding", &self.in_flight())
            .finish_non_exhaustive()
    }
}
