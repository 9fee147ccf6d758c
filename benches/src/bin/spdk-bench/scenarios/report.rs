//! What the scenarios find: tables for people, row by row as it is found, and all samples for machines.

use serde_json::{Map, Value, json};
use spdk_benches::client::stats::Spread;

use crate::host::Host;
use crate::json;
use crate::progress::Progress;

/// What stands in a row: the name for machines, how many digits people want, and a sample, or several.
pub(super) type Found<'a> = (&'a str, usize, &'a [&'a [f64]]);

pub(super) struct Report {
    progress: Progress,
    tables: Vec<Table>,
}

struct Table {
    name: &'static str,
    title: String,
    rows: Vec<Value>,
}

impl Report {
    pub(super) fn new() -> Self {
        Self {
            progress: Progress::new(0),
            tables: Vec::new(),
        }
    }

    /// Begins a table.
    pub(super) fn table(&mut self, name: &'static str, title: String, heads: &[&str]) {
        let rule = " --- |".repeat(heads.len() + 1);
        self.progress.print(&format!(
            "\n{title}\n\n| | {} |\n|{rule}",
            heads.join(" | ")
        ));
        self.tables.push(Table {
            name,
            title,
            rows: Vec::new(),
        });
    }

    /// Says on a terminal what is being measured.
    pub(super) fn measures(&self, row: &str, round: u32, rounds: u32) {
        let name = self.tables.last().map_or("", |table| table.name);
        let round = round + 1;
        self.progress
            .say(&format!("{name}: {row}, round {round} of {rounds}"));
    }

    /// A row of the last table.
    pub(super) fn row(&mut self, row: &str, found: &[Found<'_>]) {
        let text = |(_, digits, samples): &Found<'_>| {
            let samples = samples.iter().map(|sample| bracketed(sample, *digits));
            samples.collect::<Vec<_>>().join(", ")
        };
        let texts: Vec<_> = found.iter().map(text).collect();
        self.progress
            .print(&format!("| {row} | {} |", texts.join(" | ")));
        let value = |samples: &[&[f64]]| match samples {
            [only] => json!(json::spread(only)),
            several => several
                .iter()
                .map(|sample| json!(json::spread(sample)))
                .collect(),
        };
        let named = [("row".to_owned(), json!(row))];
        let found = found.iter();
        let found = found.map(|(key, _, samples)| ((*key).to_owned(), value(samples)));
        if let Some(table) = self.tables.last_mut() {
            let row: Map<_, _> = named.into_iter().chain(found).collect();
            table.rows.push(Value::Object(row));
        }
    }

    /// All of it.
    pub(super) fn json(&self, host: &Host, rounds: u32, turn_ms: u64) -> Value {
        let table = |table: &Table| json!({ "scenario": table.name, "what": table.title, "rows": table.rows });
        json!({
            "host": host.json(),
            "options": { "rounds": rounds, "turn_ms": turn_ms },
            "tables": self.tables.iter().map(table).collect::<Vec<_>>(),
        })
    }
}

/// `1.93 [1.90–1.95]`; of a single number, that.
fn bracketed(sample: &[f64], digits: usize) -> String {
    if let [only] = sample {
        return format!("{only:.digits$}");
    }
    let Spread { low, median, high } = Spread::of(sample.to_vec());
    format!("{median:.digits$} [{low:.digits$}–{high:.digits$}]")
}
