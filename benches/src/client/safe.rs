//! The loop on the safe client, and what drives it.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use futures::task::LocalSpawnExt;
use spdk_safe::bdev::{IoChannel, ReadWrite};
use spdk_safe::env::DmaBuf;
use spdk_safe::error::IoError;
use spdk_safe::thread::{Poller, PollerStatus};
use spdk_safe::units::Lba;

use super::c::Clock;
use super::{Contender, Direction, Order, Ran, RigError, Shape, Work, on_the_spot};

/// What the slots of a run share: the same fields as in `csrc/client.c`.
struct Run {
    channel: Rc<IoChannel<ReadWrite>>,
    io_blocks: u64,
    places: u64,
    is_random: bool,
    left: Cell<u64>,
    place: Cell<u64>,
    random: Cell<u64>,
    busy: Cell<u32>,
    completed: Cell<u64>,
    failed: Cell<u64>,
    ended: Cell<Clock>,
    bufs: RefCell<Vec<DmaBuf>>,
    waker: Cell<Option<Waker>>,
}

impl Run {
    #[inline] // as in C
    fn next(&self) -> Option<Lba> {
        self.left.set(self.left.get().checked_sub(1)?);
        Some(Lba(self.next_place() * self.io_blocks))
    }

    #[inline] // as in C
    fn next_place(&self) -> u64 {
        if self.is_random {
            let mut x = self.random.get();
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            self.random.set(x);
            return ((x >> 32) * self.places) >> 32;
        }
        let place = self.place.get();
        self.place.set(if place + 1 == self.places {
            0
        } else {
            place + 1
        });
        place
    }

    #[inline] // as in C
    fn count(&self, is_ok: bool) {
        self.completed.set(self.completed.get() + 1);
        if !is_ok {
            self.failed.set(self.failed.get() + 1);
        }
    }

    fn end(&self, buf: DmaBuf) {
        self.bufs.borrow_mut().push(buf);
        self.busy.set(self.busy.get() - 1);
        if self.busy.get() == 0 {
            self.ended.set(Clock::now());
            if let Some(waker) = self.waker.take() {
                waker.wake();
            }
        }
    }

    async fn over(&self) {
        poll_fn(|cx| {
            if self.busy.get() == 0 {
                return Poll::Ready(());
            }
            self.waker.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

/// One slot that reads.
async fn reads(run: Rc<Run>, mut buf: DmaBuf) {
    while let Some(lba) = run.next() {
        let (result, back) = run.channel.read(lba, buf).await;
        buf = back;
        run.count(result.is_ok());
    }
    run.end(buf);
}

/// One slot that writes.
async fn writes(run: Rc<Run>, mut buf: DmaBuf) {
    while let Some(lba) = run.next() {
        let (result, back) = run.channel.write(lba, buf).await;
        buf = back;
        run.count(result.is_ok());
    }
    run.end(buf);
}

/// One slot that goes on in each completion.
fn go_on(run: Rc<Run>, buf: DmaBuf, direction: Direction) {
    let Some(lba) = run.next() else {
        return run.end(buf);
    };
    let channel = Rc::clone(&run);
    let done_run = run;
    let done = move |result: Result<(), IoError>, buf| {
        done_run.count(result.is_ok());
        go_on(done_run, buf, direction);
    };
    let started = match direction {
        Direction::Read => channel.channel.read_then(lba, buf, done),
        Direction::Write => channel.channel.write_then(lba, buf, done),
    };
    if let Err((_, buf)) = started {
        channel.count(false);
        channel.end(buf);
    }
}

/// One slot that goes on by itself.
async fn looped(run: Rc<Run>, buf: DmaBuf, direction: Direction) {
    let Some(lba) = run.next() else {
        return run.end(buf);
    };
    let channel = Rc::clone(&run.channel);
    let again = Rc::clone(&run);
    let step = move |result: Result<(), IoError>, _: &mut DmaBuf| {
        again.count(result.is_ok());
        again.next()
    };
    let (result, buf) = match direction {
        Direction::Read => channel.read_loop(lba, buf, step).await,
        Direction::Write => channel.write_loop(lba, buf, step).await,
    };
    if result.is_err() {
        run.count(false);
    }
    run.end(buf);
}

/// Does `work` on `channel` with `bufs`, which come back, as do those that were not needed.
pub(super) async fn run(
    contender: Contender,
    channel: Rc<IoChannel<ReadWrite>>,
    shape: &Shape,
    work: &Work,
    mut bufs: Vec<DmaBuf>,
) -> (Result<(Ran, u64), RigError>, Vec<DmaBuf>) {
    let slots = bufs.split_off(bufs.len() - work.depth as usize);
    let (is_random, random) = match work.order {
        Order::Sequential => (false, 1),
        Order::Random(seed) => (true, seed),
    };
    let run = Rc::new(Run {
        channel,
        io_blocks: u64::from(shape.io_blocks),
        places: shape.places(),
        is_random,
        left: Cell::new(work.count),
        place: Cell::new(0),
        random: Cell::new(random),
        busy: Cell::new(work.depth),
        completed: Cell::new(0),
        failed: Cell::new(0),
        ended: Cell::new(Clock::default()),
        bufs: RefCell::new(bufs),
        waker: Cell::new(None),
    });
    let began = Clock::now();
    if contender == Contender::Loop {
        let slots = slots
            .into_iter()
            .map(|buf| looped(Rc::clone(&run), buf, work.direction));
        futures::future::join_all(slots).await;
        let ran = began.ran(run.ended.get(), run.completed.get());
        return (Ok((ran, run.failed.get())), run.bufs.take());
    }
    if contender == Contender::Callback {
        slots
            .into_iter()
            .for_each(|buf| go_on(Rc::clone(&run), buf, work.direction));
        run.over().await;
        let ran = began.ran(run.ended.get(), run.completed.get());
        return (Ok((ran, run.failed.get())), run.bufs.take());
    }
    let driven = match work.direction {
        Direction::Read => drive(contender, &run, slots, reads).await,
        Direction::Write => drive(contender, &run, slots, writes).await,
    };
    let ran = began.ran(run.ended.get(), run.completed.get());
    (driven.map(|()| (ran, run.failed.get())), run.bufs.take())
}

/// Runs a slot for each buffer, to the end.
async fn drive<F>(
    contender: Contender,
    run: &Rc<Run>,
    bufs: Vec<DmaBuf>,
    slot: impl Fn(Rc<Run>, DmaBuf) -> F,
) -> Result<(), RigError>
where
    F: Future<Output = ()> + 'static,
{
    let slots = bufs.into_iter().map(|buf| slot(Rc::clone(run), buf));
    match contender {
        Contender::C
        | Contender::CAgain
        | Contender::CVectored
        | Contender::Callback
        | Contender::Loop => {
            unreachable!("it has a loop of its own")
        }
        Contender::Exec => {
            let executor = spdk_exec::spdk::attach()?;
            slots.for_each(|slot| executor.spawn(slot).detach());
            run.over().await;
        }
        Contender::ExecRunNow => {
            let executor = spdk_exec::spdk::attach()?;
            slots.for_each(|slot| {
                // SAFETY: a slot's waker goes to I/O on this thread alone.
                let slot = unsafe { on_the_spot::run_now(slot) };
                executor.spawn(slot).detach();
            });
            run.over().await;
        }
        Contender::OnTheSpot => {
            // SAFETY: a slot's waker goes to I/O on this thread alone.
            slots.for_each(|slot| unsafe { on_the_spot::start(slot) });
            run.over().await;
        }
        Contender::Main => {
            let mut slots: FuturesUnordered<F> = slots.collect();
            while slots.next().await.is_some() {}
        }
        Contender::LocalPool => {
            let mut pool = futures::executor::LocalPool::new();
            let spawner = pool.spawner();
            slots.for_each(|slot| {
                spawner.spawn_local(slot).expect("the pool is there");
            });
            let _poller = Poller::register(None, move || {
                pool.run_until_stalled();
                PollerStatus::Busy
            })?;
            run.over().await;
        }
    }
    Ok(())
}
