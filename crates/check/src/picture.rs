//! A few operations as a timeline: a row for each process, a bar for each operation from its invocation to its answer, and
//! the faults that were in force shaded behind them.

use std::fmt::Write;

/// A bar.
#[derive(Clone, Debug)]
pub struct Bar {
    /// Whose row it is in.
    pub row: String,
    /// What it says.
    pub label: String,
    /// Where it begins, in any unit of time.
    pub from: u64,
    /// Where it ends; `None`: nobody knows.
    pub to: Option<u64>,
    /// Is it the one that cannot be explained?
    pub blamed: bool,
}

/// What was wrong with the world meanwhile.
#[derive(Clone, Debug)]
pub struct Shade {
    /// What it says.
    pub label: String,
    /// When it began.
    pub from: u64,
    /// When it ended.
    pub to: u64,
}

const WIDTH: f64 = 1100.0;
const LEFT: f64 = 165.0;
const LANE: f64 = 34.0;
const TOP: f64 = 26.0;

/// Draws them, as an SVG element with its own colours. Times are labelled in seconds if `unit` of them make one.
pub fn timeline(bars: &[Bar], shades: &[Shade], unit: u64) -> String {
    let begin = bars.iter().map(|bar| bar.from).min().unwrap_or_default();
    let last = bars.iter().map(|bar| bar.to.unwrap_or(bar.from)).max().unwrap_or_default();
    // A bar without an end gets a twentieth of the width beyond everything else.
    let span = (last.saturating_sub(begin)).max(1) as f64 * 1.05;
    let x = |time: u64| LEFT + (time.saturating_sub(begin)) as f64 / span * (WIDTH - LEFT - 20.0);
    let rows = Rows::new(bars, &x);
    let end = begin + span as u64;
    let seen: Vec<&Shade> = shades.iter().filter(|shade| shade.from <= end && shade.to >= begin).collect();
    let top = TOP + 14.0 * seen.len() as f64;
    let height = top + LANE * rows.lanes as f64 + 30.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"ui-monospace,monospace\" font-size=\"11\" role=\"img\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    for (at, shade) in seen.iter().enumerate() {
        let (from, to) = (x(shade.from.max(begin)), x(shade.to.min(end)));
        let (wide, y) = ((to - from).max(2.0), TOP + 14.0 * at as f64);
        let label = escape(&shade.label);
        let _ = writeln!(
            svg,
            "<rect x=\"{from:.1}\" y=\"{y:.1}\" width=\"{wide:.1}\" height=\"{:.1}\" fill=\"#f4a261\" fill-opacity=\".18\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" fill=\"#a4501a\">{label}</text>",
            height - 30.0 - y,
            from.min(WIDTH - 320.0) + 3.0,
            y + 10.0
        );
    }
    for (name, lane) in &rows.names {
        let y = top + LANE * *lane as f64;
        let _ = writeln!(
            svg,
            "<line x1=\"0\" x2=\"{WIDTH}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>\
             <text x=\"6\" y=\"{:.1}\" fill=\"#333\">{}</text>",
            y + 21.0,
            escape(name)
        );
    }
    for (bar, lane) in bars.iter().zip(&rows.of) {
        let y = top + LANE * *lane as f64 + 6.0;
        let from = x(bar.from);
        let to = bar.to.map_or(WIDTH - 8.0, &x);
        let wide = (to - from).max(3.0);
        let fill = if bar.blamed { "#d62828" } else { "#457b9d" };
        let dash = if bar.to.is_none() { " stroke-dasharray=\"4 3\"" } else { "" };
        let label = escape(&bar.label);
        let text_at = from.min(WIDTH - 6.0 - 6.7 * bar.label.chars().count() as f64).max(2.0);
        let _ = writeln!(
            svg,
            "<rect x=\"{from:.1}\" y=\"{y:.1}\" width=\"{wide:.1}\" height=\"9\" rx=\"2\" fill=\"{fill}\" fill-opacity=\"{}\" stroke=\"{fill}\"{dash}/>\
             <text x=\"{text_at:.1}\" y=\"{:.1}\" fill=\"{fill}\">{label}</text>",
            if bar.to.is_none() { ".15" } else { ".85" },
            y + 20.0
        );
    }
    let y = height - 26.0;
    for tick in 0..=5 {
        let time = begin + (span / 1.05 * f64::from(tick) / 5.0) as u64;
        let _ = writeln!(
            svg,
            "<line x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"{y:.1}\" y2=\"{1:.1}\" stroke=\"#999\"/>\
             <text x=\"{0:.1}\" y=\"{2:.1}\" fill=\"#555\" text-anchor=\"middle\">{3:.4} s</text>",
            x(time),
            y + 5.0,
            y + 18.0,
            time as f64 / unit as f64
        );
    }
    svg.push_str("</svg>");
    svg
}

/// Which lane each bar is in: bars of one row that would cover one another, or one another's text, get lanes of their own.
struct Rows {
    names: Vec<(String, usize)>,
    of: Vec<usize>,
    lanes: usize,
}

impl Rows {
    fn new(bars: &[Bar], x: &impl Fn(u64) -> f64) -> Rows {
        let mut names: Vec<&str> = bars.iter().map(|bar| bar.row.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let mut rows = Rows { names: Vec::new(), of: vec![0; bars.len()], lanes: 0 };
        for name in names {
            rows.names.push((name.to_owned(), rows.lanes));
            let mut mine: Vec<usize> = (0..bars.len()).filter(|&bar| bars[bar].row == name).collect();
            mine.sort_by_key(|&bar| bars[bar].from);
            let mut ends: Vec<f64> = Vec::new();
            for bar in mine {
                let from = x(bars[bar].from);
                let text = from + 6.7 * bars[bar].label.chars().count() as f64 + 8.0;
                let end = bars[bar].to.map_or(WIDTH, x).max(text);
                let lane = ends.iter().position(|end| *end <= from).unwrap_or(ends.len());
                if lane == ends.len() {
                    ends.push(end);
                } else {
                    ends[lane] = end;
                }
                rows.of[bar] = rows.lanes + lane;
            }
            rows.lanes += ends.len();
        }
        rows
    }
}

/// A text inside of XML.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
