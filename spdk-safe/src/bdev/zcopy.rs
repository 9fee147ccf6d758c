//! Zero-copy: a range of a bdev in the bdev's own memory.
//!
//! C functions: `spdk_bdev_zcopy_start`, `spdk_bdev_zcopy_end` (contract B-49).
//!
//! ```text
//!                    1             2                        3
//!  IoChannel::zcopy ───► Zcopy ──────► commit, discard, drop ───► ended: the memory is the bdev's again
//!                          │                                        ▲
//!                          └── 4: the bdev or the thread goes ──────┘   (what is left are clean errors)
//!  1: io_done_callback   2: ended by its holder   3: ended_callback   4: RegionCore::revoke
//! ```

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::fmt;
use std::future::poll_fn;
use std::ptr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::task::{Poll, Waker};

use super::channel_core::ChannelCore;
use super::op::{Ended, Found, status_of};
use crate::calls::{self, Call};
use crate::error::{Errno, IoError, IoType};
use crate::inside;
use crate::panic::contain;
use crate::thread::Bound;
use crate::units::{Blocks, Bytes, Lba};

/// A range of a bdev, in the bdev's own memory.
///
/// The memory may be the disk itself, so that other I/O changes it at any time: it can be copied from and to, and not
/// be looked at. Changes are the bdev's after [`commit`](Self::commit); dropping it discards them, as far as the bdev
/// can. When the bdev is removed it ends by itself, and each call is a clean error.
#[must_use = "commit it, or what was changed is discarded"]
pub struct Zcopy {
    core: Bound<Rc<RegionCore>>,
}

/// # Invariants
///
/// While `io` is not null, it is a zero-copy of `channel` that was started and is not ended: its memory is ours to
/// use. It counts as outstanding on the channel.
pub(super) struct RegionCore {
    io: Cell<*mut spdk_sys::spdk_bdev_io>,
    channel: Rc<ChannelCore>,
    lba: Lba,
    blocks: Blocks,
}

impl Found for Zcopy {
    fn of(Ended(op): Ended<'_>) -> Self {
        let core = op
            .take_kept()
            .unwrap_or_else(|| unreachable!("it ended well"));
        Self {
            core: Bound::new(core),
        }
    }
}

impl Zcopy {
    /// Where it begins.
    #[must_use]
    pub fn lba(&self) -> Lba {
        self.core.lba
    }

    /// How many blocks.
    #[must_use]
    pub fn blocks(&self) -> Blocks {
        self.core.blocks
    }

    /// Its size in bytes.
    #[must_use]
    pub fn len(&self) -> Bytes {
        Bytes(self.core.blocks.0 * u64::from(self.core.channel.block_size))
    }

    /// Never: a range has at least one block.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Copies bytes out, from `offset` on.
    ///
    /// # Errors
    ///
    /// [`IoError::Window`] past the end; [`IoError::Removed`] when the bdev is gone; [`IoError::Thread`] on another
    /// SPDK thread.
    pub fn copy_out(&self, offset: usize, into: &mut [u8]) -> Result<(), IoError> {
        let mut done = 0;
        self.walk(offset, into.len(), &mut |at, len| {
            // SAFETY: `walk` gives memory of the region; `into` has this many bytes from `done` on, and is ours.
            unsafe { racy_copy(at, into[done..].as_mut_ptr(), len, Shared::From) };
            done += len;
        })
    }

    /// Copies bytes in, from `offset` on.
    ///
    /// # Errors
    ///
    /// As [`copy_out`](Self::copy_out).
    pub fn copy_in(&mut self, offset: usize, from: &[u8]) -> Result<(), IoError> {
        let mut done = 0;
        self.walk(offset, from.len(), &mut |at, len| {
            // SAFETY: as in `copy_out`, the other way.
            unsafe { racy_copy(from[done..].as_ptr(), at, len, Shared::To) };
            done += len;
        })
    }

    /// Ends it; what was copied in is the bdev's.
    ///
    /// # Errors
    ///
    /// [`IoError::Removed`], or what the bdev says.
    pub async fn commit(self) -> Result<(), IoError> {
        self.end(true).await
    }

    /// Ends it without a commit. Some bdevs, malloc bdevs among them, have no memory but the disk's own: there the
    /// changes stay.
    ///
    /// # Errors
    ///
    /// As [`commit`](Self::commit).
    pub async fn discard(self) -> Result<(), IoError> {
        self.end(false).await
    }

    async fn end(self, commit: bool) -> Result<(), IoError> {
        let core = Rc::clone(&self.core);
        core.channel.check()?;
        let io = core.io.replace(ptr::null_mut());
        if io.is_null() {
            return Err(core.removed());
        }
        let ending = Rc::new(Ending {
            region: Some(Rc::clone(&core)),
            channel: Rc::clone(&core.channel),
            outcome: RefCell::new(None),
            waker: Cell::new(None),
        });
        end(io, commit, Rc::clone(&ending));
        poll_fn(|cx| {
            if let Some(outcome) = ending.outcome.borrow_mut().take() {
                return Poll::Ready(outcome);
            }
            let old = ending.waker.replace(Some(cx.waker().clone()));
            drop(old);
            Poll::Pending
        })
        .await
    }

    /// Calls `each` with address and length of the pieces of `len` bytes from `offset` on.
    fn walk(
        &self,
        offset: usize,
        len: usize,
        each: &mut dyn FnMut(*mut u8, usize),
    ) -> Result<(), IoError> {
        let core = &self.core;
        core.channel.check()?;
        let io = core.io.get();
        if io.is_null() {
            return Err(core.removed());
        }
        let (mut iovs, mut count) = (ptr::null_mut(), 0);
        // SAFETY: by the type invariant the I/O is not ended.
        unsafe { spdk_sys::spdk_bdev_io_get_iovec(io, &raw mut iovs, &raw mut count) };
        // SAFETY: SPDK's array has `count` entries, and stays while the I/O is not ended.
        let iovs = unsafe { crate::module::pieces(iovs, count.max(0) as usize) };
        let room: usize = iovs.iter().map(|iov| iov.iov_len).sum();
        if offset.checked_add(len).is_none_or(|end| end > room) {
            return Err(IoError::Window {
                io: IoType::ZeroCopy,
                lba: core.lba,
                offset: Bytes(offset as u64),
                len: Bytes(len as u64),
                size: Bytes(room as u64),
            });
        }
        let (mut skip, mut left) = (offset, len);
        for iov in iovs {
            if left == 0 {
                break;
            }
            let here = iov.iov_len.saturating_sub(skip).min(left);
            if here != 0 {
                // SAFETY: `skip + here` lies within this piece.
                let at = unsafe { iov.iov_base.cast::<u8>().add(skip) };
                each(at, here);
            }
            skip = skip.saturating_sub(iov.iov_len);
            left -= here;
        }
        Ok(())
    }
}

impl RegionCore {
    /// Of a zero-copy that has just been started, before its completion is counted: on its channel's thread.
    pub(super) fn new(
        channel: Rc<ChannelCore>,
        io: *mut spdk_sys::spdk_bdev_io,
        lba: Lba,
        blocks: Blocks,
    ) -> Rc<Self> {
        // The operation is over; its memory still counts.
        channel.begin_io();
        // INVARIANT: it was started, and is counted.
        let core = Rc::new(Self {
            io: Cell::new(io),
            lba,
            blocks,
            channel: Rc::clone(&channel),
        });
        channel.add_region(&core);
        if channel.is_revoked() {
            core.revoke();
        }
        core
    }

    /// The channel goes: ends it, whoever holds it. On the channel's thread.
    pub(super) fn revoke(&self) {
        let io = self.io.replace(ptr::null_mut());
        if !io.is_null() {
            discard(Rc::clone(&self.channel), io);
            // `discard` counts on its own.
            self.channel.end_io();
        }
    }

    fn removed(&self) -> IoError {
        IoError::Removed {
            io: IoType::ZeroCopy,
            lba: self.lba,
        }
    }
}

impl Drop for RegionCore {
    fn drop(&mut self) {
        let io = self.io.replace(ptr::null_mut());
        if io.is_null() {
            return;
        }
        let channel = Rc::clone(&self.channel);
        let home = channel.home;
        let job = move || {
            discard(Rc::clone(&channel), io);
            channel.end_io();
        };
        // SAFETY: the region counts as outstanding, so the channel was not put and its thread has not exited (T-09).
        unsafe { home.run(Box::new(job)) };
    }
}

/// Ends a zero-copy that nobody wants. On the channel's thread.
fn discard(channel: Rc<ChannelCore>, io: *mut spdk_sys::spdk_bdev_io) {
    channel.begin_io();
    let ending = Ending {
        region: None,
        channel,
        outcome: RefCell::new(None),
        waker: Cell::new(None),
    };
    end(io, false, Rc::new(ending));
}

/// The end of a zero-copy, under way. It counts as outstanding on the channel.
struct Ending {
    /// Who asked; `None` if nobody waits for the outcome.
    region: Option<Rc<RegionCore>>,
    channel: Rc<ChannelCore>,
    outcome: RefCell<Option<Result<(), IoError>>>,
    waker: Cell<Option<Waker>>,
}

/// Gives the memory back to the bdev. `io` was started, and is taken from whoever had it.
fn end(io: *mut spdk_sys::spdk_bdev_io, commit: bool, ending: Rc<Ending>) {
    let ctx = Rc::into_raw(ending).cast_mut().cast::<c_void>();
    // SAFETY: started, ended once, on its channel's thread; `ctx` has a count until the callback.
    let rc = unsafe { spdk_sys::spdk_bdev_zcopy_end(io, commit, Some(ended_callback), ctx) };
    if let Err(errno) = Errno::check(rc) {
        // SPDK refuses what is no zero-copy, which this is: the I/O leaks, its channel with it, and it is said.
        crate::log::error(&format!("SPDK refused to end a zero-copy: {errno}"));
    }
}

/// # Safety
///
/// SPDK calls this once, on the channel's thread, with the `Ending` that the zero-copy was ended with.
unsafe extern "C" fn ended_callback(
    io: *mut spdk_sys::spdk_bdev_io,
    success: bool,
    ctx: *mut c_void,
) {
    let _inside = inside::enter();
    contain("the end of a zero-copy", || {
        let ending = ctx.cast_const().cast::<Ending>();
        // SAFETY: by this function's contract; the fields never change.
        let moved = unsafe { &*ending }.channel.home.check().is_err();
        let mut outcome = Ok(());
        if !success && !moved {
            // SAFETY: as above.
            let region = unsafe { &*ending }.region.as_ref();
            // SAFETY: the I/O is completed and not freed yet.
            let status = unsafe { status_of(io) };
            outcome = Err(IoError::Failed {
                io: IoType::ZeroCopy,
                lba: region.map_or(Lba(0), |region| region.lba),
                blocks: region.map_or(Blocks(0), |region| region.blocks),
                status,
            });
        }
        calls::count(Call::Free);
        // SAFETY: completed, once, on its thread (B-63).
        unsafe { spdk_sys::spdk_bdev_free_io(io) };
        if moved {
            return crate::log::error(
                "a zero-copy ended where it can't be reached: its SPDK thread was moved to another OS thread",
            );
        }
        // SAFETY: the count that `end` leaked is handed to this `Rc`, on its OS thread.
        let ending = unsafe { Rc::from_raw(ending) };
        ending.outcome.replace(Some(outcome));
        let waker = ending.waker.take();
        ending.channel.end_io();
        if let Some(waker) = waker {
            contain("a waker", || waker.wake());
        }
    });
}

/// Which side of a copy others may change meanwhile.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shared {
    From,
    To,
}

/// Copies from or to memory that others may change meanwhile: word by word, where the addresses allow it, and else by
/// bytes.
///
/// # Safety
///
/// Both are valid for `len` bytes, and do not overlap; the side that is not `shared` is the caller's alone.
unsafe fn racy_copy(from: *const u8, to: *mut u8, len: usize, shared: Shared) {
    const WORD: usize = size_of::<usize>();
    let mut done = 0;
    if from.addr() % WORD == to.addr() % WORD {
        while done < len && (from.addr() + done) % WORD != 0 {
            // SAFETY: within `len`.
            unsafe { copy_byte(from, to, done, shared) };
            done += 1;
        }
        while len - done >= WORD {
            let from = from.wrapping_add(done).cast::<usize>();
            let to = to.wrapping_add(done).cast::<usize>();
            let word = match shared {
                // SAFETY: aligned, within `len`. An atomic may be on memory that C writes.
                Shared::From => unsafe { &*from.cast::<AtomicUsize>() }.load(Ordering::Relaxed),
                // SAFETY: aligned, within `len`, and nobody writes it.
                Shared::To => unsafe { from.read() },
            };
            match shared {
                // SAFETY: as above, and ours.
                Shared::From => unsafe { to.write(word) },
                Shared::To => {
                    // SAFETY: as above.
                    unsafe { &*to.cast::<AtomicUsize>() }.store(word, Ordering::Relaxed);
                }
            }
            done += WORD;
        }
    }
    while done < len {
        // SAFETY: within `len`.
        unsafe { copy_byte(from, to, done, shared) };
        done += 1;
    }
}

/// # Safety
///
/// As [`racy_copy`], for the byte at `at`.
unsafe fn copy_byte(from: *const u8, to: *mut u8, at: usize, shared: Shared) {
    let (from, to) = (from.wrapping_add(at), to.wrapping_add(at));
    match shared {
        Shared::From => {
            // SAFETY: by this function's contract.
            let byte = unsafe { &*from.cast::<AtomicU8>() }.load(Ordering::Relaxed);
            // SAFETY: as above.
            unsafe { to.write(byte) };
        }
        Shared::To => {
            // SAFETY: as above.
            let byte = unsafe { from.read() };
            // SAFETY: as above.
            unsafe { &*to.cast::<AtomicU8>() }.store(byte, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Zcopy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Zcopy")
            .field("lba", &self.core.lba)
            .field("blocks", &self.core.blocks)
            .field("ended", &self.core.io.get().is_null())
            .finish_non_exhaustive()
    }
}
