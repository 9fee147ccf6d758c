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

/// What the slots of a run share. What each I/O touches comes first, in one line of the cache.
#[repr(C, align(64))]
struct Run {
    /// I/Os that are to be begun.
    left: Cell<u64>,
    /// At random: xorshift64.
    random: Cell<u64>,
    /// In order: the next place.
    place: Cell<u64>,
    places: u64,
    io_blocks: u64,
    channel: Rc<IoChannel<ReadWrite>>,
    block_size: u32,
    is_random: bool,
    reads: u8,
    verify: Option<u64>,
    busy: Cell<u32>,
    /// I/Os that are not begun any more: it was stopped.
    never: Cell<u64>,
    failed: Cell<u64>,
    mismatch: Cell<Option<pattern::Mismatch>>,
    ended: Cell<Clock>,
    latency: RefCell<Histogram>,
}

impl Run {
    /// Where the next I/O goes; none if there are to be no more.
    #[inline]
    fn next<const RANDOM: bool>(&self) -> Option<Lba> {
        match self.left.get().checked_sub(1) {
            Some(left) => self.left.set(left),
            None => {
                self.idle();
                return None;
            }
        }
        let place = if RANDOM {
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

    #[cold]
    fn fail(&self) {
        self.failed.set(self.failed.get() + 1);
    }

    /// There is to be no more.
    fn stop(&self) {
        self.never.set(self.never.get() + self.left.replace(0));
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
        self.fail();
        self.stop();
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

/// A slot that only reads, or only writes; a `BARE` one neither looks at the clock nor verifies.
async fn one_way<const READ: bool, const RANDOM: bool, const BARE: bool>(
    run: Rc<Run>,
    mut buf: DmaBuf,
) -> DmaBuf {
    let Some(first) = run.next::<RANDOM>() else {
        return buf;
    };
    if !READ && !BARE {
        run.fill(&mut buf, first);
    }
    let channel = Rc::clone(&run.channel);
    let mine = Rc::clone(&run);
    let mut lba = first;
    let mut begun = if BARE { 0 } else { ticks() };
    // This is the inner loop.
    let step = move |result: Result<(), IoError>, buf: &mut DmaBuf| {
        if result.is_err() {
            mine.fail();
        }
        if BARE {
            return mine.next::<RANDOM>();
        }
        let now = ticks();
        mine.latency.borrow_mut().count(now - begun);
        begun = now;
        if READ {
            mine.check(buf, lba);
        }
        lba = mine.next::<RANDOM>()?;
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

/// All of these.
async fn ways<const READ: bool, const RANDOM: bool>(
    run: &Rc<Run>,
    bufs: Vec<DmaBuf>,
    is_bare: bool,
) -> Vec<DmaBuf> {
    let slots = bufs.into_iter().map(|buf| (Rc::clone(run), buf));
    match is_bare {
        true => join_all(slots.map(|(run, buf)| one_way::<READ, RANDOM, true>(run, buf))).await,
        false => join_all(slots.map(|(run, buf)| one_way::<READ, RANDOM, false>(run, buf))).await,
    }
}

/// A slot that reads or writes, as chance has it.
async fn mixed(run: Rc<Run>, buf: DmaBuf) -> Option<DmaBuf> {
    let (sender, receiver) = oneshot::channel();
    go_on(run, buf, sender);
    receiver.await.ok()
}

fn go_on(run: Rc<Run>, mut buf: DmaBuf, end: oneshot::Sender<DmaBuf>) {
    let next = match run.is_random {
        true => run.next::<true>(),
        false => run.next::<false>(),
    };
    let Some(lba) = next else {
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
        if result.is_err() {
            theirs.fail();
        }
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
    let count = match load.end {
        End::Count(count) => count,
        End::Time(_) => u64::MAX,
    };
    let run = Rc::new(Run {
        block_size: channel.info().block_size,
        channel,
        io_blocks,
        places,
        is_random,
        reads: load.reads,
        verify: load.verify,
        left: Cell::new(count),
        place: Cell::new(0),
        random: Cell::new(random),
        busy: Cell::new(load.depth),
        never: Cell::new(0),
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
                run.stop();
                PollerStatus::Busy
            };
            Some(Poller::register(Some(time), stop)?)
        }
    };
    let began = Clock::now();
    let is_bare = !load.latency && load.verify.is_none();
    let mut bufs: Vec<DmaBuf> = match (load.reads, is_random) {
        (100.., false) => ways::<true, false>(&run, bufs, is_bare).await,
        (100.., true) => ways::<true, true>(&run, bufs, is_bare).await,
        (0, false) => ways::<false, false>(&run, bufs, is_bare).await,
        (0, true) => ways::<false, true>(&run, bufs, is_bare).await,
        _ => {
            let bufs = join_all(bufs.into_iter().map(|buf| mixed(Rc::clone(&run), buf))).await;
            bufs.into_iter().flatten().collect()
        }
    };
    bufs.extend(rest);
    // All that was begun has ended.
    let ran = began.ran(run.ended.get(), count - run.left.get() - run.never.get());
    let done = Done {
        completed: ran.completed,
        failed: run.failed.get(),
        mismatch: run.mismatch.get(),
        wall: ran.wall,
        cpu: ran.cpu,
        rate: ran.rate(),
        latency: match load.latency {
            true => run.latency.take(),
            false => Histogram::default(),
        },
    };
    Ok((done, bufs))
}
