//! What was found: as a table, against the bars, and into a page of `docs/`.
//!
//! Figures are medians over the rounds. A comparison is the median of each round's comparison, not
//! the comparison of two medians, which may come from different minutes.

use super::window::Window;
use std::fmt::Write as _;

/// All figures of a run; what was not measured is empty.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) cases: Vec<Case>,
    /// Resident kilobytes before any load: nginx, the relay.
    pub(crate) idle: (u64, u64),
    /// The most that was resident.
    pub(crate) peak: (u64, u64),
    pub(crate) pinned: bool,
    /// Of a request of a kilobyte.
    pub(crate) relay_instructions: Option<f64>,
    pub(crate) nginx_instructions: Option<f64>,
    /// Of choosing: among few keys, among many of which most cool.
    pub(crate) choosing_instructions: Option<(f64, f64)>,
}

/// One kind of load, and its turns.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) connections: usize,
    pub(crate) turns: Vec<Turn>,
}

impl Case {
    pub(crate) const fn new(name: &'static str, kind: &'static str, connections: usize) -> Self {
        Self {
            name,
            kind,
            connections,
            turns: Vec::new(),
        }
    }

    fn median(&self, figure: impl Fn(&Turn) -> f64) -> f64 {
        median(self.turns.iter().map(figure).collect())
    }
}

/// The same load at each server, one after the other.
pub(crate) struct Turn {
    pub(crate) direct: Window,
    pub(crate) nginx: Window,
    pub(crate) relay: Window,
}

/// A figure and what it must not exceed.
struct Bar {
    what: &'static str,
    found: f64,
    most: f64,
    unit: &'static str,
    digits: usize,
}

impl Bar {
    fn holds(&self) -> bool {
        self.found <= self.most
    }
}

impl Found {
    /// All of it, in Markdown.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        if !self.cases.is_empty() {
            self.table(&mut text);
        }
        text.push_str("| bar | found | at most | |\n|---|--:|--:|---|\n");
        for bar in self.bars() {
            let _ = writeln!(
                text,
                "| {} | {:.*}{unit} | {:.*}{unit} | {} |",
                bar.what,
                bar.digits,
                bar.found,
                if bar.most.fract() == 0.0 { 0 } else { 2 },
                bar.most,
                if bar.holds() { "holds" } else { "**fails**" },
                unit = bar.unit,
            );
        }
        text
    }

    /// An error that names every bar that does not hold.
    pub(crate) fn judge(&self) -> Result<(), String> {
        let failed: Vec<String> = self
            .bars()
            .iter()
            .filter(|bar| !bar.holds())
            .map(|bar| format!("{}: {:.*}{}", bar.what, bar.digits, bar.found, bar.unit))
            .collect();
        if failed.is_empty() {
            Ok(())
        } else {
            Err(format!("over the bar: {}", failed.join("; ")))
        }
    }

    fn table(&self, text: &mut String) {
        text.push_str("| load | connections | at | CPU µs a request | over nginx | requests/s | p50 µs | p99 µs |\n");
        text.push_str("|---|--:|---|--:|--:|--:|--:|--:|\n");
        type Of = fn(&Turn) -> &Window;
        let servers: [(&str, Of); 3] = [
            ("upstream, direct", |turn| &turn.direct),
            ("nginx", |turn| &turn.nginx),
            ("**relay**", |turn| &turn.relay),
        ];
        for case in &self.cases {
            for (name, of) in servers {
                let ratio = match name {
                    "**relay**" => {
                        format!("{:.2}", case.median(|turn| turn.relay.cpu / turn.nginx.cpu))
                    }
                    _ => String::new(),
                };
                let _ = writeln!(
                    text,
                    "| {} | {} | {name} | {:.1} | {ratio} | {:.0} | {:.0} | {:.0} |",
                    case.name,
                    case.connections,
                    case.median(|turn| of(turn).cpu),
                    case.median(|turn| of(turn).rate),
                    case.median(|turn| of(turn).p50),
                    case.median(|turn| of(turn).p99),
                );
            }
        }
        let mb = |kilobytes: u64| kilobytes as f64 / 1024.0;
        let _ = writeln!(
            text,
            "\nResident: the relay {:.1} MB idle, {:.1} MB at the most; nginx {:.1} and {:.1}. \
             Medians of {} rounds; {}.\n",
            mb(self.idle.1),
            mb(self.peak.1),
            mb(self.idle.0),
            mb(self.peak.0),
            self.cases.first().map_or(0, |case| case.turns.len()),
            if self.pinned {
                "the proxy on one core, upstream and load on another"
            } else {
                "no program was bound to a core"
            },
        );
        if let (Some(relay), Some(nginx)) = (self.relay_instructions, self.nginx_instructions) {
            let _ = writeln!(
                text,
                "Instructions of a request of 1 KB, in the program alone: the relay {relay:.0}, nginx {nginx:.0}.\n"
            );
        }
    }

    fn bars(&self) -> Vec<Bar> {
        let mut bars = Vec::new();
        let mut bar = |what, found: f64, most, unit, digits| {
            bars.push(Bar {
                what,
                found,
                most,
                unit,
                digits,
            });
        };
        let cpu =
            |connections| self.figure("2k", connections, |turn| turn.relay.cpu / turn.nginx.cpu);
        for (what, connections) in [
            ("CPU a request over nginx's, 2 KB, 1 connection", 1),
            ("CPU a request over nginx's, 2 KB, 32 connections", 32),
            ("CPU a request over nginx's, 2 KB, 128 connections", 128),
        ] {
            if let Some(ratio) = cpu(connections) {
                bar(what, ratio, MOST_OVER_NGINX, "", 2);
            }
        }
        if let Some(added) = self.figure("2k", 1, |turn| turn.relay.p50 - turn.nginx.p50) {
            bar(
                "p50 added over nginx, 1 connection",
                added,
                MOST_ADDED,
                " µs",
                1,
            );
        }
        if let Some(ratio) = self.kept_over_streamed() {
            bar(
                "CPU of 1 MB kept for replay over 1 MB streamed",
                ratio,
                MOST_OVER_STREAMED,
                "",
                2,
            );
        }
        if self.idle.1 > 0 {
            bar(
                "resident when idle",
                self.idle.1 as f64 / 1024.0,
                MOST_IDLE,
                " MB",
                1,
            );
        }
        if let Some(instructions) = self.relay_instructions {
            bar(
                "user instructions a request, 1 KB",
                instructions,
                MOST_INSTRUCTIONS,
                "",
                0,
            );
        }
        if let Some((few, many)) = self.choosing_instructions {
            bar(
                "instructions of choosing among 10,000 keys, 9,900 cooling, over 10 keys",
                many / few,
                MOST_OVER_FEW,
                "",
                2,
            );
        }
        bars
    }

    fn figure(&self, kind: &str, connections: usize, of: impl Fn(&Turn) -> f64) -> Option<f64> {
        self.case(kind, connections).map(|case| case.median(of))
    }

    fn kept_over_streamed(&self) -> Option<f64> {
        let (kept, streamed) = (self.case("json-1m", 4)?, self.case("opaque-1m", 4)?);
        Some(median(
            kept.turns
                .iter()
                .zip(&streamed.turns)
                .map(|(kept, streamed)| kept.relay.cpu / streamed.relay.cpu)
                .collect(),
        ))
    }

    fn case(&self, kind: &str, connections: usize) -> Option<&Case> {
        self.cases
            .iter()
            .find(|case| case.kind == kind && case.connections == connections)
    }
}

/// Puts the figures into the page of `docs/`, between the marks of the command that measured them.
pub(crate) fn write(page: &str, command: &str, figures: &str) -> Result<(), String> {
    let page = super::root().join("docs").join(page);
    let failed = |error| format!("{}: {error}", page.display());
    let text = std::fs::read_to_string(&page).map_err(failed)?;
    let [begin, end] = marks(command);
    let text = between(&text, [&begin, &end], figures)
        .ok_or_else(|| format!("{} lacks {begin} and {end}", page.display()))?;
    std::fs::write(&page, text).map_err(failed)
}

fn between(page: &str, [begin, end]: [&str; 2], figures: &str) -> Option<String> {
    let (before, rest) = page.split_once(begin)?;
    let (_, after) = rest.split_once(end)?;
    Some(format!(
        "{before}{begin}\n\n{}\n\n{end}{after}",
        figures.trim()
    ))
}

fn marks(command: &str) -> [String; 2] {
    ["begin", "end"].map(|which| format!("<!-- cargo xtask {command} --write: {which} -->"))
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// What the project promises; 1.25 is the aim.
const MOST_OVER_NGINX: f64 = 1.5;
const MOST_ADDED: f64 = 25.0;
const MOST_OVER_STREAMED: f64 = 1.25;
const MOST_IDLE: f64 = 12.0;
const MOST_INSTRUCTIONS: f64 = 60_000.0;
const MOST_OVER_FEW: f64 = 1.3;

#[cfg(test)]
mod tests {
    use super::*;

    fn window(cpu: f64) -> Window {
        Window {
            cpu,
            rate: 1e6 / cpu,
            p50: cpu,
            p99: 2.0 * cpu,
        }
    }

    fn found(relay: [f64; 3]) -> Found {
        let mut case = Case::new("2 KB", "2k", 32);
        for (relay, nginx) in relay.into_iter().zip([10.0, 20.0, 40.0]) {
            case.turns.push(Turn {
                direct: window(5.0),
                nginx: window(nginx),
                relay: window(relay),
            });
        }
        Found {
            cases: vec![case],
            ..Found::default()
        }
    }

    #[test]
    fn windows_are_compared_with_their_neighbours() {
        // Round by round 1.2, 2.1 and 1.25: the median is 1.25, though the medians' ratio is 2.1.
        let found = found([12.0, 42.0, 50.0]);
        assert_eq!(
            found.figure("2k", 32, |turn| turn.relay.cpu / turn.nginx.cpu),
            Some(1.25)
        );
        assert!(found.judge().is_ok());
    }

    #[test]
    fn a_bar_that_does_not_hold_is_named() {
        let error = found([20.0, 40.0, 80.0]).judge().unwrap_err();
        assert!(error.contains("32 connections: 2.00"), "{error}");
        assert!(found([20.0, 40.0, 80.0]).text().contains("**fails**"));
    }

    #[test]
    fn figures_replace_what_was_between_the_marks() {
        let [begin, end] = marks("bench");
        let marks = [&*begin, &*end];
        let page = format!("a\n{begin}\nold\n{end}\nb\n");
        let new = between(&page, marks, "new\n").unwrap();
        assert!(new.contains("new") && !new.contains("old"));
        assert_eq!(between(&new, marks, "new").unwrap(), new);
        assert_eq!(between("no marks", marks, "new"), None);
    }
}
