//! What happens for each I/O.
//!
//! A load that only reads, or only writes, is made of [`read_loop`](IoChannel::read_loop)s or
//! [`write_loop`](IoChannel::write_loop)s, the fastest that the safe client has; a mix is made of callbacks, since what
//! such a loop does is settled when it begins.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use futures::channel::oneshot;
use futures::future::join_all;
use spdk_safe::bdev::{IoChannel, ReadWrite};
use spdk_safe::env::DmaBuf;
use spdk_safe::error::IoError;
use spdk_safe::thread::{Poller, PollerStatus, ticks, ticks_per_second};
use spdk_safe::units::Lba;

use super::{Done, End, Histogram, Load, pattern};
use crate::client::{Clock, Order, RigError};

/// What the slots of a run share.
struct Run {
    channel: Rc<IoChannel<ReadWrite>>,
    block_size: u32,
    io_blocks: u64,
    places: u64,
    is_random: bool,
    reads: u8,
    verify: Option<u64>,
    /// I/Os that are to be begun.
    left: Cell<u64>,
    /// In order: the next place.
    place: Cell<u64>,
    /// At random: xorshift64.
    random: Cell<u64>,
    busy: Cell<u32>,
    completed: Cell<u64>,
    failed: Cell<u64>,
    mismatch: Cell<Option<pattern::Mismatch>>,
    ended: Cell<Clock>,
    latency: RefCell<Histogram>,
}

impl Run {
    /// Where the next I/O goes; none if there are to be no more.
    #[inline]
    fn next(&self) -> Option<Lba> {
        match self.left.get().checked_sub(1) {
            Some(left) => self.left.set(left),
            None => {
                self.idle();
                return None;
            }
        }
        let place = if self.is_random {
            ((self.next_random() >> 32) * self.places) >> 32
        } else {
            let place = self.place.get();
            let is_last = place + 1 == self.places;
            self.place.set(if is_last { 0 } else { place + 1 });
            place
        };
        Some(Lba(place * self.io_blocks))
    }

    #[inline]
    fn next_random(&self) -> u64 {
        let mut x = self.random.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.random.set(x);
        x
    }

    #[inline]
    fn count(&self, is_ok: bool) {
        self.completed.set(self.completed.get() + 1);
        if !is_ok {
            self.failed.set(self.failed.get() + 1);
        }
    }

    /// A slot has nothing to do any more.
    #[cold]
    fn idle(&self) {
        self.busy.set(self.busy.get() - 1);
        if self.busy.get() == 0 {
            self.ended.set(Clock::now());
        }
    }

    /// A slot ended without having been told to.
    #[cold]
    fn broke(&self) {
        self.count(false);
        self.left.set(0);
        self.idle();
    }

    /// Of what is to be verified: what was read is right.
    #[inline]
    fn check(&self, buf: &DmaBuf, lba: Lba) {
        if let Some(seed) = self.verify {
            if let Err(mismatch) = pattern::check(buf, lba, self.block_size, seed) {
                self.mismatch.set(self.mismatch.get().or(Some(mismatch)));
            }
        }
    }

    /// Of what is to be verified: what is to be written.
    #[inline]
    fn fill(&self, buf: &mut DmaBuf, lba: Lba) {
        if let Some(seed) = self.verify {
            pattern::fill(buf, lba, self.block_size, seed);
        }
    }
}

/// A slot that only reads, or only writes.
async fn one_way<const READ: bool, const TIMED: bool>(run: Rc<Run>, mut buf: DmaBuf) -> DmaBuf {
    let Some(first) = run.next() else {
        return buf;
    };
    if !READ {
        run.fill(&mut buf, first);
    }
    let channel = Rc::clone(&run.channel);
    let mine = Rc::clone(&run);
    let mut lba = first;
    let mut begun = if TIMED { ticks() } else { 0 };
    // This is the inner loop.
    let step = move |result: Result<(), IoError>, buf: &mut DmaBuf| {
        if TIMED {
            let now = ticks();
            mine.latency.borrow_mut().count(now - begun);
            begun = now;
        }
        mine.count(result.is_ok());
        if READ {
            mine.check(buf, lba);
        }
        lba = mine.next()?;
        if !READ {
            mine.fill(buf, lba);
        }
        Some(lba)
    };
    let (result, buf) = match READ {
        true => channel.read_loop(first, buf, step).await,
        false => channel.write_loop(first, buf, step).await,
    };
    if result.is_err() {
        run.broke();
    }
    buf
}

/// A slot that reads or writes, as chance has it.
async fn mixed(run: Rc<Run>, buf: DmaBuf) -> Option<DmaBuf> {
    let (sender, receiver) = oneshot::channel();
    go_on(run, buf, sender);
    receiver.await.ok()
}

fn go_on(run: Rc<Run>, mut buf: DmaBuf, end: oneshot::Sender<DmaBuf>) {
    let Some(lba) = run.next() else {
        let _ = end.send(buf);
        return;
    };
    let is_read = run.next_random() % 100 < u64::from(run.reads);
    if !is_read {
        run.fill(&mut buf, lba);
    }
    let begun = ticks();
    let theirs = Rc::clone(&run);
    let done = move |result: Result<(), IoError>, buf: DmaBuf| {
        theirs.latency.borrow_mut().count(ticks() - begun);
        theirs.count(result.is_ok());
        if is_read {
            theirs.check(&buf, lba);
        }
        go_on(theirs, buf, end);
    };
    let started = match is_read {
        true => run.channel.read_then(lba, buf, done),
        false => run.channel.write_then(lba, buf, done),
    };
    if started.is_err() {
        run.broke();
    }
}

/// Does `load` on `channel` with `bufs`, one for each slot, which come back if nothing broke.
///
/// # Errors
///
/// [`RigError::Work`] for a load that can't be, [`RigError::Thread`]. I/O that fails is counted.
pub async fn run(
    channel: Rc<IoChannel<ReadWrite>>,
    load: &Load,
    mut bufs: Vec<DmaBuf>,
) -> Result<(Done, Vec<DmaBuf>), RigError> {
    let io_blocks = u64::from(load.io_blocks);
    let places = channel.num_blocks().0.checked_div(io_blocks).unwrap_or(0);
    let refuse = |what, allowed: String| Err(RigError::Work { what, allowed });
    if places == 0 || places > u64::from(u32::MAX) {
        return refuse("the bdev's size in I/Os", "1 to 4294967295".into());
    }
    if load.depth == 0 || load.depth as usize > bufs.len() {
        return refuse("the depth", format!("1 to {}", bufs.len()));
    }
    let rest = bufs.split_off(load.depth as usize);
    let (is_random, random) = match load.order {
        Order::Sequential => (false, 1),
        Order::Random(seed) => (true, seed.max(1)),
    };
    let run = Rc::new(Run {
        block_size: channel.info().block_size,
        channel,
        io_blocks,
        places,
        is_random,
        reads: load.reads,
        verify: load.verify,
        left: Cell::new(match load.end {
            End::Count(count) => count,
            End::Time(_) => u64::MAX,
        }),
        place: Cell::new(0),
        random: Cell::new(random),
        busy: Cell::new(load.depth),
        completed: Cell::new(0),
        failed: Cell::new(0),
        mismatch: Cell::new(None),
        ended: Cell::new(Clock::default()),
        latency: RefCell::new(Histogram::new(ticks_per_second())),
    });
    let _stops = match load.end {
        End::Count(_) => None,
        End::Time(time) => {
            let run = Rc::clone(&run);
            let stop = move || {
                run.left.set(0);
                PollerStatus::Busy
            };
            Some(Poller::register(Some(time), stop)?)
        }
    };
    let began = Clock::now();
    let slots = bufs.into_iter();
    let run_of = || Rc::clone(&run);
    let mut bufs: Vec<DmaBuf> = match (load.reads, load.latency) {
        (100.., false) => join_all(slots.map(|buf| one_way::<true, false>(run_of(), buf))).await,
        (100.., true) => join_all(slots.map(|buf| one_way::<true, true>(run_of(), buf))).await,
        (0, false) => join_all(slots.map(|buf| one_way::<false, false>(run_of(), buf))).await,
        (0, true) => join_all(slots.map(|buf| one_way::<false, true>(run_of(), buf))).await,
        _ => {
            let bufs = join_all(slots.map(|buf| mixed(run_of(), buf))).await;
            bufs.into_iter().flatten().collect()
        }
    };
    bufs.extend(rest);
    let ran = began.ran(run.ended.get(), run.completed.get());
    let done = Done {
        completed: ran.completed,
        failed: run.failed.get(),
        mismatch: run.mismatch.get(),
        wall: ran.wall,
        cpu: ran.cpu,
        rate: ran.rate(),
        latency: run.latency.take(),
    };
    Ok((done, bufs))
}
