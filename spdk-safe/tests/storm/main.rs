//! The storm: I/O of all kinds on several SPDK threads, dropped, forgotten, aborted, timed out and smuggled away,
//! while disks are removed, descriptors are closed and threads exit. What the disks hold is checked, and nothing is
//! left at the end.
//!
//! A seed is a plan, which proptest makes from it, and a schedule. `SPDK_TEST_SEED=<seed>` runs that one;
//! `STORM_CASES=<n>` says how many are run, `STORM_SECONDS=<n>` for how long at most, `STORM_LOG=1` shows what SPDK
//! says. What fails is made smaller by proptest, each try in a process of its own, so that a crash or a hang can be, too.

mod buffers;
mod case;
mod oracle;
mod plan;
mod worker;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::future::{Either, select};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use spdk_safe::prelude::*;
use spdk_safe::test::SeededHarness;

use plan::Plan;

/// Buffers for the caches of all threads; on new versions each takes a share of them with its first channel.
const ENOUGH: Pools = Pools {
    small_buffers: 4096,
    large_buffers: 512,
    ..Pools::small()
};
static SPDK: SeededHarness = SeededHarness::new(&[&case::MODULE])
    .auto_examine()
    .pools(ENOUGH);
/// So few `spdk_bdev_io`s that they are always short; and for each thread so many that it can do a device of ours, a delay
/// bdev and what is below them, since SPDK wakes a thread only for what comes free on that thread.
const FEW: Pools = Pools {
    bdev_ios: 32,
    bdev_io_cache: 4,
    ..ENOUGH
};
static TINY: SeededHarness = SeededHarness::new(&[&case::MODULE])
    .auto_examine()
    .pools(FEW);

/// How much longer than it should a process may take.
const HUNG: Duration = Duration::from_secs(60);

/// Says which test a child process is to run.
const CHILD: &str = "SPDK_STORM_CHILD";
/// The one seed to run.
const SEED: &str = "SPDK_TEST_SEED";
/// How its plan is made smaller.
const STEPS: &str = "STORM_STEPS";

/// Whether `spdk_bdev_io`s are short.
pub(crate) fn is_tiny() -> bool {
    std::env::var(CHILD).is_ok_and(|name| name.contains("few"))
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|n| n.parse().expect("a number"))
}

/// The plan of a seed, which can be made smaller.
fn tree(seed: u64) -> impl ValueTree<Value = Plan> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    plan::plan(120).new_tree(&mut runner).expect("a plan")
}

/// Changes a plan: `s` makes it simpler, `c` takes a part of that back.
fn follow(tree: &mut impl ValueTree<Value = Plan>, steps: &str) {
    for step in steps.bytes() {
        match step {
            b's' => tree.simplify(),
            _ => tree.complicate(),
        };
    }
}

/// Runs `test` in a process of its own: it has one SPDK. What fails there is made smaller.
fn in_process(name: &str, test: impl FnOnce()) {
    if std::env::var(CHILD).as_deref() == Ok(name) {
        if catch_unwind(AssertUnwindSafe(test)).is_err() {
            // What is stuck would keep the process, too.
            // SAFETY: ends the process, with nothing in between.
            unsafe { libc::_exit(1) };
        }
        return;
    }
    let (passed, said) = child(name, None, "");
    if !passed {
        println!("{said}");
        let seed = said
            .rsplit("storm: seed ")
            .next()
            .and_then(|at| at.split_whitespace().next());
        match seed.and_then(|seed| seed.parse().ok()) {
            Some(seed) if said.contains("storm: seed ") => make_smaller(name, seed, said),
            _ => panic!("it failed before it began"),
        }
    }
    assert!(said.contains("1 passed"), "the child ran no test:\n{said}");
    for line in said.lines().filter(|line| line.contains(" cases in ")) {
        println!("{line}");
    }
}

/// Runs the test `name` in a process: whether it passed, and what it said.
fn child(name: &str, seed: Option<u64>, steps: &str) -> (bool, String) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, name)
        .env(STEPS, steps)
        .stdin(Stdio::null());
    if let Some(seed) = seed {
        command.env(SEED, seed.to_string());
    }
    let out = tempfile::NamedTempFile::new().unwrap();
    // One file position for both, or they write over each other, and over the seed.
    let both = out.reopen().unwrap();
    command.stdout(both.try_clone().unwrap()).stderr(both);
    let mut child = command.spawn().unwrap();
    let end = Instant::now() + HUNG + Duration::from_secs(number("STORM_SECONDS").unwrap_or(30));
    let passed = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status.success();
        }
        if Instant::now() > end {
            child.kill().unwrap();
            child.wait().unwrap();
            break false;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let said = std::fs::read(out.path()).unwrap();
    (passed, String::from_utf8_lossy(&said).into_owned())
}

/// Finds a smaller plan that fails, a process for each try.
fn make_smaller(name: &str, seed: u64, mut said: String) -> ! {
    let (mut tree, mut steps) = (tree(seed), String::new());
    let (mut smallest, mut how) = (tree.current(), String::new());
    let began = Instant::now();
    let mut failed = !child(name, Some(seed), "").0;
    if !failed {
        println!("seed {seed} alone does not fail");
    }
    while failed && began.elapsed() < Duration::from_secs(number("STORM_SHRINK").unwrap_or(60)) {
        steps.push('s');
        let mut changed = tree.simplify();
        loop {
            if !changed {
                failed = false;
                break;
            }
            let (passed, says) = child(name, Some(seed), &steps);
            if !passed {
                (said, smallest, how) = (says, tree.current(), steps.clone());
                break;
            }
            steps.push('c');
            changed = tree.complicate();
        }
    }
    let ops: Vec<_> = smallest.ops.iter().map(|op| format!("  {op:?}")).collect();
    let end = said.lines().rev().take(40).collect::<Vec<_>>();
    let end = end.into_iter().rev().collect::<Vec<_>>().join("\n");
    panic!(
        "seed {seed} fails, made smaller:\n{}\n  {:?}\n{end}\nreplay it with {SEED}={seed} {STEPS}={how}",
        ops.join("\n"),
        smallest.ending
    );
}

/// Runs seeds one after the other.
fn storm(cases: u64, seconds: u64, mut run: impl FnMut(u64, Plan)) {
    let one = number(SEED);
    let steps = std::env::var(STEPS).unwrap_or_default();
    let cases = number("STORM_CASES").unwrap_or(cases);
    let most = Duration::from_secs(number("STORM_SECONDS").unwrap_or(seconds));
    let (began, mut ran) = (Instant::now(), 0);
    for seed in one.map_or(0..cases, |seed| seed..seed + 1) {
        if began.elapsed() > most {
            break;
        }
        ran += 1;
        let mut tree = tree(seed);
        follow(&mut tree, &steps);
        let plan = tree.current();
        // The last one that was begun, if this process does not come back.
        eprintln!("storm: seed {seed}");
        run(seed, plan);
    }
    println!(
        "storm: {ran} cases in {:.1} s, {} I/Os started, {} ended in sight, {} buffers forgotten, {} blocks looked at",
        began.elapsed().as_secs_f64(),
        worker::STARTED.load(Ordering::Relaxed),
        worker::ENDED.load(Ordering::Relaxed),
        worker::FORGOTTEN.load(Ordering::Relaxed),
        oracle::SEEN.load(Ordering::Relaxed),
    );
}

/// Runs seeds with schedules.
fn seeded(harness: &SeededHarness, cases: u64, seconds: u64) {
    storm(cases, seconds, |seed, plan| {
        harness.run([seed], 0, async move |case| {
            case::run(case.spdk, plan.clone(), false).await
        });
    });
}

#[test]
fn i2_whatever_becomes_of_io_nothing_is_lost_torn_or_left() {
    in_process(
        "i2_whatever_becomes_of_io_nothing_is_lost_torn_or_left",
        || {
            seeded(&SPDK, 400, 15);
        },
    );
}

#[test]
fn i7_the_same_with_few_bdev_ios() {
    in_process("i7_the_same_with_few_bdev_ios", || seeded(&TINY, 400, 15));
}

#[test]
fn t5_the_same_with_several_os_threads() {
    in_process("t5_the_same_with_several_os_threads", || {
        let app = App::builder("storm")
            .no_huge()
            .no_pci()
            .memory(Mib(512))
            .pools(ENOUGH);
        let app = app.module(&case::MODULE).log_level(LogLevel::Warn);
        let mut own = app.own_loop().unwrap();
        own.spawn_lane().unwrap();
        storm(100, 15, |_seed, plan| {
            let spdk = own.spdk();
            let hangs = pin!(async {
                let end = Instant::now() + HUNG / 4;
                while Instant::now() < end {
                    spdk_safe::app::yield_now().await;
                }
            });
            let case = Box::pin(case::run(spdk, plan, true));
            if let Either::Right(_) = own.block_on(select(case, hangs)) {
                panic!("it hangs: {:?}", spdk_safe::test::Open::now());
            }
        });
        own.shutdown().unwrap();
    });
}
