//! Where panics stop.

/// Runs `f`; with `std` a panic in it becomes an error, without it a panic goes on (and
/// `Engine::run` finishes the task on its way out).
#[cfg(feature = "std")]
#[inline(always)]
pub(crate) fn contain<R>(f: impl FnOnce() -> R) -> Result<R, crate::Panic> {
    // What a panic leaves half changed is the task's own, and is dropped with it.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).map_err(crate::Panic::new)
}

/// See the `std` version.
#[cfg(not(feature = "std"))]
#[inline(always)]
pub(crate) fn contain<R>(f: impl FnOnce() -> R) -> Result<R, crate::Panic> {
    Ok(f())
}
