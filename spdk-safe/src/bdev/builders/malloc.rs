//! Malloc bdevs: disks in memory.
//!
//! C functions: `create_malloc_disk`, `delete_malloc_disk` of `module/bdev/malloc` (contract L-01 to L-07).

use super::geometry::Geometry;
use super::{check_name, created, delete, uuid_ptr};
use crate::app::Spdk;
use crate::bdev::{DifType, Uuid, needs};
use crate::error::BdevError;
use crate::units::Blocks;

/// A disk in SPDK's memory, which must be large enough for it: `.memory(..)` of the app's builder.
///
/// Not an owner: the disk stays until [`delete`](Self::delete), or the end of the app.
#[derive(Debug)]
pub struct MallocBdev(());

/// A malloc bdev to be created.
#[derive(Debug, Clone)]
#[must_use = "call `create` to create the bdev"]
pub struct MallocBuilder {
    name: String,
    geometry: Geometry,
    interleaved: bool,
    dif_at_head: bool,
    optimal_io_boundary: u32,
    uuid: Option<Uuid>,
    numa_node: Option<u32>,
}

impl MallocBdev {
    /// Begins a disk named `name`, of 512-byte blocks; say how many with [`blocks`](MallocBuilder::blocks).
    pub fn builder(name: impl Into<String>) -> MallocBuilder {
        MallocBuilder {
            name: name.into(),
            geometry: Geometry::new(),
            interleaved: false,
            dif_at_head: false,
            optimal_io_boundary: 0,
            uuid: None,
            numa_node: None,
        }
    }

    /// Deletes the disk named `name`, and waits until it is gone: for descriptors of others, too.
    ///
    /// Once it was polled, the deletion goes on when the future is dropped.
    ///
    /// # Errors
    ///
    /// [`BdevError::NotFound`] if there is no malloc bdev of that name.
    pub async fn delete(spdk: &Spdk, name: &str) -> Result<(), BdevError> {
        delete(spdk, name, spdk_sys::spdk_shim_malloc_delete).await
    }
}

impl MallocBuilder {
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

    /// Bytes of metadata with each block, 8, 16, 32, 64 or 128, in a buffer of their own. Needs SPDK 23.01.
    pub fn separate_metadata(mut self, bytes: u32) -> Self {
        self.geometry.metadata_size = bytes;
        self.interleaved = false;
        self
    }

    /// Bytes of metadata with each block, 8, 16, 32, 64 or 128, which follow its data. Needs SPDK 23.01.
    pub fn interleaved_metadata(mut self, bytes: u32) -> Self {
        self.geometry.metadata_size = bytes;
        self.interleaved = true;
        self
    }

    /// Protection information at the end of the metadata, or at its head. Needs metadata.
    pub fn dif(mut self, kind: DifType, at_head: bool) -> Self {
        self.geometry.dif = Some(kind);
        self.dif_at_head = at_head;
        self
    }

    /// Blocks between boundaries at which SPDK splits I/O. Needs SPDK 22.01.
    pub fn optimal_io_boundary(mut self, blocks: u32) -> Self {
        self.optimal_io_boundary = blocks;
        self
    }

    /// Its UUID; a random one if it is not said.
    pub fn uuid(mut self, uuid: Uuid) -> Self {
        self.uuid = Some(uuid);
        self
    }

    /// The NUMA node whose memory it takes; any if it is not said. Needs SPDK 26.01.
    pub fn numa_node(mut self, node: u32) -> Self {
        self.numa_node = Some(node);
        self
    }

    /// Creates the disk, filled with zeroes.
    ///
    /// # Errors
    ///
    /// See [`BdevError`]; [`BdevError::NoMemory`] when SPDK's memory is too small, [`BdevError::NeedsVersion`] when SPDK is
    /// older than what was asked for.
    pub async fn create(self, spdk: &Spdk) -> Result<(), BdevError> {
        spdk.check()?;
        let c_name = check_name(&self.name)?;
        self.geometry.check(&self.name)?;
        let numa_id = match self.numa_node.map(i32::try_from) {
            None => -1,
            Some(Ok(node)) => node,
            Some(Err(_)) => {
                return Err(BdevError::Geometry {
                    name: self.name,
                    what: "the NUMA node",
                    got: self.numa_node.unwrap_or_default().into(),
                    allowed: "one that the machine has",
                });
            }
        };
        let opts = spdk_sys::spdk_shim_malloc_opts {
            name: c_name.as_ptr(),
            uuid: uuid_ptr(&self.uuid),
            num_blocks: self.geometry.blocks.0,
            block_size: self.geometry.block_size,
            physical_block_size: self.geometry.physical_block_size,
            optimal_io_boundary: self.optimal_io_boundary,
            md_size: self.geometry.metadata_size,
            dif_type: self.geometry.dif_type(),
            numa_id,
            md_interleave: self.interleaved,
            dif_at_head: self.dif_at_head,
        };
        let mut needs = needs::none();
        // SAFETY: this is the app thread, and `opts` with what it points to lives across the call.
        let rc = unsafe { spdk_sys::spdk_shim_malloc_create(&raw const opts, &raw mut needs) };
        created(&self.name, rc, &needs)
    }
}
