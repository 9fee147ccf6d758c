//! Rate limits of a bdev.
//!
//! C functions: `spdk_bdev_set_qos_rate_limits`, `spdk_bdev_get_qos_rate_limits` (contract B-90). They limit reads and
//! writes (and zero-copy and raw NVMe I/O), in slices of a millisecond; the others pass.

use std::ffi::c_void;

use super::call::{BdevCall, Ticket, call, removed};
use super::core::DescCore;
use super::{BdevDesc, DescMode, DescState};
use crate::error::BdevCallError;
use crate::panic::contain;
use crate::thread::app_thread;
use crate::units::Mib;

/// The rate limits of a bdev; `None` is no limit.
///
/// ```no_run
/// # use spdk_safe::prelude::*;
/// # use spdk_safe::bdev::QosLimits;
/// # async fn f(desc: BdevDesc<ReadWrite>) -> Result<(), spdk_safe::error::BdevCallError> {
/// let limits = QosLimits {
///     rw_ios_per_sec: Some(20_000),
///     ..desc.qos_limits()? // the others stay
/// };
/// let in_force = desc.set_qos_limits(limits).await?;
/// # let _ = in_force; Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QosLimits {
    /// Reads and writes in a second. SPDK rounds it up to whole thousands.
    pub rw_ios_per_sec: Option<u64>,
    /// What is read and written in a second.
    pub rw_mbytes_per_sec: Option<Mib>,
    /// What is read in a second.
    pub r_mbytes_per_sec: Option<Mib>,
    /// What is written in a second.
    pub w_mbytes_per_sec: Option<Mib>,
}

/// Of `rw_ios_per_sec`: SPDK counts what is left of a slice of a millisecond in 32 bits.
const MOST_IOS: u64 = 4_000_000_000;
/// Of the others, likewise, in MiB.
const MOST_MBYTES: u64 = 4_000_000;
const IOS_STEP: u64 = 1000;

impl QosLimits {
    /// No limit at all.
    pub const NONE: Self = Self {
        rw_ios_per_sec: None,
        rw_mbytes_per_sec: None,
        r_mbytes_per_sec: None,
        w_mbytes_per_sec: None,
    };

    /// As SPDK wants it: 0 is no limit.
    fn raw(&self, desc: &DescCore) -> Result<[u64; 4], BdevCallError> {
        let check = |what, got: Option<u64>, most, allowed| match got {
            None => Ok(0),
            Some(got) if got != 0 && got <= most => Ok(got),
            Some(got) => Err(BdevCallError::Limit {
                name: desc.info.name.clone(),
                what,
                got,
                allowed,
            }),
        };
        let mbytes = |what, got: Option<Mib>| {
            let allowed = "1 to 4000000 MiB; `None` is no limit";
            check(what, got.map(|got| got.0), MOST_MBYTES, allowed)
        };
        let allowed = "1 to 4000000000; `None` is no limit";
        let ios = check("rw_ios_per_sec", self.rw_ios_per_sec, MOST_IOS, allowed)?;
        Ok([
            // SPDK does it too, with two errors in its log.
            ios.next_multiple_of(IOS_STEP),
            mbytes("rw_mbytes_per_sec", self.rw_mbytes_per_sec)?,
            mbytes("r_mbytes_per_sec", self.r_mbytes_per_sec)?,
            mbytes("w_mbytes_per_sec", self.w_mbytes_per_sec)?,
        ])
    }

    /// What is in force.
    ///
    /// # Safety
    ///
    /// A descriptor of `bdev` is open, and stays open meanwhile.
    pub(super) unsafe fn of(bdev: *mut spdk_sys::spdk_bdev) -> Self {
        let mut raw = [0; 4];
        // SAFETY: by this function's contract; SPDK writes four limits.
        unsafe { spdk_sys::spdk_bdev_get_qos_rate_limits(bdev, raw.as_mut_ptr()) };
        let mbytes = |limit| (limit != 0).then_some(Mib(limit));
        Self {
            rw_ios_per_sec: (raw[0] != 0).then_some(raw[0]),
            rw_mbytes_per_sec: mbytes(raw[1]),
            r_mbytes_per_sec: mbytes(raw[2]),
            w_mbytes_per_sec: mbytes(raw[3]),
        }
    }
}

impl<M: DescMode, S: DescState> BdevDesc<M, S> {
    /// The rate limits of the bdev that are in force (`spdk_bdev_get_qos_rate_limits`).
    ///
    /// # Errors
    ///
    /// [`BdevCallError`].
    pub fn qos_limits(&self) -> Result<QosLimits, BdevCallError> {
        app_thread::check()?;
        match self.core().is_open() {
            // SAFETY: it is open, and closed on this thread alone.
            true => Ok(unsafe { QosLimits::of(self.core().bdev().as_ptr()) }),
            false => Err(removed(self.core())),
        }
    }

    /// Sets all rate limits of the bdev, for everybody who has it open, and resolves to those in force then: I/Os per
    /// second are rounded up to whole thousands (`spdk_bdev_set_qos_rate_limits`). They outlive the descriptor.
    ///
    /// The thread of one of the bdev's channels gets a poller and a channel that SPDK keeps while there are limits: set
    /// [`QosLimits::NONE`], or close the bdev's last descriptor, before that thread exits.
    ///
    /// # Errors
    ///
    /// [`BdevCallError::Limit`] for 0 and for more than SPDK can count, [`BdevCallError::Busy`] while limits are being
    /// set already.
    pub fn set_qos_limits(&self, limits: QosLimits) -> BdevCall<QosLimits> {
        let mut raw = match limits.raw(self.core()) {
            Ok(raw) => raw,
            Err(error) => return BdevCall::failed(error),
        };
        call(
            self.core(),
            "setting rate limits",
            |ticket: Ticket<QosLimits>, bdev| {
                // SAFETY: the ticket keeps the bdev; the callback comes once, on some thread of the bdev. The array is
                // changed, and not used beyond the call.
                unsafe {
                    spdk_sys::spdk_bdev_set_qos_rate_limits(
                        bdev.as_ptr(),
                        raw.as_mut_ptr(),
                        Some(limits_callback),
                        ticket.into_raw(),
                    );
                }
            },
        )
    }
}

/// # Safety
///
/// SPDK calls this once, on any of its threads, with the ticket that it was given.
unsafe extern "C" fn limits_callback(ctx: *mut c_void, status: i32) {
    contain("rate limits", || {
        // SAFETY: by this function's contract.
        let ticket = unsafe { Ticket::<QosLimits>::from_raw(ctx) };
        let result = ticket.check(status).map(|()| {
            // SAFETY: the ticket keeps the descriptor open.
            unsafe { QosLimits::of(ticket.desc().bdev().as_ptr()) }
        });
        ticket.answer(result);
    });
}
