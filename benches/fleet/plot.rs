//! The pictures of `docs/fleet.md`.

use std::ops::Range;
use std::path::Path;

use plotters::prelude::*;

use crate::Failure;
use crate::document::{ENVOYS, OUTAGE, SERVICES, client_name, from_then};
use crate::scenario::{Client, Plan, Reading, Scenario};
use crate::world;

/// A curve: its name, and a number for each second.
type Curve = (String, Vec<u64>);

/// How long the echoes of a change are shown.
const SECONDS: u64 = 300;

/// Draws the reads of the busiest server after one change.
pub fn changes(file: &Path, seed: u64) -> Result<(), Failure> {
    let time = from_then(0, SECONDS);
    let curve = |name: &str, reading, jitter| {
        let scenario = Scenario::of(ENVOYS, reading, seed).with(Plan::ONE_CHANGE);
        let meter = world::run(&Scenario { jitter, ..scenario });
        (name.to_owned(), meter.reads_by_second(time.clone()))
    };
    let ten = Reading::Cached { envoys_per_agent: 10 };
    let curves = [
        curve("default, if Consul added no jitter", Reading::Leader, false),
        curve("default", Reading::Leader, true),
        curve("stale", Reading::Stale, true),
        curve("cached, 10 Envoys at an agent", ten, true),
    ];
    let title = format!("{ENVOYS} Envoys: reads a second at the busiest server after a change");
    draw(file, &title, 0..SECONDS, &curves)
}

/// Draws the calls of the fleet while Consul is away, and after.
pub fn outages(file: &Path, seed: u64) -> Result<(), Failure> {
    let time = from_then(0, OUTAGE.as_secs() + 120);
    let curve = |client| {
        let scenario = Scenario::of(ENVOYS, Reading::Leader, seed).with(Plan::Outage(OUTAGE));
        let meter = world::run(&Scenario { client, services: SERVICES, ..scenario });
        (client_name(client).to_owned(), meter.calls_by_second(time.clone()))
    };
    let curves = [Client::EverySecond, Client::Filter].map(curve);
    let away = OUTAGE.as_secs();
    let title = format!(
        "{ENVOYS} Envoys of {SERVICES} services: calls a second; Consul is away for {away} s"
    );
    draw(file, &title, 0..180, &curves)
}

/// Writes an SVG of curves over seconds, with a logarithmic height.
fn draw(file: &Path, title: &str, time: Range<u64>, curves: &[Curve]) -> Result<(), Failure> {
    const COLOURS: [RGBColor; 4] = [
        RGBColor(213, 94, 0),
        RGBColor(0, 114, 178),
        RGBColor(0, 158, 115),
        RGBColor(204, 121, 167),
    ];
    let root = SVGBackend::new(file, (840, 400)).into_drawing_area();
    root.fill(&WHITE)?;
    let top = curves.iter().flat_map(|(_, counts)| counts).max().copied().unwrap_or(1);
    let top = top as f64 * 2.0;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(64)
        .build_cartesian_2d(time.start as f64..time.end as f64, (0.8..top).log_scale())?;
    chart
        .configure_mesh()
        .x_desc("seconds")
        .y_label_formatter(&|count| format!("{}", *count as u64))
        .light_line_style(RGBColor(235, 235, 235))
        .bold_line_style(RGBColor(210, 210, 210))
        .draw()?;
    for ((name, counts), colour) in curves.iter().zip(COLOURS) {
        // There is no zero on this scale: what is below one lies on the bottom.
        let points = (0..).zip(counts).map(|(second, &count)| {
            (f64::from(second), if count == 0 { 0.8 } else { count as f64 })
        });
        let style = colour.stroke_width(2);
        chart
            .draw_series(LineSeries::new(points, style))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 22, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE)
        .border_style(RGBColor(210, 210, 210))
        .draw()?;
    root.present()?;
    Ok(())
}
