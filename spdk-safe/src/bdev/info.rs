//! What a bdev is, as it was when somebody looked.

use std::ffi::{CStr, c_char};
use std::fmt;
use std::mem::MaybeUninit;

use super::{Claim, IoTypes, Uuid};
use crate::error::IoType;
use crate::units::{Blocks, Bytes};

/// Geometry and capabilities of a bdev: a copy, which stays valid when the bdev is gone (MISUSE D7).
///
/// It prints as a picture of several lines.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BdevInfo {
    /// Its name.
    pub name: String,
    /// Other names that find it; from SPDK 22.05 on its UUID is one.
    pub aliases: Vec<String>,
    /// Its UUID. One that has none gets a random one when it is registered.
    pub uuid: Uuid,
    /// What kind it is, in the words of its module: `Malloc disk`.
    pub product: String,
    /// The module that implements it.
    pub module: String,
    /// Bytes in a logical block, as a buffer has it: with interleaved metadata.
    pub block_size: u32,
    /// Bytes of data in a logical block: without metadata.
    pub data_block_size: u32,
    /// Bytes in a physical block. Before SPDK 21.07 that of the data is taken for it.
    pub physical_block_size: u32,
    /// Logical blocks when this was read; `BdevDesc::num_blocks` follows a resize.
    pub num_blocks: Blocks,
    /// Bytes that a buffer's address must be a multiple of (`spdk_bdev_get_buf_align`).
    pub align: usize,
    /// Blocks of the smallest write.
    pub write_unit: u32,
    /// Blocks that a compare-and-write does as one (`spdk_bdev_get_acwu`).
    pub acwu: u32,
    /// Blocks between boundaries that an I/O better does not cross; 0 is none.
    pub optimal_io_boundary: u32,
    /// Whether SPDK splits reads and writes at these boundaries.
    pub splits_at_boundary: bool,
    /// Bytes of metadata with each block; 0 is none.
    pub metadata_size: u32,
    /// Whether the metadata follows the data of its block in one buffer; else it has a buffer of its own.
    pub metadata_interleaved: bool,
    /// How its data is protected from end to end; `None` if it is not.
    pub dif: Option<Dif>,
    /// Its zones; `None` if it is not zoned.
    pub zones: Option<Zones>,
    /// What is the most that one I/O may do; SPDK splits what is more.
    pub limits: Limits,
    /// Whether it has a volatile write cache, so that FLUSH means something.
    pub write_cache: bool,
    /// Whether it tells of blocks that its medium is about to lose (`BdevEvent::MediaManagement`).
    pub media_events: bool,
    /// The NUMA node of its memory; `None` if it is any, or SPDK is older than 24.09.
    pub numa_node: Option<u32>,
    /// The I/O types that it supports, itself or by emulation in SPDK.
    pub io_types: IoTypes,
    /// Who has claimed it, and how, when this was read; `None` if nobody.
    pub claim: Option<Claim>,
}

/// Protection information in the metadata (DIF, or DIX if the metadata is separate).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Dif {
    /// Which type.
    pub kind: DifType,
    /// Whether it is at the head of the metadata; else at its end.
    pub at_head: bool,
    /// Bits of the guard: 16, 32 or 64.
    pub guard_bits: u32,
    /// Whether the guard, a checksum of the data, is checked.
    pub checks_guard: bool,
    /// Whether the application tag is checked.
    pub checks_app_tag: bool,
    /// Whether the reference tag is checked.
    pub checks_ref_tag: bool,
}

/// A type of protection information (`enum spdk_dif_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DifType {
    /// The reference tag is that of the block.
    Type1,
    /// The reference tag of the first block is the application's.
    Type2,
    /// The reference tag is not used.
    Type3,
}

impl Dif {
    /// Of this type, with a guard of 16 bits, at the end of the metadata, all of it checked.
    #[must_use]
    pub const fn new(kind: DifType) -> Self {
        Self {
            kind,
            at_head: false,
            guard_bits: 16,
            checks_guard: true,
            checks_app_tag: true,
            checks_ref_tag: true,
        }
    }
}

impl DifType {
    /// SPDK's number.
    pub(crate) const fn raw(self) -> u32 {
        match self {
            Self::Type1 => 1,
            Self::Type2 => 2,
            Self::Type3 => 3,
        }
    }

    const fn from_raw(raw: u32) -> Option<Self> {
        match raw {
            1 => Some(Self::Type1),
            2 => Some(Self::Type2),
            3 => Some(Self::Type3),
            _ => None,
        }
    }
}

/// Zones of a zoned bdev. A number that the bdev does not limit is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Zones {
    /// Blocks in a zone.
    pub size: Blocks,
    /// How many may be open at once.
    pub max_open: Option<u32>,
    /// How many should be open at once.
    pub optimal_open: Option<u32>,
    /// How many may be open or closed, but not empty nor full. Known from SPDK 21.04 on.
    pub max_active: Option<u32>,
    /// Blocks of the largest zone append. Known from SPDK 21.04 on.
    pub max_append: Option<Blocks>,
}

/// The most that one I/O does at once. `None`: no limit, or none that this SPDK knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of one piece of memory. Known from SPDK 21.01 on.
    pub segment_size: Option<u32>,
    /// Pieces of memory. Known from SPDK 21.01 on.
    pub segments: Option<u32>,
    /// Blocks of a read or write. Known from SPDK 24.01 on.
    pub read_write: Option<Blocks>,
    /// Blocks of one range of an unmap. Known from SPDK 21.07 on.
    pub unmap: Option<Blocks>,
    /// Ranges of an unmap. Known from SPDK 21.07 on.
    pub unmap_segments: Option<u32>,
    /// Blocks of a write-zeroes. Known from SPDK 21.07 on.
    pub write_zeroes: Option<Blocks>,
    /// Blocks of a copy. Known from SPDK 23.01 on.
    pub copy: Option<Blocks>,
}

impl BdevInfo {
    /// Its size in bytes, with interleaved metadata; `None` if that does not fit.
    #[must_use]
    pub fn size(&self) -> Option<Bytes> {
        self.num_blocks.bytes(self.block_size)
    }

    /// Whether it does `io`, itself or by emulation in SPDK.
    #[must_use]
    pub fn supports(&self, io: IoType) -> bool {
        self.io_types.contains(io)
    }

    /// # Safety
    ///
    /// The app thread is current, and `bdev` can't go away meanwhile: a descriptor of it is open, or it is not being
    /// removed, which would begin on this thread.
    pub(crate) unsafe fn read(bdev: *mut spdk_sys::spdk_bdev) -> Self {
        let mut raw = MaybeUninit::<spdk_sys::spdk_shim_bdev_info>::zeroed();
        // SAFETY: by this function's contract; `raw` lives across the call, which fills all of it in.
        unsafe { spdk_sys::spdk_shim_bdev_info(bdev, raw.as_mut_ptr()) };
        // SAFETY: filled in by the call above.
        let raw = unsafe { raw.assume_init() };
        let aliases = (0..).map_while(|index| {
            // SAFETY: by this function's contract; past the end the answer is null.
            let alias = unsafe { spdk_sys::spdk_shim_bdev_alias(bdev, index) };
            (!alias.is_null()).then_some(alias)
        });
        Self {
            // SAFETY: the name lives as long as the bdev.
            name: unsafe { text(raw.name) },
            aliases: aliases
                // SAFETY: an alias lives until it is taken away, which happens on this thread.
                .map(|alias| unsafe { text(alias) })
                .collect(),
            uuid: Uuid::from_bytes(raw.uuid),
            // SAFETY: the product's name lives as long as the bdev.
            product: unsafe { text(raw.product) },
            // SAFETY: the module's name lives for ever.
            module: unsafe { text(raw.module) },
            block_size: raw.block_size,
            data_block_size: raw.data_block_size,
            physical_block_size: raw.physical_block_size,
            num_blocks: Blocks(raw.num_blocks),
            align: raw.align as usize,
            write_unit: raw.write_unit,
            acwu: raw.acwu,
            optimal_io_boundary: raw.optimal_io_boundary,
            splits_at_boundary: raw.split_on_boundary,
            metadata_size: raw.md_size,
            metadata_interleaved: raw.md_interleaved,
            dif: DifType::from_raw(raw.dif_type).map(|kind| Dif {
                kind,
                at_head: raw.dif_at_head,
                guard_bits: raw.dif_guard_bits,
                checks_guard: raw.dif_guard,
                checks_app_tag: raw.dif_app_tag,
                checks_ref_tag: raw.dif_ref_tag,
            }),
            zones: raw.zoned.then(|| Zones {
                size: Blocks(raw.zone_size),
                max_open: limit(raw.max_open_zones),
                optimal_open: limit(raw.optimal_open_zones),
                max_active: limit(raw.max_active_zones),
                max_append: block_limit(raw.max_zone_append_size),
            }),
            limits: Limits {
                segment_size: limit(raw.max_segment_size),
                segments: limit(raw.max_num_segments),
                read_write: block_limit(raw.max_rw_size),
                unmap: block_limit(raw.max_unmap),
                unmap_segments: limit(raw.max_unmap_segments),
                write_zeroes: block_limit(raw.max_write_zeroes),
                copy: block_limit(raw.max_copy),
            },
            write_cache: raw.write_cache,
            media_events: raw.media_events,
            numa_node: u32::try_from(raw.numa_id).ok(),
            io_types: IoTypes::from_raw(raw.io_types),
            // SAFETY: by this function's contract.
            claim: unsafe { Claim::read(bdev) },
        }
    }
}

impl From<u64> for Blocks {
    fn from(blocks: u64) -> Self {
        Self(blocks)
    }
}

const fn limit(raw: u32) -> Option<u32> {
    match raw {
        0 => None,
        some => Some(some),
    }
}

fn block_limit(raw: u32) -> Option<Blocks> {
    limit(raw).map(|blocks| Blocks(blocks.into()))
}

/// # Safety
///
/// `raw` is null or a NUL-terminated string that nobody changes meanwhile.
pub(super) unsafe fn text(raw: *const c_char) -> String {
    if raw.is_null() {
        return String::new();
    }
    // SAFETY: by this function's contract.
    unsafe { CStr::from_ptr(raw) }
        .to_string_lossy()
        .into_owned()
}

impl fmt::Display for BdevInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} ({}, module {})",
            self.name, self.product, self.module
        )?;
        writeln!(f, "  uuid       {}", self.uuid)?;
        let uuid = self.uuid.to_string();
        let aliases: Vec<_> = self
            .aliases
            .iter()
            .filter(|alias| **alias != uuid)
            .collect();
        if !aliases.is_empty() {
            write!(f, "  also       ")?;
            for (at, alias) in aliases.into_iter().enumerate() {
                write!(f, "{}{alias}", if at == 0 { "" } else { ", " })?;
            }
            writeln!(f)?;
        }
        write!(
            f,
            "  size       {} of {} B",
            self.num_blocks, self.block_size
        )?;
        if let Some(size) = self.size() {
            write!(f, " = {size}")?;
        }
        if self.physical_block_size != self.data_block_size {
            write!(f, ", physical blocks of {} B", self.physical_block_size)?;
        }
        writeln!(f)?;
        if self.metadata_size != 0 {
            let place = if self.metadata_interleaved {
                "interleaved"
            } else {
                "separate"
            };
            write!(f, "  metadata   {} B, {place}", self.metadata_size)?;
            if let Some(dif) = self.dif {
                write!(
                    f,
                    ", DIF {:?} at the {}",
                    dif.kind,
                    if dif.at_head { "head" } else { "end" }
                )?;
            }
            writeln!(f)?;
        }
        write!(
            f,
            "  I/O        aligned to {} B, write unit {}",
            self.align,
            Blocks(self.write_unit.into())
        )?;
        if self.optimal_io_boundary != 0 {
            let splits = if self.splits_at_boundary {
                ", split there"
            } else {
                ""
            };
            write!(
                f,
                ", boundary every {}{splits}",
                Blocks(self.optimal_io_boundary.into())
            )?;
        }
        writeln!(
            f,
            "{}",
            if self.write_cache {
                ", write cache"
            } else {
                ""
            }
        )?;
        if let Some(zones) = self.zones {
            writeln!(f, "  zones      of {}", zones.size)?;
        }
        writeln!(f, "  supports   {}", self.io_types)?;
        match &self.claim {
            Some(claim) => write!(f, "  claimed    by module {:?} ({})", claim.by, claim.kind),
            None => write!(f, "  claimed    no"),
        }
    }
}
