//! The pictures, in SVG: bars for the roads, lines for growth.

use std::fmt::Write as _;

use crate::growth::Curve;
use crate::measure::Series;
use crate::scenarios::Row;
use crate::subjects::Subject;

const COLOURS: [&str; 6] = ["#8c8c8c", "#d9480f", "#1c7ed6", "#2b8a3e", "#862e9c", "#5c940d"];
const STYLE: &str = "<style>text{font:12px sans-serif;fill:#444}.title{font-size:14px;font-weight:bold}\
                     .light{fill:#888}line{stroke:#ccc}</style>";

fn open(width: f64, height: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\">{STYLE}<rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
    )
}

fn label(out: &mut String, x: f64, y: f64, class: &str, anchor: &str, text: &str) {
    writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\" text-anchor=\"{anchor}\">{text}</text>")
        .ok();
}

fn legend(out: &mut String, subjects: &[Subject], skip: usize, y: f64) {
    let mut x = 20.0;
    for (subject, colour) in subjects.iter().zip(COLOURS).skip(skip) {
        writeln!(out, "<rect x=\"{x}\" y=\"{}\" width=\"12\" height=\"12\" fill=\"{colour}\"/>", y - 10.0)
            .ok();
        let name = format!("{} {}", subject.name, subject.version);
        label(out, x + 18.0, y, "", "start", name.trim());
        x += 40.0 + 7.0 * name.len() as f64;
    }
}

/// For each road one group of bars: median wall time against that of the best peer, which is 1.
pub fn roads(subjects: &[Subject], rows: &[Row]) -> String {
    const BAR: f64 = 12.0;
    const LEFT: f64 = 220.0;
    let group = BAR * subjects.len() as f64 + 14.0;
    let height = 70.0 + group * rows.len() as f64;
    let mut out = open(760.0, height);
    label(&mut out, 20.0, 22.0, "title", "start", "Wall time, medians; the best peer is 1");
    legend(&mut out, subjects, 0, 44.0);
    for (row, top) in rows.iter().zip((0..).map(|index| 62.0 + group * f64::from(index))) {
        label(&mut out, LEFT - 10.0, top + group / 2.0 - 4.0, "", "end", row.name);
        let wall =
            |series: &Option<Series>| series.as_ref().map(|series| series.median(|sample| sample.wall));
        let peers = subjects
            .iter()
            .zip(&row.series)
            .filter(|(subject, _)| !subject.is_floor && subject.name != "wharf");
        let Some(best) = peers.filter_map(|(_, series)| wall(series)).reduce(f64::min) else { continue };
        for (index, (series, colour)) in row.series.iter().zip(COLOURS).enumerate() {
            let Some(value) = wall(series) else { continue };
            let (y, full) = (top + BAR * index as f64, value / best * 110.0);
            let width = full.min(400.0);
            writeln!(
                out,
                "<rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{}\" fill=\"{colour}\"/>",
                BAR - 2.0
            )
            .ok();
            let cut = if full > width { "… " } else { "" };
            let text = format!("{cut}{:.2} ({value:.2} ms)", value / best);
            label(&mut out, LEFT + width + 6.0, y + BAR - 3.0, "light", "start", &text);
        }
    }
    out + "</svg>\n"
}

/// One panel for each curve.
pub fn growth(subjects: &[Subject], curves: &[Curve]) -> String {
    const WIDTH: f64 = 380.0;
    const HEIGHT: f64 = 240.0;
    let mut out = open(WIDTH * 2.0, 60.0 + HEIGHT * curves.len().div_ceil(2) as f64);
    label(&mut out, 20.0, 22.0, "title", "start", "Wall time of run, ms, as things grow");
    legend(&mut out, subjects, 1, 44.0);
    for (index, curve) in curves.iter().enumerate() {
        let (left, top) = (50.0 + WIDTH * (index % 2) as f64, 80.0 + HEIGHT * (index / 2) as f64);
        panel(&mut out, subjects, curve, (left, top), (WIDTH - 80.0, HEIGHT - 70.0));
    }
    out + "</svg>\n"
}

fn panel(
    out: &mut String,
    subjects: &[Subject],
    curve: &Curve,
    (left, top): (f64, f64),
    (width, height): (f64, f64),
) {
    let points = || curve.lines.iter().flat_map(|(_, points)| points);
    let most = |value: fn(&(f64, f64)) -> f64| points().map(value).fold(1e-9, f64::max);
    let (right, high) = (most(|point| point.0), most(|point| point.1));
    let place = |(x, y): (f64, f64)| (left + x / right * width, top + height - y / high * height);
    label(out, left, top - 8.0, "", "start", curve.name);
    for (x, y) in [(width, 0.0), (0.0, -height)] {
        let bottom = top + height;
        writeln!(
            out,
            "<line x1=\"{left}\" y1=\"{bottom}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
            left + x,
            bottom + y
        )
        .ok();
    }
    label(out, left - 6.0, top + 8.0, "light", "end", &format!("{high:.0}"));
    label(out, left - 6.0, top + height, "light", "end", "0");
    label(out, left + width, top + height + 16.0, "light", "end", &format!("{right:.0}"));
    for (name, points) in &curve.lines {
        let index = subjects.iter().position(|subject| subject.name == *name).unwrap_or(0);
        let colour = COLOURS[index % COLOURS.len()];
        let path: Vec<String> =
            points.iter().map(|point| place(*point)).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            path.join(" ")
        )
        .ok();
    }
}
