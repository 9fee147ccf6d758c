//! What belongs to one SPDK thread, for a compiler that gives one reason for it.
//!
//! The compiler says of each part of a type that is not `Send` that it is not. A handle that has an `Rc` beside its
//! [`ThreadBound`] would have it say first that an `Rc` can't be sent, which sends the reader to try an `Arc`.

use std::ops::{Deref, DerefMut};

use super::ThreadBound;

/// A value that is neither `Send` nor `Sync`, whatever it is itself, and for no other reason than [`ThreadBound`].
pub(crate) struct Bound<T> {
    value: Unmarked<T>,
    _bound: ThreadBound,
}

/// # Invariants
///
/// It is inside of a [`Bound`], and nothing else has one.
struct Unmarked<T>(T);

// SAFETY: by the type invariant it is part of a `Bound`, which `ThreadBound` keeps on its OS thread; this only has the
// compiler say so once.
unsafe impl<T> Send for Unmarked<T> {}
// SAFETY: as for `Send`.
unsafe impl<T> Sync for Unmarked<T> {}

impl<T> Bound<T> {
    #[inline]
    pub(crate) const fn new(value: T) -> Self {
        // INVARIANT: beside a `ThreadBound`.
        Self {
            value: Unmarked(value),
            _bound: ThreadBound::new(),
        }
    }
}

impl<T> Deref for Bound<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.value.0
    }
}

impl<T> DerefMut for Bound<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value.0
    }
}
