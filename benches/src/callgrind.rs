//! Instructions per I/O, counted by callgrind: they repeat.
//!
//! A program runs itself under valgrind with `run ...`, in which it has a short and a long run counted, each in a dump
//! of its own; what is said here is the difference, so that what a run costs once cancels out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

type Error = Box<dyn std::error::Error>;

/// Instructions per I/O.
#[derive(Debug, Clone)]
pub struct Counted {
    /// All of them.
    pub all: f64,
    /// By the function that they are in.
    pub by_function: BTreeMap<String, f64>,
}

/// Runs this program under callgrind with `args`; its long run has `more` I/Os more than its short one.
///
/// # Errors
///
/// What valgrind or the program said.
pub fn count(args: &[&str], more: u64) -> Result<Counted, Error> {
    let dir = std::env::temp_dir().join(format!("callgrind-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let out = dir.join("out");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(std::env::current_exe()?)
        .args(args)
        .output()
        .map_err(|error| format!("valgrind: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let (few, few_by) = dump(&out.with_extension("1"))?;
    let (many, many_by) = dump(&out.with_extension("2"))?;
    std::fs::remove_dir_all(&dir)?;
    let per_io = |few: f64, many: f64| (many - few) / more as f64;
    let by_function = many_by.into_iter().map(|(name, many)| {
        let few = few_by.get(&name).copied().unwrap_or(0.0);
        (name, per_io(few, many))
    });
    Ok(Counted {
        all: per_io(few, many),
        by_function: by_function.collect(),
    })
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

/// Prints the functions in which the two differ most.
pub fn print_functions(ours: &Counted, c: &Counted) {
    let names: BTreeSet<&String> = c
        .by_function
        .keys()
        .chain(ours.by_function.keys())
        .collect();
    let of =
        |counted: &Counted, name: &String| counted.by_function.get(name).copied().unwrap_or(0.0);
    let mut rows: Vec<_> = names
        .into_iter()
        .map(|name| (name.as_str(), of(ours, name), of(c, name)))
        .collect();
    rows.sort_by(|one, other| (other.1 - other.2).abs().total_cmp(&(one.1 - one.2).abs()));
    println!("| Rust | C | more | function |\n| ---: | ---: | ---: | --- |");
    rows.retain(|(_, ours, c)| ours.max(*c) >= 0.05);
    rows.truncate(40);
    rows.push(("(all)", ours.all, c.all));
    for (name, ours, c) in rows {
        println!("| {ours:.1} | {c:.1} | {:+.1} | `{name}` |", ours - c);
    }
}
