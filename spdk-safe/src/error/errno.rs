//! The errnos behind some errors.

use std::fmt;

/// An errno as SPDK returns it, always positive here.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(i32);

impl Errno {
    /// Takes a return code of SPDK's: `Err` for a negated errno.
    pub(crate) fn check(rc: i32) -> Result<(), Self> {
        if rc < 0 { Err(Self(-rc)) } else { Ok(()) }
    }

    /// The errno that `code` (of either sign) is.
    pub(crate) const fn new(code: i32) -> Self {
        Self(code.wrapping_abs())
    }

    /// The number, as in `errno.h`.
    #[must_use]
    pub const fn code(self) -> i32 {
        self.0
    }

    /// The name, as in `errno.h`; `None` for a number that SPDK does not use.
    ///
    /// ```
    /// # use spdk_safe::error::Errno;
    /// assert_eq!(Errno::from_code(-libc::EBUSY).name(), Some("EBUSY"));
    /// assert_eq!(Errno::from_code(16).to_string(), "Device or resource busy (EBUSY)");
    /// ```
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        let known = NAMES.iter().find(|(code, _)| *code == self.0);
        known.map(|(_, name)| *name)
    }

    /// The errno that `code` is, negated or not.
    #[must_use]
    pub const fn from_code(code: i32) -> Self {
        Self::new(code)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = std::io::Error::from_raw_os_error(self.0).to_string();
        // std ends it with the number; the name says more.
        let text = text.split(" (os error").next().unwrap_or_default();
        match self.name() {
            Some(name) => write!(f, "{text} ({name})"),
            None => write!(f, "{text} (errno {})", self.0),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Errno({}: {self})", self.0)
    }
}

/// What SPDK and its modules answer with.
macro_rules! names {
    ($($name:ident),* $(,)?) => { &[$((libc::$name, stringify!($name))),*] };
}

const NAMES: &[(i32, &str)] = names![
    EPERM,
    ENOENT,
    EINTR,
    EIO,
    ENXIO,
    E2BIG,
    EBADF,
    EAGAIN,
    ENOMEM,
    EACCES,
    EFAULT,
    EBUSY,
    EEXIST,
    ENODEV,
    ENOTDIR,
    EISDIR,
    EINVAL,
    ENFILE,
    EMFILE,
    EFBIG,
    ENOSPC,
    EROFS,
    ERANGE,
    EDEADLK,
    ENAMETOOLONG,
    ENOSYS,
    EILSEQ,
    EOVERFLOW,
    EPROTO,
    ENOTSUP,
    EADDRINUSE,
    ENOTCONN,
    ESHUTDOWN,
    ETIMEDOUT,
    ECONNREFUSED,
    EALREADY,
    EINPROGRESS,
    ECANCELED,
    ENOBUFS,
];
