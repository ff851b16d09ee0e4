//! What clients show to be let in.
//!
//! A token has a name, which is what logs and metrics say; the secret itself is a [`KeyText`], which
//! nothing can print. How one is written is core's ([`options::token`]); where they stand is here.

use crate::options::{ConfigError, Origin, Resolved, show};
use gemini_relay_core::{KeyText, options};

/// One client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientToken {
    pub(crate) name: String,
    pub(crate) secret: KeyText,
    /// Whether it came from the tokens file.
    pub(crate) from_file: bool,
}

/// All tokens that were given: of the option or variable, and of the file.
pub(crate) fn load(given: &Resolved) -> Result<Vec<ClientToken>, ConfigError> {
    let mut said = Vec::new();
    for value in given.all("tokens") {
        for (index, part) in options::words(&value.text).enumerate() {
            let place = format!("{}, token {}", value.origin, index + 1);
            said.push(Said {
                entry: options::token(part).map_err(|p| problem(&place, p))?,
                place,
                from_file: false,
            });
        }
    }
    if let Some(file) = given.one("tokens-file") {
        let shown = show::path(&file.text);
        let text = std::fs::read(&file.text).map_err(|e| {
            ConfigError(format!(
                "{}: {shown} cannot be read ({e}); name a file of tokens, one a line",
                origin(&file.origin)
            ))
        })?;
        let text = decode(&text)
            .ok_or_else(|| problem(&shown, "it is not UTF-8 text; save it as UTF-8"))?;
        for (index, line) in text.lines().enumerate() {
            let word = line.split(" #").next().unwrap_or_default().trim();
            if word.is_empty() || word.starts_with('#') {
                continue;
            }
            let place = format!("{shown}, line {}", index + 1);
            said.push(Said {
                entry: options::token(word).map_err(|p| problem(&place, p))?,
                place,
                from_file: true,
            });
        }
        if said.is_empty() {
            return Err(problem(
                &shown,
                "it has no tokens; write one a line: name=SECRET, or the secret alone",
            ));
        }
    }
    named(said)
}

struct Said {
    entry: (Option<String>, KeyText),
    place: String,
    from_file: bool,
}

/// Names for those that have none, and each name and secret once.
fn named(said: Vec<Said>) -> Result<Vec<ClientToken>, ConfigError> {
    let entries = said.iter().map(|said| said.entry.clone()).collect();
    let named = options::named(entries).map_err(|(at, remedy)| {
        let place = said.get(at).map_or("", |said| &said.place);
        problem(place, &remedy)
    })?;
    Ok(named
        .into_iter()
        .zip(said)
        .map(|((name, secret), said)| ClientToken {
            name,
            secret,
            from_file: said.from_file,
        })
        .collect())
}

fn decode(bytes: &[u8]) -> Option<String> {
    let bytes = bytes.strip_prefix(&[0xEF, 0xBB, 0xBF]).unwrap_or(bytes);
    match bytes {
        [0xFF, 0xFE, rest @ ..] => {
            let units: Vec<u16> = rest
                .as_chunks::<2>()
                .0
                .iter()
                .map(|u| u16::from_le_bytes(*u))
                .collect();
            String::from_utf16(&units).ok()
        }
        _ => String::from_utf8(bytes.to_vec()).ok(),
    }
}

fn origin(origin: &Origin) -> String {
    origin.to_string()
}

fn problem(place: &str, problem: &str) -> ConfigError {
    ConfigError(format!("{place}: {problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::layers::{from_variables, resolve};
    use std::ffi::OsString;

    fn tokens(text: &str) -> Result<Vec<ClientToken>, ConfigError> {
        load(&resolve([from_variables(&[(
            OsString::from("GEMINI_RELAY_TOKENS"),
            OsString::from(text),
        )])
        .unwrap()]))
    }

    #[test]
    fn tokens_have_names_and_those_without_are_counted() {
        let tokens = tokens("alice=made-up-1, made-up-2\nclient_0=made-up=3 made-up-4").unwrap();
        let shown: Vec<_> = tokens
            .iter()
            .map(|t| (t.name.as_str(), t.secret.expose()))
            .collect();
        assert_eq!(
            shown,
            [
                ("alice", "made-up-1"),
                ("client_1", "made-up-2"),
                ("client_0", "made-up=3"),
                ("client_2", "made-up-4")
            ]
        );
    }

    #[test]
    fn a_name_or_a_secret_twice_and_a_name_alone_are_refused_without_showing_one() {
        for (text, words) in [
            ("a=made-up-1 a=made-up-2", "is taken"),
            ("a=made-up-1 b=made-up-1", "given before"),
            ("{ \"a\": \"made-up-1\" }", "token 1: this is no list"),
            (
                "a=made-up-1 alice=",
                "token 2: there is nothing after the =",
            ),
        ] {
            let error = tokens(text).unwrap_err().to_string();
            assert!(
                error.contains(words) && !error.contains("made-up"),
                "{error}"
            );
        }
    }
}
