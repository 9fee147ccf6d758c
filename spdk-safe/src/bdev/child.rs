//! I/O below a request of a block device of ours: straight to SPDK, without a slot.
//!
//! What is plain about it goes straight: a read or write of memory in one piece, or of an array of pieces that nobody
//! else uses meanwhile, and what has no memory. For everything else, and whenever something is wrong or SPDK is out of
//! memory, the caller takes the long way, through a slot of the channel, which checks again, waits, and says what is
//! wrong.

use std::ffi::c_void;
use std::ptr::NonNull;
use std::rc::Rc;

use super::buf::{IoBuf, Pieces};
use super::channel::IoChannel;
use super::channel_core::{ChannelCore, PlainKey};
use super::check::SPLIT_HANGS;
use super::data::{IoData, Then};
use super::desc::DescMode;
use super::io::Io;
use super::op::{Ask, Flight, status_of};
use crate::calls::{self, Call};
use crate::error::{Errno, IoError, IoType, ThreadError};
use crate::thread::Home;
use crate::units::{Blocks, Lba};

/// A channel, for children of requests.
#[derive(Clone, Copy)]
pub(crate) struct Below<'a> {
    core: &'a Rc<ChannelCore>,
}

/// SPDK has an I/O that counts on the channel: it stays, and open.
///
/// # Invariants
///
/// It counts in the core's children, so that the core is there.
#[must_use]
pub(crate) struct Sent(NonNull<ChannelCore>);

/// The memory of a child.
#[derive(Clone, Copy)]
pub(crate) enum Memory {
    /// It has none.
    None,
    /// One piece.
    One(*mut u8, u64),
    /// An array of pieces that nobody else looks at until the child ends, with the sum of their lengths.
    Many(*mut libc::iovec, u32, u64),
}

/// What a child does.
#[derive(Clone, Copy)]
pub(crate) struct Child {
    pub(crate) io: IoType,
    pub(crate) lba: Lba,
    /// For what has no memory.
    pub(crate) blocks: Blocks,
    /// Of a copy, its source; of a zero-copy, whether to fill the memory.
    pub(crate) other: u64,
}

impl<'a> Below<'a> {
    #[inline]
    pub(crate) fn of<M: DescMode>(channel: &'a IoChannel<M>) -> Self {
        Self {
            core: channel.core(),
        }
    }

    /// Whether the channel belongs to `home`, which is current.
    ///
    /// # Errors
    ///
    /// [`ThreadError`].
    #[inline]
    pub(crate) fn check(self, home: Home) -> Result<(), ThreadError> {
        match self.core.home.is_same(home) {
            true => home.check(),
            false => Err(ThreadError::WrongThread),
        }
    }

    /// The same, for who does not say what is wrong.
    #[inline(always)]
    pub(crate) fn is_here(self, home: Home) -> bool {
        self.core.home.is_same(home) && home.is_here()
    }

    /// How many blocks of the bdev the child is about; `None` if there is something about it that is not plain.
    #[inline(always)]
    fn plain(self, child: &Child, memory: Memory) -> Option<Blocks> {
        let core = &**self.core;
        let blocks = match memory {
            Memory::None => child.blocks,
            Memory::One(base, len) if base.addr() & (core.align - 1) == 0 => core.blocks_of(len)?,
            Memory::One(..) => return None,
            // So many are looked at one by one.
            Memory::Many(_, 33.., _) if SPLIT_HANGS => return None,
            Memory::Many(iovs, count, len) => {
                // SAFETY: by the contract of `send` the array has as many entries.
                let ored = ored(unsafe { crate::module::pieces(iovs, count as usize) });
                match ored & (core.align - 1) {
                    0 => core.blocks_of(len)?,
                    _ => return None,
                }
            }
        };
        // SPDK looks at the range itself (B-31); what it refuses takes the long way, which says what is wrong.
        let is_plain = blocks != Blocks(0) && core.supports(child.io);
        is_plain.then_some(blocks)
    }

    /// What is to be kept while SPDK has a child. Drop it with [`Sent::unsent`] or [`Sent::ended`].
    #[inline(always)]
    pub(crate) fn begin(self) -> Sent {
        self.core.begin_child();
        // SAFETY: what an `Rc` points to is not null.
        let core = unsafe { NonNull::new_unchecked(Rc::as_ptr(self.core).cast_mut()) };
        // INVARIANT: it was counted.
        Sent(core)
    }

    /// Gives a child to SPDK; false if nothing was done. `done` may be called inside (B-71).
    ///
    /// # Safety
    ///
    /// - The channel's thread is current, and [`begin`](Self::begin) was called; on success the [`Sent`] of that is
    ///   dropped by `done`.
    /// - The memory is as `Memory` says, and it and `arg` stay until `done` is called.
    /// - The descriptor is writable, if the child writes.
    #[inline(always)]
    pub(crate) unsafe fn send(
        self,
        child: &Child,
        memory: Memory,
        done: unsafe extern "C" fn(*mut spdk_sys::spdk_bdev_io, bool, *mut c_void),
        arg: *mut c_void,
    ) -> bool {
        let Some((ch, desc)) = self.core.raw() else {
            return false;
        };
        let Some(Blocks(blocks)) = self.plain(child, memory) else {
            return false;
        };
        let (lba, done) = (child.lba.0, Some(done));
        calls::count(Call::Submit);
        let rc = match (child.io, memory) {
            // SAFETY: descriptor and channel are open and of this thread, by the invariant of `ChannelCore`; length and
            // alignment were checked, and SPDK looks at the range (B-31); the rest by this function's contract. (The same
            // holds for all that follow.)
            (IoType::Read, Memory::One(base, _)) => unsafe {
                spdk_sys::spdk_bdev_read_blocks(desc, ch, base.cast(), lba, blocks, done, arg)
            },
            // SAFETY: as above.
            (IoType::Write, Memory::One(base, _)) => unsafe {
                spdk_sys::spdk_bdev_write_blocks(desc, ch, base.cast(), lba, blocks, done, arg)
            },
            // SAFETY: as above.
            (IoType::Read, Memory::Many(iovs, count, _)) => unsafe {
                spdk_sys::spdk_bdev_readv_blocks(
                    desc,
                    ch,
                    iovs,
                    count as i32,
                    lba,
                    blocks,
                    done,
                    arg,
                )
            },
            // SAFETY: as above.
            (IoType::Write, Memory::Many(iovs, count, _)) => unsafe {
                spdk_sys::spdk_bdev_writev_blocks(
                    desc,
                    ch,
                    iovs,
                    count as i32,
                    lba,
                    blocks,
                    done,
                    arg,
                )
            },
            // SAFETY: as above.
            (IoType::Unmap, _) => unsafe {
                spdk_sys::spdk_bdev_unmap_blocks(desc, ch, lba, blocks, done, arg)
            },
            // SAFETY: as above.
            (IoType::WriteZeroes, _) => unsafe {
                spdk_sys::spdk_bdev_write_zeroes_blocks(desc, ch, lba, blocks, done, arg)
            },
            // SAFETY: as above.
            (IoType::Flush, _) => unsafe {
                spdk_sys::spdk_bdev_flush_blocks(desc, ch, lba, blocks, done, arg)
            },
            // Rare: by the long way.
            _ => return false,
        };
        rc == 0
    }

    /// Whether a read or write of all of a request is plain here, if the request's own memory is in one piece, which lies
    /// at `base` and is whole blocks, at least one; `key` has the request's SPDK thread and the size of its blocks. Then the
    /// channel belongs to that thread, and so to its OS thread, since it is not `Send`.
    #[inline(always)]
    pub(crate) fn takes_whole(self, base: *mut u8, key: PlainKey) -> bool {
        let core = &**self.core;
        core.is_plain_for(key) && core.is_aligned(base.addr())
    }

    /// As [`send`](Self::send), a read or a write of all of a request.
    ///
    /// # Safety
    ///
    /// As [`send`](Self::send); and [`takes_whole`](Self::takes_whole) said so, of `base`, where `blocks` blocks are.
    #[inline(always)]
    pub(crate) unsafe fn send_whole<const IS_READ: bool>(
        self,
        base: *mut u8,
        Lba(lba): Lba,
        Blocks(blocks): Blocks,
        done: unsafe extern "C" fn(*mut spdk_sys::spdk_bdev_io, bool, *mut c_void),
        arg: *mut c_void,
    ) -> bool {
        let (ch, desc) = self.core.raw_unless_revoked();
        let (base, done) = (base.cast(), Some(done));
        calls::count(Call::Submit);
        let rc = match IS_READ {
            // SAFETY: descriptor and channel are open and of this thread, by the invariant of `ChannelCore` and since
            // `plain` was not nobody's; length and alignment were checked, and SPDK looks at the range (B-31); the rest by
            // this function's contract.
            true => unsafe {
                spdk_sys::spdk_bdev_read_blocks(desc, ch, base, lba, blocks, done, arg)
            },
            // SAFETY: as above.
            false => unsafe {
                spdk_sys::spdk_bdev_write_blocks(desc, ch, base, lba, blocks, done, arg)
            },
        };
        rc == 0
    }

    /// Gives SPDK an abort of the children that have `victim` for their `arg`; `done` may be called inside (B-71).
    ///
    /// # Errors
    ///
    /// Nothing was done.
    ///
    /// # Safety
    ///
    /// As [`send`](Self::send). The victim may be gone.
    #[cold]
    pub(crate) unsafe fn send_abort(
        self,
        victim: usize,
        done: unsafe extern "C" fn(*mut spdk_sys::spdk_bdev_io, bool, *mut c_void),
        arg: *mut c_void,
    ) -> Result<(), IoError> {
        let io = IoType::Abort;
        let Some((ch, desc)) = self.core.raw().filter(|_| self.core.supports(io)) else {
            return Err(IoError::Unsupported { io });
        };
        calls::count(Call::Submit);
        let victim = std::ptr::without_provenance_mut(victim);
        // SAFETY: descriptor and channel are open and of this thread, by the invariant of `ChannelCore`; SPDK compares
        // the victim's address, and follows it nowhere. The rest by this function's contract.
        let rc = unsafe { spdk_sys::spdk_bdev_abort(desc, ch, victim, Some(done), arg) };
        Errno::check(rc).map_err(|errno| IoError::Submit {
            io,
            lba: Lba(0),
            errno,
        })
    }

    /// The long way: `done` is told of the end, unless it is not started.
    ///
    /// # Errors
    ///
    /// Why it was not started, with the data; `done` is dropped.
    #[cold]
    pub(crate) fn start<B: IoBuf>(
        self,
        child: &Child,
        data: B,
        done: impl FnOnce(Result<(), IoError>, B) + 'static,
    ) -> Result<(), IoError> {
        let ask = Ask {
            is_data: matches!(child.io, IoType::Read | IoType::Write | IoType::Compare),
            other: child.other,
            ..Ask::range(child.io, child.lba, child.blocks)
        };
        Flight::new(self.core, ask, Then { data, done })
            .start_then()
            .map_err(|(error, _)| error)
    }
}

impl Below<'_> {
    /// The long way, as a future.
    #[cold]
    pub(crate) fn io<C: IoData>(self, child: &Child, data: C) -> Io<C> {
        let ask = Ask {
            is_data: matches!(child.io, IoType::Read | IoType::Write | IoType::Compare),
            other: child.other,
            ..Ask::range(child.io, child.lba, child.blocks)
        };
        Io::new(self.core, ask, data)
    }
}

impl Sent {
    /// SPDK has let go of it. On its thread.
    #[inline(always)]
    pub(crate) fn ended(self) {
        // SAFETY: by the type invariant.
        let was_last = unsafe { self.0.as_ref() }.end_child();
        if was_last {
            // SAFETY: the pointer is from `Rc::as_ptr`, and its count is ours by now.
            unsafe { Rc::from_raw(self.0.as_ptr()) }.last_child();
        }
    }
}

/// All addresses together, for a look at their alignment.
#[inline(never)]
fn ored(iovs: &[libc::iovec]) -> usize {
    iovs.iter().fold(0, |all, iov| all | iov.iov_base.addr())
}

/// How a completed child ended.
///
/// # Safety
///
/// `bdev_io` is completed and not freed.
#[cold]
pub(crate) unsafe fn failure(bdev_io: *mut spdk_sys::spdk_bdev_io) -> Box<IoError> {
    // SAFETY: by this function's contract.
    let status = unsafe { status_of(bdev_io) };
    // SAFETY: by this function's contract.
    let raw = unsafe { crate::module::read(bdev_io) };
    Box::new(IoError::Failed {
        io: crate::module::io_type(raw.type_).unwrap_or(IoType::Read),
        lba: Lba(raw.offset_blocks),
        blocks: Blocks(raw.num_blocks),
        status,
    })
}

/// Of a child without memory.
#[derive(Debug)]
pub(crate) struct NoMemory;

// SAFETY: there is no memory.
unsafe impl IoBuf for NoMemory {
    fn pieces(&mut self, _: &mut Pieces<'_>) {}
}
