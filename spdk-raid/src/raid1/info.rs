//! What people see of an array.

use std::time::Duration;

use serde::Serialize;
use spdk_safe::bdev::{BdevInfo, BdevStats};
use spdk_safe::units::Blocks;

use super::array::Array;
use super::clock::now;
use super::counters::Counts;
use super::jobs::{JobKind, Seen};
use super::state::{ArrayState, LegState};

/// An array, as it was when somebody looked. Where `bdev_raid_get_bdevs` has names for what is in it, it has those.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Raid1Info {
    /// Its name.
    pub name: String,
    /// Its UUID.
    pub uuid: String,
    /// How it is: `optimal`, `degraded`, `rebuilding`, `failed`.
    #[serde(serialize_with = "as_text")]
    pub state: ArrayState,
    /// Its size.
    #[serde(serialize_with = "as_number")]
    pub num_blocks: Blocks,
    /// Bytes in a logical block.
    pub block_size: u32,
    /// How many places for bases it has.
    pub num_base_bdevs: usize,
    /// How many bases are in sync.
    pub num_base_bdevs_operational: usize,
    /// Its bases, by their places.
    pub base_bdevs_list: Vec<BaseInfo>,
    /// Rebuilds and scrubs under way.
    pub processes: Vec<ProcessInfo>,
    /// Ranges in which bases may differ, so that all threads read them from the same one.
    pub dirty_ranges: usize,
    /// Ranges that a base could not read, and that are being written to it again, or wait for that.
    pub repairs: usize,
    /// What it has counted.
    pub counters: Counts,
}

/// A place for a base.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct BaseInfo {
    /// The base, or the last one that there was.
    pub name: Option<String>,
    /// How it is: `in sync`, `rebuilding`, `faulted: ...`, `missing`.
    #[serde(serialize_with = "as_text")]
    pub state: LegState,
    /// Its UUID, when it is used.
    pub uuid: Option<String>,
    /// Whether it is used.
    pub is_configured: bool,
    /// Where the array's data begins on it, in blocks.
    pub data_offset: u64,
    /// How many blocks of it the array has.
    pub data_size: u64,
    /// How old its oldest I/O is, in milliseconds: nothing below a second is seen, and none of that later than two seconds
    /// after its end.
    pub oldest_io_ms: Option<u64>,
    /// Whether it was slower than [`Options::slow_io`](super::Options::slow_io) when SPDK looked last.
    pub is_slow: bool,
}

/// What SPDK counts of a base since it was registered, or its statistics were reset: I/O of the array, of its jobs, and
/// of whoever else reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BaseStats {
    /// The base.
    pub name: String,
    /// Reads that succeeded.
    pub reads: u64,
    /// Writes that succeeded.
    pub writes: u64,
    /// How long a read took on average, in microseconds.
    pub read_latency_us: Option<u64>,
    /// How long a write took on average, in microseconds.
    pub write_latency_us: Option<u64>,
    /// I/O that failed, of any kind; SPDK 23.01 and newer count it.
    pub errors: Option<u64>,
    /// All that SPDK says.
    #[serde(skip)]
    pub stats: BdevStats,
}

impl BaseStats {
    pub(super) fn new(name: String, stats: BdevStats) -> Self {
        let us = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Self {
            name,
            reads: stats.read.ops,
            writes: stats.write.ops,
            read_latency_us: stats.read.mean_latency().map(us),
            write_latency_us: stats.write.mean_latency().map(us),
            errors: stats.errors.map(|errors| errors.total()),
            stats,
        }
    }
}

/// What an array does by itself, and people may pause or end.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Process {
    /// Filling the base of this name.
    Rebuild(String),
    /// Comparing the bases.
    Scrub,
    /// Making the bases equal that were not [taken to be](super::Raid1Builder::resync).
    Resync,
}

/// A job under way.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ProcessInfo {
    /// What it does: `rebuild`, `scrub`, `resync`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The base that is filled.
    pub target: Option<String>,
    /// How far it is.
    pub progress: Progress,
    /// Whether it waits to be resumed.
    pub is_paused: bool,
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Progress {
    /// Blocks that are done.
    pub blocks: u64,
    /// Of a hundred.
    pub percent: u64,
    /// How fast it was in the last seconds, in MiB a second, to a tenth; none while it is paused, and before it has begun.
    pub rate_mib_per_sec: Option<f64>,
    /// How many seconds it still takes if it goes on like that; none if it stands still.
    pub seconds_left: Option<u64>,
}

fn as_text<S: serde::Serializer>(
    value: &impl std::fmt::Display,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn as_number<S: serde::Serializer>(value: &Blocks, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(value.0)
}

impl BaseInfo {
    /// A place of an array that waits for its bases.
    pub(super) fn awaited(name: Option<&str>, base: Option<&BdevInfo>) -> Self {
        Self {
            name: name.map(Into::into),
            state: LegState::Missing,
            uuid: base.map(|base| base.uuid.to_string()),
            is_configured: base.is_some(),
            data_offset: 0,
            data_size: base.map_or(0, |base| base.num_blocks.0),
            oldest_io_ms: None,
            is_slow: false,
        }
    }
}

impl Array {
    /// A look at it.
    pub(super) fn info(&self) -> Raid1Info {
        let snapshot = self.published.get();
        let status = self.status();
        let slots = status.legs.slots();
        let total = status.blocks.0.max(1);
        let bases = slots.iter().map(|slot| {
            let leg = snapshot.legs.iter().find(|leg| leg.id == slot.id);
            BaseInfo {
                name: slot.name.clone(),
                state: slot.state,
                uuid: leg.map(|leg| leg.desc.info().uuid.to_string()),
                is_configured: slot.state.is_active(),
                data_offset: self.offset,
                data_size: status.blocks.0,
                oldest_io_ms: leg
                    .and_then(|leg| leg.watch.oldest(now()))
                    .map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
                is_slow: leg.is_some_and(|leg| leg.watch.is_slow(now())),
            }
        });
        let processes = status.under_way().map(|job| {
            let Seen {
                done,
                rate,
                is_paused,
            } = job.seen();
            let blocks = done.min(total);
            let target = slots.iter().find(|slot| Some(slot.id) == job.leg);
            ProcessInfo {
                kind: match job.kind {
                    JobKind::Rebuild => "rebuild",
                    JobKind::Scrub => "scrub",
                    JobKind::Resync => "resync",
                },
                target: target.and_then(|slot| slot.name.clone()),
                progress: Progress {
                    blocks,
                    percent: (u128::from(blocks) * 100 / u128::from(total)) as u64,
                    rate_mib_per_sec: rate.map(|rate| {
                        let mib = rate * f64::from(self.block_size) / f64::from(1 << 20);
                        (mib * 10.0).round() / 10.0
                    }),
                    seconds_left: rate
                        .filter(|rate| *rate > 0.0)
                        .map(|rate| ((total - blocks) as f64 / rate).ceil() as u64),
                },
                is_paused,
            }
        });
        Raid1Info {
            name: self.name.clone(),
            uuid: self.uuid.get().map(ToString::to_string).unwrap_or_default(),
            state: status.legs.array(),
            num_blocks: status.blocks,
            block_size: self.block_size,
            num_base_bdevs: slots.len(),
            num_base_bdevs_operational: status.legs.in_sync(),
            base_bdevs_list: bases.collect(),
            processes: processes.collect(),
            dirty_ranges: snapshot.dirty.len(),
            repairs: status.repairs.len(),
            counters: self.counters.counts(),
        }
    }
}
