//! Four small plots of a scenario in one SVG: served, refused, wasted attempts, added wait, by minute of the day.
//!
//! Written by hand, since a picture of lines needs no library. Text is text, so that it can be read, searched
//! and scaled; colours change with the reader's scheme, and lines differ in their dashes too. A day in which
//! something happens for a few hours only is shown for those hours, minute by minute.

use super::Found;
use crate::run::{Figures, Minute, by_minute_of_day};
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
    let panels: [(&str, &str, Of); 3] = [
        ("Served", "turns a minute", |minute| {
            f64::from(minute.served)
        }),
        ("Refused", "refusals a minute that clients saw", |minute| {
            f64::from(minute.refused)
        }),
        (
            "Wasted attempts",
            "attempts a minute that were not served",
            |minute| f64::from(minute.wasted),
        ),
    ];
    for (at, (name, unit, of)) in panels.into_iter().enumerate() {
        let mut lines: Vec<(usize, Vec<f64>)> = found
            .figures
            .iter()
            .enumerate()
            .map(|(at, figures)| {
                (
                    at,
                    view.points(&by_minute_of_day(&figures.minutes, from, of)),
                )
            })
            .collect();
        if at == 0 {
            let offered = by_minute_of_day(&found.omniscient().minutes, from, |minute| {
                f64::from(minute.offered)
            });
            lines.insert(0, (OFFERED, view.points(&offered)));
        }
        panel(&mut svg, at, name, unit, &view, &lines);
    }
    let waits: Vec<(usize, Vec<f64>)> = found
        .figures
        .iter()
        .enumerate()
        .map(|(at, figures)| (at, view.waits(figures, from)))
        .collect();
    panel(
        &mut svg,
        3,
        "Added wait",
        "seconds, mean of the turns served",
        &view,
        &waits,
    );
    svg.push_str("</svg>\n");
    svg
}

/// A figure of a minute.
type Of = fn(&Minute) -> f64;

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

fn panel(
    svg: &mut String,
    at: usize,
    name: &str,
    unit: &str,
    view: &View,
    lines: &[(usize, Vec<f64>)],
) {
    let left = LEFT + (at % 2) as f64 * (PANEL_WIDTH + GAP_X);
    let top = TOP + (at / 2) as f64 * (PANEL_HEIGHT + GAP_Y);
    let highest = lines
        .iter()
        .flat_map(|(_, points)| points)
        .copied()
        .fold(0.0, f64::max);
    let (scale, tick) = scale(highest);
    let _ = writeln!(
        svg,
        r#"<text class="name" x="{left}" y="{}">{name} <tspan class="unit">({unit})</tspan></text>"#,
        top - 10.0
    );
    let mut value = 0.0;
    while value <= scale * 1.001 {
        let y = top + PANEL_HEIGHT * (1.0 - value / scale);
        let _ = writeln!(
            svg,
            r#"<path class="grid" d="M{left:.1} {y:.1}H{:.1}"/><text class="tick" text-anchor="end" x="{:.1}" y="{:.1}">{}</text>"#,
            left + PANEL_WIDTH,
            left - 6.0,
            y + 4.0,
            plain(value),
        );
        value += tick;
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
    let mut order: Vec<&(usize, Vec<f64>)> = lines.iter().collect();
    order.sort_by_key(|(style, _)| std::cmp::Reverse(*style));
    for (style, points) in order {
        let mut d = String::new();
        let step = PANEL_WIDTH / points.len().max(1) as f64;
        for (number, point) in points.iter().enumerate() {
            let (x, y) = (
                left + step * (number as f64 + 0.5),
                top + PANEL_HEIGHT * (1.0 - point / scale),
            );
            let _ = write!(d, "{}{x:.1} {y:.1}", if number == 0 { "M" } else { "L" });
        }
        let _ = writeln!(svg, r#"<path class="line s{style}" d="{d}"/>"#);
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

/// A round number that is not below `highest`, and the step between two ticks.
fn scale(highest: f64) -> (f64, f64) {
    if highest <= 0.0 {
        return (1.0, 1.0);
    }
    let rough = highest / 4.0;
    let power = 10_f64.powf(rough.log10().floor());
    let tick = [1.0, 2.0, 2.5, 5.0, 10.0]
        .into_iter()
        .map(|step| step * power)
        .find(|tick| *tick >= rough * 0.999)
        .unwrap_or(power * 10.0);
    ((highest / tick).ceil() * tick, tick)
}

/// As short as it can be said.
fn plain(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_end_at_round_numbers() {
        for (highest, wanted) in [
            (0.0, (1.0, 1.0)),
            (4.0, (4.0, 1.0)),
            (7.3, (8.0, 2.0)),
            (430.0, (600.0, 200.0)),
            (0.09, (0.1, 0.025)),
        ] {
            let (scale, tick) = scale(highest);
            assert!(
                (scale - wanted.0).abs() < 1e-9 && (tick - wanted.1).abs() < 1e-9,
                "{highest}: {scale} {tick}"
            );
        }
        assert_eq!((plain(2.5).as_str(), plain(200.0).as_str()), ("2.5", "200"));
    }
}
