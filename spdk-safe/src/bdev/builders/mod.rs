//! Bdevs that SPDK's own modules make, each behind a Cargo feature.
//!
//! The C functions are those of `module/bdev/*/*.h`, which are not installed. A bdev that was created has no owner: it
//! stays until it is deleted, its base is removed, or the app ends. What is checked here, SPDK does not check, or
//! checks after it has taken note of the name: it would then wait for the base for ever, and claim it when it comes.

#[cfg(feature = "bdev-aio")]
mod aio;
#[cfg(any(
    feature = "bdev-delay",
    feature = "bdev-error",
    feature = "bdev-passthru"
))]
mod base;
#[cfg(feature = "bdev-delay")]
mod delay;
#[cfg(feature = "bdev-error")]
mod error;
#[cfg(any(feature = "bdev-malloc", feature = "bdev-null"))]
mod geometry;
#[cfg(feature = "bdev-malloc")]
mod malloc;
#[cfg(feature = "bdev-null")]
mod null;
#[cfg(feature = "bdev-passthru")]
mod passthru;

#[cfg(feature = "bdev-aio")]
pub use aio::{AioBdev, AioBuilder};
#[cfg(feature = "bdev-delay")]
pub use delay::{DelayBdev, DelayBuilder, Latency};
#[cfg(feature = "bdev-error")]
pub use error::{ErrorBdev, ErrorBuilder, Fault, Injection};
#[cfg(feature = "bdev-malloc")]
pub use malloc::{MallocBdev, MallocBuilder};
#[cfg(feature = "bdev-null")]
pub use null::{NullBdev, NullBuilder};
#[cfg(feature = "bdev-passthru")]
pub use passthru::{PassthruBdev, PassthruBuilder};

use std::ffi::{CString, c_char, c_int, c_void};
use std::future::poll_fn;
use std::ptr;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use super::Uuid;
use super::lookup::look;
use super::needs;
use crate::app::Spdk;
use crate::error::{BdevError, Errno};
use crate::inside;
use crate::panic::contain;
use crate::sync::lock;

/// The longest name that we let through: SPDK cuts longer ones off in some places, and not in others.
const MAX_NAME: usize = 255;

/// Checks a name, and that no bdev has it. On the app thread.
fn check_name(name: &str) -> Result<CString, BdevError> {
    let c_name = match CString::new(name) {
        Ok(c_name) if !name.is_empty() && name.len() <= MAX_NAME => c_name,
        _ => {
            return Err(BdevError::Name {
                name: name.to_owned(),
            });
        }
    };
    // SAFETY: this is the app thread; the name lives across the call.
    if !unsafe { spdk_sys::spdk_bdev_get_by_name(c_name.as_ptr()) }.is_null() {
        return Err(BdevError::Exists {
            name: name.to_owned(),
        });
    }
    Ok(c_name)
}

/// The bytes of a UUID, for C: null for none.
fn uuid_ptr(uuid: &Option<Uuid>) -> *const u8 {
    uuid.as_ref()
        .map_or(ptr::null(), |uuid| uuid.as_bytes().as_ptr())
}

/// The answer of a call that creates or changes the bdev `name`.
fn created(name: &str, rc: c_int, needs: &spdk_sys::spdk_shim_needs) -> Result<(), BdevError> {
    let name = || name.to_owned();
    if let Some((what, needs)) = needs::read(needs) {
        return Err(BdevError::NeedsVersion { what, needs });
    }
    match Errno::check(rc) {
        Ok(()) => Ok(()),
        Err(errno) => Err(match errno.code() {
            libc::EEXIST => BdevError::Exists { name: name() },
            libc::ENOMEM => BdevError::NoMemory { name: name() },
            libc::ENODEV => BdevError::NotFound { name: name() },
            _ => BdevError::Refused {
                name: name(),
                errno,
            },
        }),
    }
}

/// A shim's function that deletes a bdev of one kind.
type DeleteFn = unsafe extern "C" fn(
    *const c_char,
    Option<unsafe extern "C" fn(*mut c_void, c_int)>,
    *mut c_void,
) -> c_int;

/// The end of a deletion. Up to SPDK 22.05 it is told on whichever thread let go of the bdev last.
#[derive(Default)]
struct Deletion {
    state: Mutex<(Option<c_int>, Option<Waker>)>,
}

/// Deletes the bdev `name` with the function of its kind, and waits until it is gone.
async fn delete(spdk: &Spdk, name: &str, function: DeleteFn) -> Result<(), BdevError> {
    spdk.check()?;
    let not_found = || BdevError::NotFound {
        name: name.to_owned(),
    };
    // Its own name, which is the one that the module knows, if it was given by another.
    // SAFETY: this is the app thread.
    let own = unsafe { look(name) }.map_or_else(|| name.to_owned(), |info| info.name);
    let c_name = CString::new(own).map_err(|_| not_found())?;

    let deletion = Arc::new(Deletion::default());
    let ctx = Arc::into_raw(Arc::clone(&deletion)).cast_mut().cast();
    // SAFETY: this is the app thread; `c_name` lives across the call; `ctx` keeps a count until the callback.
    let rc = unsafe { function(c_name.as_ptr(), Some(deleted_callback), ctx) };
    if rc != 0 {
        // SAFETY: there will be no callback, so the count that `into_raw` leaked is ours again.
        drop(unsafe { Arc::from_raw(ctx.cast_const().cast::<Deletion>()) });
        return Err(not_found());
    }
    let rc = poll_fn(|cx| {
        // Cloned and dropped without the lock: a waker is somebody's code.
        let waker = cx.waker().clone();
        let old = {
            let mut state = lock(&deletion.state);
            if let Some(rc) = state.0 {
                return Poll::Ready(rc);
            }
            state.1.replace(waker)
        };
        drop(old);
        Poll::Pending
    })
    .await;
    Errno::check(rc).map_err(|errno| match errno.code() {
        libc::ENODEV => not_found(),
        libc::EBUSY => BdevError::Deleting {
            name: name.to_owned(),
        },
        _ => BdevError::Refused {
            name: name.to_owned(),
            errno,
        },
    })
}

/// # Safety
///
/// SPDK calls this once, with the `Deletion` that the deletion was begun with.
unsafe extern "C" fn deleted_callback(ctx: *mut c_void, rc: c_int) {
    let _inside = inside::enter();
    contain("the deletion of a bdev", || {
        // SAFETY: by this function's contract; the count that `into_raw` leaked is handed to this `Arc`.
        let deletion = unsafe { Arc::from_raw(ctx.cast_const().cast::<Deletion>()) };
        let waker = {
            let mut state = lock(&deletion.state);
            state.0 = Some(rc);
            state.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    });
}
