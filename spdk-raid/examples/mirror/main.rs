//! Mirrors malloc bdevs, writes seeded data through the mirror, and checks every byte: through the mirror, and on
//! each leg by itself.
//!
//! `cargo xtask demo` runs it; `cargo xtask demo -- --help` shows its options.

#![forbid(unsafe_code)]

mod options;
mod pattern;
mod report;
mod transfer;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use spdk_raid::raid1::{self, Raid1};
use spdk_safe::app::spdk_version;
use spdk_safe::bdev::DescMode;
use spdk_safe::prelude::*;

use options::Options;
use pattern::Pattern;
use report::{Report, Row, Verdict};
use transfer::{flip_byte, verify_all, write_all};

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
    let legs: Vec<String> = (0..options.legs).map(|at| format!("leg{at}")).collect();
    for leg in &legs {
        MallocBdev::builder(leg)
            .blocks(options.blocks())
            .block_size(options.block_size)
            .create(spdk)
            .await?;
    }
    let mut builder = Raid1::builder("md0");
    for leg in &legs {
        builder = builder.base(leg);
    }
    let array = builder.create(spdk).await?;
    let pattern = Pattern::new(options.seed);
    let mut report = Report::new(format!(
        "RAID1 of {} malloc bdevs, {} each, {} B blocks, on SPDK {}; queue depth {}, {} KiB per I/O, seed {}",
        legs.len(),
        options.size,
        options.block_size,
        spdk_version(),
        options.depth,
        options.io_kib,
        options.seed,
    ));

    let desc = BdevDesc::open(spdk, "md0").read_write()?;
    let start = Instant::now();
    write_all(desc.channel()?, pattern, options)
        .await
        .context("writing md0")?;
    report.push(row("md0", "write", start, Verdict::Written, options));
    report.push(verify("md0", &desc, pattern, options).await?);
    desc.close().await;

    // Ends the claims, so that a leg may be changed behind the mirror's back.
    array.delete().await;
    if let Some(flip) = options.flip {
        flip_byte(spdk, &format!("leg{}", flip.leg), flip.offset).await?;
        eprintln!(
            "flipped one byte of leg{} at offset {}",
            flip.leg, flip.offset
        );
    }
    for leg in &legs {
        let desc = BdevDesc::open(spdk, leg).read_only()?;
        report.push(verify(leg, &desc, pattern, options).await?);
        desc.close().await;
        MallocBdev::delete(spdk, leg).await?;
    }
    Ok(report)
}

async fn verify<M: DescMode>(
    bdev: &str,
    desc: &BdevDesc<M>,
    pattern: Pattern,
    options: &Options,
) -> anyhow::Result<Row> {
    let start = Instant::now();
    let verdict = match verify_all(desc.channel()?, pattern, options)
        .await
        .with_context(|| format!("verifying {bdev}"))?
    {
        Some(difference) => Verdict::Differs(difference),
        None => Verdict::Verified,
    };
    Ok(row(bdev, "verify", start, verdict, options))
}

fn row(bdev: &str, step: &'static str, start: Instant, verdict: Verdict, options: &Options) -> Row {
    Row {
        bdev: bdev.to_owned(),
        step,
        blocks: options.blocks(),
        block_size: options.block_size,
        elapsed: start.elapsed(),
        verdict,
    }
}
