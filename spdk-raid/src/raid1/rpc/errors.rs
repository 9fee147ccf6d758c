//! What errors of arrays are for whoever called a method: SPDK's codes, and our texts.

use spdk_safe::error::{ClaimError, OpenError};
use spdk_safe::rpc::RpcError;

use crate::raid1::{ChangeError, CreateError};

fn code(error: &CreateError) -> i32 {
    match error {
        CreateError::Exists { .. } => -libc::EEXIST,
        CreateError::NoBase { .. } => -libc::ENODEV,
        // Contract R-06.
        CreateError::Open {
            source: OpenError::Claimed { .. },
            ..
        }
        | CreateError::Claim {
            source: ClaimError::Claimed { .. },
            ..
        } => -libc::EPERM,
        CreateError::Open { source, .. } => RpcError::from(source.clone()).code(),
        CreateError::Claim { source, .. } => RpcError::from(source.clone()).code(),
        CreateError::Register { source, .. } => RpcError::from(source.clone()).code(),
        CreateError::Device { .. } => -libc::ENOMEM,
        // Names, layouts, options.
        _ => -libc::EINVAL,
    }
}

impl From<CreateError> for RpcError {
    fn from(error: CreateError) -> Self {
        Self::new(code(&error), error.to_string())
    }
}

impl From<ChangeError> for RpcError {
    fn from(error: ChangeError) -> Self {
        let code = match &error {
            ChangeError::Ending | ChangeError::NotMember { .. } => -libc::ENODEV,
            ChangeError::Last { .. } | ChangeError::Scrubbing => -libc::EBUSY,
            ChangeError::Base(error) => code(error),
            ChangeError::NoJob => -libc::ENOENT,
            ChangeError::NoThread { .. } => -libc::ENOMEM,
            // A base that does not fit, no place for it (contract ), options.
            _ => -libc::EINVAL,
        };
        Self::new(code, error.to_string())
    }
}
