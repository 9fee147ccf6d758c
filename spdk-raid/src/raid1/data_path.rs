//! What happens to a request when all is well; `settle.rs` has what happens when it is not, and `straight.rs` the reads
//! and writes of an array that is whole, which are nearly all.
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

use spdk_safe::bdev::IoChannel;
use spdk_safe::error::{ChannelError, IoError, IoType};
use spdk_safe::json::{Object, WriteError};
use spdk_safe::module::{
    Arrived, BlockDevice, ChildIos, Children, FanOut, Parent, RangeRequest, ReadRequest, Request,
    RequestStatus, ResetRequest, Submit, WriteRequest,
};
use spdk_safe::prelude::ReadWrite;
use spdk_safe::units::{Blocks, Lba};

use super::array::Array;
use super::control::Command;
use super::lane::{Channel, Entry, Lane, View};
use super::rpc::Shown;
use super::settle;
use super::snapshot::ALL;
use super::state::FaultReason;
use super::straight;
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

    fn submit(&self, channel: &Rc<Channel>, request: Request) {
        submit(&channel.lane, request);
    }

    #[inline(always)] // on the path of each read
    fn read(&self, channel: &Rc<Channel>, read: Arrived<'_, ReadRequest>) {
        match channel.lane.readers() {
            Some(readers) => read.route(straight::Read::new(readers)),
            None => submit(&channel.lane, Request::Read(read.into_inner())),
        }
    }

    #[inline(always)] // on the path of each write
    fn write(&self, channel: &Rc<Channel>, write: Arrived<'_, WriteRequest>) {
        match channel.lane.now() {
            Some(view) if view.pair.is_some() => write.fan_out(straight::Write::new(view)),
            _ => submit(&channel.lane, Request::Write(write.into_inner())),
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.array.tell(Command::Gone);
    }
}

/// Takes a request, new or parked before.
#[inline(never)] // out of the way of what is plain
pub(super) fn submit(lane: &Lane, request: Request) {
    let view = lane.view();
    if view.is_over() {
        return request.complete(RequestStatus::Aborted);
    }
    view.array.users.note_io();
    match request {
        Request::Read(read) => read_from(view, read),
        Request::Write(write) if view.is_plain => write.fan_out(Legs::new(view, WriteTo)),
        Request::Write(write) if is_locked(&view, write.lba(), write.blocks()) => {
            lane.park(Request::Write(write));
        }
        Request::Write(write) => fan_out(view, write, WriteTo),
        other => submit_rare(lane, view, other),
    }
}

#[cold]
fn submit_rare(lane: &Lane, view: Rc<View>, request: Request) {
    match request {
        Request::Unmap(range) | Request::WriteZeroes(range)
            if is_locked(&view, range.lba(), range.blocks()) =>
        {
            // What it was does not get lost: it says so itself.
            lane.park(range.into());
        }
        Request::Unmap(range) => fan_out(view, range, UnmapOf),
        Request::WriteZeroes(range) => fan_out(view, range, ZeroesTo),
        Request::Flush(range) => fan_out(view, range, FlushOf),
        Request::Reset(reset) => settle::reset(view, reset),
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

fn read_from(view: Rc<View>, read: ReadRequest) {
    match view.choose(read.lba(), read.blocks(), 0) {
        Some(at) => read_leg(view, read, at, settle::Tried::default()),
        None => read.complete(RequestStatus::Failed),
    }
}

/// Reads from the leg at `at`, which has a channel here; `tried` did not do it.
pub(super) fn read_leg(view: Rc<View>, read: ReadRequest, at: usize, tried: settle::Tried) {
    let waits = ReadOf {
        view,
        at,
        blocks: read.blocks().0,
        tried,
        error: Cell::new(None),
    };
    read.fan_out(waits);
}

/// Waits for the leg that reads.
struct ReadOf {
    view: Rc<View>,
    at: usize,
    blocks: u64,
    tried: settle::Tried,
    /// Set if it failed.
    error: Cell<Option<Box<IoError>>>,
}

impl ReadOf {
    fn fail(&self, error: IoError) {
        self.error.set(Some(Box::new(error)));
    }
}

impl Submit<ReadRequest> for ReadOf {
    fn submit(ios: &FanOut<'_, ReadRequest, Self>) {
        let (lba, this) = (ios.request().lba(), ios.state());
        let leg = &this.view.legs[this.at];
        match &leg.here {
            Some(here) => {
                here.reading.set(here.reading.get() + this.blocks);
                ios.read(&here.channel, on(leg, lba), 0);
            }
            None => this.fail(IoError::Unsupported { io: IoType::Read }),
        }
    }
}

impl Children<ReadRequest> for ReadOf {
    fn ended(&self, _tag: u8, result: Result<(), IoError>) {
        if let Some(here) = &self.view.legs[self.at].here {
            here.reading.set(here.reading.get() - self.blocks);
        }
        if let Err(error) = result {
            self.fail(error);
        }
    }

    fn all_ended(self, read: ReadRequest) {
        match self.error.take() {
            None => settle::was_read_elsewhere(&self.view, read, self.tried),
            Some(error) => settle::read_elsewhere(self.view, read, self.at, *error, self.tried),
        }
    }
}

/// Waits for the legs. It lies in the request's context: small.
pub(super) struct Legs<W> {
    pub(super) view: Rc<View>,
    what: W,
    /// Once something was wrong.
    bad: Cell<Option<Box<Bad>>>,
}

/// What was wrong with a request's legs.
struct Bad {
    /// Legs that failed by their own fault, or were not reached.
    faults: u32,
    /// Legs that failed by the request's.
    refusals: u32,
    /// Why the first one of each kind failed.
    reason: FaultReason,
    status: RequestStatus,
}

impl Default for Bad {
    fn default() -> Self {
        Self {
            faults: 0,
            refusals: 0,
            reason: FaultReason::NoChannel,
            status: RequestStatus::Failed,
        }
    }
}

/// What is sent to each leg.
pub(super) trait ToLegs<R>: Sized + 'static {
    /// It changes its range.
    const CHANGES: bool = true;
    /// There is nothing more to do when all legs have done it.
    const IS_DONE: bool = true;

    /// The range of what is sent.
    fn range(request: &R) -> (Lba, Blocks);

    /// Sends it for the first `blocks` blocks to the leg at `tag`; `is_all`: those are all.
    fn send(
        ios: &ChildIos<R, Legs<Self>>,
        leg: &IoChannel<ReadWrite>,
        lba: Lba,
        blocks: Blocks,
        is_all: bool,
        tag: u8,
    ) where
        R: Parent,
        Legs<Self>: Children<R>;

    /// All legs have done it.
    #[inline]
    fn done(self, _view: Rc<View>, request: R)
    where
        R: Parent,
    {
        request.complete(RequestStatus::Success);
    }

    /// What is changed.
    fn changes(request: &R) -> Option<Extent> {
        let (lba, blocks) = Self::range(request);
        Extent::new(lba, blocks).ok().filter(|_| Self::CHANGES)
    }
}

/// A write to all legs, of which each is in sync and reached.
impl Submit<WriteRequest> for Legs<WriteTo> {
    fn submit(ios: &FanOut<'_, WriteRequest, Self>) {
        let lba = ios.request().lba();
        for (at, leg) in ios.state().view.legs.iter().enumerate() {
            if let Some(here) = &leg.here {
                ios.write(&here.channel, on(leg, lba), at as u8);
            }
        }
    }
}

/// Sends a request to all legs.
#[inline(never)] // out of the way of what is plain
pub(super) fn fan_out<R: Parent, W: ToLegs<R>>(view: Rc<View>, request: R, what: W)
where
    Legs<W>: Children<R>,
{
    let (lba, blocks) = W::range(&request);
    let ios = request.children(Legs::new(view, what));
    let legs = ios.state();
    for (at, leg) in legs.view.legs.iter().enumerate() {
        let Some(below) = leg.part_of(lba, blocks, W::CHANGES) else {
            continue;
        };
        match &leg.here {
            Some(here) => W::send(
                &ios,
                &here.channel,
                on(leg, lba),
                below,
                below == blocks,
                at as u8,
            ),
            // Nothing is on it yet, and it is not filled before all threads have a channel.
            None if leg.front == 0 => {}
            None => legs.is_not_reached(at),
        }
    }
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
    fn has_succeeded(&self, _request: &R) -> bool {
        W::IS_DONE && self.view.is_plain
    }

    fn all_ended(self, request: R) {
        match self.bad.take() {
            None if self.view.is_plain => self.what.done(self.view, request),
            bad => self.settle(request, bad.map(|bad| *bad).unwrap_or_default()),
        }
    }
}

impl Entry {
    /// Whether it is a leg that has all data, and keeps it.
    #[inline]
    fn counts(&self) -> bool {
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
    pub(super) fn new(view: Rc<View>, what: W) -> Self {
        Self {
            view,
            what,
            bad: Cell::new(None),
        }
    }

    /// Something is wrong with a leg.
    #[cold]
    fn note(&self, what: impl FnOnce(&mut Bad)) {
        let mut bad = self.bad.take().unwrap_or_default();
        what(&mut bad);
        self.bad.set(Some(bad));
    }

    /// There is no way to the leg at `at`.
    #[cold]
    pub(super) fn is_not_reached(&self, at: usize) {
        self.note(|bad| bad.faults |= 1 << at);
    }

    #[cold]
    pub(super) fn failed(&self, tag: u8, error: &IoError) {
        let bit = 1 << tag;
        let verdict = verdict::of(error, self.view.is_reset());
        self.note(|bad| match verdict {
            Verdict::Leg(reason) => {
                bad.faults |= bit;
                bad.reason = reason;
                // What the request itself is to blame for says more.
                if bad.refusals == 0 {
                    bad.status = error.clone().into();
                }
            }
            Verdict::Request => {
                bad.refusals |= bit;
                bad.status = error.clone().into();
            }
        });
    }

    /// All have ended, and not all of them well, or not all legs are whole.
    #[cold]
    fn settle<R: Parent>(self, request: R, bad: Bad)
    where
        W: ToLegs<R>,
    {
        let Bad {
            faults,
            refusals,
            reason,
            status,
        } = bad;
        let (lba, blocks) = W::range(&request);
        let mut answers = Answers {
            faults,
            refusals,
            ..Answers::default()
        };
        // Those that were asked: a view does not change.
        for (at, leg) in self.view.legs.iter().enumerate() {
            match leg.part_of(lba, blocks, W::CHANGES) {
                Some(_) if leg.counts() => answers.in_sync |= 1 << at,
                Some(_) => answers.filling |= 1 << at,
                None => {}
            }
        }
        let outcome = match answers {
            Answers { in_sync: 0, .. } => Outcome::Diverged { faults: 0 },
            Answers {
                faults: 0,
                refusals: 0,
                ..
            } => return self.what.done(self.view, request),
            answers => answers.outcome(),
        };
        let changes = W::changes(&request);
        settle::settle(self.view, request, outcome, reason, status, changes);
    }
}

/// A RESET.
pub(super) struct ResetOf {
    _counted: Resetting,
}

/// Counts a RESET as long as it is under way.
struct Resetting(Arc<Array>);

impl ResetOf {
    pub(super) fn begin(array: &Arc<Array>) -> Self {
        array.resets.begin();
        Self {
            _counted: Resetting(Arc::clone(array)),
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

/// A write.
pub(super) struct WriteTo;
/// An unmap.
pub(super) struct UnmapOf;
/// Zeroes.
pub(super) struct ZeroesTo;
/// A flush: nothing is changed.
struct FlushOf;

impl ToLegs<WriteRequest> for WriteTo {
    #[inline]
    fn range(request: &WriteRequest) -> (Lba, Blocks) {
        (request.lba(), request.blocks())
    }

    #[inline]
    fn send(
        ios: &ChildIos<WriteRequest, Legs<Self>>,
        leg: &IoChannel<ReadWrite>,
        lba: Lba,
        blocks: Blocks,
        is_all: bool,
        tag: u8,
    ) {
        if is_all {
            return ios.write(leg, lba, tag);
        }
        // It has as many: they are fewer than its own.
        let _ = ios.write_part(leg, lba, Blocks(0), blocks, tag);
    }
}

impl ToLegs<RangeRequest> for UnmapOf {
    fn range(request: &RangeRequest) -> (Lba, Blocks) {
        (request.lba(), request.blocks())
    }

    fn send(
        ios: &ChildIos<RangeRequest, Legs<Self>>,
        leg: &IoChannel<ReadWrite>,
        lba: Lba,
        blocks: Blocks,
        _is_all: bool,
        tag: u8,
    ) {
        // One that joined later may not have it: zeroes are what an unmap may leave.
        match leg.supports(IoType::Unmap) {
            true => ios.unmap(leg, lba, blocks, tag),
            false => ios.write_zeroes(leg, lba, blocks, tag),
        }
    }
}

impl ToLegs<RangeRequest> for ZeroesTo {
    fn range(request: &RangeRequest) -> (Lba, Blocks) {
        (request.lba(), request.blocks())
    }

    fn send(
        ios: &ChildIos<RangeRequest, Legs<Self>>,
        leg: &IoChannel<ReadWrite>,
        lba: Lba,
        blocks: Blocks,
        _is_all: bool,
        tag: u8,
    ) {
        ios.write_zeroes(leg, lba, blocks, tag);
    }
}

impl ToLegs<RangeRequest> for FlushOf {
    const CHANGES: bool = false;

    fn range(request: &RangeRequest) -> (Lba, Blocks) {
        (request.lba(), request.blocks())
    }

    fn send(
        ios: &ChildIos<RangeRequest, Legs<Self>>,
        leg: &IoChannel<ReadWrite>,
        lba: Lba,
        blocks: Blocks,
        _is_all: bool,
        tag: u8,
    ) {
        // What has no volatile cache has nothing to flush.
        if leg.supports(IoType::Flush) {
            ios.flush(leg, lba, blocks, tag);
        }
    }
}

impl ToLegs<ResetRequest> for ResetOf {
    const CHANGES: bool = false;
    const IS_DONE: bool = false;

    fn range(_: &ResetRequest) -> (Lba, Blocks) {
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
        ios: &ChildIos<ResetRequest, Legs<Self>>,
        leg: &IoChannel<ReadWrite>,
        _lba: Lba,
        _blocks: Blocks,
        _is_all: bool,
        tag: u8,
    ) {
        if leg.supports(IoType::Reset) {
            ios.reset(leg, tag);
        }
    }
}
