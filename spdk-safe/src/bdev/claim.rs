//! Claims: who may write.

use std::fmt;

use super::info::text;

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
