//! Malloc bdevs: disks in memory.
//!
//! C functions: `create_malloc_disk`, `delete_malloc_disk` of `module/bdev/malloc` (contract L-01 to L-07).

use std::cell::Cell;
use std::ffi::{CString, c_int, c_void};
use std::future::poll_fn;
use std::ptr;
use std::rc::Rc;
use std::task::{Poll, Waker};

use crate::app::Spdk;
use crate::error::{BdevError, Errno};
use crate::panic::contain;
use crate::units::Blocks;

/// A disk in SPDK's memory, which must be large enough for it: `.memory(..)` of the app's builder.
///
/// Not an owner: the disk stays until [`delete`](Self::delete), or the end of the app.
#[derive(Debug)]
pub struct MallocBdev(());

/// A malloc bdev to be created.
#[derive(Debug, Clone)]
#[must_use = "call `create` to create the bdev"]
pub struct MallocBuilder {
    name: String,
    blocks: Blocks,
    block_size: u32,
    optimal_io_boundary: u32,
}

impl MallocBdev {
    /// Begins a disk named `name`, of 512-byte blocks; say how many with [`blocks`](MallocBuilder::blocks).
    pub fn builder(name: impl Into<String>) -> MallocBuilder {
        MallocBuilder {
            name: name.into(),
            blocks: Blocks(0),
            block_size: 512,
            optimal_io_boundary: 0,
        }
    }

    /// Deletes the disk named `name`, and waits until it is gone: for descriptors of others, too.
    ///
    /// # Errors
    ///
    /// [`BdevError::NotFound`] if there is no malloc bdev of that name.
    pub async fn delete(spdk: &Spdk, name: &str) -> Result<(), BdevError> {
        spdk.check()?;
        let not_found = || BdevError::NotFound {
            name: name.to_owned(),
        };
        let c_name = CString::new(name).map_err(|_| not_found())?;
        let done = Rc::new(Deleted::default());
        let ctx = Rc::into_raw(Rc::clone(&done)).cast_mut().cast::<c_void>();
        // SAFETY: this is the app thread; `c_name` lives across the call; `ctx` keeps a count until the callback.
        let rc = unsafe {
            spdk_sys::spdk_shim_malloc_delete(c_name.as_ptr(), Some(deleted_callback), ctx)
        };
        if rc != 0 {
            // SAFETY: there will be no callback, so the count that `into_raw` leaked is ours again.
            drop(unsafe { Rc::from_raw(ctx.cast_const().cast::<Deleted>()) });
            return Err(not_found());
        }
        let rc = poll_fn(|cx| match done.rc.get() {
            Some(rc) => Poll::Ready(rc),
            None => {
                done.waker.set(Some(cx.waker().clone()));
                Poll::Pending
            }
        })
        .await;
        Errno::check(rc).map_err(|errno| BdevError::Refused {
            name: name.to_owned(),
            errno,
        })
    }
}

impl MallocBuilder {
    /// Its size. Must be said.
    pub fn blocks(mut self, blocks: impl Into<Blocks>) -> Self {
        self.blocks = blocks.into();
        self
    }

    /// Bytes in a block: a multiple of 512. 512 if it is not said.
    pub fn block_size(mut self, bytes: u32) -> Self {
        self.block_size = bytes;
        self
    }

    /// Blocks between boundaries at which SPDK splits I/O; needs SPDK 22.01.
    pub fn optimal_io_boundary(mut self, blocks: u32) -> Self {
        self.optimal_io_boundary = blocks;
        self
    }

    /// Creates the disk, filled with zeroes.
    ///
    /// # Errors
    ///
    /// See [`BdevError`]; [`BdevError::NoMemory`] when SPDK's memory is too small.
    pub async fn create(self, spdk: &Spdk) -> Result<(), BdevError> {
        spdk.check()?;
        let name = self.name;
        let c_name = match CString::new(name.as_str()) {
            Ok(c_name) if !name.is_empty() => c_name,
            _ => return Err(BdevError::Name { name }),
        };
        let geometry = |what, got, allowed| BdevError::Geometry {
            name: name.clone(),
            what,
            got,
            allowed,
        };
        if self.block_size == 0 || self.block_size % 512 != 0 {
            return Err(geometry(
                "the block size",
                self.block_size.into(),
                "a multiple of 512",
            ));
        }
        if self.blocks == Blocks(0) || self.blocks.bytes(self.block_size).is_none() {
            return Err(geometry(
                "the number of blocks",
                self.blocks.0,
                "at least 1, and below 2^64 bytes in all",
            ));
        }
        let opts = spdk_sys::spdk_shim_malloc_opts {
            name: c_name.as_ptr(),
            num_blocks: self.blocks.0,
            block_size: self.block_size,
            optimal_io_boundary: self.optimal_io_boundary,
        };
        let mut bdev = ptr::null_mut();
        // SAFETY: this is the app thread, and `opts` with its name lives across the call.
        let rc = unsafe { spdk_sys::spdk_shim_malloc_create(&raw const opts, &raw mut bdev) };
        match Errno::check(rc) {
            Ok(()) => Ok(()),
            Err(errno) if errno.code() == libc::EEXIST => Err(BdevError::Exists { name }),
            Err(errno) if errno.code() == libc::ENOMEM => Err(BdevError::NoMemory { name }),
            Err(errno) => Err(BdevError::Refused { name, errno }),
        }
    }
}

impl From<u64> for Blocks {
    fn from(blocks: u64) -> Self {
        Self(blocks)
    }
}

/// The end of a deletion. On the app thread only.
#[derive(Default)]
struct Deleted {
    rc: Cell<Option<c_int>>,
    waker: Cell<Option<Waker>>,
}

/// # Safety
///
/// SPDK calls this once, on the app thread, with the `Deleted` that the deletion was begun with.
unsafe extern "C" fn deleted_callback(ctx: *mut c_void, rc: c_int) {
    contain("the deletion of a malloc bdev", || {
        // SAFETY: by this function's contract; the count that `into_raw` leaked is handed to this `Rc`.
        let done = unsafe { Rc::from_raw(ctx.cast_const().cast::<Deleted>()) };
        done.rc.set(Some(rc));
        if let Some(waker) = done.waker.take() {
            waker.wake();
        }
    });
}
