//! Calls about a whole bdev: statistics, histograms, limits, time-outs.

use thiserror::Error;

use super::{Errno, ThreadError};

/// Why a call about a bdev did not do what it should.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BdevCallError {
    /// Made on the wrong thread.
    #[error(transparent)]
    Thread(#[from] ThreadError),
    /// The bdev was removed, or its descriptor or channel closed.
    #[error("bdev {name:?} was removed, or its descriptor closed")]
    Removed {
        /// The bdev.
        name: String,
    },
    /// The same is under way already, by us or by an RPC. Try again when that is done; there is one
    /// [`IoTimeouts`](crate::bdev::IoTimeouts) for a descriptor, so drop the other first.
    #[error("bdev {name:?}: {what} is under way already; try again when that is done")]
    Busy {
        /// The bdev.
        name: String,
        /// What.
        what: &'static str,
    },
    /// This SPDK can't. Link with one that can.
    #[error(
        "{what} needs SPDK {needs}, and this is {}",
        crate::app::spdk_version()
    )]
    NeedsVersion {
        /// What.
        what: &'static str,
        /// The first version that can.
        needs: &'static str,
    },
    /// A channel has no histogram. Enable them first, and wait until that is done.
    #[error("bdev {name:?} has no histogram; enable it first")]
    NoHistogram {
        /// The bdev.
        name: String,
    },
    /// A limit that can't be: the text says what would do.
    #[error("bdev {name:?}: {what} of {got} is out of range ({allowed})")]
    Limit {
        /// The bdev.
        name: String,
        /// Which limit.
        what: &'static str,
        /// What was given.
        got: u64,
        /// What would do.
        allowed: &'static str,
    },
    /// SPDK has no memory left. Try again, or give the process more.
    #[error("SPDK has no memory left for {what} of bdev {name:?}")]
    NoMemory {
        /// The bdev.
        name: String,
        /// What.
        what: &'static str,
    },
    /// SPDK refused otherwise.
    #[error("SPDK refused {what} of bdev {name:?}: {errno}")]
    Refused {
        /// The bdev.
        name: String,
        /// What.
        what: &'static str,
        /// Its answer.
        errno: Errno,
    },
}
