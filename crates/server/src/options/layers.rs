//! Flags before variables before the file before defaults.
//!
//! A list is replaced as a whole by a nearer layer: somebody who says `--listen 9000` does not want
//! the file's addresses too. An empty variable is an unset one, since that is what `${NAME:-}` in a
//! compose file makes of it. Unknown names are errors: a misspelt limit that is silently ignored is
//! found when it was needed.

use super::table::{OPTIONS, find};
use super::{ConfigError, Given, Kind, OptionSpec, Origin, PREFIX, Places, suggest};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

/// What was given for each option, all layers seen through.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resolved {
    values: BTreeMap<&'static str, Vec<Given>>,
}

impl Resolved {
    /// The values of an option; none when it was not given and has no default.
    pub(crate) fn all(&self, name: &str) -> &[Given] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }

    /// The value of an option that is given once.
    pub(crate) fn one(&self, name: &str) -> Option<&Given> {
        self.all(name).last()
    }
}

/// A file of options and its text.
#[derive(Clone, Debug)]
pub(crate) struct OptionsFile {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

/// One layer: what it gives for which option.
pub(crate) type Layer = BTreeMap<&'static str, Vec<Given>>;

/// Puts the layers together, the nearest first, over the defaults.
pub(crate) fn resolve(layers: impl IntoIterator<Item = Layer>) -> Resolved {
    let mut values = Layer::new();
    for layer in layers {
        for (name, given) in layer {
            if !given.is_empty() {
                values.entry(name).or_insert(given);
            }
        }
    }
    for spec in OPTIONS.iter().filter(|spec| !spec.default.is_empty()) {
        values.entry(spec.name).or_insert_with(|| {
            vec![Given {
                text: spec.default.to_owned(),
                origin: Origin::Default,
            }]
        });
    }
    Resolved { values }
}

/// The layer of the flags.
pub(crate) fn from_flags(flags: Vec<(&'static OptionSpec, String)>) -> Layer {
    let mut layer = Layer::new();
    for (spec, text) in flags {
        let parts = if spec.kind.is_path() {
            vec![text]
        } else {
            split(spec, &text)
        };
        let given = parts.into_iter().map(|text| Given {
            text,
            origin: Origin::Flag(spec.name),
        });
        layer.entry(spec.name).or_default().extend(given);
    }
    layer
}

/// The layer of the variables.
pub(crate) fn from_variables(variables: &[(OsString, OsString)]) -> Result<Layer, ConfigError> {
    let mut layer = Layer::new();
    for (name, value) in variables {
        let Some(name) = name.to_str().map(|n| {
            if cfg!(windows) {
                n.to_ascii_uppercase()
            } else {
                n.to_owned()
            }
        }) else {
            continue;
        };
        if !name.starts_with(PREFIX) || is_service_link(&name, &value.to_string_lossy()) {
            continue;
        }
        let spec = option_of_variable(&name).ok_or_else(|| unknown_variable(&name))?;
        let Some(value) = value.to_str() else {
            return Err(ConfigError(format!(
                "{name}: its value is not UTF-8; write it in UTF-8"
            )));
        };
        if value.trim().is_empty() {
            continue;
        }
        let origin = Origin::Variable(name);
        let given: Vec<Given> = if spec.kind.is_path() && spec.many {
            std::env::split_paths(value)
                .filter(|path| !path.as_os_str().is_empty())
                .map(|path| Given {
                    text: path.to_string_lossy().into_owned(),
                    origin: origin.clone(),
                })
                .collect()
        } else {
            split(spec, value)
                .into_iter()
                .map(|text| Given {
                    text,
                    origin: origin.clone(),
                })
                .collect()
        };
        layer.entry(spec.name).or_default().extend(given);
    }
    Ok(layer)
}

/// The layer of the file. Names of files in it are taken from where it lies.
pub(crate) fn from_file(file: &OptionsFile) -> Result<Layer, ConfigError> {
    let line_of = |at: usize| 1 + file.text.bytes().take(at).filter(|b| *b == b'\n').count();
    let shown = file.path.display();
    // The error's own text would show the line it is about, which may hold a token.
    let table = DeTable::parse(&file.text).map_err(|e| {
        let line = line_of(e.span().map_or(0, |span| span.start));
        ConfigError(format!(
            "{shown}:{line}: this is not TOML ({}); write NAME = \"VALUE\"",
            e.message()
        ))
    })?;
    let mut layer = Layer::new();
    for (name, value) in table.get_ref() {
        let line = line_of(name.span().start);
        let spec = find(name.get_ref())
            .filter(|spec| spec.places != Places::NotInFile)
            .ok_or_else(|| unknown_in_file(file, line, name.get_ref(), value.get_ref()))?;
        let given = |text: String| Given {
            text,
            origin: Origin::File {
                path: file.path.clone(),
                line,
                name: spec.name,
            },
        };
        let wrong = || {
            ConfigError(format!(
                "{shown}:{line}: {} takes {}",
                spec.name,
                takes(spec)
            ))
        };
        let texts = match value.get_ref() {
            DeValue::Array(members) if spec.many => members
                .iter()
                .map(|member| scalar(member.get_ref()))
                .collect::<Option<Vec<_>>>()
                .ok_or_else(wrong)?,
            DeValue::Array(_) => return Err(wrong()),
            value => {
                let text = scalar(value).ok_or_else(wrong)?;
                if spec.kind.is_path() {
                    vec![text]
                } else {
                    split(spec, &text)
                }
            }
        };
        let from = file.path.parent().unwrap_or(Path::new(""));
        let texts = texts.into_iter().map(|text| {
            if spec.kind.is_path() {
                beside(from, spec, text)
            } else {
                text
            }
        });
        layer.insert(spec.name, texts.map(given).collect());
    }
    Ok(layer)
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(on) => Some(if *on { "on" } else { "off" }.to_owned()),
        _ => None,
    }
}

fn takes(spec: &OptionSpec) -> String {
    let example = if spec.default.is_empty() {
        spec.value
    } else {
        spec.default
    };
    if spec.many {
        format!("a list: [\"{example}\"]")
    } else {
        format!("one value: \"{example}\"")
    }
}

fn beside(folder: &Path, spec: &OptionSpec, text: String) -> String {
    match spec.kind {
        Kind::PathOr(words) if words.contains(&text.as_str()) => text,
        _ => folder.join(&text).to_string_lossy().into_owned(),
    }
}

/// The parts of a text that may hold several. Tokens are taken apart where they are read.
fn split(spec: &OptionSpec, text: &str) -> Vec<String> {
    if !spec.many || spec.kind == Kind::Tokens {
        return vec![text.trim().to_owned()];
    }
    text.split(|c: char| c == ',' || c.is_whitespace())
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

fn option_of_variable(name: &str) -> Option<&'static OptionSpec> {
    if name == KEYS_FILE {
        return find("keys");
    }
    OPTIONS.iter().find(|spec| spec.variable() == name)
}

fn unknown_variable(name: &str) -> ConfigError {
    let known = match name.trim_start_matches(PREFIX) {
        // Tokens themselves are in a variable and in no flag.
        "TOKEN" | "CLIENT_TOKENS" | "PASSWORD" => Some(format!("{PREFIX}TOKENS")),
        name => suggest::option(name)
            .and_then(find)
            .map(OptionSpec::variable),
    };
    let advice = known.map_or_else(
        || "`gemini-relay help` lists all options; unset it".to_owned(),
        |known| format!("did you mean {known}?"),
    );
    ConfigError(format!("{name}: there is no such option; {advice}"))
}

fn unknown_in_file(
    file: &OptionsFile,
    line: usize,
    name: &str,
    value: &DeValue<'_>,
) -> ConfigError {
    let shown = file.path.display();
    if find(name).is_some() {
        return ConfigError(format!(
            "{shown}:{line}: {name} cannot be set in this file; use the flag or the variable"
        ));
    }
    // A name that is not a word might be a key pasted on the wrong side.
    let is_word = name.len() <= 24
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b == b'-' || b == b'_');
    let named = if is_word {
        format!("there is no option \"{name}\"")
    } else {
        "there is no such option".to_owned()
    };
    let advice = if matches!(value, DeValue::Table(_)) {
        "options stand at the top of the file, in no table".to_owned()
    } else {
        suggest::option(name).map_or_else(
            || "`gemini-relay help` lists all options".to_owned(),
            |known| format!("did you mean {known}?"),
        )
    };
    ConfigError(format!("{shown}:{line}: {named}; {advice}"))
}

/// Kubernetes and Docker put `GEMINI_RELAY_PORT=tcp://…` and its like into every container beside a
/// service of that name; they are nobody's options.
fn is_service_link(name: &str, value: &str) -> bool {
    let name = name.trim_start_matches(PREFIX);
    name == "SERVICE_HOST"
        || name == "SERVICE_PORT"
        || name.starts_with("SERVICE_PORT_")
        || name
            .strip_prefix("PORT_")
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        || (name == "PORT" && (value.starts_with("tcp://") || value.starts_with("udp://")))
}

/// The name that containers usually give such a variable.
const KEYS_FILE: &str = "GEMINI_RELAY_KEYS_FILE";

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Result<Layer, ConfigError> {
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(n, v)| (OsString::from(n), OsString::from(v)))
            .collect();
        from_variables(&pairs)
    }

    fn file(text: &str) -> Result<Layer, ConfigError> {
        from_file(&OptionsFile {
            path: PathBuf::from("conf/gemini-relay.toml"),
            text: text.to_owned(),
        })
    }

    #[test]
    fn the_nearest_layer_wins_and_replaces_a_list_whole() {
        let flags = from_flags(vec![(find("listen").unwrap(), "9000".to_owned())]);
        let env = variables(&[
            ("GEMINI_RELAY_LISTEN", "1,2"),
            ("GEMINI_RELAY_MAX_WAIT", "5s"),
        ])
        .unwrap();
        let toml = file("max-wait = \"6s\"\nattempts = 3\n").unwrap();
        let resolved = resolve([flags, env, toml]);
        assert_eq!(resolved.all("listen").len(), 1);
        assert_eq!(resolved.one("max-wait").unwrap().text, "5s");
        assert_eq!(
            resolved.one("attempts").unwrap().origin.to_string(),
            "conf/gemini-relay.toml:2"
        );
        assert_eq!(resolved.one("affinity").unwrap().origin, Origin::Default);
    }

    #[test]
    fn unknown_names_suggest_the_near_one_with_its_line() {
        let e = variables(&[("GEMINI_RELAY_MAX_WIAT", "5s")]).unwrap_err();
        assert!(e.0.contains("did you mean GEMINI_RELAY_MAX_WAIT?"), "{e}");
        let e = file("\nmax_wait = \"5s\"").unwrap_err();
        assert!(
            e.0.starts_with("conf/gemini-relay.toml:2:") && e.0.contains("did you mean max-wait?"),
            "{e}"
        );
        let e = file("[server]\nlisten = 1").unwrap_err();
        assert!(e.0.contains("in no table"), "{e}");
        let e = file("a = 1\nmade-up-9 made-up-9").unwrap_err();
        assert!(e.0.contains(":2:") && !e.0.contains("made-up"), "{e}");
    }

    #[test]
    fn a_service_called_gemini_relay_does_not_stop_the_relay() {
        let layer = variables(&[
            ("GEMINI_RELAY_SERVICE_HOST", "10.0.0.1"),
            ("GEMINI_RELAY_SERVICE_PORT_HTTP", "8787"),
            ("GEMINI_RELAY_PORT", "tcp://10.0.0.1:8787"),
            ("GEMINI_RELAY_PORT_8787_TCP_ADDR", "10.0.0.1"),
            ("GEMINI_RELAY_TOKENS", ""),
        ]);
        assert_eq!(layer, Ok(Layer::new()));
        assert!(
            variables(&[("GEMINI_RELAY_PORT", "8787")])
                .unwrap_err()
                .0
                .contains("GEMINI_RELAY_LISTEN")
        );
    }

    #[test]
    fn a_file_named_in_the_file_lies_beside_it() {
        let layer = file("keys = [\"a.json\", \"/b.json\"]\nca = [\"system\", \"c.pem\"]").unwrap();
        let texts = |name| {
            layer[name]
                .iter()
                .map(|g| g.text.replace('\\', "/"))
                .collect::<Vec<_>>()
        };
        assert_eq!(texts("keys"), ["conf/a.json", "/b.json"]);
        assert_eq!(texts("ca"), ["system", "conf/c.pem"]);
    }
}
