//! Options, as parameters.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use spdk_safe::rpc::RpcError;
use spdk_safe::units::Bytes;

use crate::raid1::{Options, ReadPolicy};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// [`ReadPolicy`], by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Policy {
    #[serde(alias = "least_loaded")]
    LeastLoaded,
    #[serde(alias = "round_robin")]
    RoundRobin,
    Primary,
}

/// Options that are said; the others are as they were. All methods that take options have these as fields: flattened
/// ones would not be checked.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub(super) struct OptionParams {
    pub(super) read_policy: Option<Policy>,
    pub(super) process_window_size_kb: Option<u32>,
    /// 0 is as much as it can.
    pub(super) process_max_bandwidth_mb_sec: Option<u32>,
    pub(super) process_share_percent: Option<u32>,
    /// 0 is for ever.
    pub(super) io_timeout_sec: Option<u32>,
    /// 0 is for ever.
    pub(super) slow_io_sec: Option<u32>,
}

impl OptionParams {
    /// `options` with what is said here.
    pub(super) fn over(self, mut options: Options) -> Result<Options, RpcError> {
        if let Some(policy) = self.read_policy {
            options.read_policy = match policy {
                Policy::LeastLoaded => ReadPolicy::LeastLoaded,
                Policy::RoundRobin => ReadPolicy::RoundRobin,
                Policy::Primary => ReadPolicy::Primary,
            };
        }
        if let Some(kib) = self.process_window_size_kb {
            options.window = Bytes(u64::from(kib) * KIB);
        }
        if let Some(mib) = self.process_max_bandwidth_mb_sec {
            options.max_bandwidth = (mib != 0).then(|| Bytes(u64::from(mib) * MIB));
        }
        if let Some(percent) = self.process_share_percent {
            options.share = percent;
        }
        if let Some(seconds) = self.io_timeout_sec {
            options.io_timeout = (seconds != 0).then(|| Duration::from_secs(seconds.into()));
        }
        if let Some(seconds) = self.slow_io_sec {
            options.slow_io = (seconds != 0).then(|| Duration::from_secs(seconds.into()));
        }
        // What its block size makes of them is seen when there is one.
        options.check(1)?;
        Ok(options)
    }

    /// What says `options`, with what is no whole number rounded up.
    pub(super) fn of(options: &Options) -> Self {
        let up = |bytes: Bytes, unit| u32::try_from(bytes.0.div_ceil(unit)).unwrap_or(u32::MAX);
        let seconds = |time: Option<Duration>| {
            let up = |time: Duration| time.as_secs() + u64::from(time.subsec_nanos() != 0);
            u32::try_from(time.map_or(0, up)).unwrap_or(u32::MAX)
        };
        Self {
            read_policy: Some(match options.read_policy {
                ReadPolicy::LeastLoaded => Policy::LeastLoaded,
                ReadPolicy::RoundRobin => Policy::RoundRobin,
                ReadPolicy::Primary => Policy::Primary,
            }),
            process_window_size_kb: Some(up(options.window, KIB)),
            process_max_bandwidth_mb_sec: Some(
                options.max_bandwidth.map_or(0, |bytes| up(bytes, MIB)),
            ),
            process_share_percent: Some(options.share),
            io_timeout_sec: Some(seconds(options.io_timeout)),
            slow_io_sec: Some(seconds(options.slow_io)),
        }
    }
}
