//! Four small plots of a scenario in one SVG: served, refused, wasted attempts, added wait, by minute of the day.
//!
//! Written by hand, since a picture of lines needs no library. Text is text, so that it can be read, searched
//! and scaled; colours change with the reader's scheme, and lines differ in their dashes too. A day in which
//! something happens for a few hours only is shown for those hours, minute by minute.

mod axis;

use super::Found;
use crate::run::{Figures, Minute, by_minute_of_day};
use axis::Axis;
use std::fmt::Write as _;

/// The plots of a scenario: of its later days, or of its only one.
#[must_use]
pub fn plot(found: &Found) -> String {
    let from = if found.scenario.days > 1 {
        found.first_minutes
    } else {
        0
    };
    let view = View::of(found, from);
    let mut svg = String::new();
    let _ = write!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" aria-labelledby="title desc">
<title id="title">{title}: served, refused, wasted attempts and added wait by minute of the day</title>
<desc id="desc">{about}</desc>
<style>{STYLE}</style>
<rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>
<text class="head" x="{LEFT}" y="26">{title}</text>
"#,
        title = escape(found.scenario.title),
        about = escape(found.scenario.about),
    );
    legend(&mut svg, &found.figures);
    let each = |of: Of| -> Vec<(usize, Vec<f64>)> {
        let points = |figures: &Figures| view.points(&by_minute_of_day(&figures.minutes, from, of));
        found.figures.iter().map(points).enumerate().collect()
    };
    let mut served = each(|minute| f64::from(minute.served));
    let offered = by_minute_of_day(&found.omniscient().minutes, from, |minute| {
        f64::from(minute.offered)
    });
    served.push((OFFERED, view.points(&offered)));
    let waits = found
        .figures
        .iter()
        .map(|figures| view.waits(figures, from));
    let panels = [
        Panel {
            name: "Served",
            unit: "turns a minute",
            axis: Axis::even,
            lines: served,
        },
        Panel {
            name: "Refused",
            unit: "refusals a minute that clients saw",
            axis: Axis::even,
            lines: each(|minute| f64::from(minute.refused)),
        },
        Panel {
            name: "Wasted attempts",
            unit: "a minute that were not served, by powers of ten",
            axis: Axis::powers,
            lines: each(|minute| f64::from(minute.wasted)),
        },
        Panel {
            name: "Added wait",
            unit: "seconds, mean of the turns served",
            axis: Axis::even,
            lines: waits.enumerate().collect(),
        },
    ];
    for (at, panel) in panels.into_iter().enumerate() {
        let left = LEFT + (at % 2) as f64 * (PANEL_WIDTH + GAP_X);
        let top = TOP + (at / 2) as f64 * (PANEL_HEIGHT + GAP_Y);
        panel.draw(&mut svg, &view, left, top);
    }
    svg.push_str("</svg>\n");
    svg
}

/// A figure of a minute.
type Of = fn(&Minute) -> f64;

/// One of the four.
struct Panel {
    name: &'static str,
    unit: &'static str,
    /// For the highest value.
    axis: fn(f64) -> Axis,
    /// Each with its style.
    lines: Vec<(usize, Vec<f64>)>,
}

/// Which minutes of the day are shown, and how many become one point.
struct View {
    from: usize,
    to: usize,
    step: usize,
}

impl View {
    fn of(found: &Found, from: usize) -> Self {
        let mut busy = vec![false; 24 * 60];
        for figures in &found.figures {
            let all = by_minute_of_day(&figures.minutes, from, |minute| {
                f64::from(minute.offered + minute.served + minute.refused)
            });
            for (busy, count) in busy.iter_mut().zip(all) {
                *busy |= count > 0.0;
            }
        }
        let first = busy.iter().position(|busy| *busy).unwrap_or(0);
        // Those that come a moment before midnight are shown with those after it.
        let last = busy
            .iter()
            .take(24 * 60 - 5)
            .rposition(|busy| *busy)
            .unwrap_or(0);
        if last.saturating_sub(first) < SHORT {
            let from = first / 10 * 10;
            return Self {
                from,
                to: (last / 10 * 10 + 10).max(from + 10),
                step: 1,
            };
        }
        Self {
            from: 0,
            to: 24 * 60,
            step: 10,
        }
    }

    /// Means over each step.
    fn points(&self, day: &[f64]) -> Vec<f64> {
        day.get(self.from..self.to)
            .unwrap_or_default()
            .chunks(self.step)
            .map(|chunk| chunk.iter().sum::<f64>() / chunk.len() as f64)
            .collect()
    }

    fn waits(&self, figures: &Figures, from: usize) -> Vec<f64> {
        let waits = self.points(&by_minute_of_day(&figures.minutes, from, |minute| {
            minute.wait as f64 / 1000.0
        }));
        let served = self.points(&by_minute_of_day(&figures.minutes, from, |minute| {
            f64::from(minute.served)
        }));
        waits
            .iter()
            .zip(served)
            .map(|(wait, served)| if served > 0.0 { wait / served } else { 0.0 })
            .collect()
    }
}

impl Panel {
    fn draw(mut self, svg: &mut String, view: &View, left: f64, top: f64) {
        let values = self.lines.iter().flat_map(|(_, points)| points);
        let axis = (self.axis)(values.copied().fold(0.0, f64::max));
        let y = |value| top + PANEL_HEIGHT * (1.0 - axis.height(value));
        let _ = writeln!(
            svg,
            r#"<text class="name" x="{left}" y="{}">{} <tspan class="unit">({})</tspan></text>"#,
            top - 10.0,
            self.name,
            self.unit,
        );
        for (value, text) in &axis.ticks {
            let y = y(*value);
            let _ = writeln!(
                svg,
                r#"<path class="grid" d="M{left:.1} {y:.1}H{:.1}"/><text class="tick" text-anchor="end" x="{:.1}" y="{:.1}">{text}</text>"#,
                left + PANEL_WIDTH,
                left - 6.0,
                y + 4.0,
            );
        }
        let span = view.to - view.from;
        let every = [1, 2, 5, 10, 20, 30, 60, 180, 360]
            .into_iter()
            .find(|every| span / every <= 8)
            .unwrap_or(360);
        for minute in (view.from..=view.to).filter(|minute| minute % every == 0) {
            let x = left + PANEL_WIDTH * (minute - view.from) as f64 / span as f64;
            let _ = writeln!(
                svg,
                r#"<text class="tick" text-anchor="middle" x="{x:.1}" y="{:.1}">{}:{:02}</text>"#,
                top + PANEL_HEIGHT + 15.0,
                minute / 60,
                minute % 60,
            );
        }
        let _ = writeln!(
            svg,
            r#"<text class="unit" text-anchor="middle" x="{:.1}" y="{:.1}">time of day in Los Angeles</text>"#,
            left + PANEL_WIDTH / 2.0,
            top + PANEL_HEIGHT + 31.0,
        );
        // Whoever knows all is drawn last, on top.
        self.lines
            .sort_by_key(|(style, _)| std::cmp::Reverse(*style));
        for (style, points) in &self.lines {
            let mut d = String::new();
            let step = PANEL_WIDTH / points.len().max(1) as f64;
            for (number, point) in points.iter().enumerate() {
                let x = left + step * (number as f64 + 0.5);
                let _ = write!(
                    d,
                    "{}{x:.1} {:.1}",
                    if number == 0 { "M" } else { "L" },
                    y(*point)
                );
            }
            let _ = writeln!(svg, r#"<path class="line s{style}" d="{d}"/>"#);
        }
    }
}

fn legend(svg: &mut String, figures: &[Figures]) {
    let mut names: Vec<(usize, &str)> = figures
        .iter()
        .map(|figures| figures.name)
        .enumerate()
        .collect();
    names.push((OFFERED, "offered"));
    for (at, (style, name)) in names.into_iter().enumerate() {
        let x = LEFT + (at % 4) as f64 * 230.0;
        let y = 50.0 + (at / 4) as f64 * 20.0;
        let _ = writeln!(
            svg,
            r#"<path class="line s{style}" d="M{x} {y}h28"/><text class="tick" x="{}" y="{}">{}</text>"#,
            x + 34.0,
            y + 4.0,
            escape(name),
        );
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

const WIDTH: f64 = 980.0;
const HEIGHT: f64 = 640.0;
const LEFT: f64 = 60.0;
const TOP: f64 = 120.0;
const PANEL_WIDTH: f64 = 400.0;
const PANEL_HEIGHT: f64 = 180.0;
const GAP_X: f64 = 90.0;
const GAP_Y: f64 = 80.0;

/// What happens within so many minutes is shown alone.
const SHORT: usize = 180;

/// The style of what was offered, behind the schedulers'.
const OFFERED: usize = 9;

/// Okabe and Ito's colours, which the colour-blind tell apart; lighter ones on dark paper.
const STYLE: &str = "
text{font-family:system-ui,sans-serif;fill:#24292f}
.head{font-size:17px;font-weight:600}.name{font-size:14px;font-weight:600}
.unit{font-size:11.5px;font-weight:400;fill:#57606a}.tick{font-size:11.5px}
.paper{fill:#fff}.grid{stroke:#d0d7de;stroke-width:1}
.line{fill:none;stroke-width:1.8;stroke-linejoin:round}
.s0{stroke:#24292f;stroke-dasharray:2 3;stroke-width:2.2}.s1{stroke:#0072b2;stroke-width:2.4}
.s2{stroke:#009e73}.s3{stroke:#56b4e9;stroke-dasharray:7 3}
.s4{stroke:#d55e00}.s5{stroke:#c79300;stroke-dasharray:9 3}.s6{stroke:#b5579a;stroke-dasharray:4 3}
.s9{stroke:#9aa4ae;stroke-width:4;stroke-opacity:.45}
@media (prefers-color-scheme:dark){text{fill:#e6edf3}.unit{fill:#9ea7b3}.paper{fill:#0d1117}.grid{stroke:#30363d}
.s0{stroke:#e6edf3}.s1{stroke:#4aa8ff}.s2{stroke:#2fd3a5}.s3{stroke:#8fd0f5}.s4{stroke:#ff8a4c}.s5{stroke:#f0b849}.s6{stroke:#e29ac8}.s9{stroke:#6e7681}}
";
