//! Sets of I/O types.

use std::fmt;

use crate::error::IoType;

/// Those that this crate has a name for, in SPDK's order.
const ALL: &[IoType] = &[
    IoType::Read,
    IoType::Write,
    IoType::Unmap,
    IoType::Flush,
    IoType::Reset,
    IoType::WriteZeroes,
    IoType::ZeroCopy,
    IoType::Compare,
    IoType::CompareAndWrite,
    IoType::Abort,
    IoType::SeekHole,
    IoType::SeekData,
    IoType::Copy,
];

/// SPDK's number of `io`: `enum spdk_bdev_io_type`, which only ever grew at its end.
pub(super) const fn raw(io: IoType) -> u32 {
    match io {
        IoType::Read => 1,
        IoType::Write => 2,
        IoType::Unmap => 3,
        IoType::Flush => 4,
        IoType::Reset => 5,
        IoType::WriteZeroes => 9,
        IoType::ZeroCopy => 10,
        IoType::Compare => 14,
        IoType::CompareAndWrite => 15,
        IoType::Abort => 16,
        IoType::SeekHole => 17,
        IoType::SeekData => 18,
        IoType::Copy => 19,
    }
}

/// The same by SPDK's number, of which 19 is the last.
const BY_NUMBER: [Option<IoType>; 20] = {
    let mut by_number = [None; 20];
    let mut at = 0;
    while at < ALL.len() {
        by_number[raw(ALL[at]) as usize] = Some(ALL[at]);
        at += 1;
    }
    by_number
};

/// A set of I/O types: what a bdev supports, itself or by emulation in SPDK's bdev layer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct IoTypes(u64);

impl IoTypes {
    /// Of a mask whose bit n is SPDK's I/O type n.
    pub(super) const fn from_raw(mask: u64) -> Self {
        Self(mask)
    }

    /// The type with SPDK's number `raw`; `None` for those that this crate has no name for.
    #[inline]
    pub(crate) fn find(number: i32) -> Option<IoType> {
        BY_NUMBER.get(usize::try_from(number).ok()?).copied()?
    }

    /// Whether `io` is in it.
    #[must_use]
    pub const fn contains(self, io: IoType) -> bool {
        self.0 & (1 << raw(io)) != 0
    }

    /// Those that are in it, in SPDK's order. Types that this crate has no name for are left out.
    pub fn iter(self) -> impl Iterator<Item = IoType> {
        ALL.iter().copied().filter(move |io| self.contains(*io))
    }
}

impl fmt::Display for IoTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, io) in self.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{io}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for IoTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}
