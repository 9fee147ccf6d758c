//! Errors: one enum for each kind of operation, and the errno that is behind some of them.
//!
//! An operation that consumes a handle gives it back beside its error. -ENOMEM from a submit is not in here: it
//! is never an error to a caller, the I/O waits and goes on.

use std::fmt;

mod app;
mod bdev;
mod bdev_call;
mod io;
mod io_device;
mod thread;

pub use app::AppError;
pub use bdev::{BdevError, ChannelError, ClaimError, OpenError};
pub use bdev_call::BdevCallError;
pub use io::{IoCause, IoError, IoStatus, IoType, NvmeStatus, ScsiStatus};
pub use io_device::{DeviceChannelError, ForEachError, IoDeviceError};
pub use thread::{
    CallError, CoresError, JoinError, SetCoresError, ThreadCreateError, ThreadError, TrySendError,
};

/// Core numbers, for a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoreList(pub Vec<u32>);

impl fmt::Display for CoreList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<_> = self.0.iter().map(u32::to_string).collect();
        match &numbers[..] {
            [] => f.write_str("no core"),
            [one] => write!(f, "core {one}"),
            all => write!(f, "cores {}", all.join(", ")),
        }
    }
}

/// An errno as SPDK returns it, always positive here.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(i32);

impl Errno {
    /// Takes a return code of SPDK's: `Err` for a negated errno.
    pub(crate) fn check(rc: i32) -> Result<(), Self> {
        if rc < 0 { Err(Self(-rc)) } else { Ok(()) }
    }

    /// The errno that `code` (of either sign) is.
    pub(crate) const fn new(code: i32) -> Self {
        Self(code.wrapping_abs())
    }

    /// The number, as in `errno.h`.
    #[must_use]
    pub const fn code(self) -> i32 {
        self.0
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", std::io::Error::from_raw_os_error(self.0))
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Errno({}: {self})", self.0)
    }
}
