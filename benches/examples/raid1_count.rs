//! Instructions per I/O of a load over SPDK's raid1, ours and the floor on null bdevs, counted by callgrind, so that they repeat.
//!
//! - `raid1_count` counts all and prints a table.
//! - `raid1_count functions read 64` prints the functions in which ours and C's differ.
//! - `raid1_count run Rust read 64` is what both run under valgrind.
//!
//! It needs what `client_count` needs, and an SPDK that has raid1 (22.09 or newer).

use std::process::ExitCode;

use spdk_benches::callgrind::{self, Counted};
use spdk_benches::client::{Direction, Order, RigError, Shape, Work, count_begin, count_end};
use spdk_benches::passthru::Base;
use spdk_benches::raid1::{Contender, Rig, app, has_c};

type Error = Box<dyn std::error::Error>;

/// I/Os that are counted first; then three times as many.
const FEW: u64 = 10_000;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match args[..] {
        [] => table(),
        ["functions", direction, depth] => functions(direction, depth),
        ["run", contender, direction, depth] => run(contender, direction, depth),
        _ => Err("usage: raid1_count [functions|run CONTENDER] read|write DEPTH".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(contender: &str, direction: &str, depth: &str) -> Result<(), Error> {
    if !has_c() {
        return Err("this SPDK has no raid1; link 22.09 or newer".into());
    }
    let mut known = Contender::ALL.into_iter();
    let contender = known
        .find(|known| known.name() == contender)
        .ok_or("the contenders are C, C-again, Rust, floor, bare")?;
    let mut known = Direction::ALL.into_iter();
    let direction = known
        .find(|known| known.name() == direction)
        .ok_or("an I/O is a read or a write")?;
    let depth = depth.parse()?;
    let shape = Shape::default();
    let counted = app("raid1-count", Base::Null, &shape).run(async |spdk| {
        let rig = Rig::new(&spdk, shape).await?;
        let work = |count| Work {
            direction,
            depth,
            count,
            order: Order::Random(1),
        };
        rig.run(contender, &work(2_000)).await?;
        let mut has_callgrind = true;
        for count in [FEW, 3 * FEW] {
            has_callgrind &= count_begin();
            rig.run(contender, &work(count)).await?;
            count_end();
        }
        rig.close().await?;
        Ok::<bool, RigError>(has_callgrind)
    })??;
    match counted {
        true => Ok(()),
        false => {
            Err("built without <valgrind/callgrind.h>: install valgrind, and build again".into())
        }
    }
}

fn count(contender: Contender, direction: &str, depth: &str) -> Result<Counted, Error> {
    callgrind::count(&["run", contender.name(), direction, depth], 2 * FEW)
}

fn table() -> Result<(), Error> {
    let names = Contender::ALL.map(Contender::name).join(" | ");
    println!("| instructions per I/O | {names} |");
    println!("| --- |{}", " ---: |".repeat(Contender::ALL.len()));
    for direction in Direction::ALL.map(Direction::name) {
        for depth in ["1", "64"] {
            let cells: Result<Vec<String>, Error> = Contender::ALL
                .iter()
                .map(|contender| Ok(format!("{:.0}", count(*contender, direction, depth)?.all)))
                .collect();
            println!("| {direction} {depth} | {} |", cells?.join(" | "));
        }
    }
    Ok(())
}

fn functions(direction: &str, depth: &str) -> Result<(), Error> {
    let c = count(Contender::C, direction, depth)?;
    let ours = count(Contender::Rust, direction, depth)?;
    callgrind::print_functions(&ours, &c);
    Ok(())
}
