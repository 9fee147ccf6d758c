//! The half of a thread that may travel: it sends messages, and nothing else.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::num::NonZeroU64;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::kind::{Any, MayMove, Migratable, Pinned, ThreadKind, Travels};
use super::mailbox::{Accepted, Job, Refused};
use super::outcome::{self, Failure, Receiver};
use super::shared::{Phase, Shared};
use super::spawner::LocalTask;
use super::stats::{self, ThreadStats};
use super::{join, local};
use crate::error::{CallError, ThreadError, TrySendError};
use crate::panic::contain_message;

pub use super::join::JoinHandle;

/// Sends messages to an SPDK thread of ours, from any thread (`spdk_thread_send_msg`).
///
/// It may outlive its thread: calls are clean errors then, also if SPDK has a new thread at the same address. It does
/// not keep the thread alive; that is what its one [`Thread`](super::Thread) does.
///
/// Messages run in the order in which they were accepted, each for itself: what one captures is dropped on the thread,
/// and a panic in it is contained and counted. A bounded number is in flight
/// ([`ThreadBuilder::max_in_flight`](super::ThreadBuilder::max_in_flight)); where there is no room,
/// [`try_send`](Self::try_send) gives the closure back, and all others wait.
pub struct ThreadHandle<K: ThreadKind = Any> {
    shared: Arc<Shared>,
    _kind: PhantomData<fn() -> K>,
}

impl<K: ThreadKind> ThreadHandle<K> {
    /// `K` is what the thread is, or [`Any`].
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            _kind: PhantomData,
        }
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The thread's id (`spdk_thread_get_id`), which no other thread ever has.
    #[must_use]
    pub fn id(&self) -> NonZeroU64 {
        self.shared.id
    }

    /// The thread's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Whether the thread still takes messages.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.shared.phase() == Phase::Open
    }

    /// Messages that were accepted, and not run yet.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.shared.mailbox().in_flight()
    }

    /// Whether the thread is current.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.shared.is_current()
    }

    /// Sends `closure`, if there is room for it.
    ///
    /// # Errors
    ///
    /// [`TrySendError`], with the closure.
    pub fn try_send<C>(&self, closure: C) -> Result<(), TrySendError<C>>
    where
        C: FnOnce() + Travels + 'static,
    {
        self.shared
            .try_send(Box::new(closure))
            .map_err(|(refused, closure)| match refused {
                Refused::Full => TrySendError::Full(*closure),
                Refused::Closed => TrySendError::Exited(*closure),
            })
    }

    /// Sends `closure`, and waits for room if there is none. It is sent when the future is first polled; one that is
    /// dropped while it waits takes its message back.
    ///
    /// The future resolves when the message is accepted, with [`CallError::Exited`] if the thread takes none any more.
    pub fn send<C>(&self, closure: C) -> SendMessage
    where
        C: FnOnce() + Travels + 'static,
    {
        SendMessage(Delivery::new(&self.shared, Box::new(closure)))
    }

    /// Runs `closure` on the thread, and resolves to what it returns.
    ///
    /// It is sent when the future is first polled. A future that is dropped while it waits for room takes its message
    /// back; later the closure runs all the same, and the result is dropped.
    pub fn call<C, T>(&self, closure: C) -> Call<T>
    where
        C: FnOnce() -> T + Travels + 'static,
        T: Travels + 'static,
    {
        let (sender, receiver) = outcome::channel();
        let job = move || {
            let result = contain_message("a call to an SPDK thread", closure);
            sender.send(result.map_err(Failure::Panicked));
        };
        Call {
            delivery: Delivery::new(&self.shared, Box::new(job)),
            receiver,
        }
    }

    /// Busy and idle times of the thread. On the thread itself [`thread::stats`](super::stats()) does it without waiting.
    pub fn stats(&self) -> Stats {
        Stats(self.call(stats::current))
    }

    /// Done when the thread has exited, and SPDK has destroyed it. For the app thread, when the app is over.
    pub fn exited(&self) -> Exited {
        Exited::new(Arc::clone(&self.shared))
    }
}

impl ThreadHandle<Pinned> {
    /// Starts a task on the thread: `make` runs there, and makes its future, which need not be `Send`.
    ///
    /// Waits for room, and resolves to a handle to wait for the task's output with. It is sent when the future is first
    /// polled; one that is dropped while it waits takes the task back.
    pub fn spawn<C, F>(&self, make: C) -> Spawn<F::Output>
    where
        C: FnOnce() -> F + Travels + 'static,
        F: Future + 'static,
        F::Output: Travels + 'static,
    {
        let (job, handle) = self.task(make);
        Spawn::new(&self.shared, Box::new(job), handle)
    }

    /// As [`spawn`](Self::spawn), if there is room at once.
    ///
    /// # Errors
    ///
    /// [`TrySendError`]; the closure is dropped.
    pub fn try_spawn<C, F>(&self, make: C) -> Result<JoinHandle<F::Output>, TrySendError<()>>
    where
        C: FnOnce() -> F + Travels + 'static,
        F: Future + 'static,
        F::Output: Travels + 'static,
    {
        let (job, handle) = self.task(make);
        try_job(&self.shared, Box::new(job), handle)
    }

    fn task<C, F>(&self, make: C) -> (impl FnOnce() + Send + use<C, F>, JoinHandle<F::Output>)
    where
        C: FnOnce() -> F + Travels + 'static,
        F: Future + 'static,
        F::Output: Travels + 'static,
    {
        let (link, handle) = join::pair(&self.shared);
        let job = move || match contain_message("a closure that makes a task", make) {
            Err(panic) => link.fail(Failure::Panicked(panic)),
            // Without a local half the thread was moved: the task is dropped, and its handle says so.
            Ok(future) => {
                if let Some(local) = local::current() {
                    local.spawn(LocalTask::new(link.run(future)));
                }
            }
        };
        (job, handle)
    }
}

impl<K: MayMove> ThreadHandle<K> {
    /// Starts a task on the thread: `make` runs there, and makes its future. The thread may be moved between cores, and
    /// the future goes along, so it must be `Send`. What is not belongs on a thread from `Thread::builder(name).core(n)`,
    /// which stays.
    ///
    /// Waits for room, and resolves to a handle to wait for the task's output with. It is sent when the future is first
    /// polled; one that is dropped while it waits takes the task back.
    pub fn spawn<C, F>(&self, make: C) -> Spawn<F::Output>
    where
        C: FnOnce() -> F + Travels + 'static,
        F: Future + Send + 'static, // the thread may move: spawn what is not `Send` on one that is pinned to a core
        F::Output: Travels + 'static,
    {
        let (job, handle) = self.task(make);
        Spawn::new(&self.shared, Box::new(job), handle)
    }

    /// As [`spawn`](Self::spawn), if there is room at once.
    ///
    /// # Errors
    ///
    /// [`TrySendError`]; the closure is dropped.
    pub fn try_spawn<C, F>(&self, make: C) -> Result<JoinHandle<F::Output>, TrySendError<()>>
    where
        C: FnOnce() -> F + Travels + 'static,
        F: Future + Send + 'static, // the thread may move: spawn what is not `Send` on one that is pinned to a core
        F::Output: Travels + 'static,
    {
        let (job, handle) = self.task(make);
        try_job(&self.shared, Box::new(job), handle)
    }

    fn task<C, F>(&self, make: C) -> (impl FnOnce() + Send + use<K, C, F>, JoinHandle<F::Output>)
    where
        C: FnOnce() -> F + Travels + 'static,
        F: Future + Send + 'static,
        F::Output: Travels + 'static,
    {
        let (link, handle) = join::pair(&self.shared);
        let shared = Arc::clone(&self.shared);
        let job = move || match contain_message("a closure that makes a task", make) {
            Err(panic) => link.fail(Failure::Panicked(panic)),
            Ok(future) => match local::current() {
                Some(local) => local.spawn(LocalTask::new(link.run(future))),
                None => shared.start(Box::pin(link.run(future))),
            },
        };
        (job, handle)
    }
}

fn try_job<T>(
    shared: &Arc<Shared>,
    job: Box<impl FnOnce() + Send + 'static>,
    handle: JoinHandle<T>,
) -> Result<JoinHandle<T>, TrySendError<()>> {
    match shared.try_send(job) {
        Ok(()) => Ok(handle),
        Err((Refused::Full, _)) => Err(TrySendError::Full(())),
        Err((Refused::Closed, _)) => Err(TrySendError::Exited(())),
    }
}

impl ThreadHandle<Any> {
    /// The same thread as one that stays on its core, if it is one.
    #[must_use]
    pub fn pinned(&self) -> Option<ThreadHandle<Pinned>> {
        self.shared
            .pinned
            .then(|| ThreadHandle::new(Arc::clone(&self.shared)))
    }
}

impl From<ThreadHandle<Pinned>> for ThreadHandle<Any> {
    fn from(handle: ThreadHandle<Pinned>) -> Self {
        Self::new(handle.shared)
    }
}

impl From<ThreadHandle<Migratable>> for ThreadHandle<Any> {
    fn from(handle: ThreadHandle<Migratable>) -> Self {
        Self::new(handle.shared)
    }
}

impl<K: ThreadKind> Clone for ThreadHandle<K> {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.shared))
    }
}

impl<K: ThreadKind, L: ThreadKind> PartialEq<ThreadHandle<L>> for ThreadHandle<K> {
    fn eq(&self, other: &ThreadHandle<L>) -> bool {
        self.id() == other.id()
    }
}

impl<K: ThreadKind> Eq for ThreadHandle<K> {}

impl<K: ThreadKind> fmt::Debug for ThreadHandle<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadHandle")
            .field("id", &self.id())
            .field("name", &self.name())
            .field("phase", &self.shared.phase())
            .finish_non_exhaustive()
    }
}

/// A message on its way into the queue of a thread.
struct Delivery {
    shared: Arc<Shared>,
    state: State,
}

enum State {
    New(Job),
    Waits(u64),
    Accepted,
    Refused,
}

impl Delivery {
    fn new(shared: &Arc<Shared>, job: Job) -> Self {
        Self {
            shared: Arc::clone(shared),
            state: State::New(job),
        }
    }

    fn exited(&self) -> CallError {
        CallError::Exited {
            thread: self.shared.name.clone(),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        match std::mem::replace(&mut self.state, State::Accepted) {
            State::New(job) => match self.shared.push(job, cx.waker().clone()) {
                Accepted::Yes(_) => {}
                Accepted::Waits(ticket) => {
                    self.state = State::Waits(ticket);
                    return Poll::Pending;
                }
                Accepted::Closed(job) => {
                    self.state = State::Refused;
                    drop(job);
                }
            },
            State::Waits(ticket) => {
                if !self
                    .shared
                    .mailbox()
                    .is_accepted(ticket, cx.waker().clone())
                {
                    self.state = State::Waits(ticket);
                    return Poll::Pending;
                }
            }
            State::Accepted => {}
            State::Refused => self.state = State::Refused,
        }
        match self.state {
            State::Refused => Poll::Ready(Err(self.exited())),
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if let State::Waits(ticket) = self.state {
            drop(self.shared.mailbox().take_back(ticket));
        }
    }
}

/// Done when a message was accepted; see [`ThreadHandle::send`].
#[must_use = "nothing is sent unless it is awaited"]
pub struct SendMessage(Delivery);

impl Future for SendMessage {
    type Output = Result<(), CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(cx)
    }
}

/// The result of a closure that runs on another thread; see [`ThreadHandle::call`].
#[must_use = "nothing is sent unless it is awaited"]
pub struct Call<T> {
    delivery: Delivery,
    receiver: Receiver<T>,
}

impl<T> Future for Call<T> {
    type Output = Result<T, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.delivery.poll(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        }
        self.receiver.poll(cx).map_err(|failure| match failure {
            Failure::Panicked(message) => CallError::Panicked {
                thread: self.delivery.shared.name.clone(),
                message,
            },
            Failure::Dropped | Failure::Aborted => self.delivery.exited(),
        })
    }
}

/// Resolves to the handle of a task; see [`ThreadHandle::spawn`].
#[must_use = "nothing is started unless it is awaited"]
pub struct Spawn<T> {
    delivery: Delivery,
    handle: Option<JoinHandle<T>>,
}

impl<T> Spawn<T> {
    fn new(shared: &Arc<Shared>, job: Job, handle: JoinHandle<T>) -> Self {
        Self {
            delivery: Delivery::new(shared, job),
            handle: Some(handle),
        }
    }
}

impl<T> Future for Spawn<T> {
    type Output = Result<JoinHandle<T>, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.delivery.poll(cx) {
            Poll::Ready(Ok(())) => match self.handle.take() {
                Some(handle) => Poll::Ready(Ok(handle)),
                None => Poll::Ready(Err(self.delivery.exited())),
            },
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// Busy and idle times of a thread; see [`ThreadHandle::stats`].
#[must_use = "nothing is asked unless it is awaited"]
pub struct Stats(Call<Result<ThreadStats, ThreadError>>);

impl Future for Stats {
    type Output = Result<ThreadStats, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match Pin::new(&mut self.0).poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(Ok(stats))) => Poll::Ready(Ok(stats)),
            Poll::Ready(Ok(Err(_))) => Poll::Ready(Err(self.0.delivery.exited())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        }
    }
}

/// Done when a thread has exited; see [`ThreadHandle::exited`].
#[must_use = "await it to know when the thread has exited"]
pub struct Exited {
    shared: Arc<Shared>,
    ticket: Option<u64>,
}

impl Exited {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            ticket: None,
        }
    }
}

impl Drop for Exited {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.shared.leave(ticket);
        }
    }
}

impl Future for Exited {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { shared, ticket } = &mut *self;
        match shared.poll_gone(ticket, cx.waker()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

macro_rules! debug {
    ($($name:literal: $type:ty, $self:ident => $shared:expr, [$($generics:tt)*];)*) => {$(
        impl $($generics)* fmt::Debug for $type {
            fn fmt(&$self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct($name).field("thread", &$shared.name).finish_non_exhaustive()
            }
        }
    )*};
}

debug! {
    "SendMessage": SendMessage, self => self.0.shared, [];
    "Call": Call<T>, self => self.delivery.shared, [<T>];
    "Spawn": Spawn<T>, self => self.delivery.shared, [<T>];
    "Stats": Stats, self => self.0.delivery.shared, [];
    "Exited": Exited, self => self.shared, [];
}
