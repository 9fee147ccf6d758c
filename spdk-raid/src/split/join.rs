//! Many children, one status.

use std::fmt;

/// Makes one result of those of the children of a request: the first failure, or success when all have ended.
///
/// A request counts as one child of itself until [`sent`](Self::sent): children may end while others are still being
/// sent, and the request is over only when the sender says so, too.
///
/// ```
/// use spdk_raid::split::Join;
/// let mut join = Join::new();
/// join.begin();
/// join.begin();
/// assert_eq!(join.end(Err("medium error")), None);
/// assert_eq!(join.sent(), None); // one is still out
/// assert_eq!(join.end(Ok(())), Some(Err("medium error")));
/// ```
#[must_use = "the request has no end before all of its children have"]
pub struct Join<E> {
    /// Children that have not ended, and the sender.
    open: u64,
    failed: Option<E>,
}

impl<E> Join<E> {
    /// No child yet.
    pub const fn new() -> Self {
        Self {
            open: 1,
            failed: None,
        }
    }

    /// A child is about to be sent.
    pub const fn begin(&mut self) {
        self.open += 1;
    }

    /// A child has ended. `Some` if that was the last: the result of the request.
    pub fn end(&mut self, result: Result<(), E>) -> Option<Result<(), E>> {
        if let (None, Err(error)) = (&self.failed, result) {
            self.failed = Some(error);
        }
        self.open = self.open.checked_sub(1)?;
        (self.open == 0).then(|| self.failed.take().map_or(Ok(()), Err))
    }

    /// All children were sent. `Some` if they have ended already: the result of the request.
    pub fn sent(&mut self) -> Option<Result<(), E>> {
        self.end(Ok(()))
    }

    /// How many children are out; the sender counts as one until it has sent all.
    #[must_use]
    pub const fn open(&self) -> u64 {
        self.open
    }
}

impl<E> Default for Join<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E> fmt::Debug for Join<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Join")
            .field("open", &self.open)
            .field("failed", &self.failed.is_some())
            .finish()
    }
}
