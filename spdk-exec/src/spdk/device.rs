//! Block devices whose requests are `async fn`s.
//!
//! ```text
//!                1                      2                                     3
//!   SPDK ────────────► future, in the ─────► polled at once ──► Pending ──► ... ──► ready
//!    ▲                 driver context                              ▲  completion below:     │
//!    │                                                             └── polled on the spot   │ 4: future dropped
//!    └────────────────────────────────────────────────────────────────────────── 5: status ◄┘
//!   1: Async::submit   2: raw::spawn_at   3: run_now, or a wake   4: the executor   5: Done
//! ```
//!
//! The future of a request lives in the driver context of its own `spdk_bdev_io`: nothing is allocated. Its header, to
//! which wakers point, lives in the executor's pool, for `bdev_io`s are recycled among all modules and wakers may be
//! kept for ever. The status is told to SPDK by what follows the future, after that is dropped: so a future can't use a
//! request that is completed, nor forget to complete it.

use core::fmt;
use core::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use spdk_safe::error::{ChannelError, IoType};
use spdk_safe::module::{BlockDevice, Request, RequestStatus, TASK_CAP, TaskRequest, TaskSlot};

use super::{Attached, attach};
use crate::JoinError;
use crate::raw::{frame_bytes, spawn_at};

/// A block device whose requests are `async fn`s: what one returns completes its request.
///
/// Register it as [`Async`]`(device)`, with a module that names it: each request of the process has room for its future
/// then.
///
/// # Examples
/// A device that passes everything on to the one below:
/// ```no_run
/// use spdk_exec::spdk::{Async, AsyncBlockDevice};
/// use spdk_safe::bdev::SharedDesc;
/// use spdk_safe::module::{BdevModule, BlockDeviceBuilder, RequestStatus, TaskRequest};
/// use spdk_safe::prelude::*;
///
/// static MODULE: BdevModule = BdevModule::new(c"upper").device::<Async<Upper>>();
///
/// struct Upper {
///     base: SharedDesc<ReadWrite>,
/// }
///
/// impl AsyncBlockDevice for Upper {
///     type Channel = IoChannel<ReadWrite>;
///
///     fn create_channel(&self) -> Result<Self::Channel, ChannelError> {
///         self.base.channel()
///     }
///
///     async fn submit(&self, channel: &Self::Channel, request: TaskRequest<'_>) -> RequestStatus {
///         match request {
///             // Straight down, ...
///             TaskRequest::Read(read) => read.forward(channel, read.lba()).await.into(),
///             // ... or as any I/O that owns its data.
///             TaskRequest::Write(write) => channel.write(write.lba(), write.data()).await.0.into(),
///             _ => RequestStatus::Failed,
///         }
///     }
/// }
///
/// # fn register(spdk: &Spdk) -> Result<(), Box<dyn std::error::Error>> {
/// let base = BdevDesc::open(spdk, "malloc0").read_write()?;
/// let base = base.claim(&MODULE).map_err(|(error, _)| error)?.share();
/// let blocks = base.num_blocks();
/// let bdev = BlockDeviceBuilder::new("upper0").blocks(blocks).register(spdk, &MODULE, Async::new(Upper { base }))?;
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an `async` block device",
    label = "does not implement `AsyncBlockDevice`",
    note = "implement `spdk_exec::spdk::AsyncBlockDevice` for it: `create_channel` and `async fn submit`"
)]
pub trait AsyncBlockDevice: Send + Sync + 'static {
    /// State of one SPDK thread, such as the channels of the bdevs below. Made and dropped on that thread.
    type Channel: 'static;

    /// Makes the state for the thread that is current.
    ///
    /// # Errors
    /// [`ChannelError`]: whoever asked gets no channel.
    fn create_channel(&self) -> Result<Self::Channel, ChannelError>;

    /// Whether the device does this kind of I/O; see [`BlockDevice::supports`].
    fn supports(&self, io: IoType) -> bool {
        matches!(io, IoType::Read | IoType::Write)
    }

    /// Serves a request. What it returns completes the request; the result of an I/O below is turned `into()` it.
    ///
    /// It is polled for the first time before SPDK's call returns, and again on the spot when an I/O that it waits for
    /// ends. What it needs below is best submitted by the first poll: a burst of requests that wait to do so can use up
    /// all memory for I/O, and none of them goes on.
    ///
    /// A panic fails the request. So does the end of the thread, or of the app, before it is ready: the future is
    /// dropped.
    ///
    /// The future must be small (see [`Async`]).
    fn submit(
        &self,
        channel: &Self::Channel,
        request: TaskRequest<'_>,
    ) -> impl Future<Output = RequestStatus>;
}

/// An [`AsyncBlockDevice`] as a [`BlockDevice`].
///
/// The future of its `submit` must fit into 2 KiB, which is checked when the program is compiled: every
/// `spdk_bdev_io` of the process grows by as much. What does not fit is better kept in the channel, or in a `Box`.
///
/// A channel needs the thread's executor, which [`attach`] finds: on a thread that can't have one it is an error.
pub struct Async<D> {
    device: Arc<D>,
}

impl<D: AsyncBlockDevice> Async<D> {
    /// The device as SPDK sees it.
    pub fn new(device: D) -> Self {
        Self {
            device: Arc::new(device),
        }
    }
}

/// The state of an [`Async`] device on one SPDK thread.
pub struct AsyncChannel<D: AsyncBlockDevice> {
    device: Arc<D>,
    channel: D::Channel,
    executor: Attached,
}

impl<D: AsyncBlockDevice> BlockDevice for Async<D> {
    type Channel = AsyncChannel<D>;

    const CONTEXT: usize = task_bytes::<D>();

    fn create_channel(&self) -> Result<AsyncChannel<D>, ChannelError> {
        Ok(AsyncChannel {
            device: Arc::clone(&self.device),
            channel: self.device.create_channel()?,
            executor: attach()?,
        })
    }

    fn supports(&self, io: IoType) -> bool {
        self.device.supports(io)
    }

    #[inline]
    fn submit(&self, channel: &Rc<AsyncChannel<D>>, request: Request) {
        let Some(slot) = TaskSlot::new(request, Self::CONTEXT) else {
            return;
        };
        let memory = slot.memory();
        let kept = Rc::clone(channel);
        let at: *const AsyncChannel<D> = &**channel;
        // SAFETY: the frame keeps `kept` until the future is dropped, and so the channel.
        let channel = unsafe { &*at };
        // SAFETY: the frame keeps the slot until the future is dropped.
        let request = unsafe { slot.request() };
        let future = channel.device.submit(&channel.channel, request);
        let done = done(slot, kept);
        // SAFETY: the slot's memory has as many bytes, and is nobody's until `done` completes the request, if only by
        // being dropped. What the future borrows is kept by `done`, which begins after the future is dropped.
        let started = unsafe { spawn_at(&channel.executor, memory, Self::CONTEXT, future, done) };
        if let Err(refused) = started {
            // The thread exits. In this order: the request may be completed when the future is gone.
            drop(refused.future);
            (refused.done)(Err(JoinError::Aborted));
        }
    }
}

/// What follows the future of a request.
fn done<C>(slot: TaskSlot, channel: Rc<C>) -> impl FnOnce(Result<RequestStatus, JoinError>) {
    move |output| {
        // First: SPDK keeps its channel only as long as a request of it is outstanding.
        drop(channel);
        match output {
            Ok(status) => slot.complete(status),
            Err(JoinError::Panicked(panic)) => {
                slot.panicked(panic.message().unwrap_or("(no text)"))
            }
            Err(_) => slot.dropped(),
        }
    }
}

/// Bytes that a device's future takes in a request.
const fn task_bytes<D: AsyncBlockDevice>() -> usize {
    let bytes = bytes(&D::submit, &done::<AsyncChannel<D>>);
    assert!(
        bytes <= TASK_CAP,
        "the future of this device's `submit` is too large for the driver context of a request, of which every request \
         of the process has one: keep large values in the channel, or in a `Box`"
    );
    bytes
}

/// The same, by the function that makes the future, and the one that makes what follows it.
const fn bytes<A, B, C, F, E, N>(
    _: &impl Fn(A, B, C) -> F,
    _: &impl Fn(TaskSlot, Rc<E>) -> N,
) -> usize
where
    F: Future,
    N: FnOnce(Result<F::Output, JoinError>),
{
    frame_bytes::<F, N>(64)
}

impl<D: fmt::Debug> fmt::Debug for Async<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Async").field(&self.device).finish()
    }
}

impl<D: AsyncBlockDevice> fmt::Debug for AsyncChannel<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncChannel")
            .field("executor", &self.executor)
            .finish_non_exhaustive()
    }
}
