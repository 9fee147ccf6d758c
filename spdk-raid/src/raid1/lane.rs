//! An array on one SPDK thread.
//!
//! ```text
//!                  request ──► View (counted) ──► leg's channels
//!                                ▲
//!   Lane.now ────────────────────┘
//!      │ refresh                      older Views live as long as requests that began with them:
//!      ▼                              View 1 ──next──► View 2 ──next──► View 3 = now
//!   View of the next snapshot
//! ```
//!
//! A request keeps the [`View`] that it began with, whatever is published meanwhile. A view that was replaced keeps the
//! next one: so *a view is dropped when neither its requests nor older ones are under way*. That is how a range lock
//! learns that all writes which began before it have ended, at no cost to them: the view that the lock replaced holds the
//! lock's `before`.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::error::Error;
use std::rc::{Rc, Weak};
use std::sync::{Arc, Mutex, PoisonError};

use futures_channel::oneshot;
use spdk_safe::bdev::IoChannel;
use spdk_safe::error::ChannelError;
use spdk_safe::io_device::{DeviceChannel, IoDevice};
use spdk_safe::module::{Request, RequestStatus};
use spdk_safe::prelude::ReadWrite;
use spdk_safe::thread_storage;
use spdk_safe::units::{Blocks, Lba};

use super::array::Array;
use super::options::ReadPolicy;
use super::rescue::{self, Rescuer};
use super::snapshot::{ALL, Snapshot};
use super::state::LegId;
use super::straight::Straight;
use crate::split::Extent;

/// What makes a [`Lane`] for each thread, and visits them.
pub(super) struct Lanes(pub(super) Arc<Array>);

impl IoDevice for Lanes {
    type Channel = Lane;

    fn create_channel(&self) -> Result<Lane, Box<dyn Error + Send + Sync>> {
        let view = View::new(Arc::clone(&self.0), self.0.published.get(), None)?;
        let view = Rc::new(view);
        Ok(Lane {
            readers: Cell::new(Readers::of(&view)),
            now: Cell::new(Some(view)),
            parked: RefCell::default(),
            me: OnceCell::new(),
        })
    }
}

/// A lane, and what keeps it: the state of our block device on a thread.
pub(super) struct Channel {
    pub(super) lane: Rc<Lane>,
    _hold: DeviceChannel<Lanes>,
}

impl Channel {
    pub(super) fn new(array: &Array) -> Result<Self, ChannelError> {
        let device = |error: &dyn Error| ChannelError::Device(error.to_string());
        let lanes = array.lanes.get().ok_or_else(|| ChannelError::Removed {
            name: array.name.clone(),
        })?;
        let hold = lanes.channel().map_err(|error| device(&error))?;
        let lane = hold.context().map_err(|error| device(&error))?;
        // Only now a pass would find it, so what was published meanwhile is looked at here.
        lane.refresh(None);
        let _ = lane.me.set(Rc::downgrade(&lane));
        let _ = LANES.with(|lanes| lanes.add(&lane));
        Ok(Self { lane, _hold: hold })
    }
}

thread_storage! {
    /// Dropped while the thread still has its channels.
    static LANES: LanesHere = LanesHere::default();
}

/// The lanes of an SPDK thread. When it exits, no pass visits them any more: what is parked would stay for ever, and what
/// comes now would not know what is published.
#[derive(Default)]
struct LanesHere(RefCell<Vec<Weak<Lane>>>);

impl LanesHere {
    fn add(&self, lane: &Rc<Lane>) {
        let mut lanes = self.0.borrow_mut();
        lanes.retain(|known| known.strong_count() != 0);
        lanes.push(Rc::downgrade(lane));
    }
}

impl Drop for LanesHere {
    fn drop(&mut self) {
        for lane in self.0.take() {
            if let Some(lane) = lane.upgrade() {
                lane.end();
            }
        }
    }
}

/// An array on one SPDK thread.
pub(super) struct Lane {
    /// Always there, but for the moment in which it is cloned: a `RefCell` costs each request ten instructions.
    now: Cell<Option<Rc<View>>>,
    /// Those of `now`, if it has some.
    readers: Cell<Option<Rc<Readers>>>,
    /// Requests that would change a locked range.
    parked: RefCell<VecDeque<Request>>,
    me: OnceCell<Weak<Self>>,
}

impl Lane {
    pub(super) fn view(&self) -> Rc<View> {
        self.now().expect("it is always there")
    }

    /// The view, which is always there: for who has another way if not, so that the compiler finds no panic on its own.
    #[inline(always)] // on the path of each request
    pub(super) fn now(&self) -> Option<Rc<View>> {
        clone_of(&self.now)
    }

    /// Who reads, if that is simple.
    #[inline(always)] // on the path of each read
    pub(super) fn readers(&self) -> Option<Rc<Readers>> {
        clone_of(&self.readers)
    }

    /// From now on requests begin with this view.
    fn show(&self, view: Rc<View>) {
        let readers = self.readers.replace(Readers::of(&view));
        let last = self.now.replace(Some(view));
        drop((readers, last));
    }

    /// Looks at what is published now, and submits what it had parked, until that waits for memory. The rest is for the
    /// `rescuer`; without one it stays, and the pass of a lock that is let go of brings one.
    pub(super) fn refresh(&self, rescuer: Option<&Rescuer>) {
        self.look();
        // Those that are still to be parked come again.
        for left in (1..=self.parked()).rev() {
            if self.view().waits_for_memory() {
                if let (Some(rescuer), Some(me)) = (rescuer, self.me.get()) {
                    rescue::begin(Weak::clone(me), left, rescuer.clone());
                }
                return;
            }
            self.submit_parked();
        }
    }

    /// Looks at what is published now, and submits all that it had parked: nobody else will.
    pub(super) fn unlock(&self) {
        self.look();
        for _ in 0..self.parked() {
            self.submit_parked();
        }
    }

    fn submit_parked(&self) {
        if let Some(request) = self.unpark() {
            super::data_path::submit(self, request);
        }
    }

    /// Looks at what is published now.
    fn look(&self) {
        let old = self.view();
        let snapshot = old.array.published.get();
        if snapshot.version != old.snapshot.version {
            // A leg that gives no channel is left out, so this does not fail.
            let Ok(next) = View::new(Arc::clone(&old.array), snapshot, Some(&old)) else {
                return;
            };
            let next = Rc::new(next);
            old.replaced_by(&next);
            self.show(next);
        }
        // Perhaps the last one: it lets go of channels.
        drop(old);
    }

    /// Keeps a request until a lock is gone.
    #[cold]
    pub(super) fn park(&self, request: Request) {
        self.view().array.counters.parked.add(1);
        self.parked.borrow_mut().push_back(request);
    }

    /// The request that was parked first.
    pub(super) fn unpark(&self) -> Option<Request> {
        self.parked.borrow_mut().pop_front()
    }

    /// How many requests are parked.
    pub(super) fn parked(&self) -> usize {
        self.parked.borrow().len()
    }

    /// The thread exits: what is parked ends as aborted, and so does what still comes.
    fn end(&self) {
        let old = self.view();
        let next = Rc::new(View {
            array: Arc::clone(&old.array),
            snapshot: Arc::clone(&old.snapshot),
            legs: Vec::new(),
            is_plain: false,
            pair: None,
            turn: Cell::new(0),
            resets: old.resets,
            next: RefCell::new(None),
            before: RefCell::default(),
            later: RefCell::default(),
        });
        old.replaced_by(&next);
        // Before the lane is not seen any more.
        *old.later.borrow_mut() = Some(old.array.leaving.add());
        self.show(next);
        drop(old);
        self.abort_parked();
    }

    /// What is parked ends as aborted: a RESET has come, or the thread exits.
    pub(super) fn abort_parked(&self) {
        let parked = std::mem::take(&mut *self.parked.borrow_mut());
        for request in parked {
            request.complete(RequestStatus::Aborted);
        }
    }
}

/// A snapshot, with this thread's channels to its legs.
pub(super) struct View {
    pub(super) array: Arc<Array>,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) legs: Vec<Entry>,
    /// All legs are in sync and reached, nothing is locked, nothing dirty.
    pub(super) is_plain: bool,
    /// The two legs, if it is plain and has two.
    pub(super) pair: Option<[Straight; 2]>,
    /// The leg whose turn is next.
    turn: Cell<usize>,
    /// How many RESETs had begun when it was made; `None` if one was under way.
    resets: Option<u64>,
    /// Once it was replaced: by whom, and the locks that came then.
    next: RefCell<Option<Rc<View>>>,
    before: RefCell<Vec<Arc<oneshot::Sender<Infallible>>>>,
    /// If it was its thread's last one: locks that come later.
    later: RefCell<Option<Arc<Later>>>,
}

/// The locks that came when a thread's lane was gone, and wait for what the thread still has in flight.
#[derive(Default)]
pub(super) struct Later(Mutex<Vec<Arc<oneshot::Sender<Infallible>>>>);

impl Later {
    /// A lock has come.
    pub(super) fn wait(&self, lock: &Arc<oneshot::Sender<Infallible>>) {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Not those that were let go of meanwhile.
        locks.retain(|known| !known.is_canceled());
        locks.push(Arc::clone(lock));
    }
}

/// Of a view that is plain: two legs, of which the one reads that has less to do; or the only reader, twice.
///
/// Each read keeps it, and the view by it.
pub(super) struct Readers {
    pub(super) view: Rc<View>,
    pub(super) legs: [Straight; 2],
}

/// A leg, as it is in a view.
pub(super) struct Entry {
    pub(super) id: LegId,
    /// `None` if the thread got no channel to it.
    pub(super) here: Option<Rc<Here>>,
    pub(super) offset: u64,
    pub(super) front: u64,
    /// It is not read any more.
    pub(super) leaves: bool,
}

/// A leg on this thread, for as long as it is one.
pub(super) struct Here {
    pub(super) channel: IoChannel<ReadWrite>,
    /// Blocks that are being read.
    pub(super) reading: Cell<u64>,
}

impl Entry {
    /// Blocks that are being read from it here; the most if it can't be read here.
    fn reading(&self) -> u64 {
        let here = self.here.as_ref();
        here.map_or(u64::MAX, |here| here.reading.get())
    }

    fn straight(&self) -> Option<Straight> {
        Some(Straight {
            here: Rc::clone(self.here.as_ref()?),
            offset: self.offset,
        })
    }
}

/// Two legs that a thread has channels to.
fn straight(one: &Entry, two: &Entry) -> Option<[Straight; 2]> {
    Some([one.straight()?, two.straight()?])
}

/// What is in the cell.
#[inline(always)] // on the path of each request
fn clone_of<T>(cell: &Cell<Option<Rc<T>>>) -> Option<Rc<T>> {
    let it = cell.take();
    let clone = it.clone();
    // There is none to drop.
    std::mem::forget(cell.replace(it));
    clone
}

impl Readers {
    fn of(view: &Rc<View>) -> Option<Rc<Self>> {
        let legs = match (view.is_plain, view.snapshot.policy, &*view.legs) {
            (true, _, [only]) => straight(only, only)?,
            (true, ReadPolicy::LeastLoaded, [first, second]) => straight(first, second)?,
            (true, ReadPolicy::Primary, [first, _]) => straight(first, first)?,
            _ => return None,
        };
        let view = Rc::clone(view);
        Some(Rc::new(Self { view, legs }))
    }
}

impl View {
    fn new(
        array: Arc<Array>,
        snapshot: Arc<Snapshot>,
        old: Option<&Self>,
    ) -> Result<Self, ChannelError> {
        // First: a RESET that begins now is seen.
        let resets = array.resets.begun();
        let mut legs = Vec::with_capacity(snapshot.legs.len());
        for leg in &snapshot.legs {
            let known = old.and_then(|old| old.legs.iter().find(|known| known.id == leg.id));
            let here = match known.and_then(|known| known.here.clone()) {
                Some(here) => Some(here),
                None => match leg.desc.channel_below() {
                    Ok(channel) => Some(Rc::new(Here {
                        channel,
                        reading: Cell::new(0),
                    })),
                    // It goes, or this thread is not told yet that it is gone.
                    Err(ChannelError::Removed { .. }) => None,
                    Err(error) if old.is_none() => return Err(error),
                    // Tried again with the next view; nothing is on it before all threads have one.
                    Err(_) => None,
                },
            };
            legs.push(Entry {
                id: leg.id,
                here,
                offset: leg.offset,
                front: leg.front,
                leaves: leg.leaves,
            });
        }
        let is_whole = |leg: &Entry| leg.front == ALL && !leg.leaves && leg.here.is_some();
        let is_plain =
            legs.iter().all(is_whole) && snapshot.locks.is_empty() && snapshot.dirty.is_empty();
        let pair = match (is_plain, &*legs) {
            (true, [first, second]) => straight(first, second),
            _ => None,
        };
        Ok(Self {
            is_plain,
            pair,
            array,
            snapshot,
            legs,
            turn: Cell::new(old.map_or(0, |old| old.turn.get())),
            resets,
            next: RefCell::new(None),
            before: RefCell::default(),
            later: RefCell::default(),
        })
    }

    /// The next view has come.
    fn replaced_by(&self, next: &Rc<Self>) {
        let version = self.snapshot.version;
        let locks = next.snapshot.locks.iter();
        let before = locks
            .filter(|lock| lock.since > version)
            .filter_map(|lock| lock.before.upgrade());
        self.before.borrow_mut().extend(before);
        *self.next.borrow_mut() = Some(Rc::clone(next));
    }

    /// Whether its thread exits.
    pub(super) fn is_over(&self) -> bool {
        self.legs.is_empty()
    }

    /// Whether a RESET of the array may have aborted a request of this view: one came since it was made, or was under way
    /// then, as on a thread that had no channel before. When a RESET ends all threads get new views.
    pub(super) fn is_reset(&self) -> bool {
        self.resets.is_none() || self.array.resets.begun() != self.resets
    }

    /// Whether it knows a leg, and has no channel to it.
    pub(super) fn lacks(&self, id: LegId) -> bool {
        let mut legs = self.legs.iter();
        legs.any(|leg| leg.id == id && leg.here.is_none())
    }

    /// Whether I/O to a leg waits for memory on this thread.
    pub(super) fn waits_for_memory(&self) -> bool {
        let mut here = self.legs.iter().filter_map(|leg| leg.here.as_ref());
        here.any(|here| here.channel.waits_for_memory())
    }

    /// Whether a request may not change `extent` now.
    #[cold]
    pub(super) fn is_locked(&self, extent: Extent) -> bool {
        let mut locks = self.snapshot.locks.iter();
        locks.any(|lock| lock.extent.overlaps(extent))
    }

    /// The place in the list of the leg that reads a range, but none of `not`.
    #[inline]
    pub(super) fn choose(&self, lba: Lba, blocks: Blocks, not: u32) -> Option<usize> {
        if self.is_plain && not == 0 {
            return self.choose_of(self.legs.len(), |_| true);
        }
        self.choose_carefully(lba, blocks, not)
    }

    #[cold]
    fn choose_carefully(&self, lba: Lba, blocks: Blocks, not: u32) -> Option<usize> {
        let end = lba.0.saturating_add(blocks.0);
        let may = |at: usize| {
            let leg = &self.legs[at];
            not & (1 << at) == 0 && leg.here.is_some() && !leg.leaves && end <= leg.front
        };
        let extent = Extent::new(lba, blocks).ok();
        let is_dirty = extent.is_some_and(|extent| {
            let mut dirty = self.snapshot.dirty.iter();
            dirty.any(|dirty| dirty.extent.overlaps(extent))
        });
        if is_dirty {
            return (0..self.legs.len()).find(|&at| may(at) && self.legs[at].front == ALL);
        }
        self.choose_of(self.legs.len(), may)
    }

    fn choose_of(&self, count: usize, may: impl Fn(usize) -> bool) -> Option<usize> {
        match self.snapshot.policy {
            ReadPolicy::LeastLoaded => {
                let mut best: Option<(usize, u64)> = None;
                for at in 0..count {
                    let load = self.legs[at].reading();
                    if best.is_none_or(|(_, least)| load < least) && may(at) {
                        best = Some((at, load));
                    }
                }
                best.map(|(at, _)| at)
            }
            ReadPolicy::RoundRobin => {
                let first = self.turn.get() % count.max(1);
                self.turn.set(first + 1);
                (first..count).chain(0..first).find(|&at| may(at))
            }
            ReadPolicy::Primary => (0..count).find(|&at| may(at)),
        }
    }
}

impl Drop for View {
    /// One after the other: a request may outlive many changes, and the views that came meanwhile are a list as long.
    fn drop(&mut self) {
        let mut next = self.next.get_mut().take();
        while let Some(mut view) = next.and_then(|view| Rc::try_unwrap(view).ok()) {
            next = view.next.get_mut().take();
        }
    }
}
