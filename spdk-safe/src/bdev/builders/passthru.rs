//! Pass-through bdevs: a bdev over another one that changes nothing.
//!
//! C functions: `bdev_passthru_create_disk`, `bdev_passthru_delete_disk` of `module/bdev/passthru`.

use super::base::{check_base, or_awaited};
use super::{check_name, created, delete, uuid_ptr};
use crate::app::Spdk;
use crate::bdev::{Uuid, needs};
use crate::error::BdevError;

/// A bdev that passes on all I/O to its base, which it claims.
///
/// Not an owner: it stays until [`delete`](Self::delete), the removal of its base, or the end of the app. One that went
/// away with its base comes again with it, unless it was deleted before.
#[derive(Debug)]
pub struct PassthruBdev(());

/// A pass-through bdev to be created.
#[derive(Debug, Clone)]
#[must_use = "call `create` to create the bdev"]
pub struct PassthruBuilder {
    name: String,
    base: String,
    uuid: Option<Uuid>,
}

impl PassthruBdev {
    /// Begins a pass-through bdev named `name` over the bdev named `base`.
    pub fn builder(name: impl Into<String>, base: impl Into<String>) -> PassthruBuilder {
        PassthruBuilder {
            name: name.into(),
            base: base.into(),
            uuid: None,
        }
    }

    /// Deletes the pass-through bdev named `name`, and waits until it is gone: for descriptors of others, too.
    ///
    /// Once it was polled, the deletion goes on when the future is dropped.
    ///
    /// # Errors
    ///
    /// [`BdevError::NotFound`] if there is no pass-through bdev of that name.
    pub async fn delete(spdk: &Spdk, name: &str) -> Result<(), BdevError> {
        delete(spdk, name, spdk_sys::spdk_shim_passthru_delete).await
    }
}

impl PassthruBuilder {
    /// Its UUID; SPDK makes one if it is not said. Needs SPDK 23.09.
    pub fn uuid(mut self, uuid: Uuid) -> Self {
        self.uuid = Some(uuid);
        self
    }

    /// Creates the bdev.
    ///
    /// # Errors
    ///
    /// [`BdevError::NoBase`], [`BdevError::BaseClaimed`], [`BdevError::Awaited`] and their like.
    pub async fn create(self, spdk: &Spdk) -> Result<(), BdevError> {
        spdk.check()?;
        let c_name = check_name(&self.name)?;
        let c_base = check_base(&self.name, &self.base)?;
        let mut needs = needs::none();
        // SAFETY: this is the app thread; the names and the UUID live across the call.
        let rc = unsafe {
            spdk_sys::spdk_shim_passthru_create(
                c_name.as_ptr(),
                c_base.as_ptr(),
                uuid_ptr(&self.uuid),
                &raw mut needs,
            )
        };
        or_awaited(created(&self.name, rc, &needs))
    }
}
