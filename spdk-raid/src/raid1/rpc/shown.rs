//! An array, as `bdev_rust_raid1_get_bdevs` and `bdev_get_bdevs` show it: what `bdev_raid_get_bdevs` says, by the same
//! names, and what there is to say beyond.

use serde::{Deserialize, Serialize};

use super::options::OptionParams;
use crate::raid1::array::Array;
use crate::raid1::awaiting::Awaiting;
use crate::raid1::{BaseInfo, Counts, ProcessInfo};

/// How an array is, as SPDK sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::raid1) enum State {
    /// It is a bdev.
    Online,
    /// It waits for bases.
    Configuring,
    /// It is being unregistered.
    Offline,
}

/// See the module.
#[derive(Debug, Serialize)]
pub(in crate::raid1) struct Shown {
    pub(super) name: String,
    uuid: String,
    strip_size_kb: u32,
    pub(super) state: State,
    raid_level: &'static str,
    superblock: bool,
    num_base_bdevs: usize,
    num_base_bdevs_discovered: usize,
    num_base_bdevs_operational: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<ProcessInfo>,
    base_bdevs_list: Vec<BaseInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    array: Option<Online>,
    options: OptionParams,
}

/// What only an array has that is there.
#[derive(Debug, Serialize)]
struct Online {
    health: String,
    num_blocks: u64,
    block_size: u32,
    processes: Vec<ProcessInfo>,
    dirty_ranges: usize,
    repairs: usize,
    counters: Counts,
}

impl Shown {
    /// One that is there.
    pub(in crate::raid1) fn of(array: &Array) -> Self {
        let info = array.info();
        let (options, is_ending) = {
            let status = array.status();
            (status.options.clone(), status.is_ending)
        };
        let configured = info
            .base_bdevs_list
            .iter()
            .filter(|base| base.is_configured);
        Self {
            num_base_bdevs_discovered: configured.count(),
            name: info.name,
            uuid: info.uuid,
            strip_size_kb: 0,
            state: match is_ending {
                false => State::Online,
                true => State::Offline,
            },
            raid_level: "raid1",
            superblock: false,
            num_base_bdevs: info.num_base_bdevs,
            num_base_bdevs_operational: info.num_base_bdevs_operational,
            process: info.processes.first().cloned(),
            base_bdevs_list: info.base_bdevs_list,
            last_error: None,
            array: Some(Online {
                health: info.state.to_string(),
                num_blocks: info.num_blocks.0,
                block_size: info.block_size,
                processes: info.processes,
                dirty_ranges: info.dirty_ranges,
                repairs: info.repairs,
                counters: info.counters,
            }),
            options: OptionParams::of(&options),
        }
    }

    /// One that waits.
    pub(in crate::raid1) fn awaiting(array: Awaiting) -> Self {
        let Awaiting {
            asked,
            bases,
            last_error,
        } = array;
        let places = asked.bases.iter().zip(&bases);
        let list = places.map(|(name, base)| BaseInfo::awaited(name.as_deref(), base.as_ref()));
        Self {
            uuid: asked.uuid.map(|uuid| uuid.to_string()).unwrap_or_default(),
            strip_size_kb: 0,
            state: State::Configuring,
            raid_level: "raid1",
            superblock: false,
            num_base_bdevs: bases.len(),
            num_base_bdevs_discovered: bases.iter().flatten().count(),
            num_base_bdevs_operational: asked.bases.iter().flatten().count(),
            process: None,
            base_bdevs_list: list.collect(),
            last_error: last_error.map(|error| error.to_string()),
            array: None,
            options: OptionParams::of(&asked.options),
            name: asked.name,
        }
    }
}
