//! A bdev to be registered: its names, its shape, and what it says of itself.

use std::ffi::CString;
use std::mem::size_of;
use std::ptr::NonNull;

use super::register::{Node, RegisteredBdev, Registration};
use super::vtable::{
    ChannelContext, Vtable, create_channel_callback, destroy_channel_callback, device_gone_callback,
};
use super::{BdevModule, BlockDevice, ConfigEntry};
use crate::app::Spdk;
use crate::bdev::{BdevInfo, Dif, Limits, Uuid, needs};
use crate::error::{BdevError, Errno};
use crate::units::Blocks;

/// A bdev to be registered.
#[derive(Debug, Clone)]
#[must_use = "call `register` to register the bdev"]
pub struct BlockDeviceBuilder {
    name: String,
    aliases: Vec<String>,
    product: String,
    uuid: Option<Uuid>,
    blocks: Blocks,
    block_size: u32,
    physical_block_size: u32,
    align: usize,
    optimal_io_boundary: u32,
    splits_at_boundary: bool,
    write_unit: u32,
    acwu: u16,
    write_cache: bool,
    metadata_size: u32,
    metadata_interleaved: bool,
    dif: Option<Dif>,
    limits: Limits,
    config: Vec<ConfigEntry>,
}

impl BlockDeviceBuilder {
    /// Begins a bdev named `name` with 512-byte blocks; its size must be said.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            aliases: Vec::new(),
            product: "Rust bdev".into(),
            uuid: None,
            blocks: Blocks(0),
            block_size: 512,
            physical_block_size: 0,
            align: 1,
            optimal_io_boundary: 0,
            splits_at_boundary: false,
            write_unit: 0,
            acwu: 0,
            write_cache: false,
            metadata_size: 0,
            metadata_interleaved: false,
            dif: None,
            limits: Limits::default(),
            config: Vec::new(),
        }
    }

    /// Takes over the shape of a base: its size, block sizes, alignment, boundary, write unit, cache, and metadata. Its
    /// names stay its own; what goes to it SPDK splits as it needs.
    pub fn like(mut self, base: &BdevInfo) -> Self {
        self.blocks = base.num_blocks;
        self.block_size = base.block_size;
        self.physical_block_size = base.physical_block_size;
        self.align = base.align;
        self.optimal_io_boundary = base.optimal_io_boundary;
        self.write_unit = base.write_unit;
        self.acwu = u16::try_from(base.acwu).unwrap_or(1);
        self.write_cache = base.write_cache;
        self.metadata_size = base.metadata_size;
        self.metadata_interleaved = base.metadata_interleaved;
        self.dif = base.dif;
        self
    }

    /// Another name that finds it; more than one may be given.
    pub fn alias(mut self, alias: impl Into<String>) -> Self {
        self.aliases.push(alias.into());
        self
    }

    /// Its UUID; without one it gets one at random (M-22).
    pub fn uuid(mut self, uuid: Uuid) -> Self {
        self.uuid = Some(uuid);
        self
    }

    /// What kind of device it is, for people.
    pub fn product(mut self, product: impl Into<String>) -> Self {
        self.product = product.into();
        self
    }

    /// Its size.
    pub fn blocks(mut self, blocks: Blocks) -> Self {
        self.blocks = blocks;
        self
    }

    /// Bytes in a logical block, interleaved metadata among them; without these a power of two from 512 to 65536.
    pub fn block_size(mut self, bytes: u32) -> Self {
        self.block_size = bytes;
        self
    }

    /// Bytes in a physical block; SPDK takes those of a logical one otherwise. Kept from SPDK 22.01 on.
    pub fn physical_block_size(mut self, bytes: u32) -> Self {
        self.physical_block_size = bytes;
        self
    }

    /// Bytes that a buffer's address must be a multiple of: a power of two up to 4096.
    pub fn align(mut self, bytes: usize) -> Self {
        self.align = bytes;
        self
    }

    /// Blocks between boundaries that an I/O better does not cross; 0 is none.
    pub fn optimal_io_boundary(mut self, blocks: u32) -> Self {
        self.optimal_io_boundary = blocks;
        self
    }

    /// Whether SPDK splits reads and writes at these boundaries, so that none crosses one.
    pub fn split_at_boundary(mut self, split: bool) -> Self {
        self.splits_at_boundary = split;
        self
    }

    /// Blocks of the smallest write; 1 otherwise.
    pub fn write_unit(mut self, blocks: u32) -> Self {
        self.write_unit = blocks;
        self
    }

    /// Blocks that a compare-and-write does as one; the write unit otherwise.
    pub fn acwu(mut self, blocks: u16) -> Self {
        self.acwu = blocks;
        self
    }

    /// Whether it has a volatile write cache, so that clients must flush.
    pub fn write_cache(mut self, write_cache: bool) -> Self {
        self.write_cache = write_cache;
        self
    }

    /// Bytes of metadata with each block, in a buffer of their own, or interleaved: behind the data of each block, and
    /// part of the block size.
    pub fn metadata(mut self, bytes: u32, interleaved: bool) -> Self {
        self.metadata_size = bytes;
        self.metadata_interleaved = interleaved;
        self
    }

    /// How its data is protected from end to end: what its metadata holds. It is for the device, and for those who write
    /// to it, to keep to that.
    pub fn dif(mut self, dif: Dif) -> Self {
        self.dif = Some(dif);
        self
    }

    /// The most that one I/O may do; SPDK splits what is more. What the linked SPDK can't split at is an error of
    /// [`register`](Self::register).
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// What recreates it, for a saved configuration; also [`RegisteredBdev::set_config`].
    ///
    /// SPDK holds a lock when it asks for it (contract M-06), so none of the device's code is asked then.
    pub fn config(mut self, entry: ConfigEntry) -> Self {
        self.config.push(entry);
        self
    }

    /// Registers `device` as this bdev of `module` (`spdk_bdev_register`).
    ///
    /// # Errors
    ///
    /// [`BdevError`]; the device is dropped then.
    pub fn register<D: BlockDevice>(
        self,
        spdk: &Spdk,
        module: &'static BdevModule,
        device: D,
    ) -> Result<RegisteredBdev, BdevError> {
        spdk.check()?;
        let (c_name, c_product) = self.check()?;
        let mut c_aliases = Vec::new();
        for alias in &self.aliases {
            c_aliases.push(c_string(alias)?);
        }
        let Some(module_raw) = module.raw() else {
            return Err(BdevError::ModuleNotAdded {
                module: module.name().into(),
            });
        };
        if !module.has_room_for::<D>() {
            return Err(BdevError::DriverContext {
                name: self.name,
                module: module.name().into(),
                device: std::any::type_name::<D>(),
            });
        }
        for (at, name) in std::iter::once(&c_name).chain(&c_aliases).enumerate() {
            // SAFETY: this is the app thread; the name lives across the call.
            let taken = !unsafe { spdk_sys::spdk_bdev_get_by_name(name.as_ptr()) }.is_null();
            if taken || (at != 0 && (*name == c_name || c_aliases[..at - 1].contains(name))) {
                let name = name.to_string_lossy().into_owned();
                return Err(BdevError::Exists { name });
            }
        }
        let registration = Registration::new(&self.name, module, module_raw, self.config.clone());
        let node = Box::new(Node::new(
            device,
            (
                self.block_size,
                match self.metadata_interleaved {
                    true => 0,
                    false => self.metadata_size,
                },
            ),
            self.align,
            (c_name, c_product),
            &registration,
        ));
        // The heap's addresses: they stay when the node becomes a raw pointer.
        let (name, product) = (node.name().as_ptr(), node.product().as_ptr());
        // The one pointer that everything below uses, and SPDK until `device_gone_callback`.
        let node = Box::into_raw(node);
        let desc = spdk_sys::spdk_shim_bdev_desc {
            name: name.cast_mut(),
            product_name: product.cast_mut(),
            ctxt: node.cast(),
            module: module_raw,
            fn_table: Vtable::<D>::TABLE,
            num_blocks: self.blocks.0,
            block_size: self.block_size,
            optimal_io_boundary: self.optimal_io_boundary,
            required_alignment_log2: self.align.trailing_zeros() as u8,
            write_cache: self.write_cache,
            splits_at_boundary: self.splits_at_boundary,
            metadata_interleaved: self.metadata_interleaved,
            uuid: self.uuid.map_or([0; 16], |uuid| *uuid.as_bytes()),
            physical_block_size: self.physical_block_size,
            write_unit: self.write_unit,
            metadata_size: self.metadata_size,
            dif_type: self.dif.map_or(0, |dif| dif.kind.raw()),
            dif_guard_bits: self.dif.map_or(0, |dif| dif.guard_bits),
            dif_at_head: self.dif.is_some_and(|dif| dif.at_head),
            dif_guard: self.dif.is_some_and(|dif| dif.checks_guard),
            dif_app_tag: self.dif.is_some_and(|dif| dif.checks_app_tag),
            dif_ref_tag: self.dif.is_some_and(|dif| dif.checks_ref_tag),
            max_segment_size: self.limits.segment_size.unwrap_or(0),
            max_segments: self.limits.segments.unwrap_or(0),
            max_read_write: limit(self.limits.read_write),
            max_unmap: limit(self.limits.unmap),
            max_unmap_segments: self.limits.unmap_segments.unwrap_or(0),
            max_write_zeroes: limit(self.limits.write_zeroes),
            max_copy: limit(self.limits.copy),
            acwu: self.acwu,
        };
        let mut missing = needs::none();
        // SAFETY: the strings live in the node, which outlives the bdev; the table is static.
        let bdev = unsafe { spdk_sys::spdk_shim_bdev_alloc(&raw const desc, &raw mut missing) };
        if bdev.is_null() {
            // SAFETY: nobody else has the node.
            drop(unsafe { Box::from_raw(node) });
            return Err(match needs::read(&missing) {
                Some((what, needs)) => BdevError::NeedsVersion { what, needs },
                None => BdevError::NoMemory { name: self.name },
            });
        }
        // SAFETY: nobody else has the node yet.
        unsafe { (*node).set_bdev(bdev) };
        // SAFETY: the app thread is current. The key, the node, lives until `device_gone_callback`.
        unsafe {
            spdk_sys::spdk_io_device_register(
                node.cast(),
                Some(create_channel_callback::<D>),
                Some(destroy_channel_callback::<D>),
                size_of::<ChannelContext<D>>() as u32,
                name,
            );
        }
        registration.list(NonNull::new(bdev));
        // SAFETY: the bdev was zeroed and filled in, on the app thread (M-20).
        let rc = unsafe { spdk_sys::spdk_bdev_register(bdev) };
        if let Err(errno) = Errno::check(rc) {
            registration.set_unregistering();
            // SAFETY: SPDK refused the bdev, so only the io_device knows the node, and nobody reads this field now.
            unsafe { (*node).refused() };
            // SAFETY: the key is registered; its callback frees the node once no channel is left.
            unsafe {
                spdk_sys::spdk_io_device_unregister(node.cast(), Some(device_gone_callback::<D>))
            };
            return Err(BdevError::Refused {
                name: self.name,
                errno,
            });
        }
        for alias in &c_aliases {
            // SAFETY: the bdev is registered, on the app thread; the name is copied. It was free above.
            let rc = unsafe { spdk_sys::spdk_bdev_alias_add(bdev, alias.as_ptr()) };
            if let Err(errno) = Errno::check(rc) {
                // Unregisters it.
                drop(RegisteredBdev::new(registration));
                return Err(BdevError::Refused {
                    name: alias.to_string_lossy().into_owned(),
                    errno,
                });
            }
        }
        Ok(RegisteredBdev::new(registration))
    }

    fn check(&self) -> Result<(CString, CString), BdevError> {
        let c_name = c_string(&self.name)?;
        let geometry = |what, got, allowed| {
            Err(BdevError::Geometry {
                name: self.name.clone(),
                what,
                got,
                allowed,
            })
        };
        let interleaved = match self.metadata_interleaved {
            true => self.metadata_size,
            false => 0,
        };
        // SPDK emulates WRITE_ZEROES from a buffer of 1 MiB, and overruns it with larger blocks.
        let data = self.block_size.saturating_sub(interleaved);
        if !(512..=65_536).contains(&data) || !data.is_power_of_two() {
            return geometry(
                "the block size",
                self.block_size.into(),
                "a power of two from 512 to 65536, and what metadata is interleaved",
            );
        }
        if self.metadata_size > 4096 {
            return geometry(
                "the metadata of a block",
                self.metadata_size.into(),
                "at most 4096 bytes",
            );
        }
        if let Some(dif) = self.dif {
            let need = if dif.guard_bits <= 16 { 8 } else { 16 };
            if self.metadata_size < need {
                return geometry(
                    "the metadata of a block",
                    self.metadata_size.into(),
                    "as large as the protection information in it: 8 bytes, or 16 with a guard of more than 16 bits",
                );
            }
        }
        if self.blocks == Blocks(0) || self.blocks.bytes(self.block_size).is_none() {
            return geometry(
                "the number of blocks",
                self.blocks.0,
                "at least 1, and below 2^64 bytes in all",
            );
        }
        if !self.align.is_power_of_two() || self.align > 4096 {
            return geometry(
                "the alignment",
                self.align as u64,
                "a power of two up to 4096",
            );
        }
        if self.splits_at_boundary && self.optimal_io_boundary == 0 {
            return geometry(
                "the boundary to split at",
                0,
                "at least 1 block: `optimal_io_boundary`",
            );
        }
        let product = CString::new(self.product.replace('\0', "")).unwrap_or_default();
        Ok((c_name, product))
    }
}

/// SPDK's form of a limit: 0 is none.
fn limit(blocks: Option<Blocks>) -> u32 {
    blocks.map_or(0, |blocks| u32::try_from(blocks.0).unwrap_or(u32::MAX))
}

fn c_string(name: &str) -> Result<CString, BdevError> {
    match CString::new(name) {
        Ok(c_name) if !name.is_empty() => Ok(c_name),
        _ => Err(BdevError::Name { name: name.into() }),
    }
}
