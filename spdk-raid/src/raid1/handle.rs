//! What a program does with arrays.

use std::fmt;
use std::sync::Arc;

use futures_channel::mpsc;
use spdk_safe::app::Spdk;
use spdk_safe::bdev::{self, Uuid};
use spdk_safe::error::IoType;
use spdk_safe::io_device;
use spdk_safe::module::BlockDeviceBuilder;
use spdk_safe::thread;
use spdk_safe::units::{Blocks, Lba};

use super::array::{Array, Status};
use super::bases::Base;
use super::control::{Command, Control};
use super::data_path::Device;
use super::error::{ChangeError, CreateError};
use super::info::{BaseStats, Process, Raid1Info};
use super::lane::Lanes;
use super::layout::{self, Layout};
use super::options::{Options, ReadPolicy};
use super::persist::{NoPersistence, Persistence};
use super::snapshot::{ALL, Published};
use super::state::{LegState, Legs};
use super::{MODULE, list};
use crate::split::Extent;

/// Bytes of the longest name, as in C: its superblock has no room for more.
const MAX_NAME: usize = 63;

/// A RAID1 array. This is a handle; the array stays when it is dropped.
#[derive(Clone)]
pub struct Raid1 {
    array: Arc<Array>,
}

/// An array to be created.
#[derive(Clone)]
#[must_use = "call `create` to create the array"]
pub struct Raid1Builder {
    pub(super) name: String,
    pub(super) bases: Vec<Option<String>>,
    pub(super) uuid: Option<Uuid>,
    pub(super) options: Options,
    pub(super) resync: bool,
    pub(super) data_offset: Blocks,
    persistence: Arc<dyn Persistence>,
}

impl Raid1 {
    /// Begins an array named `name`; say of what with [`base`](Raid1Builder::base).
    pub fn builder(name: impl Into<String>) -> Raid1Builder {
        Raid1Builder {
            name: name.into(),
            bases: Vec::new(),
            uuid: None,
            options: Options::default(),
            resync: false,
            data_offset: Blocks(0),
            persistence: Arc::new(NoPersistence),
        }
    }

    /// The one named `name`.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        list::find(name).map(|array| Self { array })
    }

    /// All that there are, the oldest first.
    #[must_use]
    pub fn list() -> Vec<Self> {
        let arrays = list::all().into_iter();
        arrays.map(|array| Self { array }).collect()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.array.name
    }

    /// Its size now.
    #[must_use]
    pub fn num_blocks(&self) -> Blocks {
        self.array.status().blocks
    }

    /// Bytes in a logical block.
    #[must_use]
    pub fn block_size(&self) -> u32 {
        self.array.block_size
    }

    /// How it is now. From any thread.
    #[must_use]
    pub fn info(&self) -> Raid1Info {
        self.array.info()
    }

    /// Its options now.
    #[must_use]
    pub fn options(&self) -> Options {
        self.array.status().options.clone()
    }

    /// What SPDK counts of its bases that are used, by their places.
    ///
    /// # Errors
    ///
    /// [`ChangeError::Ending`].
    pub async fn base_stats(&self) -> Result<Vec<BaseStats>, ChangeError> {
        let stats = self.array.ask(|done| Command::Stats { done }).await;
        stats.ok_or(ChangeError::Ending)
    }

    /// Gives it other options, which count at once.
    ///
    /// # Errors
    ///
    /// [`ChangeError::Option`], [`ChangeError::Ending`].
    pub async fn set_options(&self, options: Options) -> Result<(), ChangeError> {
        options.check(self.array.block_size)?;
        let set = self.array.ask(|done| Command::Set { options, done });
        set.await.ok_or(ChangeError::Ending)
    }

    /// Adds the bdev named `base` in a free place, and begins to fill it: in the one that it had before if that is free,
    /// else in one that is missing, and only if there is none in that of a base that was faulted.
    ///
    /// Where the filling has come to is in [`info`](Self::info).
    ///
    /// # Errors
    ///
    /// [`ChangeError`]; the bdev is free again then.
    pub async fn add(&self, base: &str) -> Result<(), ChangeError> {
        self.join(base, None).await
    }

    /// Puts the bdev named `base` in the place of `old`, which is let go of now if it is still used, and begins to fill
    /// it.
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add).
    pub async fn replace(&self, old: &str, base: &str) -> Result<(), ChangeError> {
        self.join(base, Some(old.to_owned())).await
    }

    async fn join(&self, base: &str, instead_of: Option<String>) -> Result<(), ChangeError> {
        let name = base.to_owned();
        let added = self.array.ask(|done| Command::Add {
            name,
            instead_of,
            done,
        });
        added.await.unwrap_or(Err(ChangeError::Ending))
    }

    /// Takes a base away, and waits until it is free. What it was filled with so far does not count.
    ///
    /// # Errors
    ///
    /// [`ChangeError::NotMember`], [`ChangeError::Last`], [`ChangeError::Ending`].
    pub async fn remove(&self, base: &str) -> Result<(), ChangeError> {
        let name = base.to_owned();
        let removed = self.array.ask(|done| Command::Remove { name, done });
        removed.await.unwrap_or(Err(ChangeError::Ending))
    }

    /// Begins to compare all bases that are in sync, and to count blocks that differ; with `repair` to make them equal,
    /// as the first of them is.
    ///
    /// # Errors
    ///
    /// [`ChangeError::Scrubbing`], [`ChangeError::NoThread`], [`ChangeError::Ending`].
    pub async fn scrub(&self, repair: bool) -> Result<(), ChangeError> {
        let begun = self.array.ask(|done| Command::Scrub { repair, done });
        begun.await.unwrap_or(Err(ChangeError::Ending))
    }

    /// Has a process wait, after the window that it is at, until it is [resumed](Self::resume) or
    /// [aborted](Self::abort).
    ///
    /// # Errors
    ///
    /// [`ChangeError::NoJob`].
    pub fn pause(&self, process: &Process) -> Result<(), ChangeError> {
        let job = self.array.status().job(process);
        job.ok_or(ChangeError::NoJob).map(|job| job.pause(true))
    }

    /// Has a process that was paused go on. Nothing if it was not.
    ///
    /// # Errors
    ///
    /// [`ChangeError::NoJob`].
    pub fn resume(&self, process: &Process) -> Result<(), ChangeError> {
        let job = self.array.status().job(process);
        job.ok_or(ChangeError::NoJob).map(|job| job.pause(false))
    }

    /// Ends a process, and waits until it has ended. A base that was filled is faulted
    /// ([`FaultReason::Asked`](super::state::FaultReason::Asked)), and free when this is done; what it was filled with so
    /// far does not count. When a resync ends, only the first base is read for good.
    ///
    /// # Errors
    ///
    /// [`ChangeError::NoJob`], also if it has just ended; [`ChangeError::Ending`].
    pub async fn abort(&self, process: &Process) -> Result<(), ChangeError> {
        let process = process.clone();
        let aborted = self.array.ask(|done| Command::Abort { process, done });
        aborted.await.unwrap_or(Err(ChangeError::Ending))
    }

    /// Has its counters begin at 0.
    pub fn reset_counters(&self) {
        self.array.counters.reset();
    }

    /// Deletes it, and waits until its bdev is gone and its bases are free: whoever has it open is told, and must close it
    /// first. Once it was polled, the deletion goes on when the future is dropped.
    pub async fn delete(self) {
        let _ = self.array.ask(|done| Command::Delete { done }).await;
    }
}

impl Raid1Builder {
    /// Adds the bdev named `name`.
    pub fn base(mut self, name: impl Into<String>) -> Self {
        self.bases.push(Some(name.into()));
        self
    }

    /// Adds a place for a base that is not there now: the array begins degraded.
    pub fn missing(mut self) -> Self {
        self.bases.push(None);
        self
    }

    /// Its UUID; without one it gets one at random.
    pub fn uuid(mut self, uuid: Uuid) -> Self {
        self.uuid = Some(uuid);
        self
    }

    /// Its options.
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Which leg a read goes to.
    pub fn read_policy(mut self, policy: ReadPolicy) -> Self {
        self.options.read_policy = policy;
        self
    }

    /// Has its bases made equal from the first one that is there, in the background; [`Raid1::info`] shows how far that
    /// is. Only that base is read meanwhile. Without this, bases are taken as equal, as SPDK's own raid module does.
    pub fn resync(mut self) -> Self {
        self.resync = true;
        self
    }

    /// Where its data begins on each base: the blocks before are left alone. For what will be kept there.
    #[doc(hidden)]
    pub fn data_offset(mut self, blocks: Blocks) -> Self {
        self.data_offset = blocks;
        self
    }

    /// Who keeps its state where it outlives the process; nobody otherwise.
    pub fn persistence(mut self, persistence: Arc<dyn Persistence>) -> Self {
        self.persistence = persistence;
        self
    }

    /// Opens and claims the bases, and registers the array. What is on the bases must be equal where it matters: nobody
    /// compares it ([`Raid1::scrub`] does).
    ///
    /// # Errors
    ///
    /// See [`CreateError`].
    pub async fn create(self, spdk: &Spdk) -> Result<Raid1, CreateError> {
        self.check()?;
        let mut bases = Vec::with_capacity(self.bases.len());
        for (slot, name) in self.bases.iter().enumerate() {
            if let Some(name) = name {
                // On an early return those so far are dropped, which closes them and ends their claims.
                bases.push((
                    slot,
                    Base::open(spdk, &self.name, name, self.data_offset.0)?,
                ));
            }
        }
        self.assemble(spdk, bases).await
    }

    /// What can be said before a base is opened.
    pub(super) fn check(&self) -> Result<(), CreateError> {
        let name = self.name.clone();
        if name.is_empty() || name.len() > MAX_NAME || name.contains('\0') {
            return Err(CreateError::Name { array: name });
        }
        let is_base = |base: &&String| base.is_empty() || base.contains('\0') || **base == name;
        if let Some(base) = self.bases.iter().flatten().find(is_base) {
            let base = base.clone();
            return Err(CreateError::BaseName { array: name, base });
        }
        layout::check_places(&self.bases).map_err(|source| CreateError::Layout {
            array: name,
            source,
        })
    }

    /// Makes an array of the bases that are there, by their places; the other places are missing.
    pub(super) async fn assemble(
        self,
        spdk: &Spdk,
        bases: Vec<(usize, Base)>,
    ) -> Result<Raid1, CreateError> {
        let bad_layout = |source| CreateError::Layout {
            array: self.name.clone(),
            source,
        };
        let layouts: Vec<_> = bases.iter().map(|(_, base)| base.layout()).collect();
        let layout = Layout::of(&layouts).map_err(bad_layout)?;
        let checked = self.options.check(layout.block_size);
        checked.map_err(|source| CreateError::Options {
            array: self.name.clone(),
            source: Box::new(source),
        })?;
        let all_do = |io: IoType| bases.iter().all(|(_, base)| base.desc.info().supports(io));
        let any_does = |io: IoType| bases.iter().any(|(_, base)| base.desc.info().supports(io));
        let (can_unmap, can_reset) = (all_do(IoType::Unmap), all_do(IoType::Reset));
        let can_flush = any_does(IoType::Flush);

        let mut names = vec![None; self.bases.len()];
        for (slot, base) in &bases {
            names[*slot] = Some(base.name.clone());
        }
        let mut legs = Legs::new(names);
        for (slot, name) in self.bases.iter().enumerate() {
            // So that it comes to its own place when it is added.
            if let (Some(name), LegState::Missing) = (name, legs.slots()[slot].state) {
                legs.rename(slot, name.clone());
            }
        }
        let (tell, commands) = mpsc::unbounded();
        let ids: Vec<_> = legs.slots().iter().map(|slot| slot.id).collect();
        let status = Status {
            legs,
            blocks: layout.blocks,
            options: self.options.clone(),
            jobs: Vec::new(),
            repairs: Vec::new(),
            is_ending: false,
        };
        let published = Published::new(Vec::new(), self.options.read_policy);
        let name = self.name.clone();
        let array = Array::new(name, &layout, self.data_offset.0, published, tell, status);
        let array = Arc::new(array);
        if !list::add(&array) {
            return Err(CreateError::Exists { array: self.name });
        }
        let listed = Listed(Arc::clone(&array));
        let lanes = io_device::register(spdk, &self.name, Lanes(Arc::clone(&array)))
            .map_err(|error| CreateError::device(&self.name, &error))?;
        let _ = array.lanes.set(lanes.share());
        let mut control = Control::new(spdk, &array, commands, self.persistence, lanes);
        for (slot, base) in bases {
            control.take(base, ids[slot], slot, ALL);
        }
        let whole = Extent::new(Lba(0), layout.blocks).ok();
        let differs = whole.filter(|_| self.resync && layouts.len() > 1);
        let dirty = differs.and_then(|extent| {
            array
                .published
                .update(|snapshot| snapshot.differs_in(extent))
        });
        let device = Device {
            array: Arc::clone(&array),
            can_unmap,
            can_flush,
            can_reset,
        };
        let builder = BlockDeviceBuilder::new(&self.name)
            .product("Rust RAID1")
            .blocks(layout.blocks)
            .block_size(layout.block_size)
            .align(layout.align)
            .write_cache(layout.write_cache)
            .metadata(layout.metadata_size, layout.metadata_interleaved);
        let builder = match self.uuid {
            Some(uuid) => builder.uuid(uuid),
            None => builder,
        };
        let bdev = match builder.register(spdk, &MODULE, device) {
            Ok(bdev) => bdev,
            Err(source) => {
                control.end().await;
                return Err(CreateError::Register {
                    array: self.name.clone(),
                    source,
                });
            }
        };
        if let Ok(Some(info)) = bdev::find(spdk, &self.name) {
            let _ = array.uuid.set(info.uuid);
        }
        control.bdev = Some(bdev);
        // The app ends if there can be no task: it takes away all bdevs.
        let _ = thread::spawn_local(async move {
            // It leaves the list also if it is dropped: the app ends.
            let _listed = listed;
            control.run().await;
        });
        if let Some(id) = dirty {
            array.tell(Command::Resync(id));
        }
        Ok(Raid1 { array })
    }
}

/// An array in the list.
struct Listed(Arc<Array>);

impl Drop for Listed {
    fn drop(&mut self) {
        list::remove(&self.0);
    }
}

impl fmt::Debug for Raid1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Raid1")
            .field("name", &self.name())
            .field("state", &self.array.status().legs.array())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Raid1Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Raid1Builder")
            .field("name", &self.name)
            .field("bases", &self.bases)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
