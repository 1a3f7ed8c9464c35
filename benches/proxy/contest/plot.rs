//! The latencies of a contest as a picture.

use std::path::Path;

use plotters::prelude::*;

use super::{Contender, Contest, Outcome, Race, Traffic};
use crate::Failure;

/// How far to the right the curves go: one request in so many.
const ONE_IN: f64 = 1_000.0;

/// Writes an SVG with a panel for each kind of traffic: latency over quantile, in which the
/// distance to 100 % is logarithmic, so that the slow end of the answers has the room.
pub fn plot(contest: &Contest, file: &Path) -> Result<(), Failure> {
    let width = 520 * u32::try_from(contest.races.len())?;
    let root = SVGBackend::new(file, (width, 420)).into_drawing_area();
    root.fill(&WHITE)?;
    let panels = root.split_evenly((1, contest.races.len()));
    for (panel, race) in panels.iter().zip(&contest.races) {
        draw(panel, race)?;
    }
    root.present()?;
    Ok(())
}

fn draw<B: DrawingBackend>(
    panel: &DrawingArea<B, plotters::coord::Shift>,
    race: &Race,
) -> Result<(), Failure>
where
    B::ErrorType: 'static,
{
    let top = race.outcomes.iter().map(|(_, outcome)| outcome.quantile(1.0 - 1.0 / ONE_IN));
    let top = top.fold(10.0, f64::max) * 2.0;
    let title = match race.traffic {
        Traffic::Closed { connections, .. } => format!("closed loop, {connections} connections"),
        Traffic::Open { per_second, .. } => format!("open loop, {per_second} requests a second"),
    };
    let mut chart = ChartBuilder::on(panel)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(56)
        .build_cartesian_2d((1.0..ONE_IN).log_scale(), (0.1..top).log_scale())
        .map_err(boxed)?;
    chart
        .configure_mesh()
        .x_desc("quantile")
        .y_desc("latency, ms")
        .x_label_formatter(&|one_in| format!("{} %", (100.0 - 100.0 / one_in) as f32))
        .y_label_formatter(&|ms| format!("{}", *ms as f32))
        .x_max_light_lines(0)
        .light_line_style(RGBColor(235, 235, 235))
        .bold_line_style(RGBColor(210, 210, 210))
        .draw()
        .map_err(boxed)?;
    for (place, (contender, outcome)) in race.outcomes.iter().enumerate() {
        let style = style(place, *contender);
        chart
            .draw_series(LineSeries::new(curve(outcome), style))
            .map_err(boxed)?
            .label(contender.name().replace('`', ""))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 22, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE)
        .border_style(RGBColor(210, 210, 210))
        .draw()
        .map_err(boxed)?;
    Ok(())
}

/// This filter's are thick, Envoy's own are thin.
fn style(place: usize, contender: Contender) -> ShapeStyle {
    const COLOURS: [RGBColor; 5] = [
        RGBColor(0, 114, 178),
        RGBColor(0, 158, 115),
        RGBColor(86, 180, 233),
        RGBColor(213, 94, 0),
        RGBColor(204, 121, 167),
    ];
    let width = if contender.is_native() { 2 } else { 3 };
    COLOURS[place % COLOURS.len()].stroke_width(width)
}

/// The latency of one in `x` answers.
fn curve(outcome: &Outcome) -> impl Iterator<Item = (f64, f64)> {
    const POINTS: i32 = 240;
    (0..=POINTS).map(|point| {
        let one_in = ONE_IN.powf(f64::from(point) / f64::from(POINTS));
        (one_in, outcome.quantile(1.0 - 1.0 / one_in))
    })
}

/// The backend's own errors are not `Sync`.
fn boxed<E: std::error::Error + Send + Sync>(error: DrawingAreaErrorKind<E>) -> Failure {
    error.to_string().into()
}
