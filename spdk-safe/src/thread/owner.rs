//! The half of a thread that owns it.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::builder::ThreadBuilder;
use super::cores::Cores;
use super::handle::{Exited, ThreadHandle};
use super::kind::{MayMove, Pinned, ThreadKind};
use crate::error::{Errno, SetCoresError};

/// An SPDK thread of ours (`struct spdk_thread`), the half that owns it: there is one, and with it the thread goes.
///
/// It may be anywhere: it is not tied to its thread, and works by messages, as its [`ThreadHandle`]s do, which it
/// dereferences to. Dropped, it asks the thread to exit in order, which [`exit`](Self::exit) waits for: messages that
/// were accepted are run; tasks are dropped, then per-thread storage, pollers and channels; I/O in flight is awaited.
/// What is forgotten exits at the end of the app.
///
/// # Examples
///
/// ```no_run
/// use spdk_safe::prelude::*;
/// use spdk_safe::thread::Thread;
///
/// App::builder("threads").no_huge().no_pci().cores(Cores::of([0, 1])).run(async |spdk| {
///     let worker = Thread::builder("worker").core(1).create(&spdk).await?;
///     assert_eq!(worker.call(|| 6 * 7).await?, 42);
///     let task = worker.spawn(|| async { "made and run on core 1" }).await?;
///     println!("{}", task.await?);
///     worker.exit().await;
///     Ok::<(), Box<dyn std::error::Error>>(())
/// })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping the owner of a thread has it exit"]
pub struct Thread<K: ThreadKind = Pinned> {
    handle: ThreadHandle<K>,
}

impl Thread {
    /// Begins a thread named `name`.
    pub fn builder(name: impl Into<String>) -> ThreadBuilder {
        ThreadBuilder::new(name.into())
    }
}

impl<K: ThreadKind> Thread<K> {
    pub(super) fn new(handle: ThreadHandle<K>) -> Self {
        Self { handle }
    }

    /// The half that may be copied.
    #[must_use]
    pub fn handle(&self) -> ThreadHandle<K> {
        self.handle.clone()
    }

    /// Asks the thread to exit, and waits until it has, and SPDK has destroyed it. It is asked at once; the future may
    /// be dropped.
    ///
    /// Something that never ends, such as I/O that is never completed, keeps it: that is said in the log every few
    /// seconds.
    pub fn exit(self) -> Exited {
        Exited::new(Arc::clone(self.handle.shared()))
    }

    /// Gives the thread other cores, to one of which it moves (`spdk_thread_set_cpumask`). Its tasks and messages go
    /// along.
    ///
    /// # Errors
    ///
    /// [`SetCoresError`].
    pub async fn set_cores(&self, cores: Cores) -> Result<(), SetCoresError>
    where
        K: MayMove,
    {
        cores.check_reactors()?;
        let set = move || {
            let cores = cores.numbers();
            // SAFETY: the thread is current, and each core has a reactor; the array lives across the call.
            unsafe { spdk_sys::spdk_shim_thread_set_cores(cores.as_ptr(), cores.len()) }
        };
        let rc = self.call(set).await?;
        Errno::check(rc).map_err(SetCoresError::Refused)
    }
}

impl<K: ThreadKind> Deref for Thread<K> {
    type Target = ThreadHandle<K>;

    fn deref(&self) -> &ThreadHandle<K> {
        &self.handle
    }
}

impl<K: ThreadKind> Drop for Thread<K> {
    fn drop(&mut self) {
        self.handle.shared().ask_to_exit();
    }
}

impl<K: ThreadKind> fmt::Debug for Thread<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Thread").field(&self.handle).finish()
    }
}
