//! Null bdevs: they do nothing, fast.
//!
//! C functions: `bdev_null_create`, `bdev_null_delete` of `module/bdev/null`, `spdk_bdev_notify_blockcnt_change`.

use std::ffi::CString;

use super::geometry::Geometry;
use super::{check_name, created, delete, uuid_ptr};
use crate::app::Spdk;
use crate::bdev::{DifType, Uuid, needs};
use crate::error::BdevError;
use crate::units::Blocks;

/// A bdev that completes reads and writes and touches no data: what is read is what was in the buffer.
///
/// Not an owner: the bdev stays until [`delete`](Self::delete), or the end of the app.
#[derive(Debug)]
pub struct NullBdev(());

/// A null bdev to be created.
#[derive(Debug, Clone)]
#[must_use = "call `create` to create the bdev"]
pub struct NullBuilder {
    name: String,
    geometry: Geometry,
    dif_at_head: bool,
    uuid: Option<Uuid>,
}

impl NullBdev {
    /// Begins a bdev named `name`, of 512-byte blocks; say how many with [`blocks`](NullBuilder::blocks).
    pub fn builder(name: impl Into<String>) -> NullBuilder {
        NullBuilder {
            name: name.into(),
            geometry: Geometry::new(),
            dif_at_head: false,
            uuid: None,
        }
    }

    /// Changes the size of the null bdev named `name`; whoever has it open is told.
    ///
    /// # Errors
    ///
    /// [`BdevError::NotFound`]; [`BdevError::InUse`] when it would shrink and somebody has it open (contract B-10).
    pub fn resize(spdk: &Spdk, name: &str, blocks: impl Into<Blocks>) -> Result<(), BdevError> {
        spdk.check()?;
        let blocks = blocks.into();
        let mut geometry = Geometry::new();
        geometry.blocks = blocks;
        geometry.block_size = 65_536; // the largest
        geometry.check(name)?;
        let c_name = CString::new(name).map_err(|_| BdevError::NotFound {
            name: name.to_owned(),
        })?;
        // SAFETY: this is the app thread; the name lives across the call.
        let rc = unsafe { spdk_sys::spdk_shim_null_resize(c_name.as_ptr(), blocks.0) };
        if rc == -libc::EBUSY {
            return Err(BdevError::InUse {
                name: name.to_owned(),
            });
        }
        created(name, rc, &needs::none())
    }

    /// Deletes the bdev named `name`, and waits until it is gone: for descriptors of others, too.
    ///
    /// Once it was polled, the deletion goes on when the future is dropped.
    ///
    /// # Errors
    ///
    /// [`BdevError::NotFound`] if there is no null bdev of that name.
    pub async fn delete(spdk: &Spdk, name: &str) -> Result<(), BdevError> {
        delete(spdk, name, spdk_sys::spdk_shim_null_delete).await
    }
}

impl NullBuilder {
    /// Its size. Must be said.
    pub fn blocks(mut self, blocks: impl Into<Blocks>) -> Self {
        self.geometry.blocks = blocks.into();
        self
    }

    /// Bytes of data in a block: a multiple of 512. 512 if it is not said.
    pub fn block_size(mut self, bytes: u32) -> Self {
        self.geometry.block_size = bytes;
        self
    }

    /// Bytes in a physical block: a multiple of 512. Needs SPDK 23.05.
    pub fn physical_block_size(mut self, bytes: u32) -> Self {
        self.geometry.physical_block_size = bytes;
        self
    }

    /// Bytes of metadata with each block, 8, 16, 32, 64 or 128, which follow its data.
    pub fn interleaved_metadata(mut self, bytes: u32) -> Self {
        self.geometry.metadata_size = bytes;
        self
    }

    /// Protection information at the end of the metadata, or at its head: made in what is read, checked in what is
    /// written. Needs metadata.
    pub fn dif(mut self, kind: DifType, at_head: bool) -> Self {
        self.geometry.dif = Some(kind);
        self.dif_at_head = at_head;
        self
    }

    /// Its UUID; a random one if it is not said.
    pub fn uuid(mut self, uuid: Uuid) -> Self {
        self.uuid = Some(uuid);
        self
    }

    /// Creates the bdev.
    ///
    /// # Errors
    ///
    /// See [`BdevError`]; [`BdevError::NeedsVersion`] when SPDK is older than what was asked for.
    pub async fn create(self, spdk: &Spdk) -> Result<(), BdevError> {
        spdk.check()?;
        let c_name = check_name(&self.name)?;
        self.geometry.check(&self.name)?;
        let opts = spdk_sys::spdk_shim_null_opts {
            name: c_name.as_ptr(),
            uuid: uuid_ptr(&self.uuid),
            num_blocks: self.geometry.blocks.0,
            block_size: self.geometry.block_size,
            physical_block_size: self.geometry.physical_block_size,
            md_size: self.geometry.metadata_size,
            dif_type: self.geometry.dif_type(),
            dif_at_head: self.dif_at_head,
        };
        let mut needs = needs::none();
        // SAFETY: this is the app thread, and `opts` with what it points to lives across the call.
        let rc = unsafe { spdk_sys::spdk_shim_null_create(&raw const opts, &raw mut needs) };
        created(&self.name, rc, &needs)
    }
}
