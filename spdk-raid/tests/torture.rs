//! Everything at once: I/O of all types on several SPDK threads, legs that fail, wait and go, people who take them away,
//! put others in, scrub, set options, delete; plans and schedules from a seed, and one model that says what may be read.
//!
//! Each test runs in a process of its own. What fails there is made smaller, a process for each try: a crash or a hang
//! too. `cargo xtask torture` runs it long.
//!
//! | variable | what it says |
//! | --- | --- |
//! | `SPDK_TEST_SEED` | the one seed to run |
//! | `TORTURE_KEEP` | the numbers of those things in its plan that are kept, as a failure prints them |
//! | `TORTURE_SECONDS`, `TORTURE_CASES` | how long, how many cases at most |
//! | `TORTURE_FROM` | the first seed |
//! | `TORTURE_TRACE` | if it is set, everything that a case does is said |
//! | `TORTURE_SHRINK` | how many seconds a failure is made smaller for |

#![forbid(unsafe_code)]

/// Says what happens, if `TORTURE_TRACE` is set.
macro_rules! trace {
    ($($what:tt)*) => {
        if std::env::var_os("TORTURE_TRACE").is_some() {
            eprintln!("torture: {}", format_args!($($what)*));
        }
    };
}

#[path = "torture/case.rs"]
mod case;
#[path = "torture/disks.rs"]
mod disks;
#[path = "torture/draw.rs"]
mod draw;
#[path = "torture/io.rs"]
mod io;
#[path = "torture/model.rs"]
mod model;
#[path = "torture/plan.rs"]
mod plan;
#[path = "torture/total.rs"]
mod total;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use plan::Plan;
use spdk_bdevs::ramdisk;
use spdk_raid::raid1;
use spdk_safe::prelude::*;
use spdk_safe::test::SeededHarness;

/// All blocks of an array: so few that I/Os meet.
const BLOCKS: u64 = 48;
const SIZE: usize = 512;
/// The app thread, and two more.
const THREADS: usize = 3;
/// Blocks that arrays may get when they grow.
const ROOM: u64 = 16;

/// Enough buffers for what two arrays' threads keep.
const POOLS: Pools = Pools {
    small_buffers: 2048,
    large_buffers: 256,
    ..Pools::small()
};

/// SPDK for cases, and what they have to know of it.
struct World {
    harness: SeededHarness,
    /// How many things a thread does at a time, at most.
    lanes: usize,
    /// I/Os, and threads that want a channel, wait for memory.
    is_short: bool,
}

static SPDK: World = World {
    harness: SeededHarness::new(&[&raid1::MODULE, &ramdisk::MODULE]).pools(POOLS),
    lanes: 8,
    is_short: false,
};
static TINY: World = World {
    harness: SeededHarness::new(&[&raid1::MODULE, &ramdisk::MODULE]).pools(Pools {
        bdev_ios: 31,
        bdev_io_cache: 4,
        ..POOLS
    }),
    lanes: 8,
    is_short: true,
};

const CHILD: &str = "TORTURE_CHILD";
const SEED: &str = "SPDK_TEST_SEED";
const KEEP: &str = "TORTURE_KEEP";
const SECONDS: &str = "TORTURE_SECONDS";

/// How many cases there are at most if nobody says: the same ones on a fast machine as on a slow one. `cargo xtask
/// torture` has more.
const SHORT: u64 = 500;

/// How much longer than it should a process may take.
const HUNG: Duration = Duration::from_secs(60);

fn number(name: &str) -> Option<u64> {
    let said = std::env::var(name).ok();
    said.map(|said| said.parse().expect("a number"))
}

/// Runs cases one after the other, in this process.
fn cases(world: &'static World, seconds: u64, most: u64) {
    let keep = std::env::var(KEEP).ok().map(|said| {
        let numbers = said.split(',').filter(|said| !said.is_empty());
        numbers.map(|n| n.parse().unwrap()).collect::<Vec<usize>>()
    });
    let seeds = match number(SEED) {
        Some(seed) => seed..seed + 1,
        None => {
            let from = number("TORTURE_FROM").unwrap_or(0);
            from..from + number("TORTURE_CASES").unwrap_or(most)
        }
    };
    let end = Duration::from_secs(number(SECONDS).unwrap_or(seconds));
    let (began, mut spoke) = (Instant::now(), Instant::now());
    for seed in seeds {
        if began.elapsed() > end {
            break;
        }
        let mut plan = Plan::of(seed, world);
        if let Some(keep) = &keep {
            plan = plan.only(keep);
        }
        // The last one that was begun, if this process does not come back.
        eprintln!("torture: seed {seed}");
        world.harness.run([seed], THREADS - 1, async move |case| {
            if let Err(why) = case::run(case, plan.clone()).await {
                panic!("{why}");
            }
        });
        total::CASES.add(1);
        if spoke.elapsed() > Duration::from_secs(1) {
            spoke = Instant::now();
            println!(
                "torture: after {} s: {}",
                began.elapsed().as_secs(),
                total::line()
            );
        }
    }
    println!(
        "torture: in {:.1} s: {}",
        began.elapsed().as_secs_f64(),
        total::line()
    );
}

/// Runs `test` in a process of its own: it has one SPDK. What fails there is made smaller.
fn in_process(name: &str, world: &'static World) {
    if std::env::var(CHILD).as_deref() == Ok(name) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| cases(world, 10, SHORT))) {
            let text = panic.downcast_ref::<String>().map_or("", String::as_str);
            println!("torture: fails: {text}");
            // What is stuck would keep the process, too.
            std::process::abort();
        }
        return;
    }
    let (passed, said) = child(name, None, None);
    if passed {
        assert!(said.contains("1 passed"), "the child ran no test:\n{said}");
        let last = said.lines().filter(|line| line.starts_with("torture: in"));
        last.for_each(|line| println!("{line}"));
        return;
    }
    let seed = said
        .rsplit("torture: seed ")
        .next()
        .and_then(|at| at.split_whitespace().next());
    match seed.and_then(|seed| seed.parse().ok()) {
        Some(seed) if said.contains("torture: seed ") => make_smaller(name, seed, world, said),
        _ => panic!("it failed before it began:\n{said}"),
    }
}

/// Runs the test `name` in a process: whether it passed, and what it said.
fn child(name: &str, seed: Option<u64>, keep: Option<&[usize]>) -> (bool, String) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .args(
            std::env::args()
                .any(|arg| arg.contains("ignored"))
                .then_some("--ignored"),
        )
        .env(CHILD, name)
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null());
    if let Some(seed) = seed {
        command.env(SEED, seed.to_string());
    }
    if let Some(keep) = keep {
        let numbers: Vec<_> = keep.iter().map(ToString::to_string).collect();
        command.env(KEEP, numbers.join(","));
    }
    let out = tempfile::NamedTempFile::new().unwrap();
    // One file position for both, or they write over each other.
    let both = out.reopen().unwrap();
    command.stdout(both.try_clone().unwrap()).stderr(both);
    let mut child = command.spawn().unwrap();
    let long = Duration::from_secs(number(SECONDS).unwrap_or(30));
    let end = Instant::now() + HUNG + if keep.is_some() { Duration::ZERO } else { long };
    let mut shown = Instant::now();
    let passed = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status.success();
        }
        if Instant::now() > end {
            child.kill().unwrap();
            child.wait().unwrap();
            break false;
        }
        if std::env::var_os("TORTURE_PROGRESS").is_some()
            && keep.is_none()
            && shown.elapsed() > Duration::from_secs(1)
        {
            shown = Instant::now();
            let said = std::fs::read(out.path()).unwrap();
            let said = String::from_utf8_lossy(&said);
            if let Some(line) = said
                .lines()
                .rfind(|line| line.starts_with("torture: after"))
            {
                println!("{line}");
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let said = std::fs::read(out.path()).unwrap();
    (passed, String::from_utf8_lossy(&said).into_owned())
}

/// Finds a part of the plan that is enough to fail, a process for each try.
fn make_smaller(name: &str, seed: u64, world: &World, mut said: String) -> ! {
    let plan = Plan::of(seed, world);
    let mut keep: Vec<usize> = match std::env::var(KEEP) {
        Ok(_) => panic!("{said}"),
        Err(_) => (0..plan.len()).collect(),
    };
    let began = Instant::now();
    let most = Duration::from_secs(number("TORTURE_SHRINK").unwrap_or(60));
    let mut tries = 0;
    let mut many = keep.len().div_ceil(2).max(1);
    'cut: while !most.is_zero() {
        let (mut from, mut is_cut) = (0, false);
        while from < keep.len() {
            if began.elapsed() > most {
                break 'cut;
            }
            let end = (from + many).min(keep.len());
            let fewer = [&keep[..from], &keep[end..]].concat();
            tries += 1;
            let (passed, says) = child(name, Some(seed), Some(&fewer));
            if passed {
                from += many;
            } else {
                (keep, said, is_cut) = (fewer, says, true);
            }
        }
        match (many, is_cut) {
            (1, false) => break,
            (1, true) => {}
            _ => many = many.div_ceil(2),
        }
    }
    let end = said.lines().rev().take(25).collect::<Vec<_>>();
    let end = end.into_iter().rev().collect::<Vec<_>>().join("\n");
    let numbers: Vec<_> = keep.iter().map(ToString::to_string).collect();
    panic!(
        "seed {seed} fails; {} of {} things are enough, after {tries} tries:\n{}{end}\nreplay it with {SEED}={seed} \
         {KEEP}={} on {name}",
        keep.len(),
        plan.len(),
        plan.only(&keep),
        numbers.join(","),
    );
}

#[test]
fn whatever_happens_acknowledged_data_is_what_is_read() {
    let name = "whatever_happens_acknowledged_data_is_what_is_read";
    in_process(name, &SPDK);
}

#[test]
fn whatever_happens_nothing_hangs_where_memory_is_short() {
    let name = "whatever_happens_nothing_hangs_where_memory_is_short";
    in_process(name, &TINY);
}
