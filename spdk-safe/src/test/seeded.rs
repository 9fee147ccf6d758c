//! Tests whose schedule is an input.
//!
//! Several SPDK threads share one OS thread, and a seed chooses which of them is polled next and how many of its
//! messages it may handle. All else is SPDK as it is. What an order of messages can break, some seed finds, and the
//! seed of a failure replays it; a crash names its seed too.

use std::any::Any;
use std::cell::Cell;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, mpsc};
use std::thread::JoinHandle;

use super::schedule::{Random, Schedule, Turn};
use super::thread::TestThread;
use super::{Caught, IS_HARNESS, LAST_PANIC, keep_panics_for_their_tests, left_open};
use crate::app::{App, LogLevel, Main, OwnLoop, Pools, Spdk};
use crate::module::BdevModule;
use crate::sync::lock;
use crate::thread::{Thread, registry, table};
use crate::units::Mib;
use crate::{bdev, io_device};

/// Names the one seed to run.
const SEED: &str = "SPDK_TEST_SEED";

/// A case that is not done after so many turns hangs. (The slowest of ours take some thousands.)
const MOST_TURNS: u64 = 2_000_000;

/// By how much time goes on with each turn, at most, in parts of a second.
const TURNS_IN_A_SECOND: u64 = 100_000;

/// A case begins at a multiple of so many turns: then its timers fall as they do when it runs alone.
const CASE: u64 = 1 << 24;

thread_local! {
    /// Turns on the thread of this harness, from 1 on; 0 on all others.
    static TURNS: Cell<u64> = const { Cell::new(0) };
}

/// The time on the thread of a seeded harness; `None` on all others.
pub(crate) fn seeded_ticks() -> Option<u64> {
    let turns = TURNS.get();
    (turns != 0).then(|| {
        let second = crate::thread::ticks_per_second().max(1);
        let turn = (second / TURNS_IN_A_SECOND).max(1);
        turns.saturating_mul(1 << turn.ilog2())
    })
}

/// One SPDK for the tests of a process, each run with many schedules.
///
/// ```standalone_crate
/// use spdk_safe::prelude::*;
/// use spdk_safe::test::SeededHarness;
///
/// static SPDK: SeededHarness = SeededHarness::new(&[]); // one in a test binary
///
/// // in a #[test]: 20 schedules of an app thread and two more
/// SPDK.run(0..20, 2, async |case| {
///     MallocBdev::builder("m").blocks(8).create(&case.spdk).await.unwrap();
///     let desc = BdevDesc::open(&case.spdk, "m").read_only().unwrap();
///     let shared = desc.share();
///     let read = case.threads[0].run(async move || {
///         let ch = shared.channel().unwrap();
///         ch.read(Lba(0), ch.alloc(Blocks(1)).unwrap()).await.0
///     });
///     read.await.unwrap().unwrap();
///     desc.close().await;
///     MallocBdev::delete(&case.spdk, "m").await.unwrap();
/// });
/// ```
///
/// [`ticks`](crate::thread::ticks) is a time of the harness: 5 to 10 us for each turn. So what sleeps by it is in the seed.
/// What depends on SPDK's own clock is not: pollers with a period run when they are due.
#[derive(Debug)]
pub struct SeededHarness {
    modules: &'static [&'static BdevModule],
    pools: Pools,
    auto_examine: bool,
}

/// What a test gets, for one seed.
#[derive(Debug)]
pub struct Case {
    /// The app thread's context.
    pub spdk: Spdk,
    /// Further SPDK threads, made for this case; they exit after it.
    pub threads: Vec<TestThread>,
    /// Numbers from the same seed, for what the test itself wants to vary.
    pub random: Random,
    /// The seed.
    pub seed: u64,
}

type Job = Box<dyn FnOnce(&mut OwnLoop) + Send>;

struct Shared {
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

static SHARED: OnceLock<Shared> = OnceLock::new();

/// How a case failed.
type Failure = Box<dyn Any + Send>;

impl SeededHarness {
    /// A harness that registers `modules`. It is started by the first [`run`](Self::run).
    #[must_use]
    pub const fn new(modules: &'static [&'static BdevModule]) -> Self {
        Self {
            modules,
            pools: Pools::small(),
            auto_examine: false,
        }
    }

    /// Has modules examine bdevs when they are registered; see [`Harness::auto_examine`](super::Harness::auto_examine).
    #[must_use]
    pub const fn auto_examine(self) -> Self {
        Self {
            auto_examine: true,
            ..self
        }
    }

    /// With pools of these sizes: [`Pools::small`] if it is not said.
    #[must_use]
    pub const fn pools(self, pools: Pools) -> Self {
        Self { pools, ..self }
    }

    /// Runs `test` once for each of `seeds`, with the app thread and `threads` more. With `SPDK_TEST_SEED` in the
    /// environment it runs that seed alone.
    ///
    /// # Panics
    ///
    /// At the first seed at which the test panics, leaves something open, or hangs; the message names the seed.
    pub fn run(
        &self,
        seeds: impl IntoIterator<Item = u64>,
        threads: usize,
        test: impl AsyncFn(Case) + Send + 'static,
    ) {
        self.record(seeds, threads, test, false);
    }

    /// As [`run`](Self::run), and returns the turns of each seed.
    pub fn turns(
        &self,
        seeds: impl IntoIterator<Item = u64>,
        threads: usize,
        test: impl AsyncFn(Case) + Send + 'static,
    ) -> Vec<Vec<Turn>> {
        self.record(seeds, threads, test, true)
    }

    fn record(
        &self,
        seeds: impl IntoIterator<Item = u64>,
        threads: usize,
        test: impl AsyncFn(Case) + Send + 'static,
        keep: bool,
    ) -> Vec<Vec<Turn>> {
        let seeds: Vec<u64> = match std::env::var(SEED) {
            Ok(seed) => {
                let seed = seed.parse();
                vec![seed.unwrap_or_else(|_| panic!("{SEED} is not a number"))]
            }
            Err(_) => seeds.into_iter().collect(),
        };
        let shared = SHARED.get_or_init(|| start(self.modules, self.pools, self.auto_examine));
        let (send, result) = mpsc::channel();
        let job: Job = Box::new(move |own| {
            let mut recorded = Vec::new();
            for seed in seeds {
                let mut turns = keep.then(Vec::new);
                if let Err(failure) = run_case(own, seed, threads, &test, turns.as_mut()) {
                    let _ = send.send(Err((seed, failure, LAST_PANIC.take())));
                    return;
                }
                recorded.extend(turns);
            }
            let _ = send.send(Ok(recorded));
        });
        let sent = lock(&shared.jobs)
            .as_ref()
            .is_some_and(|jobs| jobs.send(job).is_ok());
        assert!(
            sent,
            "the harness has ended; the first failure, or SPDK's log, says why"
        );
        match result.recv() {
            Ok(Ok(recorded)) => recorded,
            Ok(Err((seed, failure, said))) => {
                said.into_iter().for_each(|said| eprintln!("{said}"));
                panic!(
                    "seed {seed}: {}\n  replay it with {SEED}={seed}",
                    crate::panic::message(&*failure)
                )
            }
            Err(_) => panic!("the harness ended before the test did; SPDK's log says why"),
        }
    }
}

/// One case, from its threads' start to their end.
fn run_case(
    own: &mut OwnLoop,
    seed: u64,
    threads: usize,
    test: &impl AsyncFn(Case),
    mut turns: Option<&mut Vec<Turn>>,
) -> Result<(), Failure> {
    CURRENT.store(seed, Ordering::Relaxed);
    TURNS.set(TURNS.get().next_multiple_of(CASE));
    let mut schedule = Schedule::new(seed);
    let spdk = own.spdk();
    let outcome = drive(own, &mut schedule, turns.as_deref_mut(), async {
        let mut owners = Vec::new();
        for number in 1..=threads {
            let thread = Thread::builder(format!("test-{number}")).create(&spdk);
            owners.push(thread.await.map_err(|error| failure(error.to_string()))?);
        }
        let ours = table::names();
        let numbered = |(at, owner): (usize, &Thread)| TestThread::new(owner.handle(), at + 1);
        let case = Case {
            spdk: spdk.clone(),
            threads: owners.iter().enumerate().map(numbered).collect(),
            random: Random::new(!seed),
            seed,
        };
        let outcome = Caught(Box::pin(test(case))).await;
        let open = left_open(&ours).await;
        for owner in owners {
            owner.exit().await;
        }
        match (outcome, open) {
            (Ok(()), Some(open)) => Err(failure(format!("the test left open: {open}"))),
            (outcome, _) => outcome,
        }
    });
    // Threads have exited, or were told to when the test was dropped; now they go.
    let hangs = outcome.is_none().then(|| {
        let mut open = super::open_names();
        open.extend(registry::all_held());
        open.push(format!("{} spdk_bdev_ios", super::Open::now().bdev_ios));
        open.join(", ")
    });
    if hangs.is_some() {
        bdev::revoke_all();
        io_device::revoke_all();
        table::exit_all();
    }
    let end = schedule.turns + MOST_TURNS;
    while own.threads() > 1 && schedule.turns < end {
        turn(own, &mut schedule, turns.as_deref_mut());
    }
    match (outcome, hangs) {
        (None, open) => Err(failure(format!(
            "the test hangs; open: {}",
            open.unwrap_or_default()
        ))),
        (Some(Ok(())), _) if own.threads() > 1 => {
            Err(failure("an SPDK thread does not exit".into()))
        }
        (Some(outcome), _) => outcome,
    }
}

fn failure(text: String) -> Failure {
    Box::new(text)
}

/// Runs `future` as a part of the app thread, so that it too waits for its turn. `None` if it hangs.
fn drive<F: Future>(
    own: &mut OwnLoop,
    schedule: &mut Schedule,
    mut turns: Option<&mut Vec<Turn>>,
    future: F,
) -> Option<F::Output> {
    let mut main = Main::new(future);
    while schedule.turns < MOST_TURNS {
        if turn(own, schedule, turns.as_deref_mut()) == 0 {
            if let Some(output) = main.poll() {
                return Some(output);
            }
        }
    }
    None
}

/// One turn. Whose it was.
fn turn(own: &mut OwnLoop, schedule: &mut Schedule, turns: Option<&mut Vec<Turn>>) -> usize {
    TURNS.set(TURNS.get() + 1);
    let (at, messages) = schedule.next(own.threads());
    own.poll_thread(at, messages);
    if at == 0 {
        // Else a poller does it when it is due, by the clock.
        table::attend();
    }
    if let Some(turns) = turns {
        turns.push(Turn {
            thread: at as u16,
            messages: messages as u8,
        });
    }
    at
}

fn start(modules: &'static [&'static BdevModule], pools: Pools, auto_examine: bool) -> Shared {
    // Destructors of C libraries run at exit, and must not find SPDK at work.
    // SAFETY: `stop_at_exit` is a plain function that lives for ever.
    unsafe { libc::atexit(stop_at_exit) };
    let (send, jobs) = mpsc::channel::<Job>();
    let thread = std::thread::Builder::new()
        .name("spdk-test".into())
        .spawn(move || {
            IS_HARNESS.set(true);
            TURNS.set(1);
            keep_panics_for_their_tests();
            name_the_seed_in_crashes();
            let mut builder = App::builder("spdk-test")
                .no_huge()
                .no_pci()
                .memory(Mib(512))
                .pools(pools)
                .auto_examine(auto_examine)
                .log_level(LogLevel::Warn);
            for module in modules {
                builder = builder.module(module);
            }
            match builder.own_loop() {
                // Nothing is polled between two tests.
                Ok(mut own) => jobs.iter().for_each(|job| job(&mut own)),
                Err(error) => eprintln!("the test harness did not start: {error}"),
            }
        })
        .expect("an OS thread for the test harness");
    Shared {
        jobs: Mutex::new(Some(send)),
        thread: Mutex::new(Some(thread)),
    }
}

/// The seed that runs, for the last words of a crash.
static CURRENT: AtomicU64 = AtomicU64::new(0);

/// Has a crash say which seed it was: what a schedule breaks may end in a signal and not in a panic.
fn name_the_seed_in_crashes() {
    let handler: extern "C" fn(libc::c_int) = crash_callback;
    for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGABRT] {
        // SAFETY: the handler makes calls that are safe in a signal handler, and no other.
        unsafe { libc::signal(signal, handler as libc::sighandler_t) };
    }
}

extern "C" fn crash_callback(signal: libc::c_int) {
    let mut text = *b"seed                      crashed; replay it with SPDK_TEST_SEED\n";
    let mut seed = CURRENT.load(Ordering::Relaxed);
    for digit in text[5..25].iter_mut().rev() {
        *digit = b'0' + (seed % 10) as u8;
        seed /= 10;
        if seed == 0 {
            break;
        }
    }
    // SAFETY: `text` has so many bytes; write() is safe in a signal handler.
    unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) };
    // SAFETY: from here on the signal does what it did; returning raises it again.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

extern "C" fn stop_at_exit() {
    let Some(shared) = SHARED.get() else {
        return;
    };
    lock(&shared.jobs).take();
    if IS_HARNESS.get() {
        // A test ends the process: this thread can't wait for itself.
        return;
    }
    if let Some(thread) = lock(&shared.thread).take() {
        let _ = thread.join();
    }
}
