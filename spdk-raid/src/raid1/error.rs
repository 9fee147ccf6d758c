//! Why an array is not created, or not changed.

use spdk_safe::error::{BdevError, ClaimError, IoDeviceError, OpenError};
use spdk_safe::units::Blocks;
use thiserror::Error;

use super::layout::LayoutError;

/// Why an array was not created. Nothing is left behind: bases that were claimed are free again.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CreateError {
    /// There is an array of that name already.
    #[error("there is a raid1 {array:?} already; choose another name or delete that one")]
    Exists {
        /// Its name.
        array: String,
    },
    /// The name is empty, longer than 63 bytes, or holds a NUL byte. Choose another one.
    #[error(
        "{array:?} can't be the name of a raid1 (it is empty, longer than 63 bytes, or holds a NUL byte)"
    )]
    Name {
        /// What was given.
        array: String,
    },
    /// A base has a name that none can have, or that of the array itself.
    #[error(
        "raid1 {array:?}: {base:?} can't be a base (it is empty, holds a NUL byte, or is the array itself)"
    )]
    BaseName {
        /// The array.
        array: String,
        /// What was given.
        base: String,
    },
    /// None of the bases is there, so that there is nothing to begin with.
    #[error("raid1 {array:?}: none of its bases is there")]
    NoBase {
        /// Its name.
        array: String,
    },
    /// An option has a value that it can't have.
    #[error("raid1 {array:?}: {source}")]
    Options {
        /// Its name.
        array: String,
        /// Which.
        source: Box<ChangeError>,
    },
    /// The bases do not make an array.
    #[error("raid1 {array:?}: {source}")]
    Layout {
        /// Its name.
        array: String,
        /// Why.
        source: LayoutError,
    },
    /// A base can't be opened.
    #[error("raid1 {array:?}: {source}")]
    Open {
        /// Its name.
        array: String,
        /// Why.
        source: OpenError,
    },
    /// A base can't be claimed.
    #[error("raid1 {array:?}: {source}")]
    Claim {
        /// Its name.
        array: String,
        /// Why.
        source: ClaimError,
    },
    /// The array's state for each thread can't be registered.
    #[error("raid1 {array:?}: {why}")]
    Device {
        /// Its name.
        array: String,
        /// Why.
        why: String,
    },
    /// The array can't be registered.
    #[error("raid1 {array:?}: {source}")]
    Register {
        /// Its name.
        array: String,
        /// Why.
        source: BdevError,
    },
}

impl CreateError {
    pub(super) fn device(array: &str, error: &IoDeviceError) -> Self {
        Self::Device {
            array: array.into(),
            why: error.to_string(),
        }
    }
}

/// Why an array was not changed. It is as it was before.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// There is no such array, or it is being deleted.
    #[error("the array is being deleted, or there is none of that name")]
    Ending,
    /// There is no such base in the array.
    #[error("base {name:?} is not in the array")]
    NotMember {
        /// The base.
        name: String,
    },
    /// Without the base the array would have no data. Add another one first, or delete the array.
    #[error(
        "base {name:?} is the last one in sync; add another one and let it be filled first, or delete the array"
    )]
    Last {
        /// The base.
        name: String,
    },
    /// No slot is free. Take a base away first, or replace one.
    #[error(
        "the array has no free place for base {name:?}; take a base away first, or replace one"
    )]
    Full {
        /// The base.
        name: String,
    },
    /// The base is smaller than the array.
    #[error("base {name:?} has {blocks}, and the array needs {needed}")]
    TooSmall {
        /// The base.
        name: String,
        /// What it has.
        blocks: Blocks,
        /// What the array has.
        needed: Blocks,
    },
    /// The base differs in something that all bases of an array have in common.
    #[error("base {name:?}: its {what} is {got}, and that of the array {needed}")]
    Differs {
        /// The base.
        name: String,
        /// What differs.
        what: &'static str,
        /// What it has.
        got: u64,
        /// What the array has.
        needed: u64,
    },
    /// The base can't be opened or claimed.
    #[error(transparent)]
    Base(Box<CreateError>),
    /// Its legs are being compared already.
    #[error("the array is being scrubbed already")]
    Scrubbing,
    /// There is no such job.
    #[error("the array has no such job under way")]
    NoJob,
    /// An option has a value that it can't have.
    #[error("{what} is {got}, which must be {allowed}")]
    Option {
        /// The option.
        what: &'static str,
        /// What was given.
        got: u64,
        /// What it may be.
        allowed: &'static str,
    },
    /// SPDK gave no thread for the job; see the log.
    #[error("{name:?}: there is no SPDK thread for the job (see the log)")]
    NoThread {
        /// What was to be done.
        name: String,
    },
}

impl From<CreateError> for ChangeError {
    fn from(error: CreateError) -> Self {
        Self::Base(Box::new(error))
    }
}
