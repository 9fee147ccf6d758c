//! Who keeps the state of an array where it outlives the process.
//!
//! Nobody does, today. The place is there: whoever does is asked each time that a leg leaves or joins, and no request
//! that a leg has failed is acknowledged before it has answered. So after a crash a leg that missed something is known.

use std::future::Future;
use std::pin::Pin;

use spdk_safe::bdev::Uuid;
use thiserror::Error;

use super::state::Slot;

/// What is to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// The array's name.
    pub name: String,
    /// The array's UUID.
    pub uuid: Option<Uuid>,
    /// Its legs.
    pub legs: Vec<Slot>,
    /// Higher with each change.
    pub version: u64,
}

/// The state of an array could not be kept.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the state of raid1 {array:?} could not be kept: {why}")]
pub struct PersistError {
    /// The array.
    pub array: String,
    /// Why, for people.
    pub why: String,
}

/// The answer of a [`Persistence`].
pub type Recorded<'a> = Pin<Box<dyn Future<Output = Result<(), PersistError>> + 'a>>;

/// Keeps the state of arrays.
pub trait Persistence: Send + Sync + 'static {
    /// Keeps `record`, for good when the future is done. On the app thread, for one array one after the other.
    ///
    /// An error fails the requests that wait for it; the array goes on.
    fn record<'a>(&'a self, record: &'a Record) -> Recorded<'a>;
}

/// Keeps nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPersistence;

impl Persistence for NoPersistence {
    fn record<'a>(&'a self, _: &'a Record) -> Recorded<'a> {
        Box::pin(async { Ok(()) })
    }
}
