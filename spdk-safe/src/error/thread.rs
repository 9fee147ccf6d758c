//! Calls on the wrong thread.

use thiserror::Error;

/// A call was made on a thread that must not make it (contract 0.2: SPDK itself would abort, leak or corrupt).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ThreadError {
    /// No SPDK thread is current. Make the call inside `App::run`, or in something that it started.
    #[error("this OS thread runs no SPDK thread right now; make the call inside `App::run`")]
    NoThread,
    /// Another SPDK thread is current than the one that owns the handle. Use it where it was made.
    #[error("the handle belongs to another SPDK thread; use it on the thread that made it")]
    WrongThread,
    /// The app ends: main is over, and what is open is being closed. Nothing can be opened any more.
    #[error("the app is ending, and nothing can be opened any more")]
    Ending,
    /// The call is for the app thread only. Make it there, with its [`Spdk`](crate::app::Spdk).
    #[error("this call is for SPDK's app thread only; make it where `App::run` runs your main")]
    NotAppThread,
}
