//! What `gemini-relay config` prints: each option, its value, and who said so. No secret.

use super::{CaSource, Config, Tls};
use crate::keys::Sources;
use crate::options::{Kind, OptionSpec, Origin, Resolved, show, table::OPTIONS};
use serde_json::json;
use std::fmt::Write;

/// The whole report, for people or, with `as_json`, for programs.
pub(crate) fn report(
    given: &Resolved,
    config: &Config,
    sources: &Sources,
    as_json: bool,
) -> String {
    let rows: Vec<Row> = OPTIONS
        .iter()
        .map(|spec| row(spec, given, config))
        .collect();
    let keys = sources.summary();
    if as_json {
        let options: Vec<_> = rows
            .iter()
            .map(|r| {
                json!({
                    "name": r.spec.name,
                    "value": r.value,
                    "origin": r.origin,
                    "default": r.spec.shown_default(),
                    "why": r.spec.why,
                })
            })
            .collect();
        let keys: Vec<_> = keys
            .iter()
            .map(|(source, found)| json!({"source": source, "found": found}))
            .collect();
        return format!("{:#}\n", json!({"options": options, "keys": keys}));
    }
    let name = rows.iter().map(|r| r.spec.name.len()).max().unwrap_or(0);
    let value = rows
        .iter()
        .map(|r| r.value.chars().count())
        .filter(|n| *n <= WIDE)
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for row in &rows {
        let _ = writeln!(
            text,
            "{:name$}  {:value$}  {}",
            row.spec.name, row.value, row.origin
        );
    }
    text.push_str("\nKeys\n");
    for (source, found) in keys {
        let _ = writeln!(text, "  {source}: {found}");
    }
    text
}

struct Row {
    spec: &'static OptionSpec,
    value: String,
    origin: String,
}

fn row(spec: &'static OptionSpec, given: &Resolved, config: &Config) -> Row {
    let values = given.all(spec.name);
    // What other programs' variables say.
    let usual = match spec.name {
        "proxy" => config
            .proxy
            .as_ref()
            .and_then(|proxy| Some((proxy.variable?, show::url(&proxy.url)))),
        "ca" if config.ca.len() > values.len() => match config.ca.last() {
            Some(CaSource::File(file, variable)) => Some((
                *variable,
                show::path(&file.to_string_lossy())
                    .trim_matches('"')
                    .to_owned(),
            )),
            _ => None,
        },
        _ => None,
    };
    let value = match spec.name {
        "tokens" if !values.is_empty() => {
            let from_here = config.tokens.iter().filter(|t| !t.from_file).count();
            format!("{from_here} token{}", if from_here == 1 { "" } else { "s" })
        }
        "tls-ca-file" => match &config.tls {
            Tls::SelfSigned { ca_file } => show::path(&ca_file.to_string_lossy())
                .trim_matches('"')
                .to_owned(),
            _ => show::all(spec, values),
        },
        "workers" => config.workers.to_string(),
        "listen" => config
            .listen
            .iter()
            .map(|l| l.address.to_string())
            .collect::<Vec<_>>()
            .join(", "),
        _ => show::all(spec, values),
    };
    debug_assert!(spec.kind != Kind::Tokens || spec.is_secret());
    let mut origins: Vec<String> = values.iter().map(|g| g.origin.to_string()).collect();
    origins.dedup();
    let value = match usual {
        Some((variable, said)) => {
            origins.push(variable.to_owned());
            if values.is_empty() {
                said
            } else {
                format!("{value}, {said}")
            }
        }
        None => value,
    };
    if origins.is_empty() {
        origins.push(Origin::Default.to_string());
    }
    Row {
        spec,
        value,
        origin: origins.join(", "),
    }
}

/// One long list of files should not push every other line's origin off the screen.
const WIDE: usize = 60;
