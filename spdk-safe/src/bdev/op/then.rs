//! Operations that tell a callback of their end.

use std::ffi::c_void;
use std::marker::PhantomData;
use std::ptr::NonNull;

use super::submit::complete;
use super::{Flight, Op, Phase};
use crate::bdev::buf::IoBuf;
use crate::bdev::data::Then;
use crate::error::IoError;
use crate::panic::contain;

impl<B: IoBuf, F: FnOnce(Result<(), IoError>, B) + 'static> Flight<Then<B, F>> {
    /// Starts it; the callback is told of its end.
    ///
    /// # Errors
    ///
    /// What was found before SPDK had it, or while SPDK took it: the callback is not called.
    #[inline(always)] // most of it is the submission, and its result is mostly one word
    pub(in crate::bdev) fn start_then(self) -> Result<(), (IoError, B)> {
        self.start(then_done_callback::<B, F>);
        let op = self.op();
        if op.phase.get() == Phase::Done {
            return self.done_at_once();
        }
        op.then.set(Some(call_then::<B, F>));
        std::mem::forget(self);
        Ok(())
    }

    #[cold]
    fn done_at_once(self) -> Result<(), (IoError, B)> {
        let (slot, channel) = (self.slot, self.op().channel());
        if let Some(error) = self.op().take_error() {
            let (_, then) = self.finish::<()>();
            return Err((error, then.data));
        }
        // Not in here: a callback that starts the next one would have no end of stack.
        std::mem::forget(self);
        channel.home.send(Box::new(move || {
            // SAFETY: the operation is done, and the slot is nobody else's.
            unsafe { call_then::<B, F>(slot) };
        }));
        Ok(())
    }
}

/// As `io_done_callback`, for an operation whose callback it knows: told at once, if it has been set.
///
/// # Safety
///
/// As `io_done_callback`, for a slot with a `Then<B, F>` in its payload.
unsafe extern "C" fn then_done_callback<B: IoBuf, F>(
    bdev_io: *mut spdk_sys::spdk_bdev_io,
    success: bool,
    arg: *mut c_void,
) where
    F: FnOnce(Result<(), IoError>, B) + 'static,
{
    let is_usual = |op: &Op| op.then.get().is_some();
    // SAFETY: by this function's contract; it is the callback's alone.
    let filled = |op: &Op| unsafe { op.filled::<Then<B, F>>() };
    // SAFETY: done, and nobody's: it belongs to the callback.
    let then = |slot, _: &Op| unsafe { call_then::<B, F>(slot) };
    // SAFETY: by this function's contract.
    unsafe { complete(bdev_io, success, arg, is_usual, filled, then) };
}

/// Tells the callback of an operation that is done.
///
/// # Safety
///
/// The slot is done and nobody's, with a `Then<B, F>` in its payload.
#[inline]
unsafe fn call_then<B: IoBuf, F: FnOnce(Result<(), IoError>, B) + 'static>(slot: NonNull<Op>) {
    let flight = Flight::<Then<B, F>> {
        slot,
        _data: PhantomData,
    };
    if flight.op().has_failed() {
        return call_failed(flight);
    }
    let ((), Then { data, done }) = flight.finish_well();
    contain("the callback of an I/O", || done(Ok(()), data));
}

#[cold]
fn call_failed<B: IoBuf, F>(flight: Flight<Then<B, F>>)
where
    F: FnOnce(Result<(), IoError>, B) + 'static,
{
    let (result, then) = flight.finish::<()>();
    let Then { data, done } = then;
    contain("the callback of an I/O", || done(result, data));
}
