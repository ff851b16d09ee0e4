//! Requests from a file, to see how one's own week would have gone.
//!
//! A text file of lines `seconds,client,model,kind,tokens_in,tokens_out,items`:
//!
//! ```text
//! # seconds,client,model,kind,tokens_in,tokens_out,items
//! 0.0,anna,gemini-2.5-flash,generate,12000,350,1
//! 4.2,job,gemini-embedding-001,embed,800,0,4
//! ```
//!
//! Seconds count from the beginning, need not be in order and may be broken; a client is any word; kind is
//! `generate` or `embed`; items are the texts of a batch of embeddings, else 1. Empty lines and those that
//! begin with `#` are left out. Each line is a request that comes at its time whatever became of the others.

use super::{Ask, Load, Session, Style, writing};
use crate::clock::Millis;
use crate::rng::Rng;
use std::collections::HashMap;
use std::fmt;

/// One request of a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// After the beginning.
    pub at: Millis,
    /// Who.
    pub client: String,
    /// Which model.
    pub model: String,
    /// Whether it embeds.
    pub embeds: bool,
    /// Input tokens.
    pub tokens_in: u64,
    /// Output tokens.
    pub tokens_out: u64,
    /// Texts in a batch.
    pub items: u64,
}

/// What is wrong with a trace, where, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceError {
    /// From 1; 0 for the file as a whole.
    pub line: usize,
    /// What is wrong, and the remedy.
    pub what: String,
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.what),
            line => write!(f, "line {line}: {}", self.what),
        }
    }
}

impl std::error::Error for TraceError {}

/// Reads a trace.
///
/// # Errors
/// [`TraceError`] for the first line that cannot be read, or when there is none.
pub fn parse(text: &str) -> Result<Vec<Line>, TraceError> {
    let mut lines = Vec::new();
    for (at, text) in text.lines().enumerate() {
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        lines.push(line(text).map_err(|what| TraceError { line: at + 1, what })?);
        if lines.len() > MOST_LINES {
            return Err(TraceError {
                line: at + 1,
                what: format!("more than {MOST_LINES} requests: split the file"),
            });
        }
    }
    if lines.is_empty() {
        return Err(TraceError {
            line: 0,
            what: format!("no request in it: write lines of `{COLUMNS}`"),
        });
    }
    lines.sort_by_key(|line| line.at);
    Ok(lines)
}

fn line(text: &str) -> Result<Line, String> {
    let fields: Vec<&str> = text.split(',').map(str::trim).collect();
    let [seconds, client, model, kind, tokens_in, tokens_out, items] = fields[..] else {
        return Err(format!(
            "{} columns where 7 belong: `{COLUMNS}`",
            fields.len()
        ));
    };
    let at = seconds
        .parse::<f64>()
        .ok()
        .filter(|seconds| (0.0..=MOST_SECONDS).contains(seconds))
        .ok_or_else(|| {
            format!("seconds {seconds:?}: write a number from 0 to {MOST_SECONDS}, such as 12.5")
        })?;
    let count = |name: &str, text: &str, least: u64| {
        text.parse::<u64>()
            .ok()
            .filter(|count| (least..=MOST_TOKENS).contains(count))
            .ok_or_else(|| {
                format!("{name} {text:?}: write a whole number from {least} to {MOST_TOKENS}")
            })
    };
    if client.is_empty() || model.is_empty() {
        return Err(
            "client and model must not be empty: write a name such as anna, and gemini-2.5-flash"
                .into(),
        );
    }
    Ok(Line {
        at: (seconds_to_millis(at)) as Millis,
        client: client.into(),
        model: model.strip_prefix("models/").unwrap_or(model).into(),
        embeds: match kind {
            "generate" => false,
            "embed" => true,
            other => return Err(format!("kind {other:?}: write generate or embed")),
        },
        tokens_in: count("tokens_in", tokens_in, 0)?,
        tokens_out: count("tokens_out", tokens_out, 0)?,
        items: count("items", items, 1)?,
    })
}

/// The trace as a load from `start`; `model` gives a model's number.
#[must_use]
pub fn replay(seed: u64, start: Millis, lines: &[Line], model: impl Fn(&str) -> usize) -> Load {
    let mut load = Load::new(seed);
    let mut clients = HashMap::new();
    for (at, line) in lines.iter().enumerate() {
        let next = clients.len() as u32;
        let client = *clients.entry(line.client.as_str()).or_insert(next);
        let mut rng = Rng::of(seed, &[TRACE, at as u64]);
        load.recorded.push(Ask {
            model: model(&line.model),
            tokens_in: line.tokens_in,
            tokens_out: line.tokens_out,
            items: line.items,
            bytes: super::bytes(line.tokens_in, &mut rng),
            streams: !line.embeds,
            first: rng.log_normal(900.0, 0.5) as Millis,
            rest: writing(line.tokens_out),
            pause: 0,
        });
        load.sessions.push(Session {
            start: start + line.at,
            client,
            turns: 1,
            style: Style::Recorded(at as u32),
            then: None,
            chained: false,
        });
    }
    load
}

fn seconds_to_millis(seconds: f64) -> f64 {
    (seconds * 1000.0).round()
}

const COLUMNS: &str = "seconds,client,model,kind,tokens_in,tokens_out,items";

/// Two months: longer than anybody's question, short enough that a slip of the pen is noticed.
const MOST_SECONDS: f64 = 62.0 * 86_400.0;

/// Beyond any model's context.
const MOST_TOKENS: u64 = 10_000_000;

/// What fits in memory several times over.
const MOST_LINES: usize = 5_000_000;

/// Name of a stream of chance.
const TRACE: u64 = 15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_read_in_order_of_time() {
        let lines = parse("# a week\n\n4.2,job,models/gemini-embedding-001,embed,800,0,4\n0, anna, gemini-2.5-flash, generate, 12000, 350, 1\n").unwrap();
        let at: Vec<_> = lines
            .iter()
            .map(|line| (line.at, line.client.as_str(), line.embeds))
            .collect();
        assert_eq!(at, [(0, "anna", false), (4200, "job", true)]);
        assert_eq!(lines[1].model, "gemini-embedding-001");
        let load = replay(1, 5000, &lines, |_| 0);
        assert_eq!((load.sessions[1].start, load.ask(1, 0).items), (9200, 4));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line_and_a_remedy() {
        for (text, line, says) in [
            ("", 0, "write lines of"),
            (
                "0,a,m,generate,1,1,1\n1,a,m,generate,1,1",
                2,
                "6 columns where 7 belong",
            ),
            (
                "soon,a,m,generate,1,1,1",
                1,
                "seconds \"soon\": write a number",
            ),
            ("-1,a,m,generate,1,1,1", 1, "seconds"),
            ("NaN,a,m,generate,1,1,1", 1, "seconds"),
            ("0,a,m,draw,1,1,1", 1, "write generate or embed"),
            (
                "0,a,m,embed,many,1,1",
                1,
                "tokens_in \"many\": write a whole number",
            ),
            (
                "0,a,m,embed,1,1,0",
                1,
                "items \"0\": write a whole number from 1",
            ),
            ("0,,m,embed,1,1,1", 1, "must not be empty"),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.line, line, "{text:?}");
            assert!(error.to_string().contains(says), "{text:?}: {error}");
        }
    }
}
