//! What is there, for tests that nothing may outlive.

use super::open_names;
use crate::env;
use crate::thread::registry;

/// What is there now that has to be given back: two of these tell whether something was left in between.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Open {
    /// Descriptors, bdevs and devices of ours, SPDK threads.
    pub names: Vec<String>,
    /// Channels and pollers of the SPDK threads of this OS thread.
    pub held: Vec<String>,
    /// Buffers in memory that devices may reach.
    pub dma_buffers: usize,
    /// `spdk_bdev_io`s that are not in SPDK's pool: in flight, or kept by threads that have a channel.
    pub bdev_ios: u64,
}

impl Open {
    /// What is there now. While SPDK is up.
    #[must_use]
    pub fn now() -> Self {
        let (mut idle, mut size) = (0, 0);
        // SAFETY: SPDK is up, as long as somebody has a reason to ask; without a pool the shim answers 0.
        unsafe { spdk_sys::spdk_shim_bdev_io_pool(&raw mut idle, &raw mut size) };
        Self {
            names: open_names(),
            held: registry::all_held(),
            dma_buffers: env::buffers(),
            bdev_ios: size.saturating_sub(idle),
        }
    }
}
