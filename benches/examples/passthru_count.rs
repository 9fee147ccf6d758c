//! Instructions per I/O of a load over the two pass-throughs on a null bdev, counted by callgrind, so that they repeat.
//!
//! - `passthru_count` counts all and prints a table.
//! - `passthru_count functions read 64` prints the functions in which ours and C's differ.
//! - `passthru_count run Rust read 64` is what both run under valgrind.
//!
//! It needs what `client_count` needs.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, ExitCode};

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

/// Instructions per I/O, in all and by function.
fn count(
    contender: Contender,
    direction: Direction,
    depth: u32,
) -> Result<(f64, BTreeMap<String, f64>), Error> {
    let dir = std::env::temp_dir().join(format!("passthru-count-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let out = dir.join("out");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(std::env::current_exe()?)
        .args([
            "run",
            contender.name(),
            direction.name(),
            &depth.to_string(),
        ])
        .output()
        .map_err(|error| format!("valgrind: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let (few, few_by) = dump(&out.with_extension("1"))?;
    let (many, many_by) = dump(&out.with_extension("2"))?;
    std::fs::remove_dir_all(&dir)?;
    let per_io = |few: f64, many: f64| (many - few) / (2 * FEW) as f64;
    let by_function = many_by.into_iter().map(|(name, many)| {
        let few = few_by.get(&name).copied().unwrap_or(0.0);
        (name, per_io(few, many))
    });
    Ok((per_io(few, many), by_function.collect()))
}

/// One of callgrind's files: all, and by function as `callgrind_annotate` prints them,
/// `1,234,567 (12.34%)  file:function [object]`.
fn dump(file: &Path) -> Result<(f64, BTreeMap<String, f64>), Error> {
    let text = std::fs::read_to_string(file)?;
    let all: f64 = text
        .lines()
        .find_map(|line| line.strip_prefix("totals: "))
        .ok_or("callgrind wrote no totals")?
        .parse()?;
    let output = Command::new("callgrind_annotate")
        .args(["--threshold=100", "--auto=no"])
        .arg(file)
        .output()
        .map_err(|error| format!("callgrind_annotate: {error}"))?;
    let mut functions = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Some((number, rest)) = line.trim_start().split_once(' ') else {
            continue;
        };
        let (Ok(number), Some((_, place))) =
            (number.replace(',', "").parse::<f64>(), rest.split_once(':'))
        else {
            continue;
        };
        let name = place.split(" [").next().unwrap_or(place);
        // What was on the stack when counting began has everything assigned to it.
        if name != "TOTALS" && number < all {
            *functions
                .entry(name.trim_end_matches("'2").to_owned())
                .or_insert(0.0) += number;
        }
    }
    Ok((all, functions))
}

fn table() -> Result<(), Error> {
    let names = Contender::ALL.map(Contender::name).join(" | ");
    println!("| instructions per I/O | {names} |");
    println!("| --- |{}", " ---: |".repeat(Contender::ALL.len()));
    for direction in Direction::ALL {
        for depth in [1, 64] {
            let cells: Result<Vec<String>, Error> = Contender::ALL
                .iter()
                .map(|contender| Ok(format!("{:.0}", count(*contender, direction, depth)?.0)))
                .collect();
            println!("| {} {depth} | {} |", direction.name(), cells?.join(" | "));
        }
    }
    Ok(())
}

fn functions(direction: Direction, depth: u32) -> Result<(), Error> {
    let (c_all, c) = count(Contender::C, direction, depth)?;
    let (ours_all, ours) = count(Contender::Rust, direction, depth)?;
    let names: std::collections::BTreeSet<&String> = c.keys().chain(ours.keys()).collect();
    let of =
        |counts: &BTreeMap<String, f64>, name: &String| counts.get(name).copied().unwrap_or(0.0);
    let mut rows: Vec<_> = names
        .into_iter()
        .map(|name| (name.as_str(), of(&ours, name), of(&c, name)))
        .collect();
    rows.sort_by(|one, other| (other.1 - other.2).abs().total_cmp(&(one.1 - one.2).abs()));
    println!("| Rust | C | more | function |\n| ---: | ---: | ---: | --- |");
    rows.retain(|(_, ours, c)| ours.max(*c) >= 0.05);
    rows.truncate(40);
    rows.push(("(all)", ours_all, c_all));
    for (name, ours, c) in rows {
        println!("| {ours:.1} | {c:.1} | {:+.1} | `{name}` |", ours - c);
    }
    Ok(())
}
