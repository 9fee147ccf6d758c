//! The safe client, the pass-throughs and the mirrors on malloc and null bdevs, each beside its rival in C.
//!
//! `cargo bench -p spdk-benches --bench bdevs`. Criterion sees each for itself, one after the other: it shows what has
//! changed since the last time. What is compared with what is better seen by `cargo xtask bench`, which alternates.

use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use futures::StreamExt;
use futures::channel::mpsc as jobs;
use spdk_benches::client::{Order, RigError};
use spdk_benches::load::{Driver, End, Load, drive};
use spdk_benches::stack::{Base, Contender, Legs, Stack, app};
use spdk_safe::app::Spdk;
use spdk_safe::units::Mib;
use tempfile::TempDir;

const DEPTH: u32 = 32;

/// What criterion's thread asks of SPDK's.
enum Job {
    /// Tears down what there is, if it is another one, and builds this.
    Build(Base, Contender, mpsc::Sender<()>),
    /// Has so many I/Os done.
    Run(Driver, u8, u64, mpsc::Sender<Duration>),
}

/// What there is.
struct Built {
    what: (Base, Contender),
    legs: Legs,
    stack: Stack,
}

/// A bar of a group: its name, what it runs on, and what the loop is made of.
type Bar = (&'static str, Contender, Driver);

const GROUPS: [(&str, &[Bar]); 3] = [
    (
        "client",
        &[
            ("rust", Contender::Raw, Driver::Rust),
            ("c", Contender::Raw, Driver::C),
        ],
    ),
    (
        "passthru",
        &[
            ("rust", Contender::Passthru, Driver::Rust),
            ("c", Contender::CPassthru, Driver::Rust),
        ],
    ),
    (
        "raid1",
        &[
            ("rust", Contender::Raid1, Driver::Rust),
            ("c", Contender::CRaid1, Driver::Rust),
            ("floor", Contender::Floor, Driver::Rust),
        ],
    ),
];

fn main() -> ExitCode {
    let (sender, receiver) = jobs::unbounded();
    // SPDK has a thread of its own, since criterion does not wait for futures.
    let spdk = std::thread::spawn(|| serve(receiver).map_err(|error| error.to_string()));
    let mut criterion = Criterion::default()
        .sample_size(15)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .configure_from_args();
    for (group, bars) in GROUPS {
        for base in [Base::Null, Base::Malloc] {
            for (io, reads) in [("read", 100), ("write", 0)] {
                let mut group = criterion.benchmark_group(format!("{group}/{}/{io}", base.name()));
                group.throughput(Throughput::Elements(1));
                for (name, contender, driver) in bars.iter().filter(|bar| bar.1.is_there()) {
                    group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
                        let (built, is_built) = mpsc::channel();
                        let build = Job::Build(base, *contender, built);
                        let _ = sender.unbounded_send(build);
                        // Criterion would take the time for that of I/Os, and run too few of them.
                        let _ = is_built.recv();
                        bencher.iter_custom(|count| {
                            let (answer, answered) = mpsc::channel();
                            let run = Job::Run(*driver, reads, count, answer);
                            let _ = sender.unbounded_send(run);
                            // None if SPDK's thread failed, which says so in the end.
                            answered.recv().unwrap_or(Duration::from_nanos(1))
                        });
                    });
                }
                group.finish();
            }
        }
    }
    criterion.final_summary();
    drop(sender);
    match spdk.join() {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve(mut jobs: jobs::UnboundedReceiver<Job>) -> Result<(), RigError> {
    let (app, dir) = app("bench-bdevs", &[])?;
    app.run(async |spdk| {
        let mut built: Option<Built> = None;
        while let Some(job) = jobs.next().await {
            match job {
                Job::Build(base, contender, answer) => {
                    let what = (base, contender);
                    if built.as_ref().is_none_or(|built| built.what != what) {
                        tear_down(built.take()).await?;
                        built = Some(build(&spdk, &dir, what).await?);
                    }
                    let _ = answer.send(());
                }
                Job::Run(driver, reads, count, answer) => {
                    if let Some(built) = &built {
                        let load = load(reads, count);
                        let done = drive(&spdk, built.stack.bdev(), &load, driver, &[]).await?;
                        let _ = answer.send(done.wall);
                    }
                }
            }
        }
        tear_down(built).await
    })?
}

/// 4 KiB at random.
fn load(reads: u8, count: u64) -> Load {
    Load {
        reads,
        depth: DEPTH,
        io_blocks: 8,
        order: Order::Random(1),
        end: End::Count(count),
        latency: false,
        verify: None,
    }
}

async fn build(spdk: &Spdk, dir: &TempDir, what: (Base, Contender)) -> Result<Built, RigError> {
    let legs = Legs::new(spdk, dir, what.0, Mib(16)).await?;
    let stack = legs.build(what.1).await?;
    Ok(Built { what, legs, stack })
}

async fn tear_down(built: Option<Built>) -> Result<(), RigError> {
    if let Some(Built { legs, stack, .. }) = built {
        legs.tear_down(stack).await?;
        legs.delete().await?;
    }
    Ok(())
}
