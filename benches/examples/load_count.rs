//! Instructions per I/O of the load generator, and of the same loop in C, on one bdev, counted by callgrind, so that they
//! repeat.
//!
//! - `load_count` counts all and prints a table.
//! - `load_count functions null read 64` prints the functions in which the two differ.
//! - `load_count run Rust null read 64` is what both run under valgrind.
//!
//! It needs what `client_count` needs.

use std::process::ExitCode;

use spdk_benches::callgrind::{self, Counted};
use spdk_benches::client::{Order, RigError, count_begin, count_end};
use spdk_benches::load::{Driver, End, Load, drive};
use spdk_benches::stack::{Base, LEGS, Legs, app};
use spdk_safe::units::Mib;

type Error = Box<dyn std::error::Error>;

/// I/Os that are counted first; then three times as many.
const FEW: u64 = 10_000;

const BASES: [Base; 2] = [Base::Null, Base::Malloc];
const DIRECTIONS: [&str; 2] = ["read", "write"];
const DEPTHS: [&str; 2] = ["1", "64"];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match args[..] {
        [] => table(),
        ["functions", base, direction, depth] => functions(base, direction, depth),
        ["run", driver, base, direction, depth] => run(driver, base, direction, depth),
        _ => Err("usage: load_count [functions|run Rust|C] null|malloc read|write DEPTH".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn name(driver: Driver) -> &'static str {
    match driver {
        Driver::Rust => "Rust",
        Driver::C => "C",
    }
}

fn run(driver: &str, base: &str, direction: &str, depth: &str) -> Result<(), Error> {
    let mut known = [Driver::Rust, Driver::C].into_iter();
    let driver = known
        .find(|known| name(*known) == driver)
        .ok_or("the loop is Rust or C")?;
    let mut known = BASES.into_iter();
    let base = known
        .find(|known| known.name() == base)
        .ok_or("the bdev is null or malloc")?;
    let reads = match direction {
        "read" => 100,
        "write" => 0,
        _ => return Err("an I/O is a read or a write".into()),
    };
    let depth = depth.parse()?;
    let (app, dir) = app("load-count", &[])?;
    let counted = app.run(async |spdk| {
        let legs = Legs::new(&spdk, &dir, base, Mib(32)).await?;
        let load = |count| Load {
            reads,
            depth,
            io_blocks: 8,
            order: Order::Random(1),
            end: End::Count(count),
            latency: false,
            verify: None,
        };
        drive(&spdk, LEGS[0], &load(2_000), driver, &[]).await?;
        let mut has_callgrind = true;
        for count in [FEW, 3 * FEW] {
            has_callgrind &= count_begin();
            drive(&spdk, LEGS[0], &load(count), driver, &[]).await?;
            count_end();
        }
        legs.delete().await?;
        Ok::<bool, RigError>(has_callgrind)
    })??;
    match counted {
        true => Ok(()),
        false => {
            Err("built without <valgrind/callgrind.h>: install valgrind, and build again".into())
        }
    }
}

fn count(driver: Driver, base: &str, direction: &str, depth: &str) -> Result<Counted, Error> {
    callgrind::count(&["run", name(driver), base, direction, depth], 2 * FEW)
}

fn table() -> Result<(), Error> {
    println!("| instructions per I/O | C | Rust | more |\n| --- | ---: | ---: | ---: |");
    for base in BASES.map(Base::name) {
        for direction in DIRECTIONS {
            for depth in DEPTHS {
                let c = count(Driver::C, base, direction, depth)?.all;
                let ours = count(Driver::Rust, base, direction, depth)?.all;
                let more = ours - c;
                println!("| {base}, {direction} {depth} | {c:.0} | {ours:.0} | {more:+.0} |");
            }
        }
    }
    Ok(())
}

fn functions(base: &str, direction: &str, depth: &str) -> Result<(), Error> {
    let c = count(Driver::C, base, direction, depth)?;
    let ours = count(Driver::Rust, base, direction, depth)?;
    callgrind::print_functions(&ours, &c);
    Ok(())
}
