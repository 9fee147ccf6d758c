//! One operation: its slot, from submission to completion.
//!
//! ```text
//!          1            2 (0)                3                   4
//!   Idle ─────► start ────────► Submitted ─────────────► Done ────────► Idle
//!                 │ ▲ 2 (-ENOMEM)            5             ▲
//!                 │ └────────── Waiting ◄────┐             │
//!                 │                │ resubmit              │
//!                 └── 2 (other) ───┴───────────────────────┘
//!   1: ChannelCore::take_op   2: submit   3: io_done_callback   4: take_result, or at once if detached
//! ```
//!
//! A slot is a fixed place in memory: SPDK has pointers to it (the callback's argument, the iovec array), and it owns what the I/O touches. Slots belong to their channel and are used again.
//! -ENOMEM is not an error: the slot waits in a queue (`wait`) and is submitted again (contract B-60, B-61).

use std::cell::{Cell, UnsafeCell};
use std::ffi::c_void;
use std::ptr::NonNull;
use std::rc::Rc;
use std::task::Waker;

use super::channel::ChannelCore;
use super::wait::Turn;
use crate::env::DmaBuf;
use crate::error::{Errno, IoError, IoType, NvmeStatus};
use crate::module::RequestData;
use crate::panic::contain;
use crate::thread::Home;
use crate::units::{Blocks, Lba};

/// What an operation owns while it is in flight.
#[derive(Debug, Default)]
pub enum Payload {
    /// No data.
    #[default]
    None,
    /// A buffer of ours.
    Dma(DmaBuf),
    /// The data of a request to a bdev of ours, which it keeps alive.
    Request(RequestData),
}

impl Payload {
    /// Calls `each` with the address and length of every piece of memory, in order.
    pub(super) fn for_each(&self, each: &mut dyn FnMut(*mut c_void, usize)) {
        match self {
            Self::None => {}
            Self::Dma(buf) => each(buf.as_ptr(), buf.len()),
            Self::Request(data) => data.for_each(each),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Waiting,
    Submitted,
    Done,
}

/// # Invariants
///
/// - While `phase` is `Submitted`, SPDK has a pointer to the slot, and `iovs` is not touched by us; while it is
///   `Waiting`, the slot is in one of the [`WaitQueues`](super::wait::WaitQueues) of its thread.
/// - While `phase` is not `Idle`, `channel` holds the core that the slot belongs to.
pub(super) struct Op {
    phase: Cell<Phase>,
    /// The future is gone: nobody wants the result.
    detached: Cell<bool>,
    channel: Cell<Option<Rc<ChannelCore>>>,
    home: Cell<Option<Home>>,
    io: Cell<IoType>,
    lba: Cell<Lba>,
    blocks: Cell<Blocks>,
    payload: Cell<Payload>,
    result: Cell<Option<Result<(), IoError>>>,
    waker: Cell<Option<Waker>>,
    /// Ours alone, since some modules change it in place while the I/O runs (B-41). Keeps its capacity.
    iovs: UnsafeCell<Vec<libc::iovec>>,
}

impl Op {
    pub(super) fn new() -> Self {
        Self {
            phase: Cell::new(Phase::Idle),
            detached: Cell::new(false),
            channel: Cell::new(None),
            home: Cell::new(None),
            io: Cell::new(IoType::Read),
            lba: Cell::new(Lba(0)),
            blocks: Cell::new(Blocks(0)),
            payload: Cell::new(Payload::None),
            result: Cell::new(None),
            waker: Cell::new(None),
            iovs: UnsafeCell::new(Vec::new()),
        }
    }

    /// Set before SPDK gets the slot.
    fn home(&self) -> Home {
        self.home
            .get()
            .expect("a slot that SPDK has was submitted on a thread")
    }

    fn fail(&self, make: impl FnOnce(IoType, Lba) -> IoError) -> IoError {
        make(self.io.get(), self.lba.get())
    }
}

/// A slot in use: what a future holds. Dropping it detaches the operation.
pub(super) struct Flight(NonNull<Op>);

impl Flight {
    /// Starts an operation that was checked, on the channel's thread.
    pub(super) fn start(
        channel: &Rc<ChannelCore>,
        io: IoType,
        lba: Lba,
        blocks: Blocks,
        payload: Payload,
    ) -> Self {
        let slot = channel.take_op();
        // SAFETY: slots live as long as their channel, which `op.channel` keeps from the next lines on.
        let op = unsafe { slot.as_ref() };
        op.home.set(Some(channel.home));
        op.io.set(io);
        op.lba.set(lba);
        op.blocks.set(blocks);
        // SAFETY: the slot was idle, so SPDK has no pointer to the array.
        let iovs = unsafe { &mut *op.iovs.get() };
        iovs.clear();
        payload.for_each(&mut |base, len| {
            iovs.push(libc::iovec {
                iov_base: base,
                iov_len: len,
            });
        });
        op.payload.set(payload);
        op.detached.set(false);
        op.channel.set(Some(Rc::clone(channel)));
        channel.begin_io();
        submit(slot, channel, Turn::First);
        Self(slot)
    }

    /// The result and what the operation owned, if it is done; else `waker` will be woken.
    pub(super) fn poll(self, waker: &Waker) -> Result<(Result<(), IoError>, Payload), Self> {
        let op = self.op();
        if op.phase.get() != Phase::Done {
            let same = op.waker.take().filter(|have| have.will_wake(waker));
            op.waker.set(Some(same.unwrap_or_else(|| waker.clone())));
            return Err(self);
        }
        let result = op.result.take().unwrap_or(Ok(()));
        let payload = op.payload.take();
        // `drop` gives the slot back.
        drop(self);
        Ok((result, payload))
    }

    fn op(&self) -> &Op {
        // SAFETY: the slot is not idle, so `channel` keeps its memory.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let op = self.op();
        let waker = op.waker.take();
        // SPDK does not have what waits, so its data can go now; a request above may be waiting for that.
        let unused = match op.phase.get() {
            Phase::Done => {
                recycle(self.0);
                Payload::None
            }
            Phase::Waiting => {
                op.detached.set(true);
                op.payload.take()
            }
            _ => {
                op.detached.set(true);
                Payload::None
            }
        };
        // Last, since both run code that is not ours.
        drop((unused, waker));
    }
}

/// Gives the operation to SPDK, for the first time or again. On the channel's thread. False if it has to wait.
fn submit(slot: NonNull<Op>, channel: &Rc<ChannelCore>, turn: Turn) -> bool {
    // SAFETY: the slot is not idle, so its channel keeps its memory.
    let op = unsafe { slot.as_ref() };
    let Some((raw, desc)) = channel.raw() else {
        finish(slot, Err(op.fail(|io, lba| IoError::Removed { io, lba })));
        return true;
    };
    // Set first: some errors complete inside the call (B-71).
    op.phase.set(Phase::Submitted);
    let (lba, blocks) = (op.lba.get().0, op.blocks.get().0);
    let done = Some(io_done_callback as unsafe extern "C" fn(_, _, _));
    let arg = slot.as_ptr().cast::<c_void>();
    // SAFETY: SPDK did not have the array until now, so nobody changes it.
    let iovs = unsafe { &mut *op.iovs.get() };
    let (iov, count) = (iovs.as_mut_ptr(), iovs.len() as i32);
    let rc = match op.io.get() {
        // SAFETY: descriptor and channel are open and of this thread, by the invariant of
        // `ChannelCore`; range, length and alignment were checked; the array, the memory it names and the slot stay
        // where they are until the callback. (The same holds for all six.)
        IoType::Read => unsafe {
            spdk_sys::spdk_bdev_readv_blocks(desc, raw, iov, count, lba, blocks, done, arg)
        },
        // SAFETY: as above; the descriptor is writable, by its type.
        IoType::Write => unsafe {
            spdk_sys::spdk_bdev_writev_blocks(desc, raw, iov, count, lba, blocks, done, arg)
        },
        // SAFETY: as above.
        IoType::Unmap => unsafe {
            spdk_sys::spdk_bdev_unmap_blocks(desc, raw, lba, blocks, done, arg)
        },
        // SAFETY: as above.
        IoType::WriteZeroes => unsafe {
            spdk_sys::spdk_bdev_write_zeroes_blocks(desc, raw, lba, blocks, done, arg)
        },
        // SAFETY: as above.
        IoType::Flush => unsafe {
            spdk_sys::spdk_bdev_flush_blocks(desc, raw, lba, blocks, done, arg)
        },
        // SAFETY: as above.
        IoType::Reset => unsafe { spdk_sys::spdk_bdev_reset(desc, raw, done, arg) },
    };
    match Errno::check(rc) {
        // Submitted; it may even be done.
        Ok(()) => true,
        Err(errno) if errno.code() == libc::ENOMEM => {
            op.phase.set(Phase::Waiting);
            channel.waits.push(slot, channel, turn);
            false
        }
        Err(errno) => {
            finish(
                slot,
                Err(op.fail(|io, lba| IoError::Submit { io, lba, errno })),
            );
            true
        }
    }
}

/// Submits a waiting operation whose turn it is, unless its future is gone: then nobody wants it done. False if it
/// waits again.
pub(super) fn resubmit(slot: NonNull<Op>) -> bool {
    // SAFETY: the slot waits, so it is not idle.
    let op = unsafe { slot.as_ref() };
    let Some(channel) = channel_of(op) else {
        return true;
    };
    if op.detached.get() {
        finish(slot, Err(op.fail(|io, lba| IoError::Removed { io, lba })));
        return true;
    }
    submit(slot, &channel, Turn::Again)
}

/// The operation is over. On the channel's thread; SPDK has no pointer to the slot any more.
fn finish(slot: NonNull<Op>, result: Result<(), IoError>) {
    // SAFETY: the slot is not idle.
    let op = unsafe { slot.as_ref() };
    let channel = channel_of(op);
    if op.io.get() == IoType::Read && result.is_ok() {
        let payload = op.payload.take();
        if let Payload::Request(data) = &payload {
            data.set_filled();
        }
        op.payload.set(payload);
    }
    op.result.set(Some(result));
    op.phase.set(Phase::Done);
    let waker = op.waker.take();
    if op.detached.get() {
        recycle(slot);
    }
    if let Some(channel) = channel {
        channel.end_io();
    }
    // Last: it may run the task on the spot, which may start the next operation.
    if let Some(waker) = waker {
        contain("a waker", || waker.wake());
    }
}

/// Brings a slot that is done back to its channel.
fn recycle(slot: NonNull<Op>) {
    // SAFETY: the slot is not idle.
    let op = unsafe { slot.as_ref() };
    op.result.set(None);
    op.phase.set(Phase::Idle);
    let payload = op.payload.take();
    if let Some(channel) = op.channel.take() {
        channel.give_op(slot);
        // The channel may go here, and the slot with it.
    }
    // Runs destructors of the user's at the very end.
    drop(payload);
}

fn channel_of(op: &Op) -> Option<Rc<ChannelCore>> {
    let channel = op.channel.take();
    op.channel.set(channel.clone());
    channel
}

/// # Safety
///
/// SPDK calls this exactly once for each submission that returned 0, on the channel's thread (B-70), with the slot
/// that it was submitted with.
unsafe extern "C" fn io_done_callback(
    bdev_io: *mut spdk_sys::spdk_bdev_io,
    success: bool,
    arg: *mut c_void,
) {
    contain("the completion of an I/O", || {
        let Some(slot) = NonNull::new(arg.cast::<Op>()) else {
            return;
        };
        // SAFETY: the slot was submitted, so it is not idle, and its home never changes.
        let home = unsafe { (*slot.as_ptr()).home() }.check();
        let mut status = NvmeStatus { sct: 0, sc: 0 };
        if !success {
            let (mut cdw0, mut sct, mut sc) = (0, 0, 0);
            // SAFETY: the I/O is completed and not freed yet.
            unsafe {
                spdk_sys::spdk_bdev_io_get_nvme_status(
                    bdev_io,
                    &raw mut cdw0,
                    &raw mut sct,
                    &raw mut sc,
                );
            }
            status = NvmeStatus {
                sct: sct as u8,
                sc: sc as u8,
            };
        }
        // SAFETY: completed, once, on the submitting thread (B-63). This may run callbacks of other waiters (B-62):
        // nothing is borrowed here.
        unsafe { spdk_sys::spdk_bdev_free_io(bdev_io) };
        if let Err(error) = home {
            // SPDK's scheduler has moved the thread; the slot belongs to another OS thread (design rule 2).
            return crate::log::error(&format!(
                "an I/O ended where its future can't be reached: {error}"
            ));
        }
        // SAFETY: the slot was submitted, so it is not idle.
        let op = unsafe { slot.as_ref() };
        let result = match success {
            true => Ok(()),
            false => Err(op.fail(|io, lba| IoError::Failed {
                io,
                lba,
                blocks: op.blocks.get(),
                status,
            })),
        };
        finish(slot, result);
    });
}
