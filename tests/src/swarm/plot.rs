//! A picture of a run.

use plotters::coord::Shift;
use plotters::prelude::*;

use super::report::Report;

type Points = Vec<(f64, f64)>;

/// Draws offload, connections to the origin, lag and stalls over time as SVG.
///
/// # Errors
/// If the file cannot be written.
pub fn plot(report: &Report, path: &std::path::Path) -> Result<(), String> {
    let area = SVGBackend::new(path, (1000, 1100)).into_drawing_area();
    draw(report, &area).map_err(|error| error.to_string())
}

fn draw(
    report: &Report,
    area: &DrawingArea<SVGBackend<'_>, Shift>,
) -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
    area.fill(&WHITE)?;
    let config = &report.config;
    let title = format!("{} viewers, {}, seed {}", config.viewers, config.scenario.name(), config.seed);
    let area = area.titled(&title, ("sans-serif", 20))?;
    let panels = area.split_evenly((5, 1));
    let seconds = &report.seconds;
    let over_time = |f: &dyn Fn(&super::Second) -> f64| -> Points {
        seconds.iter().enumerate().map(|(i, s)| (i as f64 + 1.0, f(s))).collect()
    };
    let smooth = |i: usize| {
        let near = &seconds[i.saturating_sub(2)..(i + 3).min(seconds.len())];
        let useful: u64 = near.iter().map(|s| s.useful_bytes).sum();
        let origin: u64 = near.iter().map(|s| s.origin_bytes).sum();
        100.0 - 100.0 * origin as f64 / useful.max(1) as f64
    };
    let offload: Points = (0..seconds.len()).map(|i| (i as f64 + 1.0, smooth(i).clamp(0.0, 100.0))).collect();
    let shapes = |f: fn(&super::Shape) -> f64| -> Points {
        report.shapes.iter().map(|s| (s.second as f64, f(s))).collect()
    };
    // What matters of the offload is near 100 %.
    let mut sorted: Vec<f64> = offload.iter().skip(seconds.len() / 4).map(|p| p.1).collect();
    sorted.sort_by(f64::total_cmp);
    let low = sorted.get(sorted.len() / 20).map_or(0.0, |v| (v - 2.0).clamp(0.0, 95.0).floor());
    let end = config.seconds as f64;
    panel(&panels[0], "offload, % (5 s)", end, (low, 100.2), &[("", offload)])?;
    let lines = [("", over_time(&|s| f64::from(s.origin_connections)))];
    panel(&panels[1], "connections to the origin", end, (0.0, top(&lines)), &lines)?;
    let lines = [
        ("latency p50", over_time(&|s| f64::from(s.latency_p50))),
        ("latency p95", over_time(&|s| f64::from(s.latency_p95))),
        ("pieces come", shapes(|s| s.lag_ms)),
        ("backlog p95", shapes(|s| s.backlog_p95)),
    ];
    panel(&panels[2], "behind the origin, ms", end, (0.0, top(&lines)), &lines)?;
    let lines =
        [("stalls", over_time(&|s| f64::from(s.stalls))), ("left out", over_time(&|s| f64::from(s.skips)))];
    panel(&panels[3], "stalls a second", end, (0.0, top(&lines)), &lines)?;
    let lines = [("", over_time(&|s| f64::from(s.members)))];
    panel(&panels[4], "members", end, (0.0, top(&lines)), &lines)?;
    area.present()
}

fn top(lines: &[(&str, Points)]) -> f64 {
    lines.iter().flat_map(|l| &l.1).map(|p| p.1).fold(1.0, f64::max) * 1.05
}

fn panel(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    caption: &str,
    end: f64,
    (low, high): (f64, f64),
    lines: &[(&str, Points)],
) -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
    let mut chart = ChartBuilder::on(area)
        .caption(caption, ("sans-serif", 14))
        .margin(6)
        .x_label_area_size(20)
        .y_label_area_size(50)
        .build_cartesian_2d(0.0..end, low..high)?;
    chart.configure_mesh().light_line_style(WHITE).y_labels(6).draw()?;
    for (i, (name, points)) in lines.iter().enumerate() {
        let colour = Palette99::pick(i).to_rgba();
        let drawn = points.iter().map(|(x, y)| (*x, y.clamp(low, high)));
        let series = chart.draw_series(LineSeries::new(drawn, colour.stroke_width(1)))?;
        if !name.is_empty() {
            series.label(*name).legend(move |(x, y)| PathElement::new([(x, y), (x + 14, y)], colour));
        }
    }
    if lines.len() > 1 {
        chart
            .configure_series_labels()
            .background_style(WHITE.mix(0.8))
            .position(SeriesLabelPosition::UpperLeft)
            .draw()?;
    }
    Ok(())
}
