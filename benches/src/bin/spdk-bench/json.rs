//! Results for machines.

use serde_json::{Map, Value, json};
use spdk_benches::client::stats::Spread;

use crate::compare::{Results, Row};
use crate::host::Host;
use crate::options::{Compare, Loop};

pub(crate) fn of(options: &Compare, host: &Host, results: &Results) -> Value {
    let instrument: Vec<Value> = results
        .instrument
        .iter()
        .map(|found| {
            json!({
                "legs": found.cell.legs.base().name(),
                "io": found.cell.io.name(),
                "depth": found.cell.depth,
                "size": found.cell.size,
                "of_c": spread(&found.ratios),
                "c_of_c": spread(&found.control),
                "is_right": found.is_right(),
            })
        })
        .collect();
    json!({
        "host": host.json(),
        "options": {
            "rounds": options.rounds(),
            "turn_ms": u64::try_from(options.turn().as_millis()).unwrap_or(u64::MAX),
            "leg_mib": options.leg_size,
            "cores": options.cores,
            "loop": match options.driver {
                Loop::Rust => "rust",
                Loop::C => "c",
            },
            "is_quick": options.quick,
        },
        "verified": results.verified,
        "instrument": instrument,
        "rows": results.rows.iter().map(row).collect::<Vec<_>>(),
    })
}

fn row(row: &Row) -> Value {
    let contenders = row.turns.iter().map(|(contender, turns)| {
        let each =
            |of: fn(&crate::compare::Turn) -> f64| -> Vec<f64> { turns.iter().map(of).collect() };
        let latency = |at| {
            row.latency(*contender, at)
                .map(|time| time.as_nanos() as u64)
        };
        let value = json!({
            "iops": row.rate(*contender),
            "rounds": each(|turn| turn.rate),
            "wall_rounds": each(|turn| turn.wall_rate),
            "latency_ns": {"p50": latency(0), "p99": latency(1), "p99.9": latency(2)},
        });
        (contender.name().to_owned(), value)
    });
    let ratios = row.goals().into_iter().filter_map(|goal| {
        let ratios = row.ratios(goal.of, goal.by);
        let mut value = spread(&ratios)?;
        let is_met = |least| Spread::of(ratios.clone()).median >= least;
        value["goal"] = json!(goal.at_least);
        value["is_met"] = json!(goal.at_least.map(is_met));
        Some((format!("{}/{}", goal.of.name(), goal.by.name()), value))
    });
    json!({
        "legs": row.cell.legs.base().name(),
        "io": row.cell.io.name(),
        "depth": row.cell.depth,
        "size": row.cell.size,
        "contenders": contenders.collect::<Map<_, _>>(),
        "ratios": ratios.collect::<Map<_, _>>(),
    })
}

/// None of an empty sample: JSON has no NaN.
pub(crate) fn spread(sample: &[f64]) -> Option<Value> {
    if sample.is_empty() {
        return None;
    }
    let Spread { low, median, high } = Spread::of(sample.to_vec());
    Some(json!({ "median": median, "low": low, "high": high, "rounds": sample }))
}
