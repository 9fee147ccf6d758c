//! What happens to a request when all is well; `settle.rs` has what happens when it is not.
//!
//! ```text
//!   READ ──► choose a leg ──► forward ──► completion            (fails: `settle::read_elsewhere`)
//!   WRITE, UNMAP, WRITE_ZEROES ──► locked? park
//!                                  else a child for each leg ──► all ended ──► completion   (fails: `settle::settle`)
//!   FLUSH ──► a child for each leg, likewise
//!   RESET ──► `settle::reset`
//! ```
//!
//! A leg that is being filled gets the part of a write that lies below its front. A write never lies on both sides of
//! what is being filled right now: that is locked.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use spdk_safe::error::{ChannelError, IoError, IoType};
use spdk_safe::json::{Object, WriteError};
use spdk_safe::module::{
    BlockDevice, ChildIos, Children, Parent, RangeRequest, ReadRequest, Request, RequestStatus,
    ResetRequest, WriteRequest,
};
use spdk_safe::units::{Blocks, Lba};

use super::array::Array;
use super::control::Command;
use super::lane::{Channel, Entry, Here, Lane, View};
use super::rpc::Shown;
use super::settle;
use super::snapshot::ALL;
use super::state::FaultReason;
use super::verdict::{self, Answers, Outcome, Verdict};
use crate::split::Extent;

/// The array as a block device.
pub(super) struct Device {
    pub(super) array: Arc<Array>,
    /// What the legs could do when it was created.
    pub(super) can_unmap: bool,
    pub(super) can_flush: bool,
    pub(super) can_reset: bool,
}

impl BlockDevice for Device {
    type Channel = Channel;

    fn create_channel(&self) -> Result<Channel, ChannelError> {
        Channel::new(&self.array)
    }

    // Compare, compare-and-write, copy and seek are left to SPDK's emulation over reads and writes: each leg by itself
    // could do them, but not all at once. Abort and zero-copy are not there.
    fn supports(&self, io: IoType) -> bool {
        match io {
            IoType::Read | IoType::Write | IoType::WriteZeroes => true,
            IoType::Unmap => self.can_unmap,
            IoType::Flush => self.can_flush,
            IoType::Reset => self.can_reset,
            _ => false,
        }
    }

    fn dump_info(&self, info: &mut Object<'_>) -> Result<(), WriteError> {
        info.named("raid", &Shown::of(&self.array))
    }

    #[inline]
    fn submit(&self, channel: &Rc<Channel>, request: Request) {
        submit(&channel.lane, request);
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.array.tell(Command::Gone);
    }
}

/// Takes a request, new or parked before.
#[inline]
pub(super) fn submit(lane: &Lane, request: Request) {
    let view = lane.view();
    if !view.is_plain && view.is_over() {
        return request.complete(RequestStatus::Aborted);
    }
    match request {
        Request::Read(read) => read_from(view, read),
        Request::Write(write) => {
            let (lba, blocks) = (write.lba(), write.blocks());
            if !view.is_plain && is_locked(&view, lba, blocks) {
                return lane.park(Request::Write(write));
            }
            fan_out(&view, write, &WriteTo { lba, blocks });
        }
        other => submit_rare(lane, &view, other),
    }
}

#[cold]
fn submit_rare(lane: &Lane, view: &Rc<View>, request: Request) {
    match request {
        Request::Unmap(range) | Request::WriteZeroes(range)
            if is_locked(view, range.lba(), range.blocks()) =>
        {
            // What it was does not get lost: it says so itself.
            lane.park(range.into());
        }
        Request::Unmap(range) => {
            let (lba, blocks) = (range.lba(), range.blocks());
            fan_out(view, range, &UnmapOf { lba, blocks });
        }
        Request::WriteZeroes(range) => {
            let (lba, blocks) = (range.lba(), range.blocks());
            fan_out(view, range, &ZeroesTo { lba, blocks });
        }
        Request::Flush(range) => {
            let (lba, blocks) = (range.lba(), range.blocks());
            fan_out(view, range, &FlushOf { lba, blocks });
        }
        Request::Reset(reset) => settle::reset(Rc::clone(view), reset),
        other => other.complete(RequestStatus::Failed),
    }
}

#[cold]
fn is_locked(view: &View, lba: Lba, blocks: Blocks) -> bool {
    Extent::new(lba, blocks).is_ok_and(|extent| view.is_locked(extent))
}

/// Whether a request that was parked has to stay so.
pub(super) fn must_wait(view: &View, request: &Request) -> bool {
    match request {
        Request::Write(write) => is_locked(view, write.lba(), write.blocks()),
        Request::Unmap(range) | Request::WriteZeroes(range) => {
            is_locked(view, range.lba(), range.blocks())
        }
        _ => false,
    }
}

/// Where block `lba` of the array is on a leg.
#[inline]
fn on(leg: &Entry, lba: Lba) -> Lba {
    // The array ends before its smallest leg does.
    Lba(lba.0 + leg.offset)
}

#[inline]
fn read_from(view: Rc<View>, read: ReadRequest) {
    match view.choose(read.lba(), read.blocks(), 0) {
        Some(at) => read_leg(view, read, at, settle::Tried::default()),
        None => read.complete(RequestStatus::Failed),
    }
}

/// Reads from the leg at `at`, which has a channel here; `tried` did not do it.
#[inline]
pub(super) fn read_leg(view: Rc<View>, read: ReadRequest, at: usize, tried: settle::Tried) {
    let leg = &view.legs[at];
    let Some(here) = leg.here.clone() else {
        return read.complete(RequestStatus::Failed);
    };
    let (lba, blocks) = (on(leg, read.lba()), read.blocks().0);
    here.reading.set(here.reading.get() + blocks);
    let leg = Rc::clone(&here);
    read.forward(&leg.channel, lba, move |read, result| {
        here.reading.set(here.reading.get() - blocks);
        match result {
            Ok(()) if tried.is_none() => read.complete(RequestStatus::Success),
            Ok(()) => settle::was_read_elsewhere(&view, read, tried),
            Err(error) => settle::read_elsewhere(view, read, at, error, tried),
        }
    });
}

/// Waits for the legs.
pub(super) struct Legs<W> {
    pub(super) view: Rc<View>,
    what: W,
    answers: Cell<Answers>,
    /// Why the first one of each kind failed.
    reason: Cell<FaultReason>,
    status: Cell<RequestStatus>,
}

/// What is sent to each leg.
pub(super) trait ToLegs<R: Parent>: Clone + 'static {
    /// The range, if it is one that is changed.
    fn changes(&self) -> Option<Extent>;
    /// The range of what is sent.
    fn range(&self) -> (Lba, Blocks);
    /// Sends it for the first `blocks` blocks to the leg at `tag`.
    fn send(&self, ios: &ChildIos<R, Legs<Self>>, leg: &Here, lba: Lba, blocks: Blocks, tag: u8);
    /// All legs have done it.
    #[inline]
    fn done(self, _view: Rc<View>, request: R) {
        request.complete(RequestStatus::Success);
    }
}

/// Sends a request to all legs.
#[inline]
pub(super) fn fan_out<R: Parent, W: ToLegs<R>>(view: &Rc<View>, request: R, what: &W)
where
    Legs<W>: Children<R>,
{
    let (lba, blocks) = what.range();
    let ios = request.children(Legs::new(view, what.clone()));
    let mut answers = Answers::default();
    for (at, leg) in view.legs.iter().enumerate() {
        let bit = 1 << at;
        let Some(below) = leg.part_of(lba, blocks, what.changes().is_some()) else {
            continue;
        };
        match leg.counts() {
            true => answers.in_sync |= bit,
            false => answers.filling |= bit,
        }
        match &leg.here {
            Some(here) => what.send(&ios, here, on(leg, lba), below, at as u8),
            None => answers.faults |= bit,
        }
    }
    // Some may have answered already.
    let sooner = ios.state().answers.get();
    ios.state().answers.set(Answers {
        faults: answers.faults | sooner.faults,
        refusals: sooner.refusals,
        ..answers
    });
    ios.submit();
}

impl<R: Parent, W: ToLegs<R>> Children<R> for Legs<W> {
    #[inline]
    fn ended(&self, tag: u8, result: Result<(), IoError>) {
        if let Err(error) = result {
            self.failed(tag, &error);
        }
    }

    #[inline]
    fn all_ended(self, request: R) {
        let outcome = match self.answers.get() {
            Answers { in_sync: 0, .. } => Outcome::Diverged { faults: 0 },
            Answers {
                faults: 0,
                refusals: 0,
                ..
            } => return self.what.done(self.view, request),
            answers => answers.outcome(),
        };
        settle::settle(
            self.view,
            request,
            outcome,
            self.reason.get(),
            self.status.get(),
            self.what.changes(),
        );
    }
}

impl Entry {
    /// Whether it is a leg that has all data, and keeps it.
    #[inline]
    pub(super) fn counts(&self) -> bool {
        // One that leaves counts no more, but somebody may still read from it what we are about to acknowledge.
        self.front == ALL && !self.leaves
    }

    /// How much it gets of a request for `blocks` blocks at `lba`; `changes`: it is one that changes them.
    #[inline]
    pub(super) fn part_of(&self, lba: Lba, blocks: Blocks, changes: bool) -> Option<Blocks> {
        match self.front {
            ALL => Some(blocks),
            _ if !changes => Some(blocks),
            // The rest comes when it is filled.
            front if lba.0 < front => Some(Blocks(blocks.0.min(front - lba.0))),
            _ => None,
        }
    }
}

impl<W> Legs<W> {
    #[inline]
    pub(super) fn new(view: &Rc<View>, what: W) -> Self {
        Self {
            view: Rc::clone(view),
            what,
            answers: Cell::new(Answers::default()),
            reason: Cell::new(FaultReason::NoChannel),
            status: Cell::new(RequestStatus::Failed),
        }
    }

    /// The leg at `at` is asked.
    pub(super) fn is_asked(&self, at: usize) {
        let mut answers = self.answers.get();
        match self.view.legs[at].counts() {
            true => answers.in_sync |= 1 << at,
            false => answers.filling |= 1 << at,
        }
        self.answers.set(answers);
    }

    /// There is no way to the leg at `at`.
    pub(super) fn is_not_reached(&self, at: usize) {
        let mut answers = self.answers.get();
        answers.faults |= 1 << at;
        self.answers.set(answers);
    }

    #[cold]
    pub(super) fn failed(&self, tag: u8, error: &IoError) {
        let mut answers = self.answers.get();
        let bit = 1 << tag;
        match verdict::of(error, self.view.is_reset()) {
            Verdict::Leg(reason) => {
                answers.faults |= bit;
                self.reason.set(reason);
                // What the request itself is to blame for says more.
                if answers.refusals == 0 {
                    self.status.set(error.clone().into());
                }
            }
            Verdict::Request => {
                answers.refusals |= bit;
                self.status.set(error.clone().into());
            }
        }
        self.answers.set(answers);
    }
}

macro_rules! range {
    ($name:ident, $doc:literal) => {
        #[doc = $doc]
        #[derive(Clone, Copy)]
        pub(super) struct $name {
            pub(super) lba: Lba,
            pub(super) blocks: Blocks,
        }
    };
}

/// A RESET.
#[derive(Clone)]
pub(super) struct ResetOf {
    _counted: Rc<Resetting>,
}

/// Counts a RESET as long as it is under way.
struct Resetting(Arc<Array>);

impl ResetOf {
    pub(super) fn begin(array: &Arc<Array>) -> Self {
        array.resets.begin();
        Self {
            _counted: Rc::new(Resetting(Arc::clone(array))),
        }
    }
}

impl Drop for Resetting {
    fn drop(&mut self) {
        self.0.resets.end();
        // What begins with the next views is not meant by it.
        self.0.published.update(|_| ());
        self.0.tell(Command::Refresh);
    }
}

range!(WriteTo, "A write.");
range!(UnmapOf, "An unmap.");
range!(ZeroesTo, "Zeroes.");
range!(FlushOf, "A flush: nothing is changed.");

impl ToLegs<WriteRequest> for WriteTo {
    #[inline]
    fn changes(&self) -> Option<Extent> {
        Extent::new(self.lba, self.blocks).ok()
    }

    #[inline]
    fn range(&self) -> (Lba, Blocks) {
        (self.lba, self.blocks)
    }

    #[inline]
    fn send(
        &self,
        ios: &ChildIos<WriteRequest, Legs<Self>>,
        leg: &Here,
        lba: Lba,
        blocks: Blocks,
        tag: u8,
    ) {
        if blocks == self.blocks {
            return ios.write(&leg.channel, lba, tag);
        }
        // It has as many: they are fewer than its own.
        let _ = ios.write_part(&leg.channel, lba, Blocks(0), blocks, tag);
    }
}

impl ToLegs<RangeRequest> for UnmapOf {
    fn changes(&self) -> Option<Extent> {
        Extent::new(self.lba, self.blocks).ok()
    }

    fn range(&self) -> (Lba, Blocks) {
        (self.lba, self.blocks)
    }

    fn send(
        &self,
        ios: &ChildIos<RangeRequest, Legs<Self>>,
        leg: &Here,
        lba: Lba,
        blocks: Blocks,
        tag: u8,
    ) {
        // One that joined later may not have it: zeroes are what an unmap may leave.
        match leg.channel.supports(IoType::Unmap) {
            true => ios.unmap(&leg.channel, lba, blocks, tag),
            false => ios.write_zeroes(&leg.channel, lba, blocks, tag),
        }
    }
}

impl ToLegs<RangeRequest> for ZeroesTo {
    fn changes(&self) -> Option<Extent> {
        Extent::new(self.lba, self.blocks).ok()
    }

    fn range(&self) -> (Lba, Blocks) {
        (self.lba, self.blocks)
    }

    fn send(
        &self,
        ios: &ChildIos<RangeRequest, Legs<Self>>,
        leg: &Here,
        lba: Lba,
        blocks: Blocks,
        tag: u8,
    ) {
        ios.write_zeroes(&leg.channel, lba, blocks, tag);
    }
}

impl ToLegs<RangeRequest> for FlushOf {
    fn changes(&self) -> Option<Extent> {
        None
    }

    fn range(&self) -> (Lba, Blocks) {
        (self.lba, self.blocks)
    }

    fn send(
        &self,
        ios: &ChildIos<RangeRequest, Legs<Self>>,
        leg: &Here,
        lba: Lba,
        blocks: Blocks,
        tag: u8,
    ) {
        // What has no volatile cache has nothing to flush.
        if leg.channel.supports(IoType::Flush) {
            ios.flush(&leg.channel, lba, blocks, tag);
        }
    }
}

impl ToLegs<ResetRequest> for ResetOf {
    fn changes(&self) -> Option<Extent> {
        None
    }

    fn range(&self) -> (Lba, Blocks) {
        (Lba(0), Blocks(0))
    }

    /// Whoever asked hears of it when all threads have new views: what he does then is not aborted by it.
    fn done(self, view: Rc<View>, request: ResetRequest) {
        drop(self);
        settle::later(async move {
            view.array.pass().await;
            request.complete(RequestStatus::Success);
        });
    }

    fn send(
        &self,
        ios: &ChildIos<ResetRequest, Legs<Self>>,
        leg: &Here,
        _lba: Lba,
        _blocks: Blocks,
        tag: u8,
    ) {
        if leg.channel.supports(IoType::Reset) {
            ios.reset(&leg.channel, tag);
        }
    }
}
