//! The four methods, and what a saved configuration has of a ramdisk.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use spdk_safe::app::Spdk;
use spdk_safe::error::{BdevError, IoType};
use spdk_safe::module::ConfigEntry;
use spdk_safe::rpc::{self, Method, RpcError, State};
use spdk_safe::units::{Blocks, Lba};

use super::core::Core;
use super::{Action, Fault, Ramdisk};

/// `bdev_ramdisk_create`, `bdev_ramdisk_delete`, `bdev_ramdisk_resize` and `bdev_ramdisk_set_faults`, for the app
/// builder: [`with`](super::with) gives it all that this module is.
pub static METHODS: [Method; 4] = [
    rpc::method(CREATE, State::Runtime, create),
    rpc::method("bdev_ramdisk_delete", State::Runtime, delete),
    rpc::method("bdev_ramdisk_resize", State::Runtime, resize),
    rpc::method(SET_FAULTS, State::Runtime, set_faults),
];

const CREATE: &str = "bdev_ramdisk_create";
const SET_FAULTS: &str = "bdev_ramdisk_set_faults";

#[derive(Serialize, Deserialize)]
struct Create {
    name: String,
    num_blocks: u64,
    #[serde(default = "Create::default_block_size")]
    block_size: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uuid: Option<String>,
}

impl Create {
    fn default_block_size() -> u32 {
        512
    }
}

async fn create(spdk: Spdk, params: Create) -> Result<String, RpcError> {
    let mut builder = Ramdisk::builder(params.name)
        .blocks(Blocks(params.num_blocks))
        .block_size(params.block_size);
    if let Some(uuid) = params.uuid {
        let uuid = uuid
            .parse()
            .map_err(|error| RpcError::invalid_params(format!("uuid: {error}")))?;
        builder = builder.uuid(uuid);
    }
    Ok(builder.create(&spdk).await?.name().to_owned())
}

fn find(name: String) -> Result<Ramdisk, BdevError> {
    Ramdisk::find(&name).ok_or(BdevError::NotFound { name })
}

#[derive(Deserialize)]
struct Delete {
    name: String,
}

async fn delete(_spdk: Spdk, params: Delete) -> Result<bool, RpcError> {
    find(params.name)?.delete().await?;
    Ok(true)
}

#[derive(Deserialize)]
struct Resize {
    name: String,
    num_blocks: u64,
}

async fn resize(_spdk: Spdk, params: Resize) -> Result<bool, RpcError> {
    find(params.name)?.resize(Blocks(params.num_blocks))?;
    Ok(true)
}

#[derive(Serialize, Deserialize)]
struct SetFaults {
    name: String,
    faults: Vec<FaultParams>,
}

async fn set_faults(_spdk: Spdk, params: SetFaults) -> Result<bool, RpcError> {
    let faults: Vec<_> = params.faults.into_iter().map(Fault::from).collect();
    find(params.name)?.set_faults(faults);
    Ok(true)
}

/// A [`Fault`] as JSON. Without `io` it befalls all types, without `times` one I/O, and with `"times": 0` all of them.
#[derive(Serialize, Deserialize)]
struct FaultParams {
    action: ActionParams,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    io: Option<IoParams>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lba: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    num_blocks: Option<u64>,
    #[serde(default)]
    after: u64,
    #[serde(default = "FaultParams::once")]
    times: u64,
}

impl FaultParams {
    fn once() -> u64 {
        1
    }
}

/// `"fail"`, `{"delay_polls": 3}`, ...
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ActionParams {
    Fail,
    Nvme { sct: u8, sc: u8 },
    Abort,
    NoMemory,
    Short(u64),
    Corrupt,
    DelayPolls(u32),
    DelayUs(u64),
    Hold,
    Remove,
}

macro_rules! io_types {
    ($($io:ident),*) => {
        #[derive(Clone, Copy, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum IoParams {
            $($io),*
        }

        impl From<IoParams> for IoType {
            fn from(io: IoParams) -> Self {
                match io {
                    $(IoParams::$io => Self::$io),*
                }
            }
        }

        impl IoParams {
            fn of(io: IoType) -> Option<Self> {
                match io {
                    $(IoType::$io => Some(Self::$io),)*
                    _ => None,
                }
            }
        }
    };
}

io_types!(
    Read,
    Write,
    Unmap,
    WriteZeroes,
    Flush,
    Reset,
    Compare,
    CompareAndWrite,
    Copy,
    ZeroCopy,
    SeekData,
    SeekHole,
    Abort
);

impl From<FaultParams> for Fault {
    fn from(params: FaultParams) -> Self {
        let action = match params.action {
            ActionParams::Fail => Action::Fail,
            ActionParams::Nvme { sct, sc } => Action::Nvme { sct, sc },
            ActionParams::Abort => Action::Abort,
            ActionParams::NoMemory => Action::NoMemory,
            ActionParams::Short(blocks) => Action::Short(Blocks(blocks)),
            ActionParams::Corrupt => Action::Corrupt,
            ActionParams::DelayPolls(polls) => Action::DelayPolls(polls),
            ActionParams::DelayUs(us) => Action::DelayFor(Duration::from_micros(us)),
            ActionParams::Hold => Action::Hold,
            ActionParams::Remove => Action::Remove,
        };
        let mut fault = Self::new(action).after(params.after);
        fault = match params.times {
            0 => fault.always(),
            times => fault.times(times),
        };
        if let Some(io) = params.io {
            fault = fault.io(io.into());
        }
        if params.lba.is_some() || params.num_blocks.is_some() {
            let lba = Lba(params.lba.unwrap_or(0));
            fault = fault.range(lba, Blocks(params.num_blocks.unwrap_or(u64::MAX)));
        }
        fault
    }
}

impl FaultParams {
    /// `None` for a fault that never comes.
    fn of(fault: &Fault) -> Option<Self> {
        let action = match fault.action {
            Action::Fail => ActionParams::Fail,
            Action::Nvme { sct, sc } => ActionParams::Nvme { sct, sc },
            Action::Abort => ActionParams::Abort,
            Action::NoMemory => ActionParams::NoMemory,
            Action::Short(blocks) => ActionParams::Short(blocks.0),
            Action::Corrupt => ActionParams::Corrupt,
            Action::DelayPolls(polls) => ActionParams::DelayPolls(polls),
            Action::DelayFor(time) => {
                ActionParams::DelayUs(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
            }
            Action::Hold => ActionParams::Hold,
            Action::Remove => ActionParams::Remove,
        };
        if fault.times == Some(0) {
            return None;
        }
        Some(Self {
            action,
            io: match fault.io {
                Some(io) => Some(IoParams::of(io)?),
                None => None,
            },
            lba: fault.range.map(|(lba, _)| lba.0),
            num_blocks: fault.range.map(|(_, blocks)| blocks.0),
            after: fault.after,
            times: fault.times.unwrap_or(0),
        })
    }
}

/// What makes the ramdisk again, empty, with the faults that it has, from their beginning.
pub(super) fn config_of(core: &Core) -> Vec<ConfigEntry> {
    let params = Create {
        name: core.name.clone(),
        num_blocks: core.blocks().0,
        block_size: core.block_size,
        uuid: core.uuid().map(|uuid| uuid.to_string()),
    };
    let mut entries = vec![ConfigEntry::new(CREATE, params)];
    let faults: Vec<_> = core
        .plan
        .faults()
        .iter()
        .filter_map(FaultParams::of)
        .collect();
    if !faults.is_empty() {
        let params = SetFaults {
            name: core.name.clone(),
            faults,
        };
        entries.push(ConfigEntry::new(SET_FAULTS, params));
    }
    entries
}
