//! What clients show to be let in.
//!
//! A token has a name, which is what logs and metrics say; the secret itself is a [`KeyText`], which
//! nothing can print. `name=SECRET` with nothing after the `=` is refused rather than taken for a
//! bare token: it is what a variable that was not set leaves behind, and `alice=` is easily guessed.

use crate::options::{ConfigError, Origin, Resolved, show};
use gemini_relay_core::KeyText;
use std::collections::HashSet;

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
        let parts = value
            .text
            .split(|c: char| c == ',' || c.is_whitespace())
            .filter(|p| !p.is_empty());
        for (index, part) in parts.enumerate() {
            let place = format!("{}, token {}", value.origin, index + 1);
            said.push(Said {
                entry: parse(part).map_err(|p| problem(&place, p))?,
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
                entry: parse(word).map_err(|p| problem(&place, p))?,
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
    let mut names = HashSet::new();
    let mut secrets = HashSet::new();
    for Said {
        entry: (name, secret),
        place,
        ..
    } in &said
    {
        if let Some(name) = name
            && !names.insert(name.clone())
        {
            return Err(problem(
                place,
                &format!("the name \"{name}\" is taken; give each token its own"),
            ));
        }
        if !secrets.insert(secret.id()) {
            return Err(problem(
                place,
                "this token was given before; remove one, or clients cannot be told apart",
            ));
        }
    }
    let mut next = 0;
    let mut fresh = || loop {
        let name = format!("client_{next}");
        next += 1;
        if !names.contains(&name) {
            return name;
        }
    };
    Ok(said
        .into_iter()
        .map(
            |Said {
                 entry: (name, secret),
                 from_file,
                 ..
             }| ClientToken {
                name: name.unwrap_or_else(&mut fresh),
                secret,
                from_file,
            },
        )
        .collect())
}

fn parse(word: &str) -> Result<(Option<String>, KeyText), &'static str> {
    let (name, secret) = match word.split_once('=') {
        Some((name, rest)) if is_name(name) => {
            if rest.trim_matches('=').is_empty() {
                return Err("there is nothing after the =; write name=SECRET");
            }
            (Some(name.to_owned()), rest)
        }
        _ => (None, word),
    };
    let secret = KeyText::new(secret)
        .map_err(|_| "a token is at most 4096 printable ASCII characters without spaces")?;
    Ok((name, secret))
}

fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
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
