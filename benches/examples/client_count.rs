//! Instructions per I/O of the safe client and of the same loop in C, counted by callgrind, so that they repeat.
//!
//! - `client_count` counts all and prints a table.
//! - `client_count functions spdk-exec read 32` prints where the instructions are, beside C's.
//! - `client_count run spdk-exec read 32 100000 OUT` is what both run under valgrind.
//!
//! It needs valgrind with its headers, and an SPDK that was built for a CPU that valgrind knows (x86-64-v2).

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, ExitCode};

use spdk_benches::client::{
    Contender, Direction, Order, Rig, RigError, Shape, Work, app, count_begin, count_end,
};

type Error = Box<dyn std::error::Error>;

/// I/Os that are counted first; then three times as many, so that what a run costs once cancels out.
const FEW: u64 = 10_000;

/// The depths of the table.
const DEPTHS: [u32; 3] = [1, 32, 128];

/// Lines of `functions`.
const TOP: usize = 40;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match args[..] {
        [] => table(),
        ["functions", contender, direction, depth] => parse(contender, direction, depth)
            .and_then(|(contender, direction, depth)| functions(contender, direction, depth)),
        ["run", contender, direction, depth] => parse(contender, direction, depth)
            .and_then(|(contender, direction, depth)| run(contender, direction, depth)),
        _ => Err("usage: client_count [functions|run CONTENDER read|write DEPTH]".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(
    contender: &str,
    direction: &str,
    depth: &str,
) -> Result<(Contender, Direction, u32), Error> {
    let contender = Contender::of_name(contender).ok_or_else(|| {
        let names = Contender::ALL.map(Contender::name).join(", ");
        format!("the contenders are {names}")
    })?;
    let direction = Direction::ALL
        .into_iter()
        .find(|known| known.name() == direction)
        .ok_or("an I/O is a read or a write")?;
    Ok((contender, direction, depth.parse()?))
}

/// What is counted: a warm-up, then a run of [`FEW`] and one of three times as many, each in a file of its own.
fn run(contender: Contender, direction: Direction, depth: u32) -> Result<(), Error> {
    let counted = app("client-count").run(async |spdk| {
        let rig = Rig::new(&spdk, Shape::default()).await?;
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

/// Instructions by function, and in all, per I/O.
struct Counts {
    all: f64,
    by_function: BTreeMap<String, f64>,
}

fn count(contender: Contender, direction: Direction, depth: u32) -> Result<Counts, Error> {
    let dir = std::env::temp_dir().join(format!("client-count-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let counts = count_in(&dir, contender, direction, depth);
    std::fs::remove_dir_all(&dir)?;
    counts
}

fn count_in(
    dir: &Path,
    contender: Contender,
    direction: Direction,
    depth: u32,
) -> Result<Counts, Error> {
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
    let (few, many) = (Dump::read(&out, 1)?, Dump::read(&out, 2)?);
    let per_io = |few: f64, many: f64| (many - few) / (2 * FEW) as f64;
    let by_function = many.by_function.iter().map(|(name, many)| {
        let few = few.by_function.get(name).copied().unwrap_or(0.0);
        (name.clone(), per_io(few, *many))
    });
    Ok(Counts {
        by_function: by_function.collect(),
        all: per_io(few.all, many.all),
    })
}

/// One of callgrind's files.
struct Dump {
    all: f64,
    by_function: BTreeMap<String, f64>,
}

impl Dump {
    fn read(out: &Path, part: u32) -> Result<Self, Error> {
        let file = out.with_extension(part.to_string());
        let text = std::fs::read_to_string(&file)?;
        let all = text
            .lines()
            .find_map(|line| line.strip_prefix("totals: "))
            .ok_or("callgrind wrote no totals")?
            .parse()?;
        let mut by_function = annotate(&file)?;
        // To what was on the stack when counting began, callgrind assigns everything.
        by_function.retain(|_, instructions| *instructions < all);
        Ok(Self { all, by_function })
    }
}

/// The instructions of each function, as `callgrind_annotate` prints them:
/// `1,234,567 (12.34%)  file:function [object]`.
fn annotate(file: &Path) -> Result<BTreeMap<String, f64>, Error> {
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
        let Ok(number) = number.replace(',', "").parse::<f64>() else {
            continue;
        };
        let Some((_, place)) = rest.split_once(':') else {
            continue;
        };
        let name = place.split(" [").next().unwrap_or(place);
        // A call that is below another of the same function.
        let name = name.trim_end_matches("'2");
        if name != "TOTALS" {
            *functions.entry(name.to_owned()).or_insert(0.0) += number;
        }
    }
    match functions.is_empty() {
        true => Err(format!("callgrind_annotate found nothing in {}", file.display()).into()),
        false => Ok(functions),
    }
}

fn table() -> Result<(), Error> {
    println!(
        "| instructions per I/O | {} |",
        Contender::ALL.map(Contender::name).join(" | ")
    );
    println!("| --- |{}", " ---: |".repeat(Contender::ALL.len()));
    for direction in Direction::ALL {
        for depth in DEPTHS {
            let cells: Result<Vec<String>, Error> = Contender::ALL
                .iter()
                .map(|contender| Ok(format!("{:.0}", count(*contender, direction, depth)?.all)))
                .collect();
            println!("| {} {depth} | {} |", direction.name(), cells?.join(" | "));
        }
    }
    Ok(())
}

fn functions(contender: Contender, direction: Direction, depth: u32) -> Result<(), Error> {
    let (c, ours) = (
        count(Contender::C, direction, depth)?,
        count(contender, direction, depth)?,
    );
    let mut rows: Vec<(&String, f64, f64)> = ours
        .by_function
        .iter()
        .map(|(name, ours)| (name, *ours, c.by_function.get(name).copied().unwrap_or(0.0)))
        .chain(
            c.by_function
                .iter()
                .filter(|(name, _)| !ours.by_function.contains_key(*name))
                .map(|(name, c)| (name, 0.0, *c)),
        )
        .collect();
    // What is more than in C first.
    rows.sort_by(|one, other| (other.1 - other.2).abs().total_cmp(&(one.1 - one.2).abs()));
    println!("| {} | C | more | function |", contender.name());
    println!("| ---: | ---: | ---: | --- |");
    let row = |name: &str, ours: f64, c: f64| {
        println!("| {ours:.1} | {c:.1} | {:+.1} | `{name}` |", ours - c);
    };
    for (name, ours, c) in rows.into_iter().take(TOP) {
        if ours.max(c) >= 0.05 {
            row(name, ours, c);
        }
    }
    row("(all)", ours.all, c.all);
    Ok(())
}
