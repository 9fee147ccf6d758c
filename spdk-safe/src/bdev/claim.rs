//! Claims: who may write.
//!
//! C functions: `spdk_bdev_module_claim_bdev` (v1), `spdk_bdev_module_claim_bdev_desc` (v2, SPDK 23.05 and newer);
//! contract B-20 to B-23.
//!
//! | claim | needs | who may write then | beside it |
//! | --- | --- | --- | --- |
//! | [`ExclusiveWrite`] (v1) | a writable descriptor | its holder, and whoever had the bdev open for writing before | no claim |
//! | [`ReadManyWriteOne`] | nobody else who writes | its descriptor | no claim |
//! | [`ReadManyWriteNone`] | a read-only descriptor; nobody who writes | nobody | the same claim |
//! | [`ReadManyWriteShared`] | nobody else who writes unclaimed | every descriptor with the key | the same claim, with the same key |
//!
//! Everybody may read, always. A claim ends with its descriptor.

use std::fmt;
use std::num::NonZeroU64;

use super::desc::{DescMode, ReadOnly, ReadWrite, Writable};
use super::info::text;

mod sealed {
    use super::ClaimKind;

    /// What SPDK is told of a claim.
    pub trait Sealed {
        fn kind(&self) -> ClaimKind;
        /// Of a shared claim; else 0.
        fn key(&self) -> u64 {
            0
        }
    }
}

/// A claim that a descriptor which is open as `M` can make, with [`BdevDesc::claim_as`](super::BdevDesc::claim_as).
#[diagnostic::on_unimplemented(
    message = "a descriptor that is `{M}` can't make the claim `{Self}`",
    label = "not a claim for this descriptor",
    note = "`ReadManyWriteNone` is for descriptors that were opened with `read_only()`, `ExclusiveWrite` for those that \
            were opened with `read_write()`; `ReadManyWriteOne` and `ReadManyWriteShared` take both, and make them writable"
)]
pub trait ClaimAs<M: DescMode>: sealed::Sealed {
    /// How the descriptor is open when it holds the claim.
    type Mode: DescMode;
}

/// One module writes; nobody else can open the bdev for writing any more. SPDK does not look for those who have it open
/// for writing already (v1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExclusiveWrite;

/// One descriptor writes, and nobody else has the bdev open for writing. It makes a read-only descriptor writable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadManyWriteOne;

/// Nobody writes. Several descriptors may hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadManyWriteNone;

/// Those who know the key write. It makes a read-only descriptor writable; open it read-only if others hold the claim
/// already, for then it can't be opened for writing (B-23).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadManyWriteShared {
    /// What those who share the bdev agreed upon.
    pub key: NonZeroU64,
}

impl sealed::Sealed for ExclusiveWrite {
    fn kind(&self) -> ClaimKind {
        ClaimKind::ExclusiveWrite
    }
}

impl sealed::Sealed for ReadManyWriteOne {
    fn kind(&self) -> ClaimKind {
        ClaimKind::ReadManyWriteOne
    }
}

impl sealed::Sealed for ReadManyWriteNone {
    fn kind(&self) -> ClaimKind {
        ClaimKind::ReadManyWriteNone
    }
}

impl sealed::Sealed for ReadManyWriteShared {
    fn kind(&self) -> ClaimKind {
        ClaimKind::ReadManyWriteShared
    }

    fn key(&self) -> u64 {
        self.key.get()
    }
}

impl<M: Writable> ClaimAs<M> for ExclusiveWrite {
    type Mode = M;
}

impl<M: DescMode> ClaimAs<M> for ReadManyWriteOne {
    type Mode = ReadWrite;
}

impl ClaimAs<ReadOnly> for ReadManyWriteNone {
    type Mode = ReadOnly;
}

impl<M: DescMode> ClaimAs<M> for ReadManyWriteShared {
    type Mode = ReadWrite;
}

/// A claim that somebody holds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Claim {
    /// The module that holds it; if several do, the first one.
    pub by: String,
    /// What it lets others do.
    pub kind: ClaimKind,
}

/// What a claim lets others do (`enum spdk_bdev_claim_type`). Everybody may read, always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClaimKind {
    /// One module writes, through whatever it had open; nobody else opens it for writing (v1).
    ExclusiveWrite,
    /// One descriptor writes (v2).
    ReadManyWriteOne,
    /// Nobody writes (v2).
    ReadManyWriteNone,
    /// Those who know the same key write (v2).
    ReadManyWriteShared,
}

impl ClaimKind {
    pub(super) const fn raw(self) -> spdk_sys::spdk_shim_claim_type {
        use spdk_sys::spdk_shim_claim_type as ty;
        match self {
            Self::ExclusiveWrite => ty::SPDK_SHIM_CLAIM_EXCL_WRITE,
            Self::ReadManyWriteOne => ty::SPDK_SHIM_CLAIM_READ_MANY_WRITE_ONE,
            Self::ReadManyWriteNone => ty::SPDK_SHIM_CLAIM_READ_MANY_WRITE_NONE,
            Self::ReadManyWriteShared => ty::SPDK_SHIM_CLAIM_READ_MANY_WRITE_SHARED,
        }
    }
}

impl Claim {
    /// # Safety
    ///
    /// `bdev` is registered, and the app thread is current.
    pub(super) unsafe fn read(bdev: *mut spdk_sys::spdk_bdev) -> Option<Self> {
        use spdk_sys::spdk_shim_claim_type as ty;
        let mut raw = spdk_sys::spdk_shim_claim {
            type_: ty::SPDK_SHIM_CLAIM_NONE,
            module: std::ptr::null(),
        };
        // SAFETY: by this function's contract; `raw` lives across the call.
        unsafe { spdk_sys::spdk_shim_bdev_claim(bdev, &raw mut raw) };
        let kind = match raw.type_ {
            ty::SPDK_SHIM_CLAIM_EXCL_WRITE => ClaimKind::ExclusiveWrite,
            ty::SPDK_SHIM_CLAIM_READ_MANY_WRITE_ONE => ClaimKind::ReadManyWriteOne,
            ty::SPDK_SHIM_CLAIM_READ_MANY_WRITE_NONE => ClaimKind::ReadManyWriteNone,
            ty::SPDK_SHIM_CLAIM_READ_MANY_WRITE_SHARED => ClaimKind::ReadManyWriteShared,
            _ => return None,
        };
        // SAFETY: a module's name is a NUL-terminated string that lives for ever; null is allowed.
        let by = unsafe { text(raw.module) };
        Some(Self { by, kind })
    }
}

impl fmt::Display for ClaimKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ExclusiveWrite => "exclusive write",
            Self::ReadManyWriteOne => "read many, write one",
            Self::ReadManyWriteNone => "read many, write none",
            Self::ReadManyWriteShared => "read many, write shared",
        })
    }
}
