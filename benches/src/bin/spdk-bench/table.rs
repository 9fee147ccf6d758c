//! Results as text, while they come, and as Markdown.

use std::fmt::Write as _;
use std::time::Duration;

use spdk_benches::client::stats::Spread;
use spdk_benches::stack::Contender;

use crate::compare::{Goal, Results, Row, size};
use crate::host::Host;
use crate::options::{Compare, Leg};

/// Millions, with as many digits as say something.
fn millions(rate: Option<f64>) -> String {
    match rate {
        None => "-".into(),
        Some(rate) if rate < 100_000.0 => format!("{:.4}", rate / 1e6),
        Some(rate) if rate < 1_000_000.0 => format!("{:.3}", rate / 1e6),
        Some(rate) => format!("{:.2}", rate / 1e6),
    }
}

fn micros(time: Option<Duration>) -> String {
    match time.map(|time| time.as_nanos() as f64 / 1000.0) {
        None => "-".into(),
        Some(us) if us < 10.0 => format!("{us:.2}"),
        Some(us) if us < 100.0 => format!("{us:.1}"),
        Some(us) => format!("{us:.0}"),
    }
}

/// `1.043 [1.021 to 1.050]`; none if one of the two is not there.
fn ratio(row: &Row, goal: &Goal) -> Option<(Spread, bool)> {
    let ratios = row.ratios(goal.of, goal.by);
    if ratios.is_empty() {
        return None;
    }
    let spread = Spread::of(ratios);
    let is_met = goal.at_least.is_none_or(|least| spread.median >= least);
    Some((spread, is_met))
}

/// The lines above rows of text.
pub(crate) fn text_head(legs: Leg) -> String {
    let names = Contender::ALL.map(|contender| format!("{:>12}", contender.name()));
    format!(
        "\n{} legs: million I/Os per second of a core's time, medians; ratios with quartiles, * misses its goal\n\
         {:24}{}  raid1/c-raid1          raid1/floor            passthru/c-passthru    p99 us: raid1, c-raid1",
        legs.base().name(),
        "",
        names.concat()
    )
}

pub(crate) fn text_row(row: &Row) -> String {
    let cell = &row.cell;
    let what = format!("{} {} qd {}", cell.io.name(), size(cell.size), cell.depth);
    let mut line = format!("{what:24}");
    for contender in Contender::ALL {
        let _ = write!(line, "{:>12}", millions(row.rate(contender)));
    }
    for goal in row.goals() {
        let text = match ratio(row, &goal) {
            None => "-".into(),
            Some((spread, is_met)) => {
                let star = if is_met { ' ' } else { '*' };
                let Spread { low, median, high } = spread;
                format!("{median:.3}{star}[{low:.3}-{high:.3}]")
            }
        };
        let _ = write!(line, "  {text:21}");
    }
    let p99 = [Contender::Raid1, Contender::CRaid1].map(|who| micros(row.latency(who, 1)));
    let _ = write!(line, "  {}", p99.join(", "));
    line
}

/// What goes into `docs/benchmarks.md`.
pub(crate) fn markdown(options: &Compare, host: &Host, results: &Results) -> String {
    let mut out = format!(
        "{host}. `{}`: {} rounds of turns of {} ms, legs of {} MiB, one core; medians, quartiles in brackets.\n",
        command(),
        options.rounds(),
        options.turn().as_millis(),
        options.leg_size,
    );
    out.push_str("\nThe instrument, on a raw leg beside the same loop in C:\n\n");
    out.push_str("| raw | of C | C of C | within 2 % |\n| --- | --- | --- | --- |\n");
    for found in &results.instrument {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} |",
            found.cell,
            bracketed(&Spread::of(found.ratios.clone())),
            bracketed(&Spread::of(found.control.clone())),
            if found.is_right() { "yes" } else { "**no**" },
        );
    }
    for legs in &options.legs {
        let rows: Vec<&Row> = results
            .rows
            .iter()
            .filter(|row| row.cell.legs == *legs)
            .collect();
        let _ = writeln!(out, "\n{}", rates(*legs, &rows));
        let _ = writeln!(out, "{}", latencies(*legs, &rows));
    }
    out.push_str(&verdict(results));
    out
}

fn bracketed(spread: &Spread) -> String {
    format!(
        "{:.3} [{:.3}–{:.3}]",
        spread.median, spread.low, spread.high
    )
}

fn rates(legs: Leg, rows: &[&Row]) -> String {
    let names = Contender::ALL.map(Contender::name).join(" | ");
    let mut out = format!(
        "On **{}** legs, million I/Os per second of a core's time; what misses its goal is bold:\n\n\
         | | {names} | raid1 / c-raid1 | raid1 / floor | passthru / c-passthru |\n| --- |{} --- | --- | --- |\n",
        legs.base().name(),
        " ---: |".repeat(Contender::ALL.len()),
    );
    for row in rows {
        let cell = &row.cell;
        let _ = write!(
            out,
            "| {} {} qd {} |",
            cell.io.name(),
            size(cell.size),
            cell.depth
        );
        for contender in Contender::ALL {
            let _ = write!(out, " {} |", millions(row.rate(contender)));
        }
        for goal in row.goals() {
            let _ = match ratio(row, &goal) {
                None => write!(out, " - |"),
                Some((spread, true)) => write!(out, " {} |", bracketed(&spread)),
                Some((spread, false)) => write!(out, " **{}** |", bracketed(&spread)),
            };
        }
        out.push('\n');
    }
    out
}

fn latencies(legs: Leg, rows: &[&Row]) -> String {
    let shown = [
        Contender::Raw,
        Contender::Floor,
        Contender::Raid1,
        Contender::CRaid1,
    ];
    let names = shown.map(Contender::name).join(" | ");
    let mut out = format!(
        "Latencies on {} legs, p50 / p99 / p99.9 in microseconds, of turns in which each I/O is timed:\n\n\
         | | {names} |\n| --- |{}\n",
        legs.base().name(),
        " ---: |".repeat(shown.len()),
    );
    for row in rows {
        let cell = &row.cell;
        let _ = write!(
            out,
            "| {} {} qd {} |",
            cell.io.name(),
            size(cell.size),
            cell.depth
        );
        for contender in shown {
            let all = [0, 1, 2].map(|at| micros(row.latency(contender, at)));
            let _ = write!(out, " {} |", all.join(" / "));
        }
        out.push('\n');
    }
    out
}

/// How many rows meet their goals.
fn verdict(results: &Results) -> String {
    let mut out = String::new();
    for (legs, at) in [(Leg::Null, 0), (Leg::Null, 1), (Leg::Malloc, 0)] {
        let rows = results.rows.iter().filter(|row| row.cell.legs == legs);
        let judged = rows.filter_map(|row| {
            let goal = row.goals()[at];
            ratio(row, &goal).map(|(_, is_met)| (goal, is_met))
        });
        let judged: Vec<(Goal, bool)> = judged.collect();
        let Some((goal, _)) = judged.first() else {
            continue;
        };
        let _ = writeln!(
            out,
            "On {} legs {} of {} rows have {} at {} of {} or above.",
            legs.base().name(),
            judged.iter().filter(|(_, is_met)| *is_met).count(),
            judged.len(),
            goal.of.name(),
            goal.at_least.unwrap_or(0.0),
            goal.by.name(),
        );
    }
    out
}

/// How this was called, without where the files went.
fn command() -> String {
    let mut args = std::env::args().skip(1);
    let mut line = "cargo xtask bench".to_owned();
    while let Some(arg) = args.next() {
        if matches!(arg.as_str(), "--json" | "--plot") {
            args.next();
        } else if !arg.starts_with("--json=") && !arg.starts_with("--plot=") {
            line.push(' ');
            line.push_str(&arg);
        }
    }
    line
}
