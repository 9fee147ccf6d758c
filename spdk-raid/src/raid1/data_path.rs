//! What happens to a request.
//!
//! ```text
//!   request ──► a task on this thread's executor ──► one I/O below for each leg, or for one ──► completion
//! ```
//!
//! The I/Os below own a share of the request's data, so nothing is copied, and the request stays alive until all of
//! them have let go, whatever becomes of the task.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::task::{Context, Waker};

use futures_util::future::join_all;
use spdk_exec::spdk::{Attached, attach};
use spdk_safe::bdev::{IoChannel, SharedDesc};
use spdk_safe::error::{ChannelError, IoError, IoType};
use spdk_safe::module::{BlockDevice, ReadRequest, Request, RequestStatus};
use spdk_safe::prelude::ReadWrite;

/// The mirror as a block device.
pub(super) struct Mirror {
    legs: Vec<SharedDesc<ReadWrite>>,
}

impl Mirror {
    /// Over `legs`: two or more, claimed.
    pub(super) fn new(legs: Vec<SharedDesc<ReadWrite>>) -> Self {
        Self { legs }
    }
}

/// The mirror on one SPDK thread.
pub(super) struct Channel {
    legs: Vec<IoChannel<ReadWrite>>,
    /// The leg that the next read begins with.
    next: Cell<usize>,
    executor: Attached,
}

impl BlockDevice for Mirror {
    type Channel = Channel;

    fn create_channel(&self) -> Result<Channel, ChannelError> {
        Ok(Channel {
            legs: self
                .legs
                .iter()
                .map(SharedDesc::channel)
                .collect::<Result<_, _>>()?,
            next: Cell::new(0),
            executor: attach()?,
        })
    }

    fn supports(&self, io: IoType) -> bool {
        match io {
            IoType::Read | IoType::Write => true,
            IoType::Unmap | IoType::WriteZeroes | IoType::Flush | IoType::Reset => {
                self.legs.iter().all(|leg| leg.info().supports(io))
            }
            _ => false,
        }
    }

    fn submit(&self, channel: &Rc<Channel>, request: Request) {
        let mut task = Box::pin(serve(Rc::clone(channel), request));
        // Its I/Os are submitted here and now. Were that left to the executor, a burst of requests could take every
        // `spdk_bdev_io` before one of them has those that it needs below, and all would wait for ever (M10).
        let first = task.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if first.is_pending() {
            channel.executor.spawn(task).detach();
        }
    }
}

/// Serves one request to its end.
async fn serve(channel: Rc<Channel>, request: Request) {
    match request {
        Request::Read(read) => read_one(&channel, read).await,
        Request::Write(write) => {
            let status = all(&channel, async |leg| {
                leg.write(write.lba(), write.data()).await.0
            })
            .await;
            write.complete(status);
        }
        Request::Unmap(range) => {
            let status = all(&channel, |leg| leg.unmap(range.lba(), range.blocks())).await;
            range.complete(status);
        }
        Request::WriteZeroes(range) => {
            let status = all(&channel, |leg| {
                leg.write_zeroes(range.lba(), range.blocks())
            })
            .await;
            range.complete(status);
        }
        Request::Flush(range) => {
            let status = all(&channel, |leg| leg.flush(range.lba(), range.blocks())).await;
            range.complete(status);
        }
        Request::Reset(reset) => {
            let status = all(&channel, IoChannel::reset).await;
            reset.complete(status);
        }
        other => other.complete(RequestStatus::Failed),
    }
}

/// Reads from the next leg in turn, and on an error from the others.
async fn read_one(channel: &Channel, read: ReadRequest) {
    let count = channel.legs.len();
    let first = channel.next.get();
    channel.next.set((first + 1) % count);
    for turn in 0..count {
        let leg = &channel.legs[(first + turn) % count];
        let (result, _data) = leg.read(read.lba(), read.data()).await;
        if result.is_ok() {
            return read.complete(RequestStatus::Success);
        }
    }
    read.complete(RequestStatus::Failed);
}

/// Does the same on every leg at once. Well only if it is well on all of them: nothing is acknowledged that one leg
/// does not have.
async fn all<'a, F: Future<Output = Result<(), IoError>>>(
    channel: &'a Channel,
    io: impl Fn(&'a IoChannel<ReadWrite>) -> F,
) -> RequestStatus {
    let outcomes = join_all(channel.legs.iter().map(io)).await;
    match outcomes.iter().all(Result::is_ok) {
        true => RequestStatus::Success,
        false => RequestStatus::Failed,
    }
}
