//! Calls on the wrong thread, threads that can't be made, and messages that do not arrive.

use std::fmt;

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
    /// The current thread exits: it has let go of its tasks, or does so now, and takes nothing new. Destructors that
    /// run there must do without.
    #[error("the SPDK thread is exiting, and takes nothing new")]
    Exiting,
    /// The current thread may be moved to another core, and what was to be made must stay on one OS thread. Make it on
    /// a thread that is [`Pinned`](crate::thread::Pinned), and send it a closure.
    #[error(
        "this SPDK thread may be moved between cores, and this belongs to one OS thread; use a pinned SPDK thread"
    )]
    Migratable,
    /// The current thread was made on one core, and somebody moved it to another all the same (with the RPC
    /// `thread_set_cpumask`, before SPDK 23.05). What belongs to its first OS thread is out of reach; move it back.
    #[error("this SPDK thread was moved away from the core that it was made on")]
    Moved,
    /// The current thread was made by other code than this library, which does not hear when it exits. Make a
    /// [`Thread`](crate::thread::Thread) of your own, or use the app thread.
    #[error("this SPDK thread was not made by `Thread::builder`, and nobody says when it exits")]
    Foreign,
    /// A value of per-thread storage is asked for while it is being made, by what makes it. Do not ask there.
    #[error("the per-thread value is being made right now, by the code that asks for it")]
    Recursive,
}

/// Why an SPDK thread can't run on a set of cores.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CoresError {
    /// The set is empty. Name at least one core.
    #[error("no core to run on; name at least one")]
    Empty,
    /// The app has no reactor on a core of the set. Start it with one: `App::builder(..).cores(..)`.
    #[error(
        "no reactor runs on core {core}, but on {reactors}; start the app with it: `.cores(Cores::of([..]))`"
    )]
    NoReactor {
        /// The core.
        core: u32,
        /// The cores that have one.
        reactors: super::CoreList,
    },
}

/// Why a thread was not given other cores.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SetCoresError {
    /// It can't run on these.
    #[error(transparent)]
    Cores(#[from] CoresError),
    /// It could not be told.
    #[error(transparent)]
    Call(#[from] CallError),
    /// SPDK refuses.
    #[error("SPDK refuses to move the thread: {0}")]
    Refused(super::Errno),
}

/// Why an SPDK thread could not be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ThreadCreateError {
    /// The call was made elsewhere than on the app thread, or while the app ends.
    #[error(transparent)]
    Thread(#[from] ThreadError),
    /// The name holds a NUL byte, is empty, or is longer than SPDK keeps (256 bytes).
    #[error("{name:?} can't be the name of an SPDK thread: 1 to 256 bytes, none of them NUL")]
    Name {
        /// What was given.
        name: String,
    },
    /// It can't run on these cores.
    #[error("SPDK thread {name:?}: {error}")]
    Cores {
        /// The thread's name.
        name: String,
        /// What is wrong with them.
        #[source]
        error: CoresError,
    },
    /// The number of jobs in flight must be at least 1.
    #[error("SPDK thread {name:?} needs room for at least one message")]
    NoRoom {
        /// The thread's name.
        name: String,
    },
    /// Each SPDK thread takes 1024 messages for itself, and too few would be left: SPDK aborts where there is none.
    /// Give the app more with `Pools { messages, .. }`.
    #[error(
        "SPDK has {messages} messages, and {threads} SPDK threads leave too few of them for one more thread; start \
         the app with more (`Pools {{ messages, .. }}`)"
    )]
    TooFewMessages {
        /// Those of the app.
        messages: u64,
        /// SPDK threads in the process.
        threads: u32,
    },
    /// SPDK did not make the thread; its log says why. Mostly it is memory: a thread takes half a MiB of SPDK's.
    #[error("SPDK did not make thread {name:?}; its log says why, and mostly it is memory")]
    Refused {
        /// The thread's name.
        name: String,
    },
    /// The closure that was to make the thread's spawner failed, or panicked.
    #[error("the spawner of SPDK thread {name:?} could not be made{}", because(.error.as_ref()))]
    Spawner {
        /// The thread's name.
        name: String,
        /// What it returned; `None` when it panicked.
        error: Option<ThreadError>,
    },
}

fn because(error: Option<&ThreadError>) -> String {
    error.map_or(": it panicked".into(), |error| format!(": {error}"))
}

/// Why a message was not sent at once; the closure is in it.
#[derive(Error)]
#[non_exhaustive]
pub enum TrySendError<F> {
    /// As many messages as the thread takes are in flight to it. Try later, or wait with
    /// [`send`](crate::thread::ThreadHandle::send).
    #[error("as many messages as the SPDK thread takes are in flight to it")]
    Full(F),
    /// The thread exits, or has exited, or the app is over.
    #[error("the SPDK thread has exited")]
    Exited(F),
}

impl<F> TrySendError<F> {
    /// The closure.
    pub fn into_inner(self) -> F {
        match self {
            Self::Full(closure) | Self::Exited(closure) => closure,
        }
    }
}

impl<F> fmt::Debug for TrySendError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full(..)",
            Self::Exited(_) => "Exited(..)",
        })
    }
}

/// Why a message was not sent, or a call has no result.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CallError {
    /// The thread exits, or has exited, or the app is over. Nothing can be sent to it any more.
    #[error("SPDK thread {thread:?} has exited")]
    Exited {
        /// The thread's name.
        thread: String,
    },
    /// The closure panicked. The panic was contained, logged and counted
    /// ([`contained_panics`](crate::contained_panics)); the thread goes on.
    #[error("a call to SPDK thread {thread:?} panicked: {message}")]
    Panicked {
        /// The thread's name.
        thread: String,
        /// What the panic said.
        message: String,
    },
}

/// Why a task has no output.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The thread exited, and its tasks were dropped; or its spawner dropped the task.
    #[error("the task was dropped when SPDK thread {thread:?} exited")]
    Exited {
        /// The thread's name.
        thread: String,
    },
    /// The task, or the closure that was to make it, panicked. The panic was contained, logged and counted.
    #[error("a task on SPDK thread {thread:?} panicked: {message}")]
    Panicked {
        /// The thread's name.
        thread: String,
        /// What the panic said.
        message: String,
    },
    /// [`abort`](crate::thread::JoinHandle::abort) ended it.
    #[error("the task on SPDK thread {thread:?} was aborted")]
    Aborted {
        /// The thread's name.
        thread: String,
    },
}
