//! Kinds of threads, and what may go to them.

mod sealed {
    pub trait Sealed {
        const PINNED: bool;
    }
}

/// A kind of thread: [`Pinned`], [`Migratable`], or [`Any`] of both.
pub trait ThreadKind: sealed::Sealed + 'static {}

/// A kind of thread that may be moved to another core, or may be of such a kind.
#[diagnostic::on_unimplemented(
    message = "this thread stays on its core",
    label = "needs a thread that may be moved",
    note = "make one with `Thread::builder(name).migratable(cores)`; its tasks must be `Send`"
)]
pub trait MayMove: ThreadKind {}

/// A thread on one core, for as long as it lives: SPDK's scheduler never moves it. Its tasks need not be `Send`, and
/// pollers, channels and per-thread storage can be had there. The app thread is one.
#[derive(Debug, Clone, Copy)]
pub enum Pinned {}

/// A thread on a set of cores, among which SPDK's scheduler may move it. Its tasks must be `Send`, since they go along.
/// What belongs to one OS thread (pollers, channels, per-thread storage) is refused there, with
/// [`ThreadError::Migratable`](crate::error::ThreadError::Migratable).
#[derive(Debug, Clone, Copy)]
pub enum Migratable {}

/// A thread of either kind; what is sent to it must suit both.
#[derive(Debug, Clone, Copy)]
pub enum Any {}

impl sealed::Sealed for Pinned {
    const PINNED: bool = true;
}
impl sealed::Sealed for Migratable {
    const PINNED: bool = false;
}
impl sealed::Sealed for Any {
    const PINNED: bool = false;
}
impl ThreadKind for Pinned {}
impl ThreadKind for Migratable {}
impl ThreadKind for Any {}
impl MayMove for Migratable {}
impl MayMove for Any {}

pub(super) const fn is_pinned<K: ThreadKind>() -> bool {
    K::PINNED
}

/// What can go to another SPDK thread: all that is `Send`.
///
/// It says what to do where that is not so, which `Send` itself can't.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't go to another SPDK thread",
    label = "something in it is not `Send`",
    note = "the closure runs on that thread: make there what is not `Send` (a channel of its own, an `Rc`), and give \
            the closure only what is, such as `desc.share()`; what it returns comes back, and must be `Send` too"
)]
pub trait Travels: Send {}

#[diagnostic::do_not_recommend]
impl<T: Send> Travels for T {}
