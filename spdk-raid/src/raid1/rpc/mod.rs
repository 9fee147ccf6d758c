//! The methods.

mod bases;
mod config;
mod errors;
mod options;
mod processes;
mod shown;

use serde::{Deserialize, Serialize};
use spdk_safe::app::Spdk;
use spdk_safe::bdev::Uuid;
use spdk_safe::rpc::{self, Method, RpcError};

pub(super) use self::config::config;
use self::options::{OptionParams, Policy};
pub(super) use self::shown::Shown;
use self::shown::State;
use super::awaiting::{self, Start};
use super::handle::Raid1;
use super::{BaseStats, Counts, list, module};

/// The methods of arrays, for the app builder: [`with`](super::with) gives it all that this module is.
pub static METHODS: [Method; 13] = [
    rpc::method(CREATE, rpc::State::Runtime, create),
    rpc::method("bdev_rust_raid1_delete", rpc::State::Runtime, delete),
    rpc::method("bdev_rust_raid1_get_bdevs", rpc::State::Runtime, get_bdevs),
    rpc::method(
        "bdev_rust_raid1_get_iostat",
        rpc::State::Runtime,
        get_iostat,
    ),
    rpc::method(SET_OPTIONS, rpc::State::Any, set_options),
    rpc::method(
        "bdev_rust_raid1_add_base_bdev",
        rpc::State::Runtime,
        bases::add,
    ),
    rpc::method(
        "bdev_rust_raid1_remove_base_bdev",
        rpc::State::Runtime,
        bases::remove,
    ),
    rpc::method(
        "bdev_rust_raid1_replace_base_bdev",
        rpc::State::Runtime,
        bases::replace,
    ),
    rpc::method(
        "bdev_rust_raid1_scrub",
        rpc::State::Runtime,
        processes::scrub,
    ),
    rpc::method(
        "bdev_rust_raid1_pause_process",
        rpc::State::Runtime,
        processes::pause,
    ),
    rpc::method(
        "bdev_rust_raid1_resume_process",
        rpc::State::Runtime,
        processes::resume,
    ),
    rpc::method(
        "bdev_rust_raid1_abort_process",
        rpc::State::Runtime,
        processes::abort,
    ),
    rpc::method(
        "bdev_rust_raid1_reset_counters",
        rpc::State::Runtime,
        reset_counters,
    ),
];

const SET_OPTIONS: &str = "bdev_rust_raid1_set_options";
const CREATE: &str = "bdev_rust_raid1_create";

/// The parameters of C's `bdev_raid_create`, by the same names, and ours behind them.
#[derive(Serialize, Deserialize)]
struct Create {
    name: String,
    /// `null` is a place for a base that the array begins without.
    base_bdevs: Vec<Option<String>>,
    raid_level: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strip_size_kb: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uuid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    superblock: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    degraded: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resync: Option<bool>,
    read_policy: Option<Policy>,
    process_window_size_kb: Option<u32>,
    process_max_bandwidth_mb_sec: Option<u32>,
    process_share_percent: Option<u32>,
    io_timeout_sec: Option<u32>,
    slow_io_sec: Option<u32>,
}

/// Answers `true`, as C's does, also when bases are not there yet.
async fn create(spdk: Spdk, params: Create) -> Result<bool, RpcError> {
    let is_ours = |level: &String| ["raid1", "1"].contains(&&*level.to_ascii_lowercase());
    if let Some(level) = params.raid_level.filter(|level| !is_ours(level)) {
        return Err(RpcError::invalid_params(format!(
            "raid_level: {level:?} can't be; it is \"raid1\" or \"1\""
        )));
    }
    if let Some(kib) = params.strip_size_kb.filter(|kib| *kib != 0) {
        return Err(RpcError::new(
            -libc::EINVAL,
            format!("strip_size_kb: a RAID1 has no strips, so it is 0 or left out, not {kib}"),
        ));
    }
    if params.superblock == Some(true) {
        return Err(RpcError::new(
            -libc::ENOTSUP,
            "superblock: there is none yet; leave it out, and save the configuration",
        ));
    }
    let options = OptionParams {
        read_policy: params.read_policy,
        process_window_size_kb: params.process_window_size_kb,
        process_max_bandwidth_mb_sec: params.process_max_bandwidth_mb_sec,
        process_share_percent: params.process_share_percent,
        io_timeout_sec: params.io_timeout_sec,
        slow_io_sec: params.slow_io_sec,
    };
    let mut builder = Raid1::builder(params.name).options(options.over(module::default_options())?);
    for base in params.base_bdevs {
        builder = match base {
            Some(base) => builder.base(base),
            None => builder.missing(),
        };
    }
    if params.resync == Some(true) {
        builder = builder.resync();
    }
    if let Some(uuid) = params.uuid {
        let uuid: Uuid = uuid
            .parse()
            .map_err(|error| RpcError::invalid_params(format!("uuid: {error}")))?;
        builder = builder.uuid(uuid);
    }
    let start = match params.degraded {
        Some(true) => Start::Now,
        _ => Start::WhenAllAreThere,
    };
    awaiting::create(&spdk, builder, start).await?;
    Ok(true)
}

fn not_found(name: &str) -> RpcError {
    RpcError::new(-libc::ENODEV, format!("there is no raid1 {name:?}"))
}

/// The array of that name, which must not wait for its bases.
fn find(name: &str) -> Result<Raid1, RpcError> {
    if awaiting::options(name).is_some() {
        return Err(RpcError::new(
            -libc::EBUSY,
            format!(
                "raid1 {name:?} waits for its bases; it starts without those that are taken away from it, and then \
                 others can be added"
            ),
        ));
    }
    Raid1::find(name).ok_or_else(|| not_found(name))
}

#[derive(Deserialize)]
struct Delete {
    name: String,
    /// There is none to clear.
    #[serde(rename = "clear_sb")]
    _clear_sb: Option<bool>,
}

async fn delete(_spdk: Spdk, params: Delete) -> Result<bool, RpcError> {
    let name = params.name;
    if awaiting::delete(&name).await {
        return Ok(true);
    }
    let array = list::find(&name).ok_or_else(|| not_found(&name))?;
    if array.status().is_ending {
        return Err(RpcError::new(
            -libc::EALREADY,
            format!("raid1 {name:?} is being deleted already"),
        ));
    }
    if let Some(array) = Raid1::find(&name) {
        array.delete().await;
    }
    Ok(true)
}

#[derive(Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Category {
    #[default]
    All,
    Online,
    Configuring,
    Offline,
}

#[derive(Deserialize)]
struct GetBdevs {
    category: Option<Category>,
    name: Option<String>,
}

async fn get_bdevs(_spdk: Spdk, params: GetBdevs) -> Result<Vec<Shown>, RpcError> {
    let mut all: Vec<_> = list::all().iter().map(|array| Shown::of(array)).collect();
    all.extend(awaiting::all().into_iter().map(Shown::awaiting));
    if let Some(name) = params.name {
        all.retain(|array| array.name == name);
        if all.is_empty() {
            return Err(not_found(&name));
        }
    }
    let state = match params.category.unwrap_or_default() {
        Category::All => None,
        Category::Online => Some(State::Online),
        Category::Configuring => Some(State::Configuring),
        Category::Offline => Some(State::Offline),
    };
    all.retain(|array| state.is_none_or(|state| array.state == state));
    Ok(all)
}

#[derive(Deserialize)]
struct GetIostat {
    /// Of which array; without one, of all.
    name: Option<String>,
}

/// An array, as `bdev_rust_raid1_get_iostat` shows it.
#[derive(Serialize)]
struct Iostat {
    name: String,
    counters: Counts,
    base_bdevs_list: Vec<BaseStats>,
}

/// Not in the list of arrays: SPDK asks all threads for it, and the list is there also when one of them hangs.
async fn get_iostat(_spdk: Spdk, params: GetIostat) -> Result<Vec<Iostat>, RpcError> {
    let arrays = match params.name {
        Some(name) => vec![find(&name)?],
        None => Raid1::list(),
    };
    let mut all = Vec::with_capacity(arrays.len());
    for array in arrays {
        // One that goes meanwhile has none.
        if let Ok(base_bdevs_list) = array.base_stats().await {
            all.push(Iostat {
                name: array.name().to_owned(),
                counters: array.info().counters,
                base_bdevs_list,
            });
        }
    }
    Ok(all)
}

/// The parameters of C's `bdev_raid_set_options`, and ours.
#[derive(Serialize, Deserialize)]
struct SetOptions {
    /// Of which array; without one, of those that are created later.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    read_policy: Option<Policy>,
    process_window_size_kb: Option<u32>,
    process_max_bandwidth_mb_sec: Option<u32>,
    process_share_percent: Option<u32>,
    io_timeout_sec: Option<u32>,
    slow_io_sec: Option<u32>,
}

async fn set_options(_spdk: Spdk, params: SetOptions) -> Result<bool, RpcError> {
    let said = OptionParams {
        read_policy: params.read_policy,
        process_window_size_kb: params.process_window_size_kb,
        process_max_bandwidth_mb_sec: params.process_max_bandwidth_mb_sec,
        process_share_percent: params.process_share_percent,
        io_timeout_sec: params.io_timeout_sec,
        slow_io_sec: params.slow_io_sec,
    };
    let Some(name) = params.name else {
        module::set_default_options(said.over(module::default_options())?);
        return Ok(true);
    };
    if let Some(array) = Raid1::find(&name) {
        array.set_options(said.over(array.options())?).await?;
        return Ok(true);
    }
    let options = awaiting::options(&name).ok_or_else(|| not_found(&name))?;
    awaiting::set_options(&name, &said.over(options)?);
    Ok(true)
}

#[derive(Deserialize)]
struct ResetCounters {
    /// Of which array; without one, of all.
    name: Option<String>,
}

async fn reset_counters(_spdk: Spdk, params: ResetCounters) -> Result<bool, RpcError> {
    let arrays = match params.name {
        Some(name) => vec![find(&name)?],
        None => Raid1::list(),
    };
    arrays.iter().for_each(Raid1::reset_counters);
    Ok(true)
}
