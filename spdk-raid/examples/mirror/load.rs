//! A load on the mirror that checks what it reads: random reads and writes, half of each, at a queue depth.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use spdk_exec::JoinHandle;
use spdk_exec::spdk::{Attached, attach};
use spdk_raid::raid1::Raid1;
use spdk_safe::prelude::*;

use crate::options::Options;
use crate::pattern::Contents;

/// How often the line is drawn, and a point of the picture taken.
const SAMPLE: Duration = Duration::from_millis(20);

/// A load under way.
pub(crate) struct Load {
    state: Rc<State>,
    lanes: Vec<JoinHandle<()>>,
    sampler: JoinHandle<()>,
    bar: ProgressBar,
    /// It drops its tasks with its last handle.
    _executor: Attached,
}

/// What a load did.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) ios: u64,
    pub(crate) bytes: u64,
    pub(crate) elapsed: Duration,
    /// I/Os that failed, or read something else than was written; with the first of them in words.
    pub(crate) failed: u64,
    pub(crate) first_failure: Option<String>,
    pub(crate) samples: Vec<Sample>,
    pub(crate) events: Vec<Event>,
}

/// A point of the picture.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// Seconds from the beginning.
    pub(crate) at: f64,
    pub(crate) mib_per_second: f64,
}

/// Something that was done to the mirror meanwhile.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    /// Seconds from the beginning.
    pub(crate) at: f64,
    pub(crate) what: String,
}

struct State {
    start: Instant,
    is_over: Cell<bool>,
    ios: Cell<u64>,
    bytes: Cell<u64>,
    failed: Cell<u64>,
    first_failure: RefCell<Option<String>>,
    samples: RefCell<Vec<Sample>>,
    events: RefCell<Vec<Event>>,
}

impl Load {
    /// Begins a load on `channel`'s bdev, whose contents are `contents`.
    pub(crate) fn begin(
        array: &Raid1,
        channel: IoChannel<ReadWrite>,
        contents: &Rc<Contents>,
        options: &Options,
    ) -> anyhow::Result<Self> {
        let executor = attach()?;
        let channel = Rc::new(channel);
        let state = Rc::new(State {
            start: Instant::now(),
            is_over: Cell::new(false),
            ios: Cell::new(0),
            bytes: Cell::new(0),
            failed: Cell::new(0),
            first_failure: RefCell::default(),
            samples: RefCell::default(),
            events: RefCell::default(),
        });
        let parts = contents.parts();
        let lanes = u64::from(options.depth).min(parts);
        let lane = |lane: u64| {
            let (state, channel) = (Rc::clone(&state), Rc::clone(&channel));
            let contents = Rc::clone(contents);
            let rng = SmallRng::seed_from_u64(options.seed ^ lane);
            executor.spawn(async move {
                // Each has parts of its own, so what must be in them is certain.
                let mine = (parts - lane).div_ceil(lanes);
                run(&state, &channel, &contents, rng, |rng| {
                    lane + rng.random_range(0..mine) * lanes
                })
                .await;
            })
        };
        let lanes = (0..lanes).map(lane).collect();
        let style = ProgressStyle::with_template("{msg}");
        let bar = ProgressBar::new_spinner()
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        let sampler = sample(&executor, &state, array.clone(), bar.clone());
        Ok(Self {
            state,
            lanes,
            sampler,
            bar,
            _executor: executor,
        })
    }

    /// Notes something for the picture.
    pub(crate) fn event(&self, what: &str) {
        self.state.events.borrow_mut().push(Event {
            at: self.state.start.elapsed().as_secs_f64(),
            what: what.to_owned(),
        });
        self.bar.suspend(|| eprintln!("  {what}"));
    }

    /// Ends it.
    pub(crate) async fn end(self) -> anyhow::Result<Outcome> {
        self.state.is_over.set(true);
        for lane in self.lanes {
            lane.await.context("a lane of the load")?;
        }
        let elapsed = self.state.start.elapsed();
        let _ = self.sampler.await;
        self.bar.finish_and_clear();
        let state = &self.state;
        Ok(Outcome {
            ios: state.ios.get(),
            bytes: state.bytes.get(),
            elapsed,
            failed: state.failed.get(),
            first_failure: state.first_failure.take(),
            samples: state.samples.take(),
            events: state.events.take(),
        })
    }
}

/// One I/O after the other, until the load is over.
async fn run(
    state: &State,
    channel: &IoChannel<ReadWrite>,
    contents: &Contents,
    mut rng: SmallRng,
    choose: impl Fn(&mut SmallRng) -> u64,
) {
    while !state.is_over.get() {
        let part = choose(&mut rng);
        let (lba, blocks) = contents.part(part);
        let done = match rng.random() {
            true => write(channel, contents, part, lba, blocks).await,
            false => read(channel, contents, part, lba, blocks).await,
        };
        state.ios.set(state.ios.get() + 1);
        match done {
            Ok(bytes) => state.bytes.set(state.bytes.get() + bytes),
            Err(error) => {
                state.failed.set(state.failed.get() + 1);
                state.first_failure.borrow_mut().get_or_insert(error);
            }
        }
    }
}

async fn write(
    channel: &IoChannel<ReadWrite>,
    contents: &Contents,
    part: u64,
    lba: Lba,
    blocks: Blocks,
) -> Result<u64, String> {
    let mut buf = channel.alloc(blocks).map_err(|error| error.to_string())?;
    contents.fill_next(part, &mut buf);
    let bytes = buf.len() as u64;
    let (result, _buf) = channel.write(lba, buf).await;
    result.map_err(|error| error.to_string())?;
    contents.is_written(part);
    Ok(bytes)
}

async fn read(
    channel: &IoChannel<ReadWrite>,
    contents: &Contents,
    part: u64,
    lba: Lba,
    blocks: Blocks,
) -> Result<u64, String> {
    let buf = channel.alloc(blocks).map_err(|error| error.to_string())?;
    let (result, buf) = channel.read(lba, buf).await;
    result.map_err(|error| error.to_string())?;
    match contents.first_difference(part, &buf) {
        None => Ok(buf.len() as u64),
        Some((at, is, expected)) => Err(format!(
            "read of {lba}: byte {at} is {is:#04x}, expected {expected:#04x}"
        )),
    }
}

/// Takes points, and draws the line, until the load is over.
fn sample(
    executor: &Attached,
    state: &Rc<State>,
    array: Raid1,
    bar: ProgressBar,
) -> JoinHandle<()> {
    let (state, clock) = (Rc::clone(state), executor.clone());
    executor.spawn(async move {
        let (mut then, mut bytes, mut ios) = (Instant::now(), 0, 0);
        while !state.is_over.get() {
            clock.sleep(SAMPLE).await;
            if state.is_over.get() {
                break; // half a sample
            }
            let seconds = then.elapsed().as_secs_f64().max(f64::EPSILON);
            let mib_per_second = (state.bytes.get() - bytes) as f64 / f64::from(1 << 20) / seconds;
            let iops = (state.ios.get() - ios) as f64 / seconds;
            (then, bytes, ios) = (Instant::now(), state.bytes.get(), state.ios.get());
            state.samples.borrow_mut().push(Sample {
                at: state.start.elapsed().as_secs_f64(),
                mib_per_second,
            });
            let info = array.info();
            let process = info.processes.first().map_or_else(String::new, |process| {
                let percent = process.progress.percent;
                format!(
                    "  {} [{:<20}] {percent:>3}%",
                    process.kind,
                    "=".repeat(percent as usize / 5)
                )
            });
            bar.set_message(format!(
                "load {mib_per_second:>6.0} MiB/s {iops:>8.0} IOPS  failed {}  {}{process}",
                state.failed.get(),
                info.state,
            ));
            bar.tick();
        }
    })
}
