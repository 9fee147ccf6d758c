//! What a thread is to be like.

use std::ffi::CString;
use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroU64;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::Arc;

use super::cores::{self, Cores};
use super::handle::ThreadHandle;
use super::kind::{Migratable, Pinned, ThreadKind, is_pinned};
use super::owner::Thread;
use super::shared::Shared;
use super::spawner::Spawner;
use super::{Home, home, local, outcome, table};
use crate::app::Spdk;
use crate::error::{ThreadCreateError, ThreadError};
use crate::panic::contain;

/// As many bytes of a thread's name as SPDK keeps.
const LONGEST_NAME: usize = 256;

type MakeSpawner = Box<dyn FnOnce() -> Result<Rc<dyn Spawner>, ThreadError> + Send>;

/// Options of a thread; [`create`](Self::create) makes it.
#[must_use = "call `create` to make the thread"]
pub struct ThreadBuilder<K: ThreadKind = Pinned> {
    name: String,
    cores: Option<Cores>,
    room: usize,
    make_spawner: Option<MakeSpawner>,
    _kind: PhantomData<K>,
}

impl ThreadBuilder {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            cores: None,
            room: table::ROOM,
            make_spawner: None,
            _kind: PhantomData,
        }
    }

    /// The core that it runs on; by default the one of the app thread.
    pub fn core(mut self, core: u32) -> Self {
        self.cores = Some(Cores::of([core]));
        self
    }

    /// Lets SPDK's scheduler move it among these cores.
    ///
    /// A spawner that it was given is dropped: it would have to go along.
    pub fn migratable(self, cores: Cores) -> ThreadBuilder<Migratable> {
        ThreadBuilder {
            name: self.name,
            cores: Some(cores),
            room: self.room,
            make_spawner: None,
            _kind: PhantomData,
        }
    }

    /// Runs its tasks on a spawner that `make` makes, on the thread. Without one a built-in spawner polls each task in
    /// messages.
    pub fn spawner<S: Spawner>(
        mut self,
        make: impl FnOnce() -> Result<S, ThreadError> + Send + 'static,
    ) -> Self {
        self.make_spawner = Some(Box::new(|| make().map(|spawner| Rc::new(spawner) as _)));
        self
    }
}

impl<K: ThreadKind> ThreadBuilder<K> {
    /// How many messages may be in flight to it: accepted, and not run. 1024 if it is not said.
    pub fn max_in_flight(mut self, messages: usize) -> Self {
        self.room = messages;
        self
    }

    /// Makes the thread (`spdk_thread_create`), and waits until it runs and has its spawner. On the app thread.
    ///
    /// A future that is dropped before has the thread exit.
    ///
    /// # Errors
    ///
    /// [`ThreadCreateError`].
    pub async fn create(self, spdk: &Spdk) -> Result<Thread<K>, ThreadCreateError> {
        spdk.check()?;
        let name = self.name;
        let (raw, id) = create_raw(&name, self.cores, self.room, is_pinned::<K>())?;
        // SAFETY: the thread was just made, and only we know it.
        let shared = unsafe { Shared::new((raw, id), name.clone(), is_pinned::<K>(), self.room) };
        let thread = Thread::new(ThreadHandle::<K>::new(Arc::clone(&shared)));
        let (sender, receiver) = outcome::channel();
        let make = self.make_spawner;
        let first = Arc::clone(&shared);
        let begin = move || sender.send(Ok(begin(&first, make)));
        let sent = thread.shared().try_send(Box::new(begin));
        // Only now can others find it: that message is the first.
        table::add(&shared);
        if sent.is_err() {
            // Not before it was asked to exit, which the end of the app does.
            return Err(ThreadError::Ending.into());
        }
        match std::future::poll_fn(|cx| receiver.poll(cx)).await {
            Ok(Ok(())) => Ok(thread),
            Ok(Err(error)) => Err(ThreadCreateError::Spawner { name, error }),
            Err(_) => Err(ThreadError::Ending.into()),
        }
    }
}

/// The first message to a thread; `Err` with what its spawner's maker said.
fn begin(shared: &Arc<Shared>, make: Option<MakeSpawner>) -> Result<(), Option<ThreadError>> {
    if !shared.pinned {
        return Ok(());
    }
    let home = Home::running().map_err(Some)?;
    let local = local::begin(shared, home);
    if let Some(make) = make {
        let spawner = contain("the maker of a spawner", make).ok_or(None)?;
        local.set_spawner(spawner.map_err(Some)?);
    }
    Ok(())
}

/// Checks the options, and has SPDK make the thread.
fn create_raw(
    name: &str,
    cores: Option<Cores>,
    room: usize,
    pinned: bool,
) -> Result<(NonNull<spdk_sys::spdk_thread>, NonZeroU64), ThreadCreateError> {
    let owned = || name.to_owned();
    let c_name = match CString::new(name) {
        Ok(c_name) if (1..=LONGEST_NAME).contains(&name.len()) => c_name,
        _ => return Err(ThreadCreateError::Name { name: owned() }),
    };
    if room == 0 {
        return Err(ThreadCreateError::NoRoom { name: owned() });
    }
    let cores = cores.unwrap_or_else(|| Cores::of([cores::current()]));
    cores
        .check_reactors()
        .map_err(|error| ThreadCreateError::Cores {
            name: owned(),
            error,
        })?;
    // SAFETY: reads a number.
    let threads = unsafe { spdk_sys::spdk_thread_get_count() };
    // This one, and as much again for what is in flight.
    let taken = (u64::from(threads) + 2) * spdk_sys::MESSAGES_OF_A_THREAD;
    if taken > table::messages() {
        return Err(ThreadCreateError::TooFewMessages {
            messages: table::messages(),
            threads,
        });
    }
    let numbers = cores.numbers();
    // SAFETY: the app runs; name and array live across the call, and each core has a reactor.
    let raw = unsafe {
        spdk_sys::spdk_shim_thread_create(c_name.as_ptr(), numbers.as_ptr(), numbers.len(), pinned)
    };
    let refused = || ThreadCreateError::Refused { name: owned() };
    let raw = NonNull::new(raw).ok_or_else(refused)?;
    // SAFETY: the thread was just made, and nobody tells it to exit.
    let id = unsafe { home::id_of(raw) }.ok_or_else(refused)?;
    Ok((raw, id))
}

impl<K: ThreadKind> fmt::Debug for ThreadBuilder<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadBuilder")
            .field("name", &self.name)
            .field("cores", &self.cores)
            .field("max_in_flight", &self.room)
            .finish_non_exhaustive()
    }
}
