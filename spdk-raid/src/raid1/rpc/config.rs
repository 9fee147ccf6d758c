//! What a saved configuration has of arrays.

use spdk_safe::bdev::Uuid;
use spdk_safe::module::ConfigEntry;

use super::options::OptionParams;
use super::{CREATE, Create, SET_OPTIONS, SetOptions};
use crate::raid1::array::Array;
use crate::raid1::state::LegState;
use crate::raid1::{Options, Raid1Builder, awaiting, list, module};

/// What makes the arrays again, those that wait for their bases, too.
///
/// A base that is not in sync is not in it: what it has missed is nowhere said, so it must not come back as if it had
/// missed nothing. Its place is empty, and it can be added to that again. While bases may differ somewhere, the one that
/// is read there is the only one.
pub(in crate::raid1) fn config() -> Vec<ConfigEntry> {
    let options = OptionParams::of(&module::default_options());
    let set_options = SetOptions {
        name: None,
        read_policy: options.read_policy,
        process_window_size_kb: options.process_window_size_kb,
        process_max_bandwidth_mb_sec: options.process_max_bandwidth_mb_sec,
        process_share_percent: options.process_share_percent,
        io_timeout_sec: options.io_timeout_sec,
        slow_io_sec: options.slow_io_sec,
    };
    let mut entries = vec![ConfigEntry::new(SET_OPTIONS, set_options)];
    let arrays = list::all();
    entries.extend(arrays.iter().filter_map(|array| config_of(array)));
    entries.extend(awaiting::all().into_iter().map(|array| {
        let asked = array.asked;
        let Raid1Builder {
            name, bases, uuid, ..
        } = asked;
        entry(name, bases, uuid, &asked.options, asked.resync)
    }));
    entries
}

/// `None` for one that is being deleted, or has no data any more.
fn config_of(array: &Array) -> Option<ConfigEntry> {
    let is_dirty = !array.published.get().dirty.is_empty();
    let status = array.status();
    let mut bases: Vec<_> = status
        .legs
        .slots()
        .iter()
        .map(|slot| {
            let is_in_sync = slot.state == LegState::InSync;
            slot.name.clone().filter(|_| is_in_sync)
        })
        .collect();
    let first = bases.iter().position(Option::is_some)?;
    if status.is_ending {
        return None;
    }
    if is_dirty {
        bases[first + 1..].fill(None);
    }
    let uuid = array.uuid.get().copied();
    let name = array.name.clone();
    Some(entry(name, bases, uuid, &status.options, false))
}

fn entry(
    name: String,
    base_bdevs: Vec<Option<String>>,
    uuid: Option<Uuid>,
    options: &Options,
    resync: bool,
) -> ConfigEntry {
    let options = OptionParams::of(options);
    let params = Create {
        name,
        base_bdevs,
        raid_level: Some("raid1".into()),
        strip_size_kb: None,
        uuid: uuid.map(|uuid| uuid.to_string()),
        superblock: None,
        degraded: None,
        resync: resync.then_some(true),
        read_policy: options.read_policy,
        process_window_size_kb: options.process_window_size_kb,
        process_max_bandwidth_mb_sec: options.process_max_bandwidth_mb_sec,
        process_share_percent: options.process_share_percent,
        io_timeout_sec: options.io_timeout_sec,
        slow_io_sec: options.slow_io_sec,
    };
    ConfigEntry::new(CREATE, params)
}
