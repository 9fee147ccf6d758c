//! Instructions per unit of work of each row and executor, counted by callgrind, so that they
//! repeat.
//!
//! `cargo run --release -p spdk-benches --example exec_count` counts all and prints a table;
//! `exec_count ROW RIVAL STEPS` runs one, to be looked at with `valgrind --tool=callgrind`.

use std::process::{Command, ExitCode};

use spdk_benches::exec::{AsyncExecutor, Boxed, Embassy, LocalPool, Rival, Row, Static, Tokio};

const RIVALS: [&str; 6] = [
    Boxed::NAME,
    Static::NAME,
    AsyncExecutor::NAME,
    LocalPool::NAME,
    Tokio::NAME,
    Embassy::NAME,
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match &args[..] {
        [] => table(),
        [row, rival, steps] => run(row, rival, steps),
        _ => Err("usage: exec_count [ROW RIVAL STEPS]".to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(row: &str, rival: &str, steps: &str) -> Result<(), String> {
    fn with<R: Rival>(row: Row, steps: u64) -> Option<()> {
        row.run(&R::new(), steps).map(drop)
    }
    let row = Row::ALL
        .into_iter()
        .find(|known| known.name() == row)
        .ok_or_else(|| format!("no row {row:?}"))?;
    let steps = steps.parse().map_err(|_| format!("no number: {steps:?}"))?;
    let ran = match rival {
        Boxed::NAME => with::<Boxed>(row, steps),
        Static::NAME => with::<Static>(row, steps),
        AsyncExecutor::NAME => with::<AsyncExecutor>(row, steps),
        LocalPool::NAME => with::<LocalPool>(row, steps),
        Tokio::NAME => with::<Tokio>(row, steps),
        Embassy::NAME => with::<Embassy>(row, steps),
        _ => return Err(format!("no executor {rival:?}")),
    };
    ran.ok_or_else(|| format!("{rival} has no row {}", row.name()))
}

fn table() -> Result<(), String> {
    println!("| instructions per unit | {} |", RIVALS.join(" | "));
    println!("| --- |{}", " ---: |".repeat(RIVALS.len()));
    for row in Row::ALL {
        let (few, many) = if row.step() == 1 {
            (100, 1_100)
        } else {
            (1, 3)
        };
        let units = (many - few) * row.step() as u64;
        let cells: Vec<String> = RIVALS
            .iter()
            .map(|rival| {
                // The difference of two runs: starting up and ending cancel out.
                let count = |steps| instructions(row, rival, steps);
                match (count(few), count(many)) {
                    (Ok(few), Ok(many)) => format!("{}", many.saturating_sub(few) / units),
                    _ => "—".to_owned(),
                }
            })
            .collect();
        println!("| {} | {} |", row.name(), cells.join(" | "));
    }
    Ok(())
}

fn instructions(row: Row, rival: &str, steps: u64) -> Result<u64, String> {
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(this)
        .args([row.name(), rival, &steps.to_string()])
        .output()
        .map_err(|error| format!("valgrind: {error}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let collected = text
        .lines()
        .find_map(|line| line.split_once("Collected : "))
        .filter(|_| output.status.success());
    collected
        .and_then(|(_, count)| count.trim().parse().ok())
        .ok_or_else(|| text.into_owned())
}
