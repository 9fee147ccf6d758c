//! The pass-throughs that were asked for, whether their bases are there or not.
//!
//! ```text
//!                 1                     2                    4
//!   (asked for) ─────► Waiting ───────────► Up ─────────────────────► Going ────┐
//!                        ▲  ▲                │     5                            │ 6
//!                        │  └── 3 ───────────┼──────────────────────────────────┤
//!                        └─── (no base) ─────┘                  (deleted) ◄─────┘
//!  1: create   2: try_to_start, for a base that is there   3, 6: gone, when the bdev is   4: the base was removed
//!  5: delete
//! ```
//!
//! The list is locked for single looks at it, never across a call: registering a bdev shows it to our own examine
//! callback.

use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use spdk_safe::app::Spdk;
use spdk_safe::bdev::{self, BdevEvent, BdevEvents, BdevInfo, Uuid};
use spdk_safe::error::{BdevError, ClaimError, OpenError};
use spdk_safe::log::{self, LogLevel};
use spdk_safe::module::{BlockDeviceBuilder, ConfigEntry, RegisteredBdev};
use spdk_safe::prelude::BdevDesc;
use spdk_safe::thread;
use spdk_safe::units::Blocks;

use super::device::Device;
use super::{Creation, MODULE, Passthru, PassthruBuilder, Status, rpc};

static LIST: Mutex<List> = Mutex::new(List {
    next_id: 0,
    entries: Vec::new(),
});

struct List {
    next_id: u64,
    entries: Vec<Entry>,
}

struct Entry {
    /// Tells it from a later one of the same name.
    id: u64,
    name: String,
    base: String,
    /// Its own from the first registration on, so that it keeps it.
    uuid: Option<Uuid>,
    phase: Phase,
}

enum Phase {
    /// For its base; with why it could not be registered when that was there.
    Waiting(Option<BdevError>),
    /// It is being registered, or looked at, here and now.
    Starting,
    Up(RegisteredBdev),
    /// It is being unregistered.
    Going {
        is_deleted: bool,
        /// Of those who deleted it.
        wakers: Vec<Waker>,
    },
}

fn list() -> MutexGuard<'static, List> {
    LIST.lock().unwrap_or_else(PoisonError::into_inner)
}

impl List {
    fn by_id(&mut self, id: u64) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.id == id)
    }

    fn by_name(&mut self, name: &str) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.name == name)
    }

    fn remove(&mut self, id: u64) {
        self.entries.retain(|entry| entry.id != id);
    }
}

/// Asks for one, and registers it if its base is there.
pub(super) fn create(spdk: &Spdk, asked: PassthruBuilder) -> Result<Creation, BdevError> {
    let PassthruBuilder { name, base, uuid } = asked;
    if name.is_empty() || name.len() > 255 || name.contains('\0') {
        return Err(BdevError::Name { name });
    }
    if name == base || base.contains('\0') {
        return Err(BdevError::NoBase { name, base });
    }
    if bdev::find(spdk, &name)?.is_some() {
        return Err(taken(name));
    }
    let id = {
        let mut list = list();
        if list.by_name(&name).is_some() {
            drop(list);
            return Err(taken(name));
        }
        let id = list.next_id;
        list.next_id += 1;
        list.entries.push(Entry {
            id,
            name: name.clone(),
            base: base.clone(),
            uuid,
            phase: Phase::Starting,
        });
        id
    };
    match start(spdk, id, &name, &base, uuid) {
        Ok(bdev) => {
            up(spdk, id, bdev);
            Ok(Creation::Registered)
        }
        Err(BdevError::NoBase { .. }) => {
            log::write(
                LogLevel::Notice,
                format_args!("pass-through {name:?} comes when its base {base:?} does"),
            );
            wait(id, None);
            Ok(Creation::AwaitsBase)
        }
        Err(error) => {
            list().remove(id);
            Err(error)
        }
    }
}

/// The name is in use: by a bdev, or by one of ours that waits or goes.
fn taken(name: String) -> BdevError {
    match list().by_name(&name).map(|entry| &entry.phase) {
        Some(Phase::Going { .. }) => BdevError::Deleting { name },
        _ => BdevError::Exists { name },
    }
}

/// Opens and claims the base, and registers the bdev.
fn start(
    spdk: &Spdk,
    id: u64,
    name: &str,
    base: &str,
    uuid: Option<Uuid>,
) -> Result<RegisteredBdev, BdevError> {
    let desc = BdevDesc::open(spdk, base)
        .read_write()
        .map_err(|error| cannot_open(name, error))?;
    let desc = desc
        .claim(&MODULE)
        .map_err(|(error, _desc)| cannot_claim(name, error))?;
    let info = desc.info();
    let builder = BlockDeviceBuilder::new(name)
        .product("Rust passthru")
        .like(info);
    let builder = match uuid {
        Some(uuid) => builder.uuid(uuid),
        None => builder,
    };
    let bdev = builder.register(spdk, &MODULE, Device::new(name, desc.share()))?;
    // The share keeps the base open; the stream does not.
    let events = desc.events();
    // The app ends if there can be no task: it takes away all bdevs.
    let _ = thread::spawn_local(follow(spdk.clone(), id, events));
    Ok(bdev)
}

fn cannot_open(name: &str, error: OpenError) -> BdevError {
    let name = name.to_owned();
    match error {
        OpenError::Thread(error) => error.into(),
        OpenError::Claimed {
            name: base,
            by,
            claim,
        } => BdevError::BaseClaimed {
            name,
            base,
            by,
            claim,
        },
        OpenError::Refused { errno, .. } => BdevError::Refused { name, errno },
        OpenError::NotFound { name: base } | OpenError::TimedOut { name: base, .. } => {
            BdevError::NoBase { name, base }
        }
        _ => BdevError::NotFound { name },
    }
}

fn cannot_claim(name: &str, error: ClaimError) -> BdevError {
    let name = name.to_owned();
    match error {
        ClaimError::Thread(error) => error.into(),
        ClaimError::Claimed {
            name: base,
            by,
            claim,
        } => BdevError::BaseClaimed {
            name,
            base,
            by,
            claim,
        },
        ClaimError::Removed { name: base } => BdevError::NoBase { name, base },
        ClaimError::ModuleNotAdded { module } => BdevError::ModuleNotAdded { module },
        ClaimError::Refused { errno, .. } => BdevError::Refused { name, errno },
        _ => BdevError::NotFound { name },
    }
}

fn up(spdk: &Spdk, id: u64, bdev: RegisteredBdev) {
    let uuid = match bdev::find(spdk, bdev.name()) {
        Ok(Some(info)) => Some(info.uuid),
        _ => None,
    };
    if let Some(entry) = list().by_id(id) {
        entry.uuid = uuid.or(entry.uuid);
        entry.phase = Phase::Up(bdev);
    }
}

fn wait(id: u64, why: Option<BdevError>) {
    if let Some(entry) = list().by_id(id) {
        entry.phase = Phase::Waiting(why);
    }
}

/// Registers the entry if it waits and its base is there.
fn try_to_start(spdk: &Spdk, id: u64) {
    let (name, base, uuid) = {
        let mut list = list();
        let Some(entry) = list.by_id(id) else {
            return;
        };
        if !matches!(entry.phase, Phase::Waiting(_)) {
            return;
        }
        entry.phase = Phase::Starting;
        (entry.name.clone(), entry.base.clone(), entry.uuid)
    };
    match start(spdk, id, &name, &base, uuid) {
        Ok(bdev) => up(spdk, id, bdev),
        Err(BdevError::NoBase { .. }) => wait(id, None),
        Err(error) => {
            // Nobody waits for an answer.
            log::write(
                LogLevel::Error,
                format_args!("pass-through {name:?} does not come with its base: {error}"),
            );
            wait(id, Some(error));
        }
    }
}

/// A bdev is there: those that wait for it are registered.
pub(super) fn examine(spdk: &Spdk, info: &BdevInfo) {
    let waiting: Vec<u64> = list()
        .entries
        .iter()
        .filter(|entry| matches!(entry.phase, Phase::Waiting(_)))
        .filter(|entry| entry.base == info.name || info.aliases.contains(&entry.base))
        .map(|entry| entry.id)
        .collect();
    for id in waiting {
        try_to_start(spdk, id);
    }
}

/// Follows what happens to the base of an entry, until that is gone.
async fn follow(spdk: Spdk, id: u64, mut events: BdevEvents) {
    while let Some(event) = events.next().await {
        match event {
            BdevEvent::Resized { num_blocks } => resize(id, num_blocks),
            BdevEvent::Removed => return go(&spdk, id, false),
            _ => {}
        }
    }
}

/// The base has another size: a larger one, since SPDK lets nothing shrink that is open.
fn resize(id: u64, num_blocks: Blocks) {
    let bdev = {
        let mut list = list();
        let Some(entry) = list.by_id(id) else {
            return;
        };
        match std::mem::replace(&mut entry.phase, Phase::Starting) {
            Phase::Up(bdev) => bdev,
            other => return entry.phase = other,
        }
    };
    // Not for a bdev that is being removed by the app's end.
    let _ = bdev.resize(num_blocks);
    if let Some(entry) = list().by_id(id) {
        entry.phase = Phase::Up(bdev);
    }
}

/// Begins to unregister the entry, if it is up.
fn go(spdk: &Spdk, id: u64, is_deleted: bool) {
    let bdev = {
        let mut list = list();
        let Some(entry) = list.by_id(id) else {
            return;
        };
        match std::mem::replace(&mut entry.phase, Phase::Starting) {
            Phase::Up(bdev) => {
                entry.phase = Phase::Going {
                    is_deleted,
                    wakers: Vec::new(),
                };
                bdev
            }
            other => {
                entry.phase = other;
                return;
            }
        }
    };
    let unregister = bdev.unregister();
    let spdk = spdk.clone();
    let _ = thread::spawn_local(async move {
        unregister.await;
        gone(&spdk, id);
    });
}

/// The bdev of the entry is gone: so is the entry if it was deleted, else it waits for its base again.
fn gone(spdk: &Spdk, id: u64) {
    let mut waiting = Vec::new();
    {
        let mut list = list();
        let Some(entry) = list.by_id(id) else {
            return;
        };
        if let Phase::Going { is_deleted, wakers } = &mut entry.phase {
            waiting.append(wakers);
            match *is_deleted {
                true => list.remove(id),
                false => entry.phase = Phase::Waiting(None),
            }
        }
    }
    waiting.into_iter().for_each(Waker::wake);
    // It may be back already: nobody was shown it while this one had its name.
    try_to_start(spdk, id);
}

/// Deletes the entry, and waits until its bdev is gone.
pub(super) async fn delete(spdk: &Spdk, name: &str) -> Result<(), BdevError> {
    let found = bdev::find(spdk, name)?;
    // Its own name, if it was given by another.
    let name = found.as_ref().map_or(name, |info| info.name.as_str());
    let (id, is_up) = {
        let mut list = list();
        let Some(entry) = list.by_name(name) else {
            return Err(BdevError::NotFound {
                name: name.to_owned(),
            });
        };
        let id = entry.id;
        match &mut entry.phase {
            Phase::Waiting(_) => {
                list.remove(id);
                return Ok(());
            }
            Phase::Starting
            | Phase::Going {
                is_deleted: true, ..
            } => {
                return Err(BdevError::Deleting {
                    name: name.to_owned(),
                });
            }
            Phase::Going { is_deleted, .. } => {
                *is_deleted = true;
                (id, false)
            }
            Phase::Up(_) => (id, true),
        }
    };
    if is_up {
        go(spdk, id, true);
    }
    poll_fn(|cx| {
        // Cloned without the lock: a waker is somebody's code.
        let waker = cx.waker().clone();
        match list().by_id(id).map(|entry| &mut entry.phase) {
            Some(Phase::Going { wakers, .. }) => {
                if !wakers.iter().any(|known| known.will_wake(&waker)) {
                    wakers.push(waker);
                }
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    })
    .await;
    Ok(())
}

/// All of them.
pub(super) fn all() -> Vec<Passthru> {
    let of = |entry: &Entry| Passthru {
        name: entry.name.clone(),
        base: entry.base.clone(),
        status: match &entry.phase {
            Phase::Waiting(why) => Status::AwaitsBase {
                last_error: why.clone(),
            },
            Phase::Starting | Phase::Up(_) => Status::Registered,
            Phase::Going { .. } => Status::Going,
        },
    };
    list().entries.iter().map(of).collect()
}

/// What makes them again, those that wait and those whose base has just gone, too.
pub(super) fn config() -> Vec<ConfigEntry> {
    let stays = |entry: &&Entry| {
        !matches!(
            entry.phase,
            Phase::Going {
                is_deleted: true,
                ..
            }
        )
    };
    let list = list();
    list.entries
        .iter()
        .filter(stays)
        .map(|entry| rpc::config_of(&entry.name, &entry.base, entry.uuid))
        .collect()
}

/// SPDK has ended.
pub(super) fn clear() {
    let entries = std::mem::take(&mut list().entries);
    drop(entries);
}
