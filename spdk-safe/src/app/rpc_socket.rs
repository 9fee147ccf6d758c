//! The Unix socket of the RPC server, which only its owner may use.
//!
//! SPDK binds it with whatever mode the umask leaves, 0755 as a rule, and says nothing of who may connect. Whoever can,
//! can do all that the target can. So the umask is 0077 while SPDK starts, and the mode 0600 once it has.

use std::fmt;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use crate::error::AppError;

/// The length of a path that `struct sockaddr_un` has room for, besides its NUL.
const LONGEST: usize = 107;

/// `path` from the root, if SPDK can listen there: it takes a socket that is in use as a reason to log a line, and 20.07
/// goes on without a server then.
pub(super) fn checked(path: &Path) -> Result<PathBuf, AppError> {
    let failed = |source| AppError::RpcSocket {
        path: path.to_owned(),
        source,
    };
    let full = std::path::absolute(path).map_err(failed)?;
    if full.as_os_str().len() > LONGEST {
        return Err(AppError::OutOfRange {
            what: "RPC socket",
            got: full.display().to_string(),
            allowed: "a path of at most 107 bytes",
        });
    }
    if UnixStream::connect(&full).is_ok() {
        return Err(failed(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another process listens there",
        )));
    }
    Ok(full)
}

/// A socket that is to be made, and the umask of the process until it is.
pub(super) struct OwnerOnly {
    path: PathBuf,
    umask: libc::mode_t,
}

impl OwnerOnly {
    /// What is created from now on is for its owner only.
    pub(super) fn begin(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            // SAFETY: only changes a number of the process.
            umask: unsafe { libc::umask(0o077) },
        }
    }

    /// Whether somebody listens already.
    pub(super) fn is_served(&self) -> bool {
        UnixStream::connect(&self.path).is_ok()
    }

    /// SPDK has started: the umask is the old one, and the socket is there.
    pub(super) fn end(self) -> Result<(), AppError> {
        let is_there = std::fs::symlink_metadata(&self.path).and_then(|file| {
            match file.file_type().is_socket() {
                true => std::fs::set_permissions(&self.path, Permissions::from_mode(0o600)),
                false => Err(io::Error::new(io::ErrorKind::AlreadyExists, "no socket")),
            }
        });
        is_there.map_err(|source| AppError::RpcSocket {
            path: self.path.clone(),
            source,
        })
    }
}

impl Drop for OwnerOnly {
    fn drop(&mut self) {
        // SAFETY: only changes a number of the process.
        unsafe { libc::umask(self.umask) };
    }
}

impl fmt::Debug for OwnerOnly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnerOnly")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
