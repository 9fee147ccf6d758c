//! Delay bdevs: a bdev over another one whose reads and writes take longer.
//!
//! C functions: `create_delay_disk`, `vbdev_delay_update_latency_value`, `delete_delay_disk` of `module/bdev/delay`.

use std::ffi::CString;
use std::time::Duration;

use super::base::{check_base, or_awaited};
use super::{check_name, created, delete, uuid_ptr};
use crate::app::Spdk;
use crate::bdev::{Uuid, needs};
use crate::error::BdevError;

/// The longest latency: the end of the app waits for what is delayed.
const MAX: Duration = Duration::from_secs(60);

/// A bdev that delays the completion of reads and writes to its base, which it claims.
///
/// One I/O in a hundred takes the p99 latency, the others the average. Before SPDK 22.01 it can't be reset: that crashes
/// the process, so it is refused here. Not an owner: it stays until
/// [`delete`](Self::delete), the removal of its base, or the end of the app. One that went away with its base comes
/// again with it, unless it was deleted before.
#[derive(Debug)]
pub struct DelayBdev(());

/// A delay bdev to be created.
#[derive(Debug, Clone)]
#[must_use = "call `create` to create the bdev"]
pub struct DelayBuilder {
    name: String,
    base: String,
    uuid: Option<Uuid>,
    read: (Duration, Duration),
    write: (Duration, Duration),
}

/// One of the latencies of a delay bdev.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Latency {
    /// Of most reads.
    AverageRead,
    /// Of one read in a hundred.
    P99Read,
    /// Of most writes.
    AverageWrite,
    /// Of one write in a hundred.
    P99Write,
}

impl DelayBdev {
    /// Begins a delay bdev named `name` over the bdev named `base`, which delays nothing yet.
    pub fn builder(name: impl Into<String>, base: impl Into<String>) -> DelayBuilder {
        DelayBuilder {
            name: name.into(),
            base: base.into(),
            uuid: None,
            read: (Duration::ZERO, Duration::ZERO),
            write: (Duration::ZERO, Duration::ZERO),
        }
    }

    /// Changes a latency of the delay bdev named `name`, for I/O from now on. Whole microseconds, up to a minute.
    ///
    /// # Errors
    ///
    /// [`BdevError::NotFound`] if there is no delay bdev of that name.
    pub fn set_latency(
        spdk: &Spdk,
        name: &str,
        which: Latency,
        latency: Duration,
    ) -> Result<(), BdevError> {
        use spdk_sys::spdk_shim_latency as ty;
        spdk.check()?;
        let us = micros(name, latency)?;
        let c_name = CString::new(name).map_err(|_| BdevError::NotFound {
            name: name.to_owned(),
        })?;
        let which = match which {
            Latency::AverageRead => ty::SPDK_SHIM_LATENCY_AVG_READ,
            Latency::P99Read => ty::SPDK_SHIM_LATENCY_P99_READ,
            Latency::AverageWrite => ty::SPDK_SHIM_LATENCY_AVG_WRITE,
            Latency::P99Write => ty::SPDK_SHIM_LATENCY_P99_WRITE,
        };
        // SAFETY: this is the app thread; the name lives across the call.
        let rc = unsafe { spdk_sys::spdk_shim_delay_update(c_name.as_ptr(), which, us) };
        // A bdev of another kind is -EINVAL up to some version; all else was checked.
        let rc = if rc == -libc::EINVAL {
            -libc::ENODEV
        } else {
            rc
        };
        created(name, rc, &needs::none())
    }

    /// Deletes the delay bdev named `name`, and waits until it is gone: for what it delays, and for descriptors of
    /// others, too.
    ///
    /// Once it was polled, the deletion goes on when the future is dropped.
    ///
    /// # Errors
    ///
    /// [`BdevError::NotFound`] if there is no delay bdev of that name.
    pub async fn delete(spdk: &Spdk, name: &str) -> Result<(), BdevError> {
        delete(spdk, name, spdk_sys::spdk_shim_delay_delete).await
    }
}

impl DelayBuilder {
    /// What a read takes beyond the base's own time: most of them `average`, one in a hundred `p99`.
    pub fn read(mut self, average: Duration, p99: Duration) -> Self {
        self.read = (average, p99);
        self
    }

    /// The same for a write.
    pub fn write(mut self, average: Duration, p99: Duration) -> Self {
        self.write = (average, p99);
        self
    }

    /// Its UUID; SPDK makes one if it is not said. Needs SPDK 23.05.
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
        for (average, p99) in [self.read, self.write] {
            let average = micros(&self.name, average)?;
            if micros(&self.name, p99)? < average {
                return Err(BdevError::Geometry {
                    name: self.name,
                    what: "the p99 latency in microseconds",
                    got: p99.as_micros() as u64,
                    allowed: "not below the average",
                });
            }
        }
        let c_base = check_base(&self.name, &self.base)?;
        let opts = spdk_sys::spdk_shim_delay_opts {
            name: c_name.as_ptr(),
            base: c_base.as_ptr(),
            uuid: uuid_ptr(&self.uuid),
            avg_read: micros(&self.name, self.read.0)?,
            p99_read: micros(&self.name, self.read.1)?,
            avg_write: micros(&self.name, self.write.0)?,
            p99_write: micros(&self.name, self.write.1)?,
        };
        let mut needs = needs::none();
        // SAFETY: this is the app thread, and `opts` with what it points to lives across the call.
        let rc = unsafe { spdk_sys::spdk_shim_delay_create(&raw const opts, &raw mut needs) };
        or_awaited(created(&self.name, rc, &needs))
    }
}

fn micros(name: &str, latency: Duration) -> Result<u64, BdevError> {
    match u64::try_from(latency.as_micros()) {
        Ok(us) if latency <= MAX => Ok(us),
        us => Err(BdevError::Geometry {
            name: name.to_owned(),
            what: "a latency in microseconds",
            got: us.unwrap_or(u64::MAX),
            allowed: "a minute at most",
        }),
    }
}
