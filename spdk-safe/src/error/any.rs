//! Any error of this crate.

use thiserror::Error;

use super::{
    AppError, BdevCallError, BdevError, CallError, ChannelError, ClaimError, CoresError,
    DeviceChannelError, IoDeviceError, IoError, JoinError, OpenError, RegisterError, SetCoresError,
    ThreadCreateError, ThreadError,
};
use crate::bdev::{BdevDesc, DescMode, DescState};
use crate::env::AllocError;
use crate::log::FlagError;

/// Any error of this crate, for a function that does many things and uses `?`.
///
/// ```no_run
/// use spdk_safe::prelude::*;
///
/// fn main() -> Result<(), spdk_safe::Error> {
///     App::builder("any").no_huge().no_pci().run(async |spdk| {
///         let desc = BdevDesc::open(&spdk, "disk0").read_only()?;
///         desc.channel()?.read_blocks(Lba(0), Blocks(1)).await?;
///         Ok(())
///     })?
/// }
/// ```
#[derive(Debug, Error)]
#[non_exhaustive]
#[error(transparent)]
pub enum Error {
    /// Of an app.
    App(#[from] AppError),
    /// Of a call on the wrong thread.
    Thread(#[from] ThreadError),
    /// Of a new SPDK thread.
    ThreadCreate(#[from] ThreadCreateError),
    /// Of a set of cores.
    Cores(#[from] CoresError),
    /// Of a change of cores.
    SetCores(#[from] SetCoresError),
    /// Of a message to an SPDK thread.
    Call(#[from] CallError),
    /// Of a task on an SPDK thread.
    Join(#[from] JoinError),
    /// Of a bdev's creation or deletion.
    Bdev(#[from] BdevError),
    /// Of opening a bdev.
    Open(#[from] OpenError),
    /// Of claiming a bdev.
    Claim(#[from] ClaimError),
    /// Of a channel.
    Channel(#[from] ChannelError),
    /// Of statistics, rate limits and their like.
    BdevCall(#[from] BdevCallError),
    /// Of an I/O.
    Io(#[from] IoError),
    /// Of a buffer.
    Alloc(#[from] AllocError),
    /// Of an io_device.
    IoDevice(#[from] IoDeviceError),
    /// Of an io_device's channel.
    DeviceChannel(#[from] DeviceChannelError),
    /// Of an RPC.
    Register(#[from] RegisterError),
    /// Of a log flag.
    Flag(#[from] FlagError),
}

/// Closes the descriptor that could not be claimed.
impl<M: DescMode, S: DescState> From<(ClaimError, BdevDesc<M, S>)> for Error {
    fn from((error, _closed): (ClaimError, BdevDesc<M, S>)) -> Self {
        Self::Claim(error)
    }
}

/// Drops the data of an I/O that could not be started.
impl<B> From<(IoError, B)> for Error {
    fn from((error, _dropped): (IoError, B)) -> Self {
        Self::Io(error)
    }
}
