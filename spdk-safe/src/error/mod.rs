//! Errors: one enum for each kind of operation, and the errno that is behind some of them.
//!
//! An operation that consumes a handle gives it back beside its error. -ENOMEM from a submit is not in here: it
//! is never an error to a caller, the I/O waits and goes on. [`Error`] holds any of them, for a `main` that uses `?`.

use std::fmt;

mod any;
mod app;
mod bdev;
mod bdev_call;
mod errno;
mod io;
mod io_device;
mod rpc;
mod thread;

pub use any::Error;
pub use app::AppError;
pub use bdev::{BdevError, ChannelError, ClaimError, OpenError};
pub use bdev_call::BdevCallError;
pub use errno::Errno;
pub use io::{IoCause, IoError, IoStatus, IoType, NvmeStatus, ScsiStatus};
pub use io_device::{DeviceChannelError, ForEachError, IoDeviceError};
pub use rpc::{RegisterError, RpcError};
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
