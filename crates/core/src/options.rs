//! What the texts of options come to, wherever the relay runs.
//!
//! Where a text stands differs (a flag, a variable, a file; on the Worker variables alone), and so does what happens
//! when it makes no sense (the native relay does not start; the Worker says so and goes on). What a text means does
//! not. Times, sizes and switches are in [`crate::value`].

use crate::key::KeyText;
use crate::settings::Strategy;
use crate::value::{self, Remedy};
use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};
use std::collections::HashSet;
use std::time::Duration;

/// The single texts of an option that takes several.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c == ',' || c.is_whitespace())
        .filter(|word| !word.is_empty())
}

/// `name=SECRET`, or the secret alone. What was meant otherwise is refused rather than taken for a bare token, since
/// the pieces it falls into are easily guessed: `alice=` and `undefined` are what a variable that was not set leaves
/// behind, `{`, `'{"alice":` and `alice:` are what JSON and YAML come to word by word, and `SECRET` is in every example.
///
/// # Errors
/// The remedy.
pub fn token(word: &str) -> Result<(Option<String>, KeyText), Remedy> {
    if word.starts_with(['{', '[', '=', '(']) || word.strip_suffix(':').is_some_and(is_name) {
        return Err("this is no list of tokens in words; write name=SECRET, with no space in it");
    }
    let (name, secret) = match word.split_once('=') {
        Some((name, rest)) if is_name(name) => {
            if rest.trim_matches('=').is_empty() {
                return Err("there is nothing after the =; write name=SECRET");
            }
            (Some(name.to_owned()), rest)
        }
        _ => (None, word),
    };
    if secret.starts_with(['"', '\'', '`'])
        || secret.starts_with(['{', '[']) && secret.contains('"')
    {
        return Err("there is a quote in it; write name=SECRET, without quotes");
    }
    Ok((name, token_text(secret)?))
}

/// A token whose name and secret stand apart, as in a table: both as they are, and each one word.
///
/// # Errors
/// The remedy.
pub fn token_of(name: Option<&str>, secret: &str) -> Result<(Option<String>, KeyText), Remedy> {
    if !name.is_none_or(is_name) {
        return Err("a token's name is 1 to 64 letters, digits and the signs - _ .");
    }
    if words(secret).next() != Some(secret) {
        return Err("a token's secret is one word, without spaces and commas");
    }
    Ok((name.map(str::to_owned), token_text(secret)?))
}

fn token_text(secret: &str) -> Result<KeyText, Remedy> {
    if !secret.chars().any(char::is_alphanumeric) {
        return Err("a token has letters or digits in it, and no space");
    }
    if NO_SECRETS
        .iter()
        .any(|word| secret.eq_ignore_ascii_case(word))
    {
        return Err(
            "this is the word for a secret, or for none; make one up, of 16 characters or more",
        );
    }
    KeyText::new(secret)
        .map_err(|_| "a token is at most 4096 printable ASCII characters without spaces")
}

/// Names for those tokens that have none.
///
/// # Errors
/// Which one has a name or a secret that was there before, and the remedy.
pub fn named(
    tokens: Vec<(Option<String>, KeyText)>,
) -> Result<Vec<(String, KeyText)>, (usize, String)> {
    let mut names = HashSet::new();
    let mut secrets = HashSet::new();
    for (at, (name, secret)) in tokens.iter().enumerate() {
        if let Some(name) = name
            && !names.insert(name.clone())
        {
            let remedy = format!("the name \"{name}\" is taken; give each token its own");
            return Err((at, remedy));
        }
        if !secrets.insert(secret.id()) {
            let remedy = "this token was given before; remove one, or clients cannot be told apart";
            return Err((at, remedy.to_owned()));
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
    Ok(tokens
        .into_iter()
        .map(|(name, secret)| (name.unwrap_or_else(&mut fresh), secret))
        .collect())
}

/// `https://HOST[:PORT][/PATH]`, the path without a slash at its end. A version at the end is dropped: every
/// request brings its own, and `…/v1beta` is what other programs want in that place.
///
/// # Errors
/// The remedy.
pub fn upstream(text: &str) -> Result<(Scheme, Authority, String), Remedy> {
    const REMEDY: Remedy = "write a URL such as https://generativelanguage.googleapis.com";
    let parts = text.parse::<Uri>().map_err(|_| REMEDY)?.into_parts();
    let scheme = parts
        .scheme
        .filter(|s| *s == Scheme::HTTP || *s == Scheme::HTTPS)
        .ok_or(REMEDY)?;
    let authority = parts
        .authority
        .filter(|a| !a.host().is_empty())
        .ok_or(REMEDY)?;
    if authority.as_str().contains('@') {
        return Err("write it without user and password; keys come from the pool");
    }
    let after = authority.as_str().rsplit(']').next().unwrap_or_default();
    if after.contains(':') && authority.port_u16().is_none_or(|port| port == 0) {
        return Err("its port must be a number from 1 to 65535");
    }
    let path = parts
        .path_and_query
        .unwrap_or_else(|| PathAndQuery::from_static("/"));
    if path.query().is_some() {
        return Err("write it without a query; keys come from the pool");
    }
    let mut path = path.path().trim_end_matches('/');
    if let Some((before, last)) = path.rsplit_once('/')
        && VERSIONS.contains(&last)
    {
        path = before.trim_end_matches('/');
    }
    Ok((scheme, authority, path.to_owned()))
}

/// A path in front of everything, without a slash at its end.
///
/// # Errors
/// The remedy.
pub fn base_path(text: &str) -> Result<String, Remedy> {
    let path = text.trim_end_matches('/');
    let good = path.is_empty()
        || (path.starts_with('/')
            && !path.contains("//")
            && path
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"/-._~".contains(&b))
            && !path.split('/').any(|part| part == "." || part == ".."));
    if path.split('/').any(|part| part == "-") {
        Err("/-/ is where the relay's own pages are; write another path, such as /gemini")
    } else if good {
        Ok(path.to_owned())
    } else {
        Err("write a path such as /gemini")
    }
}

/// A web page's origin as browsers send it, or `*`.
///
/// # Errors
/// The remedy.
pub fn origin(text: &str) -> Result<String, Remedy> {
    const REMEDY: Remedy = "write it as browsers send it, scheme and host and no path, such as https://app.example, or * for any";
    if text == "*" {
        return Ok(text.to_owned());
    }
    let text = text.trim_end_matches('/').to_ascii_lowercase();
    let (scheme, rest) = text.split_once("://").ok_or(REMEDY)?;
    if scheme.is_empty() || rest.is_empty() || rest.contains(['/', '?', '#', '@', ' ']) {
        return Err(REMEDY);
    }
    Ok(text)
}

/// The name of a host, in lower case.
///
/// # Errors
/// The remedy.
pub fn host(text: &str) -> Result<String, Remedy> {
    let host = text.trim_end_matches('.').to_ascii_lowercase();
    let good = !host.is_empty()
        && host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._[]:".contains(&b));
    let has_port = host.rsplit_once(':').is_some_and(|(name, port)| {
        !name.contains(':') && !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit())
    });
    if good && !has_port {
        Ok(host)
    } else {
        Err("write a host's name without scheme and port, such as relay.example")
    }
}

/// A time that is not none.
///
/// # Errors
/// The remedy.
pub fn some_time(text: &str) -> Result<Duration, Remedy> {
    match value::duration(text)? {
        Duration::ZERO => {
            Err("write a time longer than none, such as 10s; for practically no limit, 24h")
        }
        time => Ok(time),
    }
}

/// One of [`Strategy::NAMES`].
///
/// # Errors
/// The remedy.
pub fn strategy(text: &str) -> Result<Strategy, Remedy> {
    let known = Strategy::NAMES.into_iter().find(|(name, _)| *name == text);
    known
        .map(|(_, strategy)| strategy)
        .ok_or("write round-robin, fill-first or least-loaded")
}

/// How many keys one request is tried with; `None` is all.
///
/// # Errors
/// The remedy.
pub fn attempts(text: &str) -> Result<Option<u32>, Remedy> {
    match text {
        "all" => Ok(None),
        _ => text
            .parse()
            .ok()
            .filter(|n| *n > 0)
            .map(Some)
            .ok_or("write a number, 1 or more, or all"),
    }
}

/// How many requests may wait.
///
/// # Errors
/// The remedy.
pub fn max_waiting(text: &str) -> Result<usize, Remedy> {
    text.parse()
        .map_err(|_| "write a number such as 1024; 0 lets nobody wait")
}

/// The nearest of some names, if any is near.
#[must_use]
pub fn nearest<'a>(unknown: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    names
        .into_iter()
        .map(|name| (strsim::normalized_damerau_levenshtein(unknown, name), name))
        .filter(|(likeness, _)| *likeness >= NEAR)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// Whether a client token can be guessed.
#[must_use]
pub fn is_short(token: &KeyText) -> bool {
    token.expose().len() < SHORT
}

fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// What stands in examples, and what variables that were not set come to.
const NO_SECRETS: [&str; 6] = ["secret", "undefined", "null", "none", "true", "false"];

/// Two slips in a word of six letters; below it suggestions puzzle more than they help.
const NEAR: f64 = 0.6;

/// 16 random letters and digits are 95 bits; a word is not.
const SHORT: usize = 16;

const VERSIONS: [&str; 3] = ["v1", "v1beta", "v1alpha"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_of_a_table_is_its_name_and_its_secret_as_they_are() {
        let (name, secret) = token_of(Some("alice"), "made=up=1").unwrap();
        assert_eq!(
            (name.as_deref(), secret.expose()),
            (Some("alice"), "made=up=1")
        );
        assert!(token_of(None, "made-up-1").is_ok());
        for secret in [
            "",
            " ",
            "=",
            "==",
            "made-up 1",
            "made-up,1",
            " made-up-1",
            "made-up-é",
        ] {
            assert!(token_of(Some("alice"), secret).is_err(), "{secret:?}");
        }
        for name in ["", "alice smith", "alice=", "ä"] {
            assert!(token_of(Some(name), "made-up-1").is_err(), "{name:?}");
        }
    }

    #[test]
    fn the_pieces_of_another_notation_are_no_tokens() {
        for text in [
            "{",
            "[{",
            "{ \"alice\": \"made-up-1\", }",
            "{\"alice\":\"made-up-1\"}",
            "{made-up-1",
            "[ \"made-up-1\" ]",
            "alice = \"made-up-1\"",
            "alice: made-up-1",
            "- made-up-1",
            "'{ \"alice\": \"made-up-1\" }'",
            "'{\"alice\": \"made-up-1\"}'",
            r#""{\"alice\": \"made-up-1\"}""#,
            "GEMINI_RELAY_TOKENS={\"alice-of-the-house\": \"made-up-1\"}",
            "({alice: \"made-up-1\"})",
            "\"alice=made-up-1\"",
            "alice='made-up-1'",
            "alice =made-up-1",
            "*",
            "name=SECRET",
            "SECRET",
            "undefined",
            "alice=undefined",
            "null",
        ] {
            let refused = words(text).any(|word| token(word).is_err());
            assert!(refused, "{text}");
        }
        for good in ["alice={made-up-1}", "made-up:1", ":made-up-1:", "made{up}"] {
            assert!(token(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn an_upstream_whose_port_is_none_is_refused() {
        for port in ["99999", "0", "", "x"] {
            for host in ["127.0.0.1", "[::1]"] {
                assert!(
                    upstream(&format!("http://{host}:{port}")).is_err(),
                    "{host} {port}"
                );
            }
        }
        for good in [
            "http://127.0.0.1:65535",
            "http://[::1]",
            "https://a.example/p",
            "http://[::1]:1",
        ] {
            assert!(upstream(good).is_ok(), "{good}");
        }
    }
}
