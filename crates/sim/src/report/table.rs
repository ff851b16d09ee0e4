//! The figures as Markdown.

use super::{Bar, Found};
use crate::run::{Figures, Tally, share};
use std::fmt::Write as _;

/// A scenario: what it is, its plot and its figures.
#[must_use]
pub fn figures(found: &Found) -> String {
    let scenario = &found.scenario;
    let mut text = format!("### {}\n\n{}\n\n", scenario.title, scenario.about);
    let all = found.omniscient().first.and(&found.omniscient().later);
    let _ = writeln!(
        text,
        "{} days, {} turns if none is abandoned. The omniscient scheduler serves {}; nobody could serve more than {}.\n",
        scenario.days,
        number(found.turns),
        number(all.served),
        number(found.bound),
    );
    text.push_str(HEAD);
    for figures in &found.figures {
        row(&mut text, figures, found.omniscient());
    }
    let _ = writeln!(
        text,
        "\nRefusals that clients saw after the first day, by why:\n"
    );
    for figures in &found.figures {
        let _ = writeln!(text, "- {}: {}", figures.name, reasons(&figures.later));
    }
    text
}

fn row(text: &mut String, figures: &Figures, best: &Figures) {
    let name = if figures.name.starts_with("ours") {
        format!("**{}**", figures.name)
    } else {
        figures.name.to_owned()
    };
    let (first, later) = (&figures.first, &figures.later);
    let all = first.and(later);
    let of = |ours: &Tally, best: &Tally| match best.served {
        0 => "–".to_owned(),
        served => format!("{:.2} %", 100.0 * ours.served as f64 / served as f64),
    };
    let _ = writeln!(
        text,
        "| {name} | {} | {} | {} | {} | {} | {} | {:.2} % | {:.2} % | {} | {} | {} | {:.2} | {:.2} | {:.1} |",
        number(first.served),
        of(first, &best.first),
        number(later.served),
        of(later, &best.later),
        number(all.refusals()),
        number(all.attempts),
        100.0 * first.wasted_share(),
        100.0 * later.wasted_share(),
        number(all.probes_refused),
        number(all.waited),
        number(all.true_room),
        later.wait.mean(),
        later.wait.quantile(0.5),
        later.wait.quantile(0.99),
    );
}

fn reasons(tally: &Tally) -> String {
    if tally.refused.is_empty() {
        return "none".into();
    }
    let each: Vec<String> = tally
        .refused
        .iter()
        .map(|(why, count)| format!("{} {why}", number(*count)))
        .collect();
    each.join(", ")
}

/// Bars, one a row.
#[must_use]
pub fn bar_table(bars: &[Bar]) -> String {
    let mut text = String::from(
        "| bar | worst found | where | limit | holds in | |\n|---|--:|---|--:|--:|---|\n",
    );
    for bar in bars {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} of {} | {} |",
            bar.what,
            bar.found,
            bar.place,
            bar.limit,
            bar.holding,
            bar.judged,
            if bar.holds() { "holds" } else { "**fails**" },
        );
    }
    text
}

/// The bars, and how each scheduler stands in each scenario.
#[must_use]
pub fn summary(found: &[Found], bars: &[Bar]) -> String {
    let mut text = bar_table(bars);
    text.push_str("\nServed after the first day (or on the only one), of what the omniscient scheduler serves, and attempts refused for quota:\n\n| workload |");
    let Some(first) = found.first() else {
        return text;
    };
    for figures in &first.figures {
        let _ = write!(text, " {} |", figures.name);
    }
    text.push_str("\n|---|");
    text.push_str(&"--:|".repeat(first.figures.len()));
    for found in found {
        let _ = write!(text, "\n| {} |", found.scenario.title);
        let best = found.known(found.omniscient()).served;
        for figures in &found.figures {
            let tally = found.known(figures);
            let served = 100.0 * share(tally.served, best);
            let _ = write!(
                text,
                " {served:.2} %, {:.2} % |",
                100.0 * tally.wasted_share()
            );
        }
    }
    text.push('\n');
    text
}

/// With commas between thousands.
fn number(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

const HEAD: &str = "\
| scheduler | served, first day | of the omniscient's | served later | of the omniscient's | refusals clients saw | attempts | refused for quota, first day | later | limit probes refused | waited | though there was room | added wait later, mean s | p50 s | p99 s |
|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        for (count, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(number(count), text);
        }
    }
}
