//! Devices of ours (`io_device`) and their channels.

use std::error::Error as StdError;

use thiserror::Error;

use super::ThreadError;

/// Why a device was not registered.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IoDeviceError {
    /// Made on the wrong thread.
    #[error(transparent)]
    Thread(#[from] ThreadError),
    /// The name holds a NUL byte. Choose another one.
    #[error("{name:?} can't be the name of a device (it holds a NUL byte)")]
    Name {
        /// What was given.
        name: String,
    },
    /// SPDK has no memory for it. It says so only in its log (contract T-40).
    #[error("SPDK did not register device {name:?}: it is out of memory (see the log)")]
    NoMemory {
        /// The device.
        name: String,
    },
}

/// Why there is no channel to a device, or no access to its context.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DeviceChannelError {
    /// Made on the wrong thread.
    #[error(transparent)]
    Thread(#[from] ThreadError),
    /// The device was unregistered, or is just being. Get channels while its owner is alive.
    #[error("device {device:?} was unregistered")]
    Unregistered {
        /// The device.
        device: String,
    },
    /// A channel was asked for while the device makes that very channel. SPDK would hand it out half-made (contract
    /// T-41). Don't ask for it in `create_channel`.
    #[error("device {device:?} asked for the channel that it is just making")]
    Cycle {
        /// The device.
        device: String,
    },
    /// The device can't make the channel, and says why.
    #[error("device {device:?} can't make a channel: {error}")]
    Create {
        /// The device.
        device: String,
        /// What it said.
        #[source]
        error: Box<dyn StdError + Send + Sync>,
    },
    /// `create_channel` panicked. The panic is in the log.
    #[error("device {device:?} panicked while it made a channel (see the log)")]
    Panicked {
        /// The device.
        device: String,
    },
    /// SPDK's scheduler has moved the SPDK thread to another OS thread, and the channel's context, which need not be
    /// `Send`, stayed behind. Get channels on threads that are bound to a core.
    #[error(
        "the channel of device {device:?} stayed behind when its SPDK thread was moved to another OS thread"
    )]
    Moved {
        /// The device.
        device: String,
    },
    /// The channel was put: its thread, or the app, ends. Get another one, on a thread that goes on.
    #[error("the channel of device {device:?} was put when its thread let go of everything")]
    Released {
        /// The device.
        device: String,
    },
    /// SPDK gave none: it is out of memory, or the thread has exited (see its log).
    #[error(
        "SPDK gives no channel to device {device:?} (out of memory, or the thread has exited; see the log)"
    )]
    Refused {
        /// The device.
        device: String,
    },
}

/// Why not every channel was visited.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ForEachError<E> {
    /// The closure said so, with this.
    #[error("stopped: {0}")]
    Stopped(E),
    /// The closure panicked. The panic is in the log.
    #[error("the closure panicked at a channel of device {device:?} (see the log)")]
    Panicked {
        /// The device.
        device: String,
    },
    /// The device was unregistered, or is just being. Begin while its owner is alive.
    #[error("device {device:?} was unregistered")]
    Unregistered {
        /// The device.
        device: String,
    },
    /// A channel's SPDK thread was moved to another OS thread, where its context can't be touched. All others
    /// were looked at. Get channels on threads that are bound to a core.
    #[error(
        "a channel of device {device:?} stayed behind when its SPDK thread was moved to another OS thread"
    )]
    Moved {
        /// The device.
        device: String,
    },
    /// SPDK had no room for a message to a channel's thread. Try again; versions from 26.01 on have no such answer.
    #[error("SPDK has no room for a message to the thread of a channel of device {device:?}")]
    NoRoom {
        /// The device.
        device: String,
    },
}
