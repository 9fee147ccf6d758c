//! Bdevs, descriptors and channels.

use thiserror::Error;

use super::{Errno, ThreadError};

/// Why a bdev was not created or deleted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BdevError {
    /// Made on the wrong thread.
    #[error(transparent)]
    Thread(#[from] ThreadError),
    /// Empty, or with a NUL byte inside. Choose another name.
    #[error("{name:?} can't be the name of a bdev (it is empty or holds a NUL byte)")]
    Name {
        /// What was given.
        name: String,
    },
    /// The name is taken. Choose another, or delete the other one.
    #[error("there is a bdev named {name:?} already; choose another name or delete that one")]
    Exists {
        /// What was given.
        name: String,
    },
    /// There is no such bdev, or it is of another kind.
    #[error("there is no such bdev named {name:?}")]
    NotFound {
        /// What was given.
        name: String,
    },
    /// A size that can't be: the text says what would do.
    #[error("bdev {name:?}: {what} is {got}, which must be {allowed}")]
    Geometry {
        /// The bdev.
        name: String,
        /// Which value.
        what: &'static str,
        /// What was given.
        got: u64,
        /// What would do.
        allowed: &'static str,
    },
    /// The module was not given to the app builder. Add `.module(&MODULE)` before `run`.
    #[error(
        "module {module:?} is unknown to SPDK; give it to the app builder: `.module(&..)` before `run`"
    )]
    ModuleNotAdded {
        /// Its name.
        module: String,
    },
    /// SPDK's memory is used up. Give the app more: `.memory(..)` on its builder.
    #[error("SPDK has no memory left for bdev {name:?}; give the app more with `.memory(..)`")]
    NoMemory {
        /// The bdev.
        name: String,
    },
    /// SPDK refused, for a reason of its own.
    #[error("SPDK refused bdev {name:?}: {errno}")]
    Refused {
        /// The bdev.
        name: String,
        /// Its answer.
        errno: Errno,
    },
}

/// Why a descriptor was not opened.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Made on the wrong thread.
    #[error(transparent)]
    Thread(#[from] ThreadError),
    /// There is no bdev of this name, or it is being removed.
    #[error("there is no bdev named {name:?}, or it is being removed")]
    NotFound {
        /// What was asked for.
        name: String,
    },
    /// It is claimed, so it can't be opened for writing. Open it read-only, or delete what uses it.
    #[error(
        "bdev {name:?} is claimed for writing by module {by:?}; open it read-only, or delete what uses it"
    )]
    Claimed {
        /// What was asked for.
        name: String,
        /// Who holds the claim, if SPDK says so.
        by: String,
    },
    /// SPDK refused otherwise.
    #[error("SPDK can't open bdev {name:?}: {errno}")]
    Refused {
        /// What was asked for.
        name: String,
        /// Its answer.
        errno: Errno,
    },
}

/// Why a descriptor was not claimed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// Made on the wrong thread.
    #[error(transparent)]
    Thread(#[from] ThreadError),
    /// Somebody has it already. Delete what uses it, or pick another bdev.
    #[error(
        "bdev {name:?} is claimed for writing by module {by:?}; delete what uses it, or pick another bdev"
    )]
    Claimed {
        /// The bdev.
        name: String,
        /// Who holds the claim.
        by: String,
    },
    /// The bdev was removed meanwhile.
    #[error("bdev {name:?} was removed")]
    Removed {
        /// The bdev.
        name: String,
    },
    /// The module was not given to the app builder. Add `.module(&MODULE)` before `run`.
    #[error(
        "module {module:?} is unknown to SPDK; give it to the app builder: `.module(&..)` before `run`"
    )]
    ModuleNotAdded {
        /// Its name.
        module: String,
    },
    /// SPDK refused otherwise.
    #[error("SPDK can't claim bdev {name:?}: {errno}")]
    Refused {
        /// The bdev.
        name: String,
        /// Its answer.
        errno: Errno,
    },
}

/// Why there is no channel.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// Made on the wrong thread.
    #[error(transparent)]
    Thread(#[from] ThreadError),
    /// The bdev was removed, or its descriptor closed.
    #[error("bdev {name:?} was removed, or its descriptor closed")]
    Removed {
        /// The bdev.
        name: String,
    },
    /// SPDK gave none: out of memory, or the module below refused.
    #[error(
        "SPDK gives no channel for bdev {name:?} (out of memory, or its module refused; see the log)"
    )]
    Refused {
        /// The bdev.
        name: String,
    },
    /// A block device asked for a channel of its own bdev while it makes that channel. Give it another base.
    #[error("bdev {name:?} can't be its own base: its channel is being made right now")]
    Cycle {
        /// The bdev.
        name: String,
    },
    /// A device of ours can't make one, in its own words.
    #[error("{0}")]
    Device(String),
}
