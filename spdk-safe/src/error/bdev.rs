//! Bdevs, descriptors and channels.

use thiserror::Error;

use super::{Errno, IoType, ThreadError};
use crate::bdev::ClaimKind;

/// Why a bdev was not created or deleted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BdevError {
    /// Made on the wrong thread.
    #[error(transparent)]
    Thread(#[from] ThreadError),
    /// Empty, longer than 255 bytes, or with a NUL byte inside. Choose another name.
    #[error(
        "{name:?} can't be the name of a bdev (it is empty, longer than 255 bytes, or holds a NUL byte)"
    )]
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
    /// Somebody has it open, and it can't shrink then. Have it closed first.
    #[error("bdev {name:?} can't shrink while somebody has it open")]
    InUse {
        /// The bdev.
        name: String,
    },
    /// A range of it is quiesced, and would lie past its end. Let go of that first.
    #[error("bdev {name:?} can't shrink below a range that is quiesced")]
    Quiesced {
        /// The bdev.
        name: String,
    },
    /// It is being deleted already, by somebody else. Wait until it is gone.
    #[error("bdev {name:?} is being deleted already")]
    Deleting {
        /// The bdev.
        name: String,
    },
    /// A bdev of that name went away with its base, and SPDK will make it again as soon as the base is back. Bring
    /// the base back and delete the bdev, or choose another name.
    #[error(
        "bdev {name:?} went away with its base, and SPDK makes it again when the base is back; bring the base back \
         and delete the bdev, or choose another name"
    )]
    Awaited {
        /// What was given.
        name: String,
    },
    /// The bdev that it was to stand on is not there, or is being removed. Create the base first.
    #[error("bdev {name:?} can't stand on {base:?}: there is no such bdev, or it is being removed")]
    NoBase {
        /// The bdev that was to be.
        name: String,
        /// Its base.
        base: String,
    },
    /// The bdev that it was to stand on is claimed. Delete what uses it, or choose another base.
    #[error(
        "bdev {name:?} can't stand on {base:?}, which is {}; delete what uses it, or choose another base",
        claimed(by, *claim)
    )]
    BaseClaimed {
        /// The bdev that was to be.
        name: String,
        /// Its base.
        base: String,
        /// Who holds the claim.
        by: String,
        /// Which claim, if SPDK says so.
        claim: Option<ClaimKind>,
    },
    /// The file can't be used: the errno says why.
    #[error("bdev {name:?} can't use the file {path:?}: {errno}")]
    File {
        /// The bdev that was to be.
        name: String,
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        errno: Errno,
    },
    /// Error bdevs can't do this to I/O of this type. Inject it into one that the text names.
    #[error("{fault} can't be injected into {io}, only into {allowed}")]
    Inject {
        /// What was to happen.
        fault: &'static str,
        /// To which I/O.
        io: IoType,
        /// Into what it can be injected.
        allowed: &'static str,
    },
    /// The SPDK that the program is linked with can't do it. Link it with a newer one, or leave it out.
    #[error(
        "{what} needs SPDK {needs}, and this is {}",
        crate::app::spdk_version()
    )]
    NeedsVersion {
        /// What was asked for.
        what: &'static str,
        /// The first version that can do it.
        needs: &'static str,
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
    /// Requests of such a device need bytes of their own, of which no module has told SPDK. Write
    /// `BdevModule::new(..).device::<D>()`.
    #[error(
        "bdev {name:?}: requests of a {device} need driver context, and module {module:?} has asked for none; write \
         `.device::<{device}>()` behind `BdevModule::new(..)`"
    )]
    DriverContext {
        /// The bdev.
        name: String,
        /// Its module.
        module: String,
        /// The device's type.
        device: &'static str,
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
    /// The bdev did not come in time. Wait longer, or see why it does not come.
    #[error("there is no bdev named {name:?}, or it is being removed, {} ms on", after.as_millis())]
    TimedOut {
        /// What was asked for.
        name: String,
        /// How long it was waited for.
        after: std::time::Duration,
    },
    /// It is claimed, so it can't be opened for writing. Open it read-only, or delete what uses it.
    #[error(
        "bdev {name:?} is {}; open it read-only, or delete what uses it",
        claimed(by, *claim)
    )]
    Claimed {
        /// What was asked for.
        name: String,
        /// Who holds the claim, if SPDK says so.
        by: String,
        /// Which claim, if SPDK says so.
        claim: Option<ClaimKind>,
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
        "bdev {name:?} is {}; delete what uses it, or pick another bdev",
        claimed(by, *claim)
    )]
    Claimed {
        /// The bdev.
        name: String,
        /// Who holds the claim, if SPDK says so.
        by: String,
        /// Which claim, if SPDK says so.
        claim: Option<ClaimKind>,
    },
    /// It is shared for writing under another key. Use the key of those who share it, or pick another bdev.
    #[error(
        "bdev {name:?} is shared for writing by module {by:?} under another key; use that key, or pick another bdev"
    )]
    OtherKey {
        /// The bdev.
        name: String,
        /// Who shares it.
        by: String,
    },
    /// Somebody has it open for writing, without a claim. Have that descriptor closed first.
    #[error(
        "bdev {name:?} can't be claimed ({claim}): somebody else has it open for writing; have that closed first"
    )]
    Writers {
        /// The bdev.
        name: String,
        /// The claim that was to be.
        claim: ClaimKind,
    },
    /// The SPDK that the program is linked with does not know such claims. Link it with a newer one, or use an
    /// exclusive claim.
    #[error(
        "{what} needs SPDK {needs}, and this is {}",
        crate::app::spdk_version()
    )]
    NeedsVersion {
        /// What was asked for.
        what: &'static str,
        /// The first version that can do it.
        needs: &'static str,
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

/// Who has claimed a bdev, and how.
fn claimed(by: &str, claim: Option<ClaimKind>) -> String {
    let against = claim == Some(ClaimKind::ReadManyWriteNone);
    let what = if against { "against" } else { "for" };
    let kind = claim.map_or_else(String::new, |kind| format!(" (claim: {kind})"));
    format!("claimed {what} writing by module {by:?}{kind}")
}
