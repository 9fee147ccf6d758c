//! The geometry of bdevs that have no base.

use crate::bdev::DifType;
use crate::error::BdevError;
use crate::units::Blocks;

/// What a builder says of it.
#[derive(Debug, Clone)]
pub(super) struct Geometry {
    pub(super) blocks: Blocks,
    pub(super) block_size: u32,
    pub(super) physical_block_size: u32,
    pub(super) metadata_size: u32,
    pub(super) dif: Option<DifType>,
}

impl Geometry {
    /// What its builder says first: 512-byte blocks, and the rest not.
    pub(super) const fn new() -> Self {
        Self {
            blocks: Blocks(0),
            block_size: 512,
            physical_block_size: 0,
            metadata_size: 0,
            dif: None,
        }
    }

    /// The protection information as `enum spdk_dif_type`.
    pub(super) const fn dif_type(&self) -> u32 {
        match self.dif {
            None => 0,
            Some(DifType::Type1) => 1,
            Some(DifType::Type2) => 2,
            Some(DifType::Type3) => 3,
        }
    }

    pub(super) fn check(&self, name: &str) -> Result<(), BdevError> {
        let refuse = |what, got, allowed| {
            Err(BdevError::Geometry {
                name: name.to_owned(),
                what,
                got,
                allowed,
            })
        };
        // SPDK emulates some I/O with a buffer of 1 MiB, and overruns it with larger blocks.
        let is_size = |bytes: u32| bytes % 512 == 0 && bytes <= 65_536;
        if self.block_size == 0 || !is_size(self.block_size) {
            return refuse(
                "the block size",
                self.block_size.into(),
                "a multiple of 512, up to 65536",
            );
        }
        if !is_size(self.physical_block_size) {
            return refuse(
                "the physical block size",
                self.physical_block_size.into(),
                "a multiple of 512, up to 65536",
            );
        }
        if !matches!(self.metadata_size, 0 | 8 | 16 | 32 | 64 | 128) {
            return refuse(
                "the metadata size",
                self.metadata_size.into(),
                "0, 8, 16, 32, 64 or 128",
            );
        }
        if self.dif.is_some() && self.metadata_size == 0 {
            return refuse(
                "the metadata size",
                0,
                "at least 8 with protection information",
            );
        }
        let bytes = self.blocks.bytes(self.block_size + self.metadata_size);
        if self.blocks == Blocks(0) || bytes.is_none() {
            return refuse(
                "the number of blocks",
                self.blocks.0,
                "at least 1, and below 2^64 bytes in all",
            );
        }
        Ok(())
    }
}
