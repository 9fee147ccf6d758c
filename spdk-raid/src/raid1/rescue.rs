//! Parked requests that hold the memory which they need themselves.
//!
//! ```text
//!   a lock is let go of ── pass ──► Lane: what was parked is submitted, one after the other
//!                                     │ children wait for a `spdk_bdev_io`
//!                                     ▼
//!                                   the rest, one at a time ── Rescue ──► thread of the job: writes it to the legs
//!                                     ▲                                     │
//!                                     └───────────── answers ───────────────┘
//! ```
//!
//! A parked request keeps its `spdk_bdev_io`, and needs more of them to go on. When a thread has none left but those of
//! parked requests, none of them could ever go on. The thread of the job that held the lock has some of its own, which
//! nobody parks: it carries out the requests, with a copy of their data. Each one that is done gives back one
//! `spdk_bdev_io` at least. So a pool that is too small makes it slow, and no more than that.

use std::rc::{Rc, Weak};
use std::sync::Arc;

use futures_channel::{mpsc, oneshot};
use futures_util::StreamExt;
use spdk_safe::env::DmaBuf;
use spdk_safe::error::IoError;
use spdk_safe::module::{Children, DataView, Parent, Request, RequestStatus, WriteRequest};
use spdk_safe::units::{Blocks, Bytes, Lba};

use super::array::Array;
use super::copy::{Copier, Window};
use super::data_path::{self, Legs, ToLegs, UnmapOf, WriteTo, ZeroesTo};
use super::lane::{Lane, View};
use super::lock::LOOK;
use super::settle::{self, Unsettled};
use super::snapshot::Leg;
use super::state::FaultReason;
use super::verdict::Outcome;

/// How a leg answered; `Err(None)` if it can't be reached.
pub(super) type Answer = Result<(), Option<IoError>>;

/// Leads to a job that carries out requests.
#[derive(Clone)]
pub(super) struct Rescuer(mpsc::UnboundedSender<Rescue>);

/// A request that a job is to carry out.
pub(super) struct Rescue {
    what: What,
    parts: Vec<Part>,
    done: oneshot::Sender<Vec<Answer>>,
}

/// What it does to the legs.
pub(super) enum What {
    Write(Window),
    Unmap,
    Zeroes,
}

/// What a leg gets of it.
struct Part {
    leg: Leg,
    lba: Lba,
    blocks: Blocks,
}

/// Has all threads look at what is published now, and carries out what they can't. In a task on a job's thread.
pub(super) async fn pass(array: &Array, copier: &mut Copier) {
    let (rescuer, mut rescues) = mpsc::unbounded();
    let rescuer = Rescuer(rescuer);
    // Only lanes have it afterwards.
    array.visit(move |lane| lane.refresh(Some(&rescuer))).await;
    while let Some(Rescue { what, parts, done }) = rescues.next().await {
        let mut what = what;
        let mut answers = Vec::with_capacity(parts.len());
        for Part { leg, lba, blocks } in parts {
            // Its thread exits, so that it has failed, and others may write there.
            if done.is_canceled() {
                break;
            }
            let (answer, back) = copier.carry_out(&leg, lba, blocks, what).await;
            answers.push(answer);
            what = back;
        }
        array.counters.rescued.add(1);
        // Its thread may have exited.
        let _ = done.send(answers);
    }
}

/// Sees to the `count` requests that are parked first, on their thread.
pub(super) fn begin(lane: Weak<Lane>, count: usize, rescuer: Rescuer) {
    settle::later(async move {
        for _ in 0..count {
            let Some(lane) = lane.upgrade() else {
                return;
            };
            // A RESET may have aborted them.
            let Some(request) = lane.unpark() else {
                return;
            };
            let view = lane.view();
            match view.waits_for_memory()
                && !view.is_over()
                && !data_path::must_wait(&view, &request)
            {
                true => {
                    drop(lane);
                    carry_out(view, request, &rescuer).await;
                }
                false => data_path::submit(&lane, request),
            }
        }
    });
}

/// Has a request carried out, and ends it.
async fn carry_out(view: Rc<View>, request: Request, rescuer: &Rescuer) {
    match request {
        Request::Write(write) => {
            let window = loop {
                match copy_of(&view.array, &write) {
                    Some(window) => break window,
                    // That is not what parked requests hold: it comes.
                    None => spdk_exec::sleep(LOOK).await,
                }
            };
            ask(view, write, WriteTo, What::Write(window), rescuer).await;
        }
        Request::Unmap(range) => {
            ask(view, range, UnmapOf, What::Unmap, rescuer).await;
        }
        Request::WriteZeroes(range) => {
            ask(view, range, ZeroesTo, What::Zeroes, rescuer).await;
        }
        // Nothing else is parked.
        other => other.complete(RequestStatus::Failed),
    }
}

async fn ask<R: Parent, W: ToLegs<R>>(
    view: Rc<View>,
    request: R,
    to: W,
    what: What,
    rescuer: &Rescuer,
) where
    Legs<W>: Children<R>,
{
    let (lba, blocks) = W::range(&request);
    let legs = Legs::new(Rc::clone(&view), to);
    let (mut parts, mut places) = (Vec::new(), Vec::new());
    for (at, (entry, leg)) in view.legs.iter().zip(&view.snapshot.legs).enumerate() {
        let Some(blocks) = entry.part_of(lba, blocks, true) else {
            continue;
        };
        parts.push(Part {
            leg: leg.clone(),
            lba,
            blocks,
        });
        places.push(at);
    }
    // If this thread exits meanwhile, legs may differ.
    let mut unsettled = Unsettled {
        array: Arc::clone(&view.array),
        changes: W::changes(&request),
    };
    let (done, answered) = oneshot::channel();
    let _ = rescuer.0.unbounded_send(Rescue { what, parts, done });
    let Ok(answers) = answered.await else {
        // The job was given up: nobody knows what legs have.
        let changes = unsettled.changes.take();
        let (reason, status) = (FaultReason::NoChannel, RequestStatus::Failed);
        let outcome = Outcome::Diverged { faults: 0 };
        return settle::settle(view, request, outcome, reason, status, changes);
    };
    unsettled.changes = None;
    for (at, answer) in places.into_iter().zip(answers) {
        match answer {
            Ok(()) => {}
            Err(Some(error)) => legs.failed(at as u8, &error),
            Err(None) => legs.is_not_reached(at),
        }
    }
    legs.all_ended(request);
}

/// A copy of what is to be written; `None` if there is no memory for it.
fn copy_of(array: &Array, write: &WriteRequest) -> Option<Window> {
    let copy = |view: DataView<'_>| {
        let mut copy = DmaBuf::zeroed(view.len(), array.align.max(1)).ok()?;
        view.copy_to(Bytes(0), &mut copy).ok()?;
        Some(copy)
    };
    Some(Window {
        data: copy(write.view())?,
        metadata: match write.metadata() {
            Some(metadata) => Some(copy(metadata)?),
            None => None,
        },
    })
}
