//! The table at the end.

use std::fmt;
use std::time::Duration;

use spdk_safe::units::Blocks;

/// What was done, and whether all of it was right.
#[derive(Debug)]
pub(crate) struct Report {
    title: String,
    rows: Vec<Row>,
}

/// One bdev, moved once.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) bdev: String,
    pub(crate) step: &'static str,
    pub(crate) blocks: Blocks,
    pub(crate) block_size: u32,
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

    /// Whether nothing differs.
    pub(crate) fn is_verified(&self) -> bool {
        !self
            .rows
            .iter()
            .any(|row| matches!(row.verdict, Verdict::Differs(_)))
    }
}

impl Row {
    fn mib_per_second(&self) -> f64 {
        let bytes = self.blocks.0 as f64 * f64::from(self.block_size);
        bytes / f64::from(1 << 20) / self.elapsed.as_secs_f64().max(f64::EPSILON)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.title)?;
        writeln!(
            f,
            "  {:<8} {:<8} {:>12} {:>10}   result",
            "bdev", "step", "blocks", "MiB/s"
        )?;
        for row in &self.rows {
            writeln!(
                f,
                "  {:<8} {:<8} {:>12} {:>10.0}   {}",
                row.bdev,
                row.step,
                row.blocks.0,
                row.mib_per_second(),
                row.verdict
            )?;
        }
        match self.is_verified() {
            true => write!(
                f,
                "\nverified: the mirror and every leg hold what was written"
            ),
            false => write!(f, "\nNOT VERIFIED: a bdev does not hold what was written"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Written => f.write_str("written"),
            Self::Verified => f.write_str("verified"),
            Self::Differs(at) => write!(
                f,
                "DIFFERS at byte {}: {:#04x}, expected {:#04x}",
                at.offset, at.is, at.expected
            ),
        }
    }
}
