//! The table at the end.

use std::fmt;
use std::time::Duration;

/// What was done, and whether all of it was right.
#[derive(Debug)]
pub(crate) struct Report {
    title: String,
    rows: Vec<Row>,
}

/// One step.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) bdev: String,
    pub(crate) step: &'static str,
    /// How much was moved.
    pub(crate) bytes: u64,
    pub(crate) elapsed: Duration,
    pub(crate) verdict: Verdict,
}

/// What a step found.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It only wrote.
    Written,
    /// Every byte is what it should be.
    Verified,
    /// One is not.
    Differs(Difference),
    /// Random reads and writes, so many; none failed, and all that was read was what had been written.
    Served(u64),
    /// So many of them failed, or read something else; the first in words.
    Failed(u64, String),
    /// The new leg was filled.
    Filled,
    /// So many blocks differ between the legs.
    Mismatches(u64),
}

/// A byte that is not what was written.
#[derive(Debug)]
pub(crate) struct Difference {
    /// In bytes, from the start of the bdev.
    pub(crate) offset: u64,
    pub(crate) is: u8,
    pub(crate) expected: u8,
}

impl Report {
    pub(crate) fn new(title: String) -> Self {
        Self {
            title,
            rows: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Whether nothing differs, and nothing failed.
    pub(crate) fn is_verified(&self) -> bool {
        self.rows.iter().all(|row| match row.verdict {
            Verdict::Written | Verdict::Verified | Verdict::Served(_) | Verdict::Filled => true,
            Verdict::Mismatches(blocks) => blocks == 0,
            Verdict::Differs(_) | Verdict::Failed(..) => false,
        })
    }
}

impl Row {
    fn mib_per_second(&self) -> f64 {
        self.bytes as f64 / f64::from(1 << 20) / self.elapsed.as_secs_f64().max(f64::EPSILON)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.title)?;
        writeln!(
            f,
            "  {:<8} {:<8} {:>10} {:>10}   result",
            "bdev", "step", "MiB", "MiB/s"
        )?;
        for row in &self.rows {
            writeln!(
                f,
                "  {:<8} {:<8} {:>10.0} {:>10.0}   {}",
                row.bdev,
                row.step,
                row.bytes as f64 / f64::from(1 << 20),
                row.mib_per_second(),
                row.verdict
            )?;
        }
        match self.is_verified() {
            true => write!(
                f,
                "\nverified: the mirror and every leg hold what was written"
            ),
            false => write!(
                f,
                "\nNOT VERIFIED: I/O failed, or a bdev does not hold what was written"
            ),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Written => f.write_str("written"),
            Self::Verified => f.write_str("verified"),
            Self::Served(ios) => write!(f, "{ios} I/Os, 0 failed, every read right"),
            Self::Failed(ios, first) => write!(f, "{ios} I/Os FAILED; the first: {first}"),
            Self::Filled => f.write_str("rebuilt under load"),
            Self::Mismatches(0) => f.write_str("the legs are equal"),
            Self::Mismatches(blocks) => write!(f, "{blocks} blocks DIFFER between the legs"),
            Self::Differs(at) => write!(
                f,
                "DIFFERS at byte {}: {:#04x}, expected {:#04x}",
                at.offset, at.is, at.expected
            ),
        }
    }
}
