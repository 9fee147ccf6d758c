//! What happens to a request when not all is well. None of it is on the hot path.
//!
//! ```text
//!   a read failed ──► the other legs, one after the other ──► completion, and the leg is to be repaired
//!   some legs failed a write ──► control: faults them, on all threads, for good ──► completion: success
//!   all did, or one refused ──► control: the range is dirty, on all threads ──► completion: failure
//! ```
//!
//! Until control has answered the request keeps its view, so no range lock is given over what it has changed: nobody
//! copies from a leg that is about to be faulted.

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use spdk_exec::spdk::attach;
use spdk_safe::error::IoError;
use spdk_safe::module::{Parent, ReadRequest, RequestStatus, ResetRequest};

use super::array::Array;
use super::data_path::{ResetOf, fan_out, read_leg};
use super::lane::View;
use super::state::{FaultReason, LegId};
use super::verdict::{self, Outcome, Verdict};
use crate::split::Extent;

/// Legs that could not be read, by their places in the list.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tried {
    legs: u32,
    gone: u32,
}

/// A read failed on the leg at `at`: another one is tried.
#[cold]
pub(super) fn read_elsewhere(
    view: Rc<View>,
    read: ReadRequest,
    at: usize,
    error: IoError,
    mut tried: Tried,
) {
    match verdict::of(&error, view.is_reset()) {
        Verdict::Request => return read.complete(error),
        Verdict::Leg(FaultReason::Gone) => tried.gone |= 1 << at,
        Verdict::Leg(_) => {}
    }
    tried.legs |= 1 << at;
    view.array.counters.read_errors.add(1);
    match view.choose(read.lba(), read.blocks(), tried.legs) {
        Some(next) => read_leg(view, read, next, tried),
        None => read.complete(error),
    }
}

/// A read succeeded where others had failed, which are to be repaired.
#[cold]
pub(super) fn was_read_elsewhere(view: &View, read: ReadRequest, tried: Tried) {
    let extent = Extent::new(read.lba(), read.blocks()).ok();
    for (at, leg) in view.legs.iter().enumerate() {
        let bit = 1 << at;
        if tried.gone & bit != 0 {
            view.array.report(leg.id, FaultReason::Gone);
        } else if let (true, Some(extent)) = (tried.legs & bit != 0, extent) {
            view.array.repair(leg.id, extent);
        }
    }
    read.complete(RequestStatus::Success);
}

/// All legs have answered, and not all of them well.
#[cold]
pub(super) fn settle<R: Parent>(
    view: Rc<View>,
    request: R,
    outcome: Outcome,
    reason: FaultReason,
    status: RequestStatus,
    changes: Option<Extent>,
) {
    let of = |mask: u32| -> Vec<LegId> {
        let legs = view.legs.iter().enumerate();
        let legs = legs.filter(|(at, _)| mask & (1 << at) != 0);
        legs.map(|(_, leg)| leg.id).collect()
    };
    let (faults, then) = match outcome {
        Outcome::Done => return request.complete(RequestStatus::Success),
        Outcome::DoneWithout { faults } => (of(faults), RequestStatus::Success),
        Outcome::Diverged { faults } => (of(faults), status),
    };
    let unsettled = Unsettled {
        array: Arc::clone(&view.array),
        changes,
    };
    let array = Arc::clone(&view.array);
    // Asked here, and not by the task: that may be dropped before it runs.
    let faulted = (!faults.is_empty()).then(|| array.fault(faults, reason));
    later(async move {
        // No range lock is given over it meanwhile.
        let _view = view;
        let (mut unsettled, mut then) = (unsettled, then);
        if let Some(faulted) = faulted {
            if !faulted.await && then == RequestStatus::Success {
                // The leg stays after all, without what was written.
                then = RequestStatus::Failed;
            }
        }
        let changes = match then {
            RequestStatus::Success => None,
            _ => unsettled.changes,
        };
        if let Some(extent) = changes {
            array.diverged(extent).await;
        }
        unsettled.changes = None;
        request.complete(then);
    });
}

/// A request that legs have answered differently. If it is given up before that is settled (its thread exits), it fails,
/// and its range is dirty.
pub(super) struct Unsettled {
    pub(super) array: Arc<Array>,
    pub(super) changes: Option<Extent>,
}

impl Drop for Unsettled {
    fn drop(&mut self) {
        if let Some(extent) = self.changes.take() {
            // Nobody waits for it.
            drop(self.array.diverged(extent));
        }
    }
}

/// A RESET: what is parked is aborted on all threads, then all legs are reset.
#[cold]
pub(super) fn reset(view: Rc<View>, request: ResetRequest) {
    let what = ResetOf::begin(&view.array);
    later(async move {
        view.array
            .visit(|lane| {
                lane.abort_parked();
            })
            .await;
        fan_out(view, request, what);
    });
}

/// Runs a task on this thread. A thread that exits drops it, which fails its request.
pub(super) fn later(task: impl Future<Output = ()> + 'static) {
    let Ok(executor) = attach() else {
        return;
    };
    let keep = executor.clone();
    let task = executor.spawn(async move {
        // The executor stays as long as it has something to do.
        let _keep = keep;
        task.await;
    });
    task.detach();
}
