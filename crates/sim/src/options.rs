//! What the program was told.

use std::path::PathBuf;

/// What to run, and what to do with it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) write: bool,
    pub(crate) quick: bool,
    pub(crate) seed: u64,
    /// By name; none: all.
    pub(crate) only: Vec<String>,
    pub(crate) trace: Option<PathBuf>,
    /// Where the plots of a run go that is not written into the page.
    pub(crate) plots: Option<PathBuf>,
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Help,
    Run(Options),
}

/// Reads the command line. `names`: the workloads there are.
pub(crate) fn parse(
    arguments: impl IntoIterator<Item = String>,
    names: &[&str],
) -> Result<Asked, String> {
    let mut options = Options {
        write: false,
        quick: false,
        seed: 1,
        only: Vec::new(),
        trace: None,
        plots: None,
    };
    let mut words = arguments.into_iter();
    while let Some(word) = words.next() {
        let mut value = |what: &str| words.next().ok_or_else(|| format!("{word} takes {what}"));
        match word.as_str() {
            "-h" | "--help" | "help" => return Ok(Asked::Help),
            "--write" => options.write = true,
            "--quick" => options.quick = true,
            "--seed" => {
                let text = value("a number")?;
                options.seed = text
                    .parse()
                    .map_err(|_| format!("--seed {text:?}: write a whole number"))?;
            }
            "--only" => {
                let name = value("the name of a workload")?;
                if !names.contains(&name.as_str()) {
                    return Err(format!(
                        "there is no workload {name:?}: write one of {}",
                        names.join(", ")
                    ));
                }
                options.only.push(name);
            }
            "--trace" => options.trace = Some(value("a file")?.into()),
            "--plots" => options.plots = Some(value("a folder")?.into()),
            other => {
                return Err(format!(
                    "sim does not know {other:?}: see cargo xtask sim --help"
                ));
            }
        }
    }
    if options.write && (options.quick || options.trace.is_some() || !options.only.is_empty()) {
        return Err(
            "the page is written by a whole run: leave out --quick, --only and --trace".into(),
        );
    }
    Ok(Asked::Run(options))
}

/// What `--help` says.
pub(crate) fn help(names: &[&str]) -> String {
    format!(
        "usage: cargo xtask sim [OPTION]...

Runs the relay's policy against modelled quotas in virtual time, beside a scheduler that knows
everything but the future and beside what other tools do. Prints tables, judges the bars, and
fails when one of them fails.

  --quick          smaller loads and two days, for CI: some seconds
  --only WORKLOAD  this one alone; may be given several times
  --trace FILE     requests from a file instead: lines of
                   seconds,client,model,kind,tokens_in,tokens_out,items
  --seed N         other clients, pools and latencies (default 1); the same seed gives the same bytes
  --write          puts tables into docs/quota.md and plots into docs/quota/
  --plots FOLDER   puts the plots there
  --help           this

workloads: {}",
        names.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(words: &[&str]) -> Result<Asked, String> {
        parse(
            words.iter().map(|word| (*word).to_owned()),
            &["agent", "batch"],
        )
    }

    #[test]
    fn options_are_read() {
        let Ok(Asked::Run(options)) = asked(&[
            "--quick", "--seed", "7", "--only", "batch", "--trace", "a.csv",
        ]) else {
            panic!("not read");
        };
        assert!(options.quick && !options.write);
        assert_eq!((options.seed, options.only), (7, vec!["batch".to_owned()]));
        assert_eq!(asked(&["--help"]), Ok(Asked::Help));
    }

    #[test]
    fn what_is_not_understood_says_what_to_write() {
        for (words, says) in [
            (&["--seed", "x"][..], "whole number"),
            (&["--seed"], "takes a number"),
            (&["--only", "nothing"], "agent, batch"),
            (&["--fast"], "--help"),
            (&["--write", "--quick"], "whole run"),
        ] {
            let error = asked(words).unwrap_err();
            assert!(error.contains(says), "{words:?}: {error}");
        }
    }
}
