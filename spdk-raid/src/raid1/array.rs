//! Creating and deleting an array.

use spdk_safe::app::Spdk;
use spdk_safe::bdev::{BdevDesc, SharedDesc};
use spdk_safe::error::{BdevError, ClaimError, OpenError};
use spdk_safe::module::{BdevModule, BlockDeviceBuilder, RegisteredBdev};
use spdk_safe::prelude::ReadWrite;
use spdk_safe::units::Blocks;
use thiserror::Error;

use super::data_path::Mirror;
use super::layout::{self, Base, Layout, LayoutError};

/// The bdev module of our arrays; give it to the app builder: `.module(&raid1::MODULE)`.
pub static MODULE: BdevModule = BdevModule::new(c"rust_raid1");

/// A mirror, registered as a bdev. Dropping it unregisters the bdev and lets go of the bases, without waiting.
#[derive(Debug)]
#[must_use = "dropping an array takes its bdev away"]
pub struct Raid1 {
    bdev: RegisteredBdev,
    layout: Layout,
}

/// A mirror to be created.
#[derive(Debug, Clone)]
#[must_use = "call `create` to create the array"]
pub struct Raid1Builder {
    name: String,
    bases: Vec<String>,
}

/// Why an array was not created. Nothing is left behind: bases that were claimed are free again (after a
/// [`Register`](Self::Register) error some messages later).
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CreateError {
    /// The bases do not make an array.
    #[error("raid1 {array:?}: {source}")]
    Layout {
        /// Its name.
        array: String,
        /// Why.
        source: LayoutError,
    },
    /// A base can't be opened.
    #[error("raid1 {array:?}: {source}")]
    Open {
        /// Its name.
        array: String,
        /// Why.
        source: OpenError,
    },
    /// A base can't be claimed.
    #[error("raid1 {array:?}: {source}")]
    Claim {
        /// Its name.
        array: String,
        /// Why.
        source: ClaimError,
    },
    /// The array can't be registered.
    #[error("raid1 {array:?}: {source}")]
    Register {
        /// Its name.
        array: String,
        /// Why.
        source: BdevError,
    },
}

impl Raid1 {
    /// Begins an array named `name`; say of what with [`base`](Raid1Builder::base).
    pub fn builder(name: impl Into<String>) -> Raid1Builder {
        Raid1Builder {
            name: name.into(),
            bases: Vec::new(),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.bdev.name()
    }

    /// Its size.
    #[must_use]
    pub fn num_blocks(&self) -> Blocks {
        self.layout.blocks
    }

    /// Bytes in a logical block.
    #[must_use]
    pub fn block_size(&self) -> u32 {
        self.layout.block_size
    }

    /// Deletes the array, and waits until its bdev is gone and its bases are free: whoever has it open is told, and
    /// must close it first.
    pub async fn delete(self) {
        self.bdev.unregister().await;
    }
}

impl Raid1Builder {
    /// Adds the bdev named `name`.
    pub fn base(mut self, name: impl Into<String>) -> Self {
        self.bases.push(name.into());
        self
    }

    /// Opens and claims the bases, and registers the array.
    ///
    /// # Errors
    ///
    /// See [`CreateError`].
    pub async fn create(self, spdk: &Spdk) -> Result<Raid1, CreateError> {
        let array = || self.name.clone();
        let bad_layout = |source| CreateError::Layout {
            array: array(),
            source,
        };
        layout::check_names(&self.bases).map_err(bad_layout)?;
        let mut legs = Vec::with_capacity(self.bases.len());
        for base in &self.bases {
            // On an early return the descriptors so far are dropped, which closes them and ends their claims.
            legs.push(self.take_base(spdk, base)?);
        }
        let bases: Vec<_> = legs.iter().map(base_of).collect();
        let layout = Layout::of(&bases).map_err(bad_layout)?;
        let bdev = BlockDeviceBuilder::new(&self.name)
            .product("Rust RAID1")
            .blocks(layout.blocks)
            .block_size(layout.block_size)
            .align(layout.align)
            .write_cache(layout.write_cache)
            .register(spdk, &MODULE, Mirror::new(legs))
            .map_err(|source| CreateError::Register {
                array: array(),
                source,
            })?;
        Ok(Raid1 { bdev, layout })
    }

    /// A base, opened for writing and claimed. The share keeps the descriptor open, and the claim with it.
    fn take_base(&self, spdk: &Spdk, base: &str) -> Result<SharedDesc<ReadWrite>, CreateError> {
        let desc = BdevDesc::open(spdk, base)
            .read_write()
            .map_err(|source| CreateError::Open {
                array: self.name.clone(),
                source,
            })?;
        let desc = desc
            .claim(&MODULE)
            .map_err(|(source, _desc)| CreateError::Claim {
                array: self.name.clone(),
                source,
            })?;
        Ok(desc.share())
    }
}

fn base_of(leg: &SharedDesc<ReadWrite>) -> Base {
    let info = leg.info();
    Base {
        name: info.name.clone(),
        block_size: info.block_size,
        blocks: leg.num_blocks(),
        align: info.align,
        metadata_size: info.metadata_size,
        write_cache: info.write_cache,
    }
}
