//! What a call over JSON-RPC answers instead of a result, and methods that can't be registered.

use std::borrow::Cow;
use std::fmt;

use thiserror::Error;

use super::{
    BdevCallError, BdevError, CallError, ChannelError, ClaimError, Errno, Error as AnyError,
    IoError, JoinError, OpenError, ThreadCreateError, ThreadError,
};

/// The error that a method answers with: a code and a text.
///
/// The codes are SPDK's: those of JSON-RPC, [`INVALID_STATE`](Self::INVALID_STATE), and negated errnos for what a
/// method itself has to say (`-19`, ENODEV, for a bdev that is not there). The errors of this crate turn into the errno
/// that SPDK's own methods would answer, with their text, so that `?` does in a handler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RpcError {
    code: i32,
    message: Cow<'static, str>,
}

impl RpcError {
    /// The request is no JSON (`SPDK_JSONRPC_ERROR_PARSE_ERROR`); SPDK answers so itself.
    pub const PARSE: i32 = -32700;
    /// The request is no JSON-RPC (`SPDK_JSONRPC_ERROR_INVALID_REQUEST`); SPDK answers so itself.
    pub const INVALID_REQUEST: i32 = -32600;
    /// There is no such method (`SPDK_JSONRPC_ERROR_METHOD_NOT_FOUND`); SPDK answers so itself.
    pub const METHOD_NOT_FOUND: i32 = -32601;
    /// A parameter is missing, unknown, or of the wrong type (`SPDK_JSONRPC_ERROR_INVALID_PARAMS`).
    pub const INVALID_PARAMS: i32 = -32602;
    /// The handler panicked, or was dropped before it had answered (`SPDK_JSONRPC_ERROR_INTERNAL_ERROR`).
    pub const INTERNAL: i32 = -32603;
    /// Not now (`SPDK_JSONRPC_ERROR_INVALID_STATE`): before the framework is up, after it is, or while the app ends.
    pub const INVALID_STATE: i32 = -1;

    /// An error with a code of one's own.
    pub fn new(code: i32, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// A parameter that can't be: [`INVALID_PARAMS`](Self::INVALID_PARAMS). Name it.
    pub fn invalid_params(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Self::INVALID_PARAMS, message)
    }

    /// A fault of the method itself: [`INTERNAL`](Self::INTERNAL).
    pub fn internal(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Self::INTERNAL, message)
    }

    /// Not now: [`INVALID_STATE`](Self::INVALID_STATE).
    pub fn invalid_state(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Self::INVALID_STATE, message)
    }

    /// An errno, whose code is its negative.
    pub fn errno(errno: Errno, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(-errno.code(), message)
    }

    /// The code.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.code
    }

    /// The text.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for RpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl std::error::Error for RpcError {}

impl From<Errno> for RpcError {
    fn from(errno: Errno) -> Self {
        Self::errno(errno, errno.to_string())
    }
}

/// The code of an error of ours, which goes out with its text.
macro_rules! codes {
    ($($error:ident: |$it:ident| $code:expr;)*) => {$(
        impl From<$error> for RpcError {
            fn from($it: $error) -> Self {
                Self::new($code, $it.to_string())
            }
        }
    )*};
}

codes! {
    ThreadError: |error| thread(error);
    BdevError: |error| match &error {
        BdevError::Thread(error) => thread(*error),
        BdevError::Name { .. } | BdevError::Geometry { .. } | BdevError::Inject { .. } => -libc::EINVAL,
        BdevError::Exists { .. } | BdevError::Awaited { .. } => -libc::EEXIST,
        BdevError::NotFound { .. } | BdevError::NoBase { .. } => -libc::ENODEV,
        BdevError::InUse { .. } | BdevError::Quiesced { .. } | BdevError::Deleting { .. } | BdevError::BaseClaimed { .. } => -libc::EBUSY,
        BdevError::File { errno, .. } | BdevError::Refused { errno, .. } => -errno.code(),
        BdevError::NeedsVersion { .. } => -libc::ENOTSUP,
        BdevError::NoMemory { .. } => -libc::ENOMEM,
        BdevError::ModuleNotAdded { .. } | BdevError::DriverContext { .. } => RpcError::INTERNAL,
    };
    OpenError: |error| match &error {
        OpenError::Thread(error) => thread(*error),
        OpenError::NotFound { .. } => -libc::ENODEV,
        OpenError::TimedOut { .. } => -libc::ETIMEDOUT,
        OpenError::Claimed { .. } => -libc::EBUSY,
        OpenError::Refused { errno, .. } => -errno.code(),
    };
    ClaimError: |error| match &error {
        ClaimError::Thread(error) => thread(*error),
        ClaimError::Claimed { .. } | ClaimError::OtherKey { .. } | ClaimError::Writers { .. } => -libc::EBUSY,
        ClaimError::NeedsVersion { .. } => -libc::ENOTSUP,
        ClaimError::Removed { .. } => -libc::ENODEV,
        ClaimError::ModuleNotAdded { .. } => RpcError::INTERNAL,
        ClaimError::Refused { errno, .. } => -errno.code(),
    };
    ChannelError: |error| match &error {
        ChannelError::Thread(error) => thread(*error),
        ChannelError::Removed { .. } => -libc::ENODEV,
        ChannelError::Refused { .. } => -libc::ENOMEM,
        ChannelError::Cycle { .. } => -libc::EINVAL,
        ChannelError::Device(_) => RpcError::INTERNAL,
    };
    BdevCallError: |error| match &error {
        BdevCallError::Thread(error) => thread(*error),
        BdevCallError::Removed { .. } => -libc::ENODEV,
        BdevCallError::Busy { .. } => -libc::EBUSY,
        BdevCallError::NeedsVersion { .. } => -libc::ENOTSUP,
        BdevCallError::NoHistogram { .. } => -libc::ENOENT,
        BdevCallError::Limit { .. } => -libc::EINVAL,
        BdevCallError::NoMemory { .. } => -libc::ENOMEM,
        BdevCallError::Refused { errno, .. } => -errno.code(),
    };
    IoError: |error| match &error {
        IoError::Thread(error) => thread(*error),
        IoError::Alloc(_) => -libc::ENOMEM,
        IoError::Removed { .. } => -libc::ENODEV,
        IoError::Unsupported { .. } | IoError::NeedsVersion { .. } => -libc::ENOTSUP,
        IoError::Aborted { .. } => -libc::ECANCELED,
        IoError::Submit { errno, .. } => -errno.code(),
        IoError::Failed { .. } | IoError::Panic { .. } => -libc::EIO,
        _ => -libc::EINVAL,
    };
    CallError: |error| match &error {
        CallError::Exited { .. } => -libc::ESHUTDOWN,
        _ => RpcError::INTERNAL,
    };
    JoinError: |error| match &error {
        JoinError::Aborted { .. } => -libc::ECANCELED,
        JoinError::Exited { .. } => -libc::ESHUTDOWN,
        _ => RpcError::INTERNAL,
    };
    ThreadCreateError: |error| match &error {
        ThreadCreateError::Thread(error) => thread(*error),
        ThreadCreateError::Name { .. } | ThreadCreateError::Cores { .. } => -libc::EINVAL,
        _ => -libc::ENOMEM,
    };
}

fn thread(error: ThreadError) -> i32 {
    match error {
        ThreadError::Ending | ThreadError::Exiting => -libc::ESHUTDOWN,
        _ => RpcError::INTERNAL,
    }
}

impl From<AnyError> for RpcError {
    fn from(error: AnyError) -> Self {
        match error {
            AnyError::Thread(error) => error.into(),
            AnyError::ThreadCreate(error) => error.into(),
            AnyError::Call(error) => error.into(),
            AnyError::Join(error) => error.into(),
            AnyError::Bdev(error) => error.into(),
            AnyError::Open(error) => error.into(),
            AnyError::Claim(error) => error.into(),
            AnyError::Channel(error) => error.into(),
            AnyError::BdevCall(error) => error.into(),
            AnyError::Io(error) => error.into(),
            error => Self::internal(error.to_string()),
        }
    }
}

/// Why a method was not registered.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// There is a method of this name: SPDK's, somebody else's, or the same one. Choose another name, or register once.
    #[error("there is an RPC named {method:?} already; choose another name, or register it once")]
    Exists {
        /// The name.
        method: &'static str,
    },
    /// The name is empty, or has other characters than printable ASCII without spaces. Choose another one.
    #[error(
        "{method:?} can't be the name of an RPC: only printable ASCII characters without spaces, at least one"
    )]
    Name {
        /// The name.
        method: &'static str,
    },
    /// SPDK runs, and this is not its app thread, or the app is over. Register before it starts: `.rpc(..)` on the app
    /// builder.
    #[error(
        "RPC {method:?} can't be registered here: do it before SPDK starts (`.rpc(..)` on the app builder), or on \
         its app thread"
    )]
    NotNow {
        /// The name.
        method: &'static str,
    },
}
