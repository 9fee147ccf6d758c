//! Units as types: an LBA is not a count of blocks, and neither is a count of bytes.
//!
//! SPDK's C functions take all three as `uint64_t`, some in blocks and some in bytes, and a swapped argument
//! compiles. Here it does not. Arithmetic is checked: [`Lba::checked_add`] and [`Blocks::bytes`] answer `None`
//! where the C code would wrap.

use std::fmt;

/// The address of a logical block: the first one of a bdev is `Lba(0)`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Lba(pub u64);

/// A number of logical blocks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Blocks(pub u64);

/// A number of bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Bytes(pub u64);

/// A number of mebibytes (2^20 bytes).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Mib(pub u64);

impl Lba {
    /// The block that lies `blocks` further on.
    ///
    /// ```
    /// use spdk_safe::units::{Blocks, Lba};
    /// assert_eq!(Lba(8).checked_add(Blocks(4)), Some(Lba(12)));
    /// assert_eq!(Lba(u64::MAX).checked_add(Blocks(1)), None);
    /// ```
    #[must_use]
    pub const fn checked_add(self, blocks: Blocks) -> Option<Self> {
        match self.0.checked_add(blocks.0) {
            Some(lba) => Some(Self(lba)),
            None => None,
        }
    }

    /// Whether `blocks` blocks from here on lie within a device of `capacity` blocks.
    ///
    /// ```
    /// use spdk_safe::units::{Blocks, Lba};
    /// assert!(Lba(6).fits(Blocks(2), Blocks(8)));
    /// assert!(!Lba(7).fits(Blocks(2), Blocks(8)));
    /// assert!(!Lba(u64::MAX).fits(Blocks(2), Blocks(u64::MAX)));
    /// ```
    #[must_use]
    pub const fn fits(self, blocks: Blocks, capacity: Blocks) -> bool {
        match self.checked_add(blocks) {
            Some(end) => end.0 <= capacity.0,
            None => false,
        }
    }
}

impl Blocks {
    /// How many bytes this is when a block has `block_size` of them.
    ///
    /// ```
    /// use spdk_safe::units::{Blocks, Bytes};
    /// assert_eq!(Blocks(8).bytes(512), Some(Bytes(4096)));
    /// assert_eq!(Blocks(u64::MAX).bytes(512), None);
    /// ```
    #[must_use]
    pub const fn bytes(self, block_size: u32) -> Option<Bytes> {
        match self.0.checked_mul(block_size as u64) {
            Some(bytes) => Some(Bytes(bytes)),
            None => None,
        }
    }
}

impl Bytes {
    /// How many blocks of `block_size` bytes this is; `None` unless it is a whole number of them.
    ///
    /// ```
    /// use spdk_safe::units::{Blocks, Bytes};
    /// assert_eq!(Bytes(4096).blocks(512), Some(Blocks(8)));
    /// assert_eq!(Bytes(4095).blocks(512), None);
    /// assert_eq!(Bytes(4096).blocks(0), None);
    /// ```
    #[must_use]
    pub const fn blocks(self, block_size: u32) -> Option<Blocks> {
        if block_size == 0 || self.0 % block_size as u64 != 0 {
            return None;
        }
        Some(Blocks(self.0 / block_size as u64))
    }
}

impl Mib {
    /// The same in bytes; `None` if that does not fit.
    #[must_use]
    pub const fn bytes(self) -> Option<Bytes> {
        match self.0.checked_mul(1 << 20) {
            Some(bytes) => Some(Bytes(bytes)),
            None => None,
        }
    }
}

impl fmt::Display for Lba {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LBA {}", self.0)
    }
}

impl fmt::Display for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} block{}", self.0, if self.0 == 1 { "" } else { "s" })
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} B", self.0)
    }
}

impl fmt::Display for Mib {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB", self.0)
    }
}
