//! The picture: each contender's rate by that of the raw leg, for each kind of work.

use std::path::Path;

use plotters::prelude::*;
use spdk_benches::stack::Contender;

use crate::Error;
use crate::compare::{Results, Row, size};

const ROW: u32 = 118;
const WIDTH: u32 = 960;
const COLOURS: [RGBColor; 6] = [
    RGBColor(160, 160, 160),
    RGBColor(222, 120, 50),
    RGBColor(120, 160, 200),
    RGBColor(110, 110, 110),
    RGBColor(190, 60, 30),
    RGBColor(31, 100, 170),
];

/// Draws bars, ours in red and SPDK's in blue.
pub(crate) fn draw(path: &Path, results: &Results) -> Result<(), Error> {
    let rows = results.rows.len().max(1) as u32;
    let root = SVGBackend::new(path, (WIDTH, rows * ROW + 40)).into_drawing_area();
    root.fill(&WHITE)?;
    let (title, body) = root.split_vertically(40);
    title.titled(
        "million I/Os per second of a core's time; ours red, SPDK's blue",
        ("sans-serif", 16),
    )?;
    for (row, area) in results
        .rows
        .iter()
        .zip(body.split_evenly((rows as usize, 1)))
    {
        bars(&area, row)?;
    }
    root.present()?;
    Ok(())
}

fn bars(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    row: &Row,
) -> Result<(), Error> {
    let rates: Vec<(usize, Contender, f64)> = Contender::ALL
        .into_iter()
        .enumerate()
        .filter_map(|(at, who)| Some((at, who, row.rate(who)? / 1e6)))
        .collect();
    let top = rates.iter().map(|(_, _, rate)| *rate).fold(0.001, f64::max);
    let left = 210;
    let scale = f64::from(WIDTH - 320) / top;
    let cell = &row.cell;
    let what = format!(
        "{} {}, {} qd {}",
        cell.legs.base().name(),
        cell.io.name(),
        size(cell.size),
        cell.depth
    );
    let font = |px: i32| ("sans-serif", px).into_font();
    area.draw(&Text::new(what, (8, 4), font(14)))?;
    for (at, contender, rate) in rates {
        let y = 4 + at as i32 * 18;
        let end = left + (rate * scale) as i32;
        let bar = [(left, y), (end.max(left + 1), y + 14)];
        area.draw(&Rectangle::new(bar, COLOURS[at].filled()))?;
        area.draw(&Text::new(contender.name(), (left - 82, y), font(12)))?;
        area.draw(&Text::new(format!("{rate:.3}"), (end + 5, y), font(12)))?;
    }
    Ok(())
}
