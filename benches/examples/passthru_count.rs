//! Instructions per I/O of a load over the two pass-throughs on a null bdev, counted by callgrind, so that they repeat.
//!
//! - `passthru_count` counts all and prints a table.
//! - `passthru_count functions read 64` prints the functions in which ours and C's differ.
//! - `passthru_count run Rust read 64` is what both run under valgrind.
//!
//! It needs what `client_count` needs.

use std::process::ExitCode;

use spdk_benches::callgrind::{self, Counted};
use spdk_benches::client::{Direction, Order, RigError, Shape, Work, count_begin, count_end};
use spdk_benches::passthru::{Base, Contender, Rig, app};

type Error = Box<dyn std::error::Error>;

/// I/Os that are counted first; then three times as many, so that what a run costs once cancels out.
const FEW: u64 = 10_000;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match args[..] {
        [] => table(),
        ["functions", direction, depth] => {
            parse(direction, depth).and_then(|(direction, depth)| functions(direction, depth))
        }
        ["run", contender, direction, depth] => {
            parse(direction, depth).and_then(|(direction, depth)| run(contender, direction, depth))
        }
        _ => Err("usage: passthru_count [functions|run CONTENDER] read|write DEPTH".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(direction: &str, depth: &str) -> Result<(Direction, u32), Error> {
    let direction = Direction::ALL
        .into_iter()
        .find(|known| known.name() == direction)
        .ok_or("an I/O is a read or a write")?;
    Ok((direction, depth.parse()?))
}

/// What is counted: a warm-up, then a run of [`FEW`] and one of three times as many, each in a file of its own.
fn run(contender: &str, direction: Direction, depth: u32) -> Result<(), Error> {
    let contender = Contender::ALL
        .into_iter()
        .find(|known| known.name() == contender)
        .ok_or("the contenders are C, C-again, Rust, bare")?;
    let counted = app("passthru-count").run(async |spdk| {
        let rig = Rig::new(&spdk, Base::Null, Shape::default()).await?;
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

fn count(contender: Contender, direction: Direction, depth: u32) -> Result<Counted, Error> {
    let depth = depth.to_string();
    callgrind::count(
        &["run", contender.name(), direction.name(), &depth],
        2 * FEW,
    )
}

fn table() -> Result<(), Error> {
    let names = Contender::ALL.map(Contender::name).join(" | ");
    println!("| instructions per I/O | {names} |");
    println!("| --- |{}", " ---: |".repeat(Contender::ALL.len()));
    for direction in Direction::ALL {
        for depth in [1, 64] {
            let cells: Result<Vec<String>, Error> = Contender::ALL
                .iter()
                .map(|contender| Ok(format!("{:.0}", count(*contender, direction, depth)?.all)))
                .collect();
            println!("| {} {depth} | {} |", direction.name(), cells?.join(" | "));
        }
    }
    Ok(())
}

fn functions(direction: Direction, depth: u32) -> Result<(), Error> {
    let c = count(Contender::C, direction, depth)?;
    let ours = count(Contender::Rust, direction, depth)?;
    callgrind::print_functions(&ours, &c);
    Ok(())
}
