//! A job that people see: what it is, how far it is, and what holds it up.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_channel::oneshot;
use spdk_safe::units::Blocks;

use super::super::array::Array;
use super::super::clock::now;
use super::super::copy::Copier;
use super::super::state::LegId;
use super::WAIT;
use super::pace::{Bucket, Share, Speed};

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum JobKind {
    /// Fills a leg.
    Rebuild,
    /// Compares legs.
    Scrub,
    /// Makes legs equal that were not taken to be.
    Resync,
}

/// A job, as control, its task and those who look at it share it. It has ended when there is none any more.
#[derive(Debug)]
pub(in super::super) struct Job {
    pub(in super::super) kind: JobKind,
    /// The leg that is filled.
    pub(in super::super) leg: Option<LegId>,
    done: AtomicU64,
    is_paused: AtomicBool,
    is_aborted: AtomicBool,
    pace: Mutex<Pace>,
}

#[derive(Debug, Default)]
struct Pace {
    bucket: Bucket,
    share: Share,
    speed: Speed,
    /// Hear of its end when they are dropped.
    waiters: Vec<oneshot::Sender<Infallible>>,
}

/// How far a job is.
pub(in super::super) struct Seen {
    /// Blocks.
    pub(in super::super) done: u64,
    /// Blocks a second, if that is known.
    pub(in super::super) rate: Option<f64>,
    pub(in super::super) is_paused: bool,
}

impl Job {
    pub(in super::super) fn new(kind: JobKind, leg: Option<LegId>) -> Arc<Self> {
        Arc::new(Self {
            kind,
            leg,
            done: AtomicU64::new(0),
            is_paused: AtomicBool::new(false),
            is_aborted: AtomicBool::new(false),
            pace: Mutex::default(),
        })
    }

    /// Locked for single looks.
    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// After the window that it is at.
    pub(in super::super) fn pause(&self, is_paused: bool) {
        self.is_paused.store(is_paused, Ordering::Relaxed);
    }

    /// It ends after the window that it is at.
    pub(in super::super) fn abort(&self) {
        self.is_aborted.store(true, Ordering::Relaxed);
    }

    /// Ends, with an error, when the job has.
    pub(in super::super) fn ended(&self) -> oneshot::Receiver<Infallible> {
        let (waiter, ended) = oneshot::channel();
        self.pace().waiters.push(waiter);
        ended
    }

    /// How far it is.
    pub(in super::super) fn seen(&self) -> Seen {
        let done = self.done.load(Ordering::Relaxed);
        Seen {
            done,
            rate: self.pace().speed.rate(now(), done),
            is_paused: self.is_paused.load(Ordering::Relaxed),
        }
    }

    /// It has come so far, and has moved so much for that.
    pub(super) fn came_to(&self, array: &Array, done: u64, moved: Blocks) {
        self.done.store(done, Ordering::Relaxed);
        let mut pace = self.pace();
        pace.speed.note(now(), done);
        pace.bucket.take(moved.0 * u64::from(array.block_size));
    }

    /// Waits as long as it may not go on. False if it is to end.
    pub(super) async fn goes_on(&self, array: &Array, copier: &mut Copier) -> bool {
        let percent = array.status().options.share;
        let had_io = array.users.had_io();
        self.pace().share.end(now(), percent, had_io);
        loop {
            let is_target = |leg| {
                let snapshot = array.published.get();
                snapshot.legs.iter().any(|known| known.id == leg)
            };
            if self.is_aborted.load(Ordering::Relaxed)
                || array.status().is_ending
                || !self.leg.is_none_or(is_target)
            {
                return false;
            }
            let wait = match self.is_paused.load(Ordering::Relaxed) {
                true => {
                    self.pace().speed.stop();
                    Some(WAIT)
                }
                false => {
                    let rate = array.status().options.max_bandwidth;
                    let mut pace = self.pace();
                    pace.speed.note(now(), self.done.load(Ordering::Relaxed));
                    // What is changed meanwhile is to be seen.
                    let paid = pace.bucket.wait(now(), rate.map(|bytes| bytes.0));
                    let rests = pace.share.wait(now());
                    paid.max(rests).map(|wait| wait.min(WAIT))
                }
            };
            let Some(wait) = wait else {
                array.users.forget();
                self.pace().share.begin(now());
                return true;
            };
            copier.tidy();
            spdk_exec::sleep(wait).await;
        }
    }
}
