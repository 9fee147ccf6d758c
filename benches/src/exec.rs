//! The executor's rows: five kinds of work, each for this crate's executor and for what a user
//! would pick instead.
//!
//! Each row runs `count` units of work and gives the time that they took, so that criterion and the
//! instruction counter share them. Tasks, wakers and places that a row needs are made before.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

mod rivals;

pub use rivals::{AsyncExecutor, Boxed, Embassy, LocalPool, Rival, Static, Tokio};

/// Tasks that are parked, woken or started at once.
const MANY: usize = 1_000;

/// How often a ping-pong pair exchanges a turn.
const EXCHANGES: usize = 10;

/// Work that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    /// Start a task that is ready at its first poll, and run it; the unit is a task.
    SpawnComplete,
    /// Wake one parked task from its own thread and poll it; the unit is a wake.
    WakePoll,
    /// 1,000 tasks in pairs wake each other, 10 times each way; the unit is a wake.
    PingPong,
    /// Another thread wakes 1,000 parked tasks, then they are polled; the unit is a wake.
    RemoteWake,
    /// 1,000 timers of an hour are set, then cancelled; the unit is a timer.
    Timers,
}

impl Row {
    /// All rows.
    pub const ALL: [Self; 5] = [
        Self::SpawnComplete,
        Self::WakePoll,
        Self::PingPong,
        Self::RemoteWake,
        Self::Timers,
    ];

    /// Its name in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::SpawnComplete => "spawn+complete",
            Self::WakePoll => "wake+poll",
            Self::PingPong => "ping-pong 1000",
            Self::RemoteWake => "remote wake",
            Self::Timers => "timer set+cancel",
        }
    }

    /// Units that one step of the row is made of.
    pub fn step(self) -> usize {
        match self {
            Self::SpawnComplete | Self::WakePoll => 1,
            Self::PingPong => MANY * EXCHANGES,
            Self::RemoteWake | Self::Timers => MANY,
        }
    }

    /// Runs `steps` steps on `rival`; none if it has no such row.
    pub fn run<R: Rival>(self, rival: &R, steps: u64) -> Option<Duration> {
        match self {
            Self::SpawnComplete => Some(spawn_complete(rival, steps)),
            Self::WakePoll => Some(wake_poll(rival, steps)),
            Self::PingPong => Some(ping_pong(rival, steps)),
            Self::RemoteWake => Some(remote_wake(rival, steps)),
            Self::Timers => timers(rival, steps),
        }
    }
}

/// A future that is ready at once.
struct Ready;

impl Future for Ready {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

fn spawn_complete<R: Rival>(rival: &R, steps: u64) -> Duration {
    let places = rival.places::<Ready>(1);
    // Each step runs it to its end, so the one place is free again.
    rival.measure(|| rival.spawn(&places, 0, Ready), steps)
}

type Slot = Rc<Cell<Option<Waker>>>;

/// Parks for ever, and leaves its waker; ready once `over` is set.
struct Parked {
    wakers: Rc<RefCell<Vec<Waker>>>,
    /// Where its own is, once it left one.
    index: Option<usize>,
    over: Rc<Cell<bool>>,
}

impl Future for Parked {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.over.get() {
            return Poll::Ready(());
        }
        let this = &mut *self;
        let mut wakers = this.wakers.borrow_mut();
        match this.index {
            // As an I/O does: it keeps the waker of its latest poll.
            Some(index) => wakers[index].clone_from(cx.waker()),
            None => {
                this.index = Some(wakers.len());
                wakers.push(cx.waker().clone());
            }
        }
        Poll::Pending
    }
}

/// `count` tasks that are parked, with their wakers.
struct Park {
    wakers: Rc<RefCell<Vec<Waker>>>,
    over: Rc<Cell<bool>>,
}

impl Park {
    fn new<R: Rival>(rival: &R, count: usize) -> Self {
        let park = Self {
            wakers: Rc::default(),
            over: Rc::default(),
        };
        let places = rival.places::<Parked>(count);
        for index in 0..count {
            rival.spawn(
                &places,
                index,
                Parked {
                    wakers: park.wakers.clone(),
                    index: None,
                    over: park.over.clone(),
                },
            );
        }
        rival.run_until(|| park.wakers.borrow().len() == count);
        park
    }

    fn end<R: Rival>(self, rival: &R) {
        self.over.set(true);
        self.wakers.take().into_iter().for_each(Waker::wake);
        rival.run_until(|| Rc::strong_count(&self.over) == 1);
    }
}

fn wake_poll<R: Rival>(rival: &R, steps: u64) -> Duration {
    let park = Park::new(rival, 1);
    let waker = park.wakers.borrow()[0].clone();
    let time = rival.measure(|| waker.wake_by_ref(), steps);
    park.end(rival);
    time
}

/// One of two tasks that wake each other in turn.
struct Player {
    own: Slot,
    other: Slot,
    left: usize,
    playing: Rc<Cell<usize>>,
}

impl Future for Player {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(other) = self.other.take() {
            other.wake();
        }
        if self.left == 0 {
            self.playing.set(self.playing.get() - 1);
            return Poll::Ready(());
        }
        self.left -= 1;
        self.own.set(Some(cx.waker().clone()));
        Poll::Pending
    }
}

fn ping_pong<R: Rival>(rival: &R, steps: u64) -> Duration {
    let places = rival.places::<Player>(MANY);
    let mut time = Duration::ZERO;
    for _ in 0..steps {
        let playing = Rc::new(Cell::new(MANY));
        for pair in 0..MANY / 2 {
            let slots = [Slot::default(), Slot::default()];
            for side in 0..2 {
                rival.spawn(
                    &places,
                    pair * 2 + side,
                    Player {
                        own: slots[side].clone(),
                        other: slots[1 - side].clone(),
                        left: EXCHANGES,
                        playing: playing.clone(),
                    },
                );
            }
        }
        let start = Instant::now();
        rival.run_until(|| playing.get() == 0);
        time += start.elapsed();
    }
    time
}

fn remote_wake<R: Rival>(rival: &R, steps: u64) -> Duration {
    let park = Park::new(rival, MANY);
    let (send, receive) = std::sync::mpsc::channel::<Vec<Waker>>();
    let (done, wait) = std::sync::mpsc::channel::<(Vec<Waker>, Duration)>();
    let thread = std::thread::spawn(move || {
        for wakers in receive {
            let start = Instant::now();
            wakers.iter().for_each(Waker::wake_by_ref);
            if done.send((wakers, start.elapsed())).is_err() {
                return;
            }
        }
    });
    let mut wakers = park.wakers.borrow().clone();
    let mut time = Duration::ZERO;
    for _ in 0..steps {
        send.send(wakers).expect("the other thread waits");
        let (back, woken) = wait.recv().expect("the other thread answers");
        wakers = back;
        let start = Instant::now();
        rival.run_ready();
        time += woken + start.elapsed();
    }
    drop(send);
    thread.join().expect("the other thread ends");
    park.end(rival);
    time
}

fn timers<R: Rival>(rival: &R, steps: u64) -> Option<Duration> {
    rival.block_on(async {
        let mut time = Duration::ZERO;
        let mut sleeps = Vec::with_capacity(MANY);
        for _ in 0..steps {
            for _ in 0..MANY {
                // Where a sleep lives is the user's choice, so it is not measured.
                sleeps.push(Box::pin(None));
            }
            let start = Instant::now();
            for sleep in &mut sleeps {
                sleep.set(Some(rival.sleep(Duration::from_secs(3_600))?));
            }
            poll_fn(|cx| {
                for sleep in &mut sleeps {
                    let sleep = sleep.as_mut().as_pin_mut().expect("it was set");
                    assert!(sleep.poll(cx).is_pending());
                }
                Poll::Ready(())
            })
            .await;
            for sleep in &mut sleeps {
                sleep.set(None);
            }
            time += start.elapsed();
            sleeps.clear();
        }
        Some(time)
    })
}
