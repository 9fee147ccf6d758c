//! The block device: what happens to a request.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use spdk_safe::error::{ChannelError, IoType};
use spdk_safe::json::{Object, WriteError};
use spdk_safe::module::{BlockDevice, Request, RequestId, RequestStatus};
use spdk_safe::units::{Blocks, Bytes, Lba};

use super::core::{self, Core};
use super::faults::{Outcome, Verdict};
use super::memory::Failure;
use super::queue::Queue;

/// A ramdisk as SPDK has it.
pub(super) struct Device {
    core: Arc<Core>,
}

impl Device {
    pub(super) fn new(core: &Arc<Core>) -> Self {
        Self {
            core: Arc::clone(core),
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        core::forget(&self.core);
    }
}

/// A ramdisk on one SPDK thread.
pub(super) struct Channel {
    queue: Rc<Queue>,
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl BlockDevice for Device {
    type Channel = Channel;

    fn create_channel(&self) -> Result<Channel, ChannelError> {
        Ok(Channel {
            queue: Queue::new(&self.core),
        })
    }

    fn supports(&self, _io: IoType) -> bool {
        true
    }

    fn dump_info(&self, info: &mut Object<'_>) -> Result<(), WriteError> {
        let core = &self.core;
        let ramdisk = BTreeMap::from([
            ("memory", core.memory.used().0),
            ("faults", core.plan.faults().len() as u64),
            ("injected", core.plan.injected()),
            ("held", core.held() as u64),
        ]);
        info.named("ramdisk", &ramdisk)
    }

    fn submit(&self, channel: &Rc<Channel>, request: Request) {
        let Verdict {
            outcome,
            delay,
            remove,
        } = self.core.plan.judge(&request);
        if remove {
            self.core.remove();
        }
        match delay {
            Some(delay) => channel.queue.hold(request, outcome, delay),
            None => carry_out(&channel.queue, request, outcome),
        }
    }
}

/// Does what `request` asks, or what is to happen instead, and completes it. Nothing is locked then.
pub(super) fn carry_out(queue: &Rc<Queue>, request: Request, outcome: Outcome) {
    let core = &*queue.core;
    let job = Job { core, outcome };
    let memory = &core.memory;
    if let Outcome::Status(status) = outcome {
        return request.complete(status);
    }
    let status = match &request {
        Request::Read(read) => job.on(read.lba(), read.blocks(), |at, len| {
            memory.read(at, len, &read.view())?;
            if job.corrupts() {
                read.view().fill(Bytes(0), Bytes(1), !memory.byte(at))?;
            }
            Ok(true)
        }),
        Request::Write(write) => job.on(write.lba(), write.blocks(), |at, len| {
            memory.write(at, len, &write.view())?;
            job.spoil(at)
        }),
        Request::Unmap(range) | Request::WriteZeroes(range) => {
            job.on(range.lba(), range.blocks(), |at, len| {
                memory.zero(at, len);
                Ok(true)
            })
        }
        Request::Flush(range) => job.on(range.lba(), range.blocks(), |_, _| Ok(true)),
        Request::Compare(compare) => job.on(compare.lba(), compare.blocks(), |at, len| {
            memory.equals(at, len, &compare.view())
        }),
        Request::CompareAndWrite(both) => job.on(both.lba(), both.blocks(), |at, len| {
            let (compare, write) = (both.compare_view(), both.write_view());
            Ok(memory.compare_and_write(at, len, &compare, &write)? && job.spoil(at)?)
        }),
        Request::Copy(copy) if !job.has(copy.from(), copy.blocks()) => RequestStatus::Failed,
        Request::Copy(copy) => job.on(copy.lba(), copy.blocks(), |at, len| {
            let from = copy.from().0 * u64::from(core.block_size);
            memory.copy(from, at, len)?;
            job.spoil(at)
        }),
        Request::ZcopyStart(zcopy) => job.on(zcopy.lba(), zcopy.blocks(), |at, len| {
            if zcopy.populate() {
                memory.read(at, len, &zcopy.view())?;
            }
            Ok(true)
        }),
        Request::ZcopyEnd(zcopy) => job.on(zcopy.lba(), zcopy.blocks(), |at, len| {
            if zcopy.commit() {
                memory.write(at, len, &zcopy.view())?;
                return job.spoil(at);
            }
            Ok(true)
        }),
        Request::Abort(abort) => match queue.abort(abort.victim()) {
            true => RequestStatus::Success,
            false => RequestStatus::Failed,
        },
        Request::Reset(_) | Request::SeekData(_) | Request::SeekHole(_) => {
            return carry_out_special(queue, request);
        }
        _ => RequestStatus::Failed,
    };
    request.complete(status);
}

/// Those that do not just end with a status.
fn carry_out_special(queue: &Rc<Queue>, request: Request) {
    let core = &*queue.core;
    let size = u64::from(core.block_size);
    let end = core.blocks().0 * size;
    let found = |byte: Option<u64>| byte.map(|byte| Lba(byte / size));
    match request {
        Request::SeekData(seek) | Request::SeekHole(seek) if core.is_removed() => {
            seek.complete(RequestStatus::Failed);
        }
        Request::SeekData(seek) => {
            let byte = core.memory.data_from(seek.lba().0 * size, end);
            seek.complete_at(found(byte));
        }
        Request::SeekHole(seek) => {
            let byte = core.memory.hole_from(seek.lba().0 * size, end);
            seek.complete_at(found(byte));
        }
        reset => queue.reset(reset),
    }
}

/// A request with a range, and how it is to end.
struct Job<'a> {
    core: &'a Core,
    outcome: Outcome,
}

impl Job<'_> {
    /// Does `work` on `blocks` blocks from `lba` on, as bytes: where, and how many. `work` says whether what was compared
    /// is equal.
    fn on(
        &self,
        lba: Lba,
        blocks: Blocks,
        work: impl FnOnce(u64, u64) -> Result<bool, Failure>,
    ) -> RequestStatus {
        if self.core.is_removed() || !self.has(lba, blocks) {
            return RequestStatus::Failed;
        }
        let size = u64::from(self.core.block_size);
        let (done, status) = match self.outcome {
            Outcome::Short(first) => (first.min(blocks), RequestStatus::Failed),
            _ => (blocks, RequestStatus::Success),
        };
        match work(lba.0 * size, done.0 * size) {
            Ok(true) => status,
            Ok(false) => RequestStatus::Miscompare,
            Err(Failure::NoRoom | Failure::Data) => RequestStatus::Failed,
        }
    }

    /// SPDK looks at ranges, too; but not again when the size has changed since.
    fn has(&self, lba: Lba, blocks: Blocks) -> bool {
        let end = lba.0.checked_add(blocks.0);
        end.is_some_and(|end| end <= self.core.blocks().0)
    }

    fn corrupts(&self) -> bool {
        matches!(self.outcome, Outcome::Corrupt)
    }

    /// Inverts the byte at `at`, if that is to happen.
    fn spoil(&self, at: u64) -> Result<bool, Failure> {
        if self.corrupts() {
            self.core.memory.flip(at)?;
        }
        Ok(true)
    }
}

/// Which request it is, for an ABORT.
pub(super) fn id_of(request: &Request) -> Option<RequestId> {
    Some(match request {
        Request::Read(request) => request.id(),
        Request::Write(request) => request.id(),
        Request::Unmap(request) | Request::WriteZeroes(request) | Request::Flush(request) => {
            request.id()
        }
        Request::Reset(request) => request.id(),
        Request::Compare(request) => request.id(),
        Request::CompareAndWrite(request) => request.id(),
        Request::Copy(request) => request.id(),
        Request::Abort(request) => request.id(),
        Request::ZcopyStart(request) => request.id(),
        Request::ZcopyEnd(request) => request.id(),
        Request::SeekData(request) | Request::SeekHole(request) => request.id(),
        _ => return None,
    })
}
