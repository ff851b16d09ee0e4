//! Values as people may see them.
//!
//! A secret can stand where none belongs: a key given as the name of the keys file, a password in a
//! proxy's URL. What is shown here is what cannot be one.

use super::{Given, Kind, OptionSpec};
use gemini_relay_core::keylist::is_secret;
use gemini_relay_core::secrets::Secrets;

/// One value in an error, in quotes.
pub(crate) fn one(spec: &OptionSpec, text: &str) -> String {
    match spec.kind {
        Kind::Tokens => "a token (not shown)".to_owned(),
        Kind::Proxy | Kind::Upstream => format!("\"{}\"", url(text)),
        Kind::Path | Kind::PathOr(_) => path(text),
        _ if might_be_a_key(text) => format!(
            "a text of {} characters (not shown, it might be a key)",
            text.chars().count()
        ),
        _ => format!("\"{}\"", text.escape_debug()),
    }
}

/// All values of an option, for `gemini-relay config`.
pub(crate) fn all(spec: &OptionSpec, given: &[Given]) -> String {
    if given.is_empty() {
        return spec.otherwise.to_owned();
    }
    let texts = given.iter().map(|g| match spec.kind {
        Kind::Proxy | Kind::Upstream => url(&g.text),
        Kind::Path | Kind::PathOr(_) => path(&g.text).trim_matches('"').to_owned(),
        _ if might_be_a_key(&g.text) => NOT_SHOWN.to_owned(),
        _ => g.text.clone(),
    });
    texts.collect::<Vec<_>>().join(", ")
}

/// A file's name, unless it might be a key that was given in its place.
pub(crate) fn path(text: &str) -> String {
    let looks_like_a_file = text.len() < MIGHT_BE_A_KEY
        || !holds_a_key(text)
            && (text.contains(['/', '\\'])
                || FILE_ENDINGS
                    .iter()
                    .any(|ending| text.to_ascii_lowercase().ends_with(ending)));
    if looks_like_a_file {
        format!("\"{}\"", text.escape_debug())
    } else {
        format!(
            "a file whose name has {} characters (not shown, it might be a key)",
            text.chars().count()
        )
    }
}

/// A URL without user, password and query.
pub(crate) fn url(text: &str) -> String {
    if holds_a_key(text) {
        return NOT_SHOWN.to_owned();
    }
    // A password with one of these in it looks like the end of it.
    if let Some((before, _)) = text.rsplit_once('@')
        && before
            .split_once("://")
            .map_or(before, |(_, rest)| rest)
            .contains(['/', '?', '#'])
    {
        return "(not shown, there might be a password in it)".to_owned();
    }
    let text = text.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = text.split_once("://").map_or(("", text), |(s, r)| (s, r));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (mask, host) = authority
        .rsplit_once('@')
        .map_or(("", authority), |(_, host)| ("***@", host));
    if might_be_a_key(host) {
        return NOT_SHOWN.to_owned();
    }
    let separator = if scheme.is_empty() { "" } else { "://" };
    format!("{scheme}{separator}{mask}{host}{path}")
}

fn might_be_a_key(text: &str) -> bool {
    let words = text.split([' ', '\t', '\n', ',', ';', ':']);
    holds_a_key(text)
        || words.into_iter().any(|word| {
            word.len() >= MIGHT_BE_A_KEY && !word.contains('/') && word.matches('.').count() < 2
        })
}

/// Whether something in it looks like Google's keys.
fn holds_a_key(text: &str) -> bool {
    is_secret(text, &Secrets::default())
}

const NOT_SHOWN: &str = "(not shown, it might be a key)";

/// Google's keys have 39 characters and more.
const MIGHT_BE_A_KEY: usize = 30;

const FILE_ENDINGS: [&str; 12] = [
    ".json", ".keys", ".key", ".txt", ".toml", ".pem", ".crt", ".cer", ".list", ".env", ".tokens",
    ".secret",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_might_be_a_key_is_not_shown() {
        let long = "made-up-key-of-39-letters-as-googles-are";
        assert!(!path(long).contains("made-up"));
        assert_eq!(path("my-keys"), "\"my-keys\"");
        assert_eq!(path("./keys"), "\"./keys\"");
        assert_eq!(path("my.json"), "\"my.json\"");
        assert_eq!(
            url("http://me:made-up@proxy.example:3128/x?key=made-up"),
            "http://***@proxy.example:3128/x"
        );
        for password in ["ma/de-up", "made-up?", "made#up", "@made-up/"] {
            let shown = url(&format!("http://me:{password}@proxy.example:3128"));
            assert!(!shown.contains("ma"), "{shown}");
        }
        assert!(!url("made-up-made-up-made-up-made-up-made-up").contains("made-up"));
        let (key, other) = (
            "AIza-made-up-key-of-39-letters-as-they-are",
            "AQ.made-up-key-of-some-50-letters-as-these-are-new",
        );
        for text in [
            format!("{key} {other}"),
            format!("{key}:{other}"),
            format!("https://{key}:{other}"),
            format!("./{key}"),
            format!("localhost,{other}"),
            format!("{long} {long}"),
        ] {
            assert!(might_be_a_key(&text), "{text}");
            assert!(!url(&text).contains("made-up"), "{text}");
            let shown = path(&text);
            assert!(!shown.contains("made-up"), "{shown}");
        }
        assert_eq!(
            url("https://generativelanguage.googleapis.com"),
            "https://generativelanguage.googleapis.com"
        );
    }
}
