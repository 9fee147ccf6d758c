//! The one place that knows whether loom or the real machine runs the atomics.
//!
//! Algorithms use `crate::loom::{atomic, Cell, UnsafeCell, spin}` and hold no `cfg(loom)`. Under
//! loom the cells are checked too: a home-only field that another thread touches is reported.

#[cfg(loom)]
pub(crate) use loom::{
    cell::{Cell, UnsafeCell},
    sync::atomic,
};

#[cfg(not(loom))]
pub(crate) use core::{cell::Cell, sync::atomic};

#[cfg(not(loom))]
pub(crate) use plain::UnsafeCell;

#[cfg(not(loom))]
mod plain {
    /// `core::cell::UnsafeCell` with loom's access by closure.
    #[derive(Debug)]
    #[repr(transparent)]
    pub(crate) struct UnsafeCell<T: ?Sized>(core::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(core::cell::UnsafeCell::new(value))
        }
    }

    impl<T: ?Sized> UnsafeCell<T> {
        #[inline(always)]
        pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
        }

        #[inline(always)]
        pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }
}

/// A constructor that is `const` wherever the atomics' constructors are.
macro_rules! const_fn {
    ($(#[$meta:meta])* $vis:vis fn $($rest:tt)*) => {
        #[cfg(not(loom))]
        $(#[$meta])* $vis const fn $($rest)*
        #[cfg(loom)]
        $(#[$meta])* $vis fn $($rest)*
    };
}
pub(crate) use const_fn;

/// A global whose initialiser holds atomics: a `static`, or loom's, made anew for each execution.
#[cfg(feature = "alloc")]
macro_rules! global {
    (static $name:ident: $ty:ty = $init:expr;) => {
        #[cfg(not(loom))]
        static $name: $ty = $init;
        #[cfg(loom)]
        loom::lazy_static! { static ref $name: $ty = $init; }
    };
}
#[cfg(feature = "alloc")]
pub(crate) use global;

/// A thread-local `Cell` with a constant initialiser.
#[cfg(feature = "std")]
macro_rules! local {
    (static $name:ident: $ty:ty = $init:expr;) => {
        #[cfg(not(loom))]
        std::thread_local! { static $name: $ty = const { $init }; }
        #[cfg(loom)]
        loom::thread_local! { static $name: $ty = $init; }
    };
}
#[cfg(feature = "std")]
pub(crate) use local;

/// One turn of a wait for another thread that is between two instructions.
#[inline]
pub(crate) fn spin() {
    #[cfg(loom)]
    loom::thread::yield_now();
    #[cfg(all(not(loom), feature = "std"))]
    std::thread::yield_now();
    #[cfg(all(not(loom), not(feature = "std")))]
    core::hint::spin_loop();
}
