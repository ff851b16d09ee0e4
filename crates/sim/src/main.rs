//! `cargo xtask sim`: runs the comparison, prints it, judges the bars.
//!
//! The tables go to standard output and are the same for the same seed; progress and whatever depends on the
//! machine go to standard error.

mod cost;
mod options;

use gemini_relay_sim::report::{self, Bar, Found};
use gemini_relay_sim::run::Setting;
use gemini_relay_sim::scenario::{self, Scenario, Size};
use gemini_relay_sim::workload;
use options::{Asked, Options};
use std::fmt;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

fn main() -> ExitCode {
    let names: Vec<&str> = scenario::ALL.iter().map(|scenario| scenario.name).collect();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((cost::CHOOSE, numbers)) = arguments
        .split_first()
        .map(|(word, rest)| (word.as_str(), rest))
    {
        return cost::choose(numbers).map_or_else(|error| fail(&error), |()| ExitCode::SUCCESS);
    }
    match options::parse(arguments, &names) {
        Ok(Asked::Help) => {
            print(&options::help(&names));
            ExitCode::SUCCESS
        }
        Ok(Asked::Run(options)) => match carry_out(&options) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => fail(&error),
        },
        Err(error) => fail(&error),
    }
}

/// Whether every bar holds.
fn carry_out(options: &Options) -> Result<bool, String> {
    // First, while memory is as the program found it.
    let mut bars = machine();
    let begun = Instant::now();
    let mut found = Vec::new();
    for (scenario, setting) in settings(options)? {
        found.push(one(scenario, &setting));
    }
    let judged = report::bars(&found);
    let mut text = report::summary(&found, &judged);
    for found in &found {
        text.push('\n');
        text.push_str(&report::figures(found));
        if options.write {
            text.push_str(&format!(
                "\n![{}](quota/{}.svg)\n",
                found.scenario.title, found.scenario.name
            ));
        }
    }
    print(&text);
    speed(&found, begun.elapsed());
    if options.write {
        let table = report::bar_table(&bars);
        let text = format!("{text}\n### What depends on the machine\n\n{table}");
        report::write(Path::new(PAGE), &text, &found).map_err(|error| error.to_string())?;
        say(format_args!("written: {PAGE} and its plots"));
    }
    if let Some(folder) = &options.plots {
        plots(folder, &found).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    for bar in &bars {
        say(format_args!(
            "on this machine: {}: {}, limit {}",
            bar.what, bar.found, bar.limit
        ));
    }
    bars.extend(judged);
    for bar in bars.iter().filter(|bar| !bar.holds()) {
        say(format_args!(
            "fails: {}: {} at {}, limit {}",
            bar.what, bar.found, bar.place, bar.limit
        ));
    }
    Ok(bars.iter().all(Bar::holds))
}

/// The bars that depend on the machine, which are no part of the tables.
fn machine() -> Vec<Bar> {
    let bar = |what, found: String, limit, holds: bool| Bar {
        what,
        found,
        place: "this machine".into(),
        limit,
        holding: usize::from(holds),
        judged: 1,
    };
    let memory = cost::of_memory().map(|megabytes| {
        let found = format!("{megabytes:.1} MB");
        bar(
            "memory for 1,000 projects × 50 models",
            found,
            "≤ 64 MB",
            megabytes <= 64.0,
        )
    });
    let choosing = cost::of_choosing().map(|(few, many)| {
        let ratio = many / few;
        let found = format!("{ratio:.2} ({many:.0} over {few:.0})");
        bar(CHOOSING, found, "≤ 1.3", ratio <= 1.3)
    });
    if choosing.is_none() {
        say(format_args!(
            "not judged, since valgrind is not there: {CHOOSING}"
        ));
    }
    memory.into_iter().chain(choosing).collect()
}

fn settings(options: &Options) -> Result<Vec<(Scenario, Setting)>, String> {
    if let Some(file) = &options.trace {
        let failed = |error: &dyn fmt::Display| format!("{}: {error}", file.display());
        let text = std::fs::read_to_string(file).map_err(|error| failed(&error))?;
        let lines = workload::parse_trace(&text).map_err(|error| failed(&error))?;
        return Ok(vec![scenario::trace(&lines, options.seed)]);
    }
    let size = if options.quick {
        Size::Quick
    } else {
        Size::Whole
    };
    Ok(scenario::ALL
        .iter()
        .filter(|scenario| {
            options.only.is_empty() || options.only.iter().any(|name| name == scenario.name)
        })
        .map(|scenario| scenario.sized(size))
        .map(|scenario| (scenario, scenario.setting(size, options.seed)))
        .collect())
}

fn one(scenario: Scenario, setting: &Setting) -> Found {
    say(format_args!(
        "{}: {} turns, {} keys",
        scenario.name,
        setting.load.turns(),
        setting.world.keys.len()
    ));
    let mut told = Instant::now();
    report::compare(scenario, setting, &mut |name, done| {
        if told.elapsed() > SILENCE {
            told = Instant::now();
            say(format_args!("  {name}: {:.0} %", 100.0 * done));
        }
    })
}

fn speed(found: &[Found], took: Duration) {
    let all = found.iter().flat_map(|found| &found.figures);
    let attempts: u64 = all
        .map(|figures| figures.first.attempts + figures.later.attempts)
        .sum();
    let seconds = took.as_secs_f64();
    say(format_args!(
        "\n{attempts} attempts simulated in {seconds:.1} s: {:.1} million a minute",
        attempts as f64 / seconds * 60.0 / 1e6
    ));
}

fn plots(folder: &Path, found: &[Found]) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for found in found {
        std::fs::write(
            folder.join(found.scenario.name).with_extension("svg"),
            report::plot(found),
        )?;
    }
    Ok(())
}

fn fail(error: &str) -> ExitCode {
    say(format_args!("sim: {error}"));
    ExitCode::from(2)
}

/// A closed output is no reason to fail.
fn print(text: &str) {
    let _ = writeln!(io::stdout().lock(), "{text}");
}

fn say(text: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

const CHOOSING: &str = "instructions of choosing among 200 projects × 20 models, over 3 × 1";

/// From the repository's root, where xtask runs this.
const PAGE: &str = "docs/quota.md";

/// The longest that nothing is said.
const SILENCE: Duration = Duration::from_secs(3);
