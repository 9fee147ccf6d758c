//! AIO bdevs: a file or a block device of the kernel's, through Linux AIO.
//!
//! C functions: `create_aio_bdev`, `bdev_aio_delete` of `module/bdev/aio`.

use std::ffi::CString;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{check_name, created, delete, uuid_ptr};
use crate::app::Spdk;
use crate::bdev::{Uuid, needs};
use crate::error::{BdevError, Errno};

/// A bdev over a file.
///
/// Not an owner: the bdev stays until [`delete`](Self::delete), or the end of the app. The file stays.
#[derive(Debug)]
pub struct AioBdev(());

/// An AIO bdev to be created.
#[derive(Debug, Clone)]
#[must_use = "call `create` to create the bdev"]
pub struct AioBuilder {
    name: String,
    path: PathBuf,
    block_size: u32,
    read_only: bool,
    uuid: Option<Uuid>,
}

impl AioBdev {
    /// Begins a bdev named `name` over the file `path`, of 512-byte blocks.
    pub fn builder(name: impl Into<String>, path: impl Into<PathBuf>) -> AioBuilder {
        AioBuilder {
            name: name.into(),
            path: path.into(),
            block_size: 512,
            read_only: false,
            uuid: None,
        }
    }

    /// Deletes the bdev named `name`, and waits until it is gone: for descriptors of others, too.
    ///
    /// Once it was polled, the deletion goes on when the future is dropped.
    ///
    /// # Errors
    ///
    /// [`BdevError::NotFound`] if there is no AIO bdev of that name.
    pub async fn delete(spdk: &Spdk, name: &str) -> Result<(), BdevError> {
        delete(spdk, name, spdk_sys::spdk_shim_aio_delete).await
    }
}

impl AioBuilder {
    /// Bytes in a block: a power of two from 512 to 65536, and not less than the device's own, of which the file's
    /// size is a multiple. 512 if it is not said.
    pub fn block_size(mut self, bytes: u32) -> Self {
        self.block_size = bytes;
        self
    }

    /// Opens the file for reading only. Needs SPDK 23.01.
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// Its UUID; a random one if it is not said. Needs SPDK 24.09.
    pub fn uuid(mut self, uuid: Uuid) -> Self {
        self.uuid = Some(uuid);
        self
    }

    /// Creates the bdev.
    ///
    /// # Errors
    ///
    /// [`BdevError::File`] when the file can't be opened, or is none; [`BdevError::Geometry`] when its size does not
    /// fit.
    pub async fn create(self, spdk: &Spdk) -> Result<(), BdevError> {
        spdk.check()?;
        let c_name = check_name(&self.name)?;
        if !(512..=65_536).contains(&self.block_size) || !self.block_size.is_power_of_two() {
            return Err(BdevError::Geometry {
                name: self.name,
                what: "the block size",
                got: self.block_size.into(),
                allowed: "a power of two from 512 to 65536",
            });
        }
        let file_error = |errno| BdevError::File {
            name: self.name.clone(),
            path: self.path.clone(),
            errno: Errno::new(errno),
        };
        let c_path =
            CString::new(self.path.as_os_str().as_bytes()).map_err(|_| file_error(libc::EINVAL))?;
        // SPDK tells a file that it can't open by an errno that it may have lost, and takes any size.
        let size = size(&self.path, self.read_only)
            .map_err(|error| file_error(error.raw_os_error().unwrap_or(libc::EIO)))?;
        if let Some(size) = size {
            if size == 0 || size % u64::from(self.block_size) != 0 {
                return Err(BdevError::Geometry {
                    name: self.name,
                    what: "the size of the file in bytes",
                    got: size,
                    allowed: "a multiple of the block size, and not 0",
                });
            }
        }
        let opts = spdk_sys::spdk_shim_aio_opts {
            name: c_name.as_ptr(),
            path: c_path.as_ptr(),
            uuid: uuid_ptr(&self.uuid),
            block_size: self.block_size,
            read_only: self.read_only,
        };
        let mut needs = needs::none();
        // SAFETY: this is the app thread, and `opts` with what it points to lives across the call.
        let rc = unsafe { spdk_sys::spdk_shim_aio_create(&raw const opts, &raw mut needs) };
        created(&self.name, rc, &needs)
    }
}

/// The size of a regular file; `None` for a device.
fn size(path: &Path, read_only: bool) -> io::Result<Option<u64>> {
    use std::os::unix::fs::FileTypeExt;

    let metadata = std::fs::metadata(path)?;
    let kind = metadata.file_type();
    if kind.is_block_device() {
        return Ok(None);
    }
    if !kind.is_file() {
        // A pipe would block, a terminal has no size.
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    OpenOptions::new().read(true).write(!read_only).open(path)?;
    Ok(Some(metadata.len()))
}
