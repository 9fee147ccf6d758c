//! The picture: throughput over time, with what was done to the mirror.

use std::path::Path;

use anyhow::Context as _;
use plotters::prelude::*;

use crate::load::Outcome;

const SIZE: (u32, u32) = (960, 420);

/// Draws the load into an SVG file.
pub(crate) fn draw(path: &Path, title: &str, load: &Outcome) -> anyhow::Result<()> {
    let fails = || format!("--plot {}", path.display());
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE).with_context(fails)?;
    let end = load.elapsed.as_secs_f64().max(0.01);
    let most = load.samples.iter().map(|sample| sample.mib_per_second);
    let top = most.fold(1.0, f64::max) * 1.15;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 16))
        .margin(12)
        .x_label_area_size(38)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..end, 0.0..top)
        .with_context(fails)?;
    chart
        .configure_mesh()
        .x_desc("seconds")
        .y_desc("MiB/s")
        .max_light_lines(0)
        .bold_line_style(RGBColor(225, 225, 225))
        .y_label_formatter(&|y| format!("{y:.0}"))
        .draw()
        .with_context(fails)?;
    let points = load
        .samples
        .iter()
        .map(|sample| (sample.at, sample.mib_per_second));
    chart
        .draw_series(LineSeries::new(
            points,
            RGBColor(31, 119, 180).stroke_width(2),
        ))
        .with_context(fails)?;
    for (at, event) in load.events.iter().enumerate() {
        let line = [(event.at, 0.0), (event.at, top)];
        let colour = RGBColor(200, 60, 40);
        chart
            .draw_series([PathElement::new(line, colour.stroke_width(1))])
            .with_context(fails)?;
        // One below the other, so that those that are close can be read.
        let height = top * (0.97 - 0.06 * at as f64);
        let (left, right) = (event.at + end * 0.006, event.at - end * 0.006);
        let style = ("sans-serif", 13).into_font().color(&colour);
        let is_late = event.at > end * 0.7;
        use plotters::style::text_anchor::{HPos, Pos, VPos};
        let (x, anchor) = match is_late {
            true => (right, Pos::new(HPos::Right, VPos::Center)),
            false => (left, Pos::new(HPos::Left, VPos::Center)),
        };
        chart
            .draw_series([Text::new(
                event.what.clone(),
                (x, height),
                style.pos(anchor),
            )])
            .with_context(fails)?;
    }
    root.present().with_context(fails)
}
