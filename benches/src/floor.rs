//! The floor, `csrc/floor.c`: the least that a mirror of two legs can do in C.

use std::ffi::{CString, c_char, c_int, c_void};
use std::ptr::{self, NonNull};

use futures::channel::oneshot;
use spdk_safe::app::Spdk;

use crate::client::RigError;

/// `csrc/floor.h`.
mod ffi {
    use super::{c_char, c_int, c_void};

    #[repr(C)]
    pub(super) struct Floor {
        _opaque: [u8; 0],
    }

    unsafe extern "C" {
        pub(super) fn bench_floor_create(
            name: *const c_char,
            legs: *const *const c_char,
            fault: c_int,
            floor: *mut *mut Floor,
        ) -> c_int;
        pub(super) fn bench_floor_delete(
            floor: *mut Floor,
            gone: unsafe extern "C" fn(*mut c_void, c_int),
            arg: *mut c_void,
        );
    }
}

/// What is wrong with it, to see that this is found: the numbers of `enum bench_floor_fault`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    Sound = 0,
    Forgets = 1,
    Garbles = 2,
}

/// A floor that is registered.
///
/// # Invariants
///
/// `raw` is registered, and this belongs to the app thread, as `Spdk` does: it is `!Send`.
#[derive(Debug)]
pub(crate) struct Floor {
    raw: NonNull<ffi::Floor>,
}

impl Floor {
    pub(crate) fn create(
        _spdk: &Spdk,
        name: &str,
        legs: [&str; 2],
        fault: Fault,
    ) -> Result<Self, RigError> {
        let what = "register the floor";
        let c_string = |text: &str| {
            CString::new(text).map_err(|_| RigError::C {
                what,
                errno: libc::EINVAL,
            })
        };
        let name = c_string(name)?;
        let leg_names = [c_string(legs[0])?, c_string(legs[1])?];
        let legs = [leg_names[0].as_ptr(), leg_names[1].as_ptr()];
        let mut raw = ptr::null_mut();
        // SAFETY: `Spdk` is only on the app thread; all names live across the call.
        let rc = unsafe {
            ffi::bench_floor_create(name.as_ptr(), legs.as_ptr(), fault as c_int, &raw mut raw)
        };
        let raw = NonNull::new(raw).ok_or(RigError::C { what, errno: -rc })?;
        // INVARIANT: registered, here.
        Ok(Self { raw })
    }

    /// Unregisters it, and waits until it is gone.
    pub(crate) async fn delete(self) -> Result<(), RigError> {
        let (sender, receiver) = oneshot::channel::<c_int>();
        let arg = Box::into_raw(Box::new(sender)).cast::<c_void>();
        // SAFETY: by the type invariant it is registered and this is its thread; this is consumed, so it is deleted once.
        unsafe { ffi::bench_floor_delete(self.raw.as_ptr(), gone_callback, arg) };
        match receiver.await {
            Ok(0) => Ok(()),
            rc => Err(RigError::C {
                what: "unregister the floor",
                errno: -rc.unwrap_or(-libc::ECANCELED),
            }),
        }
    }
}

/// # Safety
///
/// C calls this once, with the sender that was given to `bench_floor_delete`.
unsafe extern "C" fn gone_callback(arg: *mut c_void, rc: c_int) {
    // SAFETY: by this function's contract.
    let sender = unsafe { Box::from_raw(arg.cast::<oneshot::Sender<c_int>>()) };
    let _ = sender.send(rc);
}
