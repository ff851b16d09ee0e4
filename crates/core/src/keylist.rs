//! Lists of keys as people write them, and several lists made into one pool.
//!
//! People have their keys in whatever shape the last tool wanted: JSON of three kinds, a text file
//! with one key a line, saved by an editor that adds a byte-order mark or by a shell that writes
//! UTF-16. The shapes are told apart by content, never by the file's name, so that no one has to be
//! told which ending goes with which.
//!
//! Parsing is strict where being lenient would lose something. An unknown field is an error and not
//! ignored, because `"proiect": "a"` silently ignored makes two keys of one project count as two
//! quotas. What a person did say is kept apart from what they left out ([`Entry`] holds options, not
//! defaults), because the same key may stand in two lists and each may say a part.
//!
//! **No error holds any text of the input**: where a key is expected, anything may be a key, even a
//! field's name. Errors say the line, what is wrong there and what to write instead.

mod decode;
mod json;
mod lines;
mod merge;

pub use merge::{Duplicate, Merged, Place, Renamed, merge};

use crate::key::{KeyText, KeyTextError};
use crate::secrets::Secrets;
use std::fmt;

/// The text of a list, whichever way the editor or the shell saved it. What is none is left to
/// [`parse`] to complain of.
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    decode::text(bytes).map_or_else(
        |_| String::from_utf8_lossy(bytes).into_owned(),
        std::borrow::Cow::into_owned,
    )
}

/// Reads a list of keys in any of the known shapes.
///
/// # Errors
/// [`KeyListError`] says where and what, and shows nothing of the input.
pub fn parse(bytes: &[u8]) -> Result<KeyList, KeyListError> {
    if bytes.len() > MAX_BYTES {
        return Err(KeyListError::whole(Problem::TooLarge));
    }
    let text = decode::text(bytes)?;
    let entries = match text.trim_start().bytes().next() {
        Some(b'[' | b'{') => json::entries(&text)?,
        // `null` is what a program writes that had no keys, and is none.
        _ if json::is_json(&text) => return Err(KeyListError::whole(Problem::NotAList)),
        _ => lines::entries(&text)?,
    };
    if entries.len() > MAX_KEYS {
        return Err(KeyListError::whole(Problem::TooMany));
    }
    let list = KeyList { entries };
    let keys = list.entries.iter().map(|entry| &entry.text).collect();
    refuse_secrets_in_names(&list, &keys)?;
    Ok(list)
}

/// Reads keys separated by commas, white space or semicolons, as a variable holds them. A whole
/// JSON list is understood too: a secret store often pours its file into a variable.
///
/// # Errors
/// [`KeyListError`], as for [`parse`].
pub fn parse_variable(text: &str) -> Result<KeyList, KeyListError> {
    if matches!(text.trim_start().bytes().next(), Some(b'[' | b'{')) {
        return parse(text.as_bytes());
    }
    let apart: String = text
        .chars()
        .map(|c| {
            if matches!(c, ',' | ';') || c.is_whitespace() {
                '\n'
            } else {
                c
            }
        })
        .collect();
    parse(apart.as_bytes()).map_err(|e| KeyListError {
        line: None,
        column: None,
        ..e
    })
}

/// A list as it was written: what was said of each key, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyList {
    /// In the order of the file.
    pub entries: Vec<Entry>,
}

/// One key and what was said of it; `None` is "not said", which is not the same as a default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub text: KeyText,
    /// What people call it.
    pub label: Option<String>,
    /// The Google Cloud project it belongs to.
    pub project: Option<String>,
    /// Lower is used first.
    pub priority: Option<u32>,
    /// Its share beside others, at least 1.
    pub weight: Option<u32>,
    /// Free words.
    pub tags: Option<Vec<String>>,
    /// Whether it may be used.
    pub enabled: Option<bool>,
    /// Models it may be used for.
    pub models: Option<Vec<String>>,
    /// The line it stands on, counting from 1.
    pub line: usize,
}

impl Entry {
    fn bare(text: KeyText, line: usize) -> Self {
        Self {
            text,
            label: None,
            project: None,
            priority: None,
            weight: None,
            tags: None,
            enabled: None,
            models: None,
            line,
        }
    }
}

/// Why a list cannot be used. Its `Display` is one sentence of what is wrong and one of what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyListError {
    /// The line, counting from 1, where there is one to name.
    pub line: Option<usize>,
    /// The column in characters, counting from 1, where it is known.
    pub column: Option<usize>,
    /// What is wrong.
    pub problem: Problem,
}

impl KeyListError {
    fn whole(problem: Problem) -> Self {
        Self {
            line: None,
            column: None,
            problem,
        }
    }

    fn at(line: usize, problem: Problem) -> Self {
        Self {
            line: Some(line),
            column: None,
            problem,
        }
    }
}

/// What can be wrong with a list of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// Beyond 16 MB.
    TooLarge,
    /// Beyond 100,000 keys.
    TooMany,
    /// Bytes that are neither UTF-8 nor UTF-16.
    NotText,
    /// JSON that ends too early.
    JsonCutShort,
    /// JSON with single quotes.
    JsonSingleQuote,
    /// A comma before a closing bracket.
    JsonTrailingComma,
    /// A comment in JSON.
    JsonComment,
    /// Something after the end of the JSON.
    JsonTrailing,
    /// Any other broken JSON.
    Json,
    /// A JSON value that is no list of keys.
    NotAList,
    /// A list's member that is neither a text nor an object.
    NotAKey,
    /// An object whose name for its fields is not known; with the one that may have been meant.
    UnknownField(Option<&'static str>),
    /// Something beside `keys`.
    BesideKeys,
    /// A field that its object has twice, one of which would be lost: its name, if it is a known one.
    Repeated(Option<&'static str>),
    /// `key` and `label`, which are one, and are different.
    TwoLabels,
    /// An object without `value`.
    NoValue,
    /// `{"key": …}` alone, where the key may have been put into the label.
    KeyWithoutValue,
    /// A field of the wrong type: its name and what it takes.
    WrongType(&'static str, &'static str),
    /// A label, project, tag or model that is empty, too long or has control characters: its name.
    BadName(&'static str),
    /// A label, project or tag that is a key's text: its name.
    KeyAsName(&'static str),
    /// The key's text is unusable.
    Text(KeyTextError),
    /// A line such as `GEMINI_API_KEY=…`.
    Assignment,
    /// Quotes or commas on a line.
    Punctuation,
    /// A line of a file that holds something else than keys.
    NotAKeyLine,
    /// White space within a line: two keys, most likely.
    TwoWords,
}

impl fmt::Display for KeyListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.column) {
            (Some(line), Some(column)) => write!(f, "line {line}, column {column}: ")?,
            (Some(line), None) => write!(f, "line {line}: ")?,
            _ => {}
        }
        fmt::Display::fmt(&self.problem, f)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => f.write_str("it is larger than 16 MB; is it the right file?"),
            Self::TooMany => f.write_str("it has more than 100,000 keys; is it the right file?"),
            Self::NotText => f.write_str("it is neither UTF-8 nor UTF-16 text; is it the right file? If so, save it as UTF-8"),
            Self::JsonCutShort => f.write_str("the JSON ends too early; is a bracket or a quote not closed, or the file cut off?"),
            Self::JsonSingleQuote => f.write_str("JSON texts stand in double quotes; replace ' by \""),
            Self::JsonTrailingComma => f.write_str("nothing follows the last comma; remove it"),
            Self::JsonComment => f.write_str("JSON has no comments; remove it, or write one key a line instead, where # begins a comment"),
            Self::JsonTrailing => f.write_str("the JSON has ended before this; remove what follows, or make it one list"),
            Self::Json => f.write_str("this is not JSON; write [\"KEY\", \"KEY\"], or one key a line without brackets"),
            Self::NotAList => f.write_str("this JSON is not a list of keys; write [\"KEY\", …], {\"keys\": [\"KEY\", …]} or [{\"key\": \"LABEL\", \"value\": \"KEY\"}, …]"),
            Self::NotAKey => f.write_str("each member of the list is a key in double quotes or an object with a \"value\""),
            Self::UnknownField(Some(near)) => write!(f, "a field that is not known; perhaps \"{near}\" was meant ({FIELD_HELP})"),
            Self::UnknownField(None) => write!(f, "a field that is not known ({FIELD_HELP})"),
            Self::Repeated(Some(field)) => write!(f, "\"{field}\" stands twice in one object; keep one, and write a second key as an object of its own"),
            Self::Repeated(None) => f.write_str("the same field twice in one object; keep one"),
            Self::TwoLabels => f.write_str("\"key\" and \"label\" are both the label, and say different things; keep one"),
            Self::BesideKeys => f.write_str("beside \"keys\" nothing else belongs here; remove it, or write what it says of a key into that key's object"),
            Self::NoValue => f.write_str("an object without a key; write the key as \"value\": \"KEY\""),
            Self::KeyWithoutValue => f.write_str("here \"key\" is the label; write the key itself as \"value\": \"KEY\""),
            Self::WrongType(field, takes) => write!(f, "\"{field}\" takes {takes}"),
            Self::BadName(field) => write!(f, "\"{field}\" is empty, longer than 100 characters, or has control characters in it"),
            Self::KeyAsName(field) => {
                let also = if *field == "label" { " (or \"key\")" } else { "" };
                write!(f, "\"{field}\"{also} is a key or a client's token, and labels, projects and tags are shown to people; write a name there")
            }
            Self::Text(e) => write!(f, "{e}; copy it again from where it was made"),
            Self::Assignment => f.write_str("this looks like NAME=KEY; write the key alone"),
            Self::Punctuation => f.write_str("a quote, a comma or a bracket in a key; write one key a line, without quotes and commas"),
            Self::TwoWords => f.write_str("this line has white space inside it; write one key a line, without spaces, and # before a comment"),
            Self::NotAKeyLine => f.write_str("this line is no key: keys have letters, digits and a few signs such as - and _; is it the right file? Write one key a line, or JSON"),
        }
    }
}

impl std::error::Error for KeyListError {}

/// Looks for secrets where names stand: a label goes into headers, logs and metrics, and somebody who put a key or a
/// client's token there would publish it. `secrets` are those of all lists that make up a pool, and the tokens.
///
/// # Errors
/// [`Problem::KeyAsName`] at the first entry with such a name.
pub fn refuse_secrets_in_names(list: &KeyList, secrets: &Secrets) -> Result<(), KeyListError> {
    for entry in &list.entries {
        let named = [
            ("label", entry.label.as_deref()),
            ("project", entry.project.as_deref()),
        ];
        let tags = entry
            .tags
            .iter()
            .flatten()
            .map(|t| ("tags", Some(t.as_str())));
        for (field, name) in named.into_iter().chain(tags) {
            let Some(name) = name else { continue };
            if is_secret(name, secrets) {
                return Err(KeyListError::at(entry.line, Problem::KeyAsName(field)));
            }
        }
    }
    Ok(())
}

/// Whether a secret was put where a name belongs, whatever stands before and behind it: one of these, or what looks
/// like a key.
#[must_use]
pub fn is_secret(name: &str, secrets: &Secrets) -> bool {
    let mut marks = MARKS.iter().flat_map(|mark| name.match_indices(mark));
    marks.any(|(at, _)| {
        let rest = name.get(at..).unwrap_or_default();
        looks_like_a_key(rest.split(|c| !is_of_a_key(c)).next().unwrap_or_default())
    }) || secrets.are_in(name.as_bytes(), usize::MAX)
}

/// Whether a text looks like what Google has given out so far. Keys may look otherwise, so where keys belong this is
/// not asked; it is where something else may stand.
#[must_use]
pub fn looks_like_a_key(text: &str) -> bool {
    MARKS.iter().any(|mark| text.starts_with(mark))
        && text.len() >= 30
        && text.chars().all(is_of_a_key)
}

/// What to say of a pool that can serve nobody.
pub const ALL_DISABLED: &str =
    "all keys are disabled (\"enabled\": false), so no request can be served: enable one";

fn is_of_a_key(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_.".contains(c)
}

/// How keys begin that Google has given out so far.
const MARKS: [&str; 2] = ["AIza", "AQ."];

/// Whether lists have a field of this name, or their entries.
#[must_use]
pub fn is_field(name: &str) -> bool {
    name == "keys" || json::FIELDS.contains(&name)
}

const FIELD_HELP: &str = "an entry has \"value\", and may have \"key\" or \"label\", \"project\", \"priority\", \"weight\", \"tags\", \"enabled\", \"models\"";

/// 100,000 keys with all their fields fit many times over; a database dump or a log does not.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// Far beyond any pool there is, and still a second's work to read.
const MAX_KEYS: usize = 100_000;

#[cfg(test)]
mod tests;
