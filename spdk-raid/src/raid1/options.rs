//! What can be set about an array, also while it works.

use std::time::Duration;

use spdk_safe::units::Bytes;

use super::error::ChangeError;

/// Which leg a read goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadPolicy {
    /// The one with the fewest blocks outstanding on the thread; of several the first.
    #[default]
    LeastLoaded,
    /// One after the other.
    RoundRobin,
    /// The first one: the others are only written.
    Primary,
}

/// Options of an array.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Which leg a read goes to.
    pub read_policy: ReadPolicy,
    /// How much a rebuild or a scrub does at a time. Writes to what it does now wait. 1 MiB if it is not said.
    pub window: Bytes,
    /// How much a rebuild or a scrub moves in a second at most; `None` is as much as it can.
    pub max_bandwidth: Option<Bytes>,
    /// Percent of the time that a rebuild, a resync or a scrub takes while users have I/O: it rests after each window. 25 if
    /// it is not said; with 100 it does not rest.
    pub share: u32,
    /// How long a leg may take for an I/O: in whole seconds, and one more (SPDK looks once a second). Then the leg is
    /// faulted, and reset. `None` is for ever.
    pub io_timeout: Option<Duration>,
    /// How long a leg may take for an I/O before it is said to be slow, in the log and in
    /// [`Counts::slow`](super::Counts::slow); likewise. `None` is for ever.
    pub slow_io: Option<Duration>,
}

/// The largest window.
const MAX_WINDOW: u64 = 64 << 20;

impl Options {
    /// Whether they can be.
    pub(super) fn check(&self, block_size: u32) -> Result<(), ChangeError> {
        let bad = |what, got, allowed| Err(ChangeError::Option { what, got, allowed });
        let window = self.window.0;
        if window < u64::from(block_size) || window > MAX_WINDOW {
            return bad(
                "the window in bytes",
                window,
                "a block at least, and 64 MiB at most",
            );
        }
        if !(1..=100).contains(&self.share) {
            return bad("the share in percent", self.share.into(), "1 to 100");
        }
        match self.max_bandwidth {
            Some(Bytes(0)) => bad("the bandwidth in bytes a second", 0, "1 at least, or none"),
            _ => Ok(()),
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            read_policy: ReadPolicy::default(),
            window: Bytes(1 << 20),
            max_bandwidth: None,
            share: 25,
            io_timeout: Some(Duration::from_secs(30)),
            slow_io: Some(Duration::from_secs(5)),
        }
    }
}
