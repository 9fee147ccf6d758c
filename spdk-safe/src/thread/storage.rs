//! One value for each SPDK thread.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::table;
use crate::error::ThreadError;
use crate::panic::contain;

/// A value that each SPDK thread has one of, made where it is first asked for; declared by
/// [`thread_storage!`](crate::thread_storage).
///
/// Several SPDK threads share an OS thread, so `thread_local!` would give them all the same one. The values of a thread
/// are dropped when it exits, after its tasks and before its pollers and channels, the last one first.
///
/// There are values on threads that stay where they are: those that are [`Pinned`](super::Pinned), and the app thread.
pub struct ThreadStorage<T: 'static> {
    make: fn() -> T,
    /// 0 until it is first used.
    key: AtomicUsize,
}

/// The last key that was given out.
static KEYS: AtomicUsize = AtomicUsize::new(0);

impl<T: 'static> ThreadStorage<T> {
    /// What [`thread_storage!`](crate::thread_storage) expands to.
    #[doc(hidden)]
    #[must_use]
    pub const fn new(make: fn() -> T) -> Self {
        Self {
            make,
            key: AtomicUsize::new(0),
        }
    }

    /// Gives `f` the value of the current SPDK thread.
    ///
    /// # Errors
    ///
    /// [`ThreadError::NoThread`]; [`ThreadError::Migratable`] and [`ThreadError::Foreign`] where there are none;
    /// [`ThreadError::Exiting`] when it was dropped, or should be made while the thread exits;
    /// [`ThreadError::Recursive`] in the code that makes it.
    pub fn with<R>(&'static self, f: impl FnOnce(&T) -> R) -> Result<R, ThreadError> {
        let local = table::current_local()?;
        let value = local.values.get(self.key(), self.make)?;
        Ok(f(&value))
    }

    fn key(&self) -> usize {
        match self.key.load(Ordering::Acquire) {
            0 => {
                let new = KEYS.fetch_add(1, Ordering::Relaxed) + 1;
                match self
                    .key
                    .compare_exchange(0, new, Ordering::AcqRel, Ordering::Acquire)
                {
                    Ok(_) => new,
                    Err(other) => other,
                }
            }
            key => key,
        }
    }
}

impl<T> fmt::Debug for ThreadStorage<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadStorage").finish_non_exhaustive()
    }
}

/// Declares values that each SPDK thread has one of; see [`ThreadStorage`](crate::thread::ThreadStorage).
///
/// # Examples
///
/// ```
/// use std::cell::Cell;
///
/// spdk_safe::thread_storage! {
///     /// How often this thread was asked.
///     pub static ASKED: Cell<u64> = Cell::new(0);
/// }
///
/// fn ask() -> Result<u64, spdk_safe::error::ThreadError> {
///     ASKED.with(|asked| asked.replace(asked.get() + 1))
/// }
///
/// assert!(ask().is_err(), "this OS thread runs no SPDK thread");
/// ```
#[macro_export]
macro_rules! thread_storage {
    ($($(#[$attr:meta])* $vis:vis static $name:ident: $type:ty = $make:expr;)*) => {$(
        $(#[$attr])*
        $vis static $name: $crate::thread::ThreadStorage<$type> =
            $crate::thread::ThreadStorage::new(|| $make);
    )*};
}

/// The values of one thread, by key.
#[derive(Default)]
pub(super) struct Values {
    slots: RefCell<Vec<Slot>>,
    /// The keys, in the order in which the values were made.
    made: RefCell<Vec<usize>>,
    closed: Cell<bool>,
}

#[derive(Default)]
enum Slot {
    #[default]
    Vacant,
    Making,
    Ready(Rc<dyn Any>),
    Dropped,
}

impl Values {
    /// The value under `key`; `make` makes it, with nothing borrowed.
    fn get<T: 'static>(&self, key: usize, make: fn() -> T) -> Result<Rc<T>, ThreadError> {
        {
            let mut slots = self.slots.borrow_mut();
            if slots.len() <= key {
                slots.resize_with(key + 1, Slot::default);
            }
            match &slots[key] {
                // A key belongs to one `ThreadStorage`, so the type is right.
                Slot::Ready(value) => {
                    return Rc::clone(value)
                        .downcast()
                        .map_err(|_| ThreadError::Recursive);
                }
                Slot::Making => return Err(ThreadError::Recursive),
                Slot::Dropped => return Err(ThreadError::Exiting),
                Slot::Vacant if self.closed.get() => return Err(ThreadError::Exiting),
                Slot::Vacant => slots[key] = Slot::Making,
            }
        }
        let unmade = Unmade(self, key);
        let value = Rc::new(make());
        std::mem::forget(unmade);
        self.slots.borrow_mut()[key] = Slot::Ready(Rc::clone(&value) as Rc<dyn Any>);
        self.made.borrow_mut().push(key);
        Ok(value)
    }

    /// Drops them all, the last one first, and makes no others.
    pub(super) fn drop_all(&self) {
        self.closed.set(true);
        loop {
            // Two statements: nothing is borrowed while a destructor runs.
            let key = self.made.borrow_mut().pop();
            let Some(key) = key else { break };
            let value = std::mem::replace(&mut self.slots.borrow_mut()[key], Slot::Dropped);
            contain("the destructor of a per-thread value", || drop(value));
        }
    }
}

/// A value whose maker panics is not there, and may be made again.
struct Unmade<'a>(&'a Values, usize);

impl Drop for Unmade<'_> {
    fn drop(&mut self) {
        self.0.slots.borrow_mut()[self.1] = Slot::Vacant;
    }
}
