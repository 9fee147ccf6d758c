//! Mirrors malloc bdevs, and lives through what a mirror is for: a load runs and checks what it reads, one leg is pulled
//! out under it and replaced, the new one is filled, the legs are compared, and every byte of every leg is checked.
//!
//! `cargo xtask demo` runs it; `cargo xtask demo -- --help` shows its options.

#![forbid(unsafe_code)]

mod load;
mod options;
mod pattern;
mod plot;
mod report;
mod transfer;

use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use spdk_exec::spdk::attach;
use spdk_raid::raid1::state::ArrayState;
use spdk_raid::raid1::{self, Raid1};
use spdk_safe::app::spdk_version;
use spdk_safe::bdev::DescMode;
use spdk_safe::prelude::*;

use load::{Load, Outcome};
use options::Options;
use pattern::Contents;
use report::{Report, Row, Verdict};
use transfer::{flip_byte, verify_all, write_all};

/// How often it is looked whether something is done.
const LOOK: Duration = Duration::from_millis(2);

fn main() -> ExitCode {
    let options = Options::parse();
    let app = App::builder("mirror")
        .no_huge()
        .no_pci()
        .share_cores()
        .memory(options.memory())
        .pools(Pools::small())
        .log_level(LogLevel::Warn)
        .module(&raid1::MODULE);
    match app.run(async |spdk| mirror(&spdk, &options).await) {
        Ok(Ok(report)) => {
            println!("{report}");
            ExitCode::from(u8::from(!report.is_verified()))
        }
        Ok(Err(error)) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn mirror(spdk: &Spdk, options: &Options) -> anyhow::Result<Report> {
    let mut legs: Vec<String> = (0..options.legs).map(|at| format!("leg{at}")).collect();
    let mut builder = Raid1::builder("md0");
    for leg in &legs {
        create(spdk, leg, options).await?;
        builder = builder.base(leg);
    }
    let array = builder.create(spdk).await?;
    if let Some(limit) = options.rebuild {
        let mut settings = array.options();
        settings.max_bandwidth = limit.bytes();
        array.set_options(settings).await?;
    }
    let title = format!(
        "RAID1 of {} malloc bdevs, {} each, {} B blocks, on SPDK {}; queue depth {}, {} KiB per I/O, seed {}",
        legs.len(),
        options.size,
        options.block_size,
        spdk_version(),
        options.depth,
        options.io_kib,
        options.seed,
    );
    let mut report = Report::new(title.clone());
    let contents = Contents::new(options.seed, options.blocks(), options.io_blocks());
    let contents = Rc::new(contents);

    let desc = BdevDesc::open(spdk, "md0").read_write()?;
    let start = Instant::now();
    write_all(desc.channel()?, &contents, options)
        .await
        .context("writing md0")?;
    report.push(row("md0", "write", start, Verdict::Written, options));

    // The last leg goes, and a spare takes its place.
    let pulled = legs.pop().context("a mirror has legs")?;
    let load = Load::begin(&array, desc.channel()?, &contents, options)?;
    let rebuild = pull_and_replace(spdk, &array, &load, &pulled, options).await;
    let served = load.end().await?;
    let rebuild = rebuild?;
    legs.push("spare".to_owned());
    report.push(load_row(&served));
    report.push(Row {
        bdev: "spare".to_owned(),
        step: "rebuild",
        bytes: bytes(options),
        elapsed: rebuild,
        verdict: Verdict::Filled,
    });
    if let Some(path) = &options.plot {
        plot::draw(path, &title, &served)?;
        eprintln!("throughput over time is in {}", path.display());
    }

    let start = Instant::now();
    array.scrub(false).await?;
    until(&array, |array| array.info().processes.is_empty()).await?;
    let mismatches = Verdict::Mismatches(array.info().counters.mismatches);
    report.push(row("md0", "scrub", start, mismatches, options));
    report.push(verify("md0", &desc, &contents, options).await?);
    desc.close().await;

    // Ends the claims, so that a leg may be changed behind the mirror's back.
    array.delete().await;
    if let Some(flip) = options.flip {
        let leg = &legs[flip.leg as usize];
        flip_byte(spdk, leg, flip.offset).await?;
        eprintln!("flipped one byte of {leg} at offset {}", flip.offset);
    }
    for leg in &legs {
        let desc = BdevDesc::open(spdk, leg).read_only()?;
        report.push(verify(leg, &desc, &contents, options).await?);
        desc.close().await;
        MallocBdev::delete(spdk, leg).await?;
    }
    Ok(report)
}

async fn create(spdk: &Spdk, name: &str, options: &Options) -> anyhow::Result<()> {
    MallocBdev::builder(name)
        .blocks(options.blocks())
        .block_size(options.block_size)
        .create(spdk)
        .await?;
    Ok(())
}

/// What happens to the mirror under load. How long the rebuild took.
async fn pull_and_replace(
    spdk: &Spdk,
    array: &Raid1,
    load: &Load,
    pulled: &str,
    options: &Options,
) -> anyhow::Result<Duration> {
    let clock = attach()?;
    clock.sleep(options.load).await;
    load.event(&format!("{pulled} pulled out"));
    MallocBdev::delete(spdk, pulled).await?;
    until(array, |array| array.info().state != ArrayState::Optimal).await?;
    clock.sleep(options.load).await;
    create(spdk, "spare", options).await?;
    load.event("spare added, rebuild begins");
    let start = Instant::now();
    array.add("spare").await?;
    until(array, |array| array.info().state != ArrayState::Rebuilding).await?;
    let took = start.elapsed();
    anyhow::ensure!(
        array.info().state == ArrayState::Optimal,
        "the rebuild failed: the mirror is {}",
        array.info().state
    );
    load.event("rebuilt");
    clock.sleep(options.load).await;
    Ok(took)
}

/// Waits until `is` says so.
async fn until(array: &Raid1, is: impl Fn(&Raid1) -> bool) -> anyhow::Result<()> {
    let clock = attach()?;
    while !is(array) {
        clock.sleep(LOOK).await;
    }
    Ok(())
}

async fn verify<M: DescMode>(
    bdev: &str,
    desc: &BdevDesc<M>,
    contents: &Rc<Contents>,
    options: &Options,
) -> anyhow::Result<Row> {
    let start = Instant::now();
    let verdict = match verify_all(desc.channel()?, contents, options)
        .await
        .with_context(|| format!("verifying {bdev}"))?
    {
        Some(difference) => Verdict::Differs(difference),
        None => Verdict::Verified,
    };
    Ok(row(bdev, "verify", start, verdict, options))
}

fn bytes(options: &Options) -> u64 {
    options.blocks().0 * u64::from(options.block_size)
}

fn row(bdev: &str, step: &'static str, start: Instant, verdict: Verdict, options: &Options) -> Row {
    Row {
        bdev: bdev.to_owned(),
        step,
        bytes: bytes(options),
        elapsed: start.elapsed(),
        verdict,
    }
}

fn load_row(load: &Outcome) -> Row {
    let verdict = match &load.first_failure {
        Some(first) => Verdict::Failed(load.failed, first.clone()),
        None => Verdict::Served(load.ios),
    };
    Row {
        bdev: "md0".to_owned(),
        step: "load",
        bytes: load.bytes,
        elapsed: load.elapsed,
        verdict,
    }
}
