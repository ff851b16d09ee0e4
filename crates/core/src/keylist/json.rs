//! The JSON shapes: a list of texts or objects, bare or under `keys`, or one object.
//!
//! `serde_json` judges the syntax, but of its errors only the place is used: its messages may quote
//! what they found, and what they found may be a key. For the line of an error of meaning, a small
//! walk over the text, known by then to be valid JSON, finds where each member begins.

use super::{Entry, KeyListError, Problem};
use crate::key::KeyText;
use serde_json::{Map, Value};
use std::collections::HashSet;

pub(super) fn entries(text: &str) -> Result<Vec<Entry>, KeyListError> {
    let value: Value = serde_json::from_str(text).map_err(|e| syntax_error(text, &e))?;
    let fields = fields(text);
    if let Some(again) = fields.iter().find(|field| field.again) {
        let known = FIELDS.into_iter().chain(["keys"]);
        let name = known.into_iter().find(|name| *name == again.name);
        return Err(KeyListError::at(again.line, Problem::Repeated(name)));
    }
    let (members, depth) = match value {
        Value::Array(members) => (members, 1),
        Value::Object(mut object) if object.contains_key("keys") => {
            let mut outermost = fields.iter().filter(|field| field.depth == 1);
            if let Some(other) = outermost.find(|field| field.name != "keys") {
                return Err(KeyListError::at(other.line, Problem::BesideKeys));
            }
            match object.remove("keys") {
                Some(Value::Array(members)) => (members, 2),
                _ => {
                    return Err(KeyListError::whole(Problem::WrongType(
                        "keys",
                        "a list: [\"KEY\", …]",
                    )));
                }
            }
        }
        Value::Object(object) if object.contains_key("value") => (vec![Value::Object(object)], 0),
        _ => return Err(KeyListError::whole(Problem::NotAList)),
    };
    let lines = lines_of_members(text, depth);
    members
        .into_iter()
        .enumerate()
        .map(|(index, member)| {
            let line = lines.get(index).copied().unwrap_or(1);
            entry(member, line).map_err(|problem| KeyListError::at(line, problem))
        })
        .collect()
}

/// Whether a text is JSON as a whole, be it a single word or number.
pub(super) fn is_json(text: &str) -> bool {
    serde_json::from_str::<Value>(text).is_ok()
}

fn entry(member: Value, line: usize) -> Result<Entry, Problem> {
    let fields = match member {
        Value::String(text) => {
            return Ok(Entry::bare(
                KeyText::new(&text).map_err(Problem::Text)?,
                line,
            ));
        }
        Value::Object(fields) => fields,
        _ => return Err(Problem::NotAKey),
    };
    if let Some(unknown) = fields.keys().find(|name| !FIELDS.contains(&name.as_str())) {
        return Err(Problem::UnknownField(nearest(unknown)));
    }
    let text = match fields.get("value") {
        Some(Value::String(text)) => KeyText::new(text).map_err(Problem::Text)?,
        Some(Value::Null) | None if fields.contains_key("key") => {
            return Err(Problem::KeyWithoutValue);
        }
        Some(Value::Null) | None => return Err(Problem::NoValue),
        Some(_) => {
            return Err(Problem::WrongType(
                "value",
                "a text: the key in double quotes",
            ));
        }
    };
    let label = match (name(&fields, "label")?, name(&fields, "key")?) {
        (Some(label), Some(key)) if label != key => return Err(Problem::TwoLabels),
        (label, key) => label.or(key),
    };
    Ok(Entry {
        text,
        label,
        project: name(&fields, "project")?,
        priority: number(
            &fields,
            "priority",
            0,
            u32::MAX,
            "a whole number, 0 or more; lower is used first",
        )?,
        weight: number(
            &fields,
            "weight",
            1,
            MAX_WEIGHT,
            "a whole number from 1 to 1000; to leave a key unused write \"enabled\": false",
        )?,
        tags: names(&fields, "tags")?,
        enabled: match fields.get("enabled") {
            None | Some(Value::Null) => None,
            Some(Value::Bool(enabled)) => Some(*enabled),
            Some(_) => {
                return Err(Problem::WrongType(
                    "enabled",
                    "true or false, without quotes",
                ));
            }
        },
        models: match names(&fields, "models")? {
            // A pool's key without models is for all of them, the opposite of what this says.
            Some(none) if none.is_empty() => {
                return Err(Problem::WrongType(
                    "models",
                    "one model at least; leave it out for all of them, or write \"enabled\": false to leave the key unused",
                ));
            }
            models => models,
        },
        line,
    })
}

/// A project may be written as Google's project number, without quotes.
fn name(fields: &Map<String, Value>, field: &'static str) -> Result<Option<String>, Problem> {
    match fields.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(name)) => good_name(name, field).map(Some),
        Some(Value::Number(number)) if field == "project" => Ok(Some(number.to_string())),
        Some(_) => Err(Problem::WrongType(field, "a text in double quotes")),
    }
}

fn names(fields: &Map<String, Value>, field: &'static str) -> Result<Option<Vec<String>>, Problem> {
    const TAKES: &str = "a list of texts: [\"one\", \"two\"]";
    match fields.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(members)) => members
            .iter()
            .map(|member| match member {
                Value::String(name) => good_name(name, field),
                _ => Err(Problem::WrongType(field, TAKES)),
            })
            .collect::<Result<_, _>>()
            .map(Some),
        Some(_) => Err(Problem::WrongType(field, TAKES)),
    }
}

fn good_name(name: &str, field: &'static str) -> Result<String, Problem> {
    let name = name.trim();
    if name.is_empty() || name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
        return Err(Problem::BadName(field));
    }
    Ok(name.to_owned())
}

fn number(
    fields: &Map<String, Value>,
    field: &'static str,
    least: u32,
    most: u32,
    takes: &'static str,
) -> Result<Option<u32>, Problem> {
    match fields.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value
            .as_u64()
            .and_then(|n| u32::try_from(n).ok())
            .filter(|n| (least..=most).contains(n))
            .map(Some)
            .ok_or(Problem::WrongType(field, takes)),
    }
}

fn syntax_error(text: &str, error: &serde_json::Error) -> KeyListError {
    let (line, column) = (error.line(), error.column());
    // serde_json counts the bytes of a line from 1 and puts the offending one at `column`.
    let line_text = text
        .split('\n')
        .nth(line.saturating_sub(1))
        .unwrap_or_default()
        .as_bytes();
    let (before, at) = line_text.split_at(column.saturating_sub(1).min(line_text.len()));
    let last = before.trim_ascii_end().last();
    let problem = match at.first() {
        _ if error.is_eof() => Problem::JsonCutShort,
        Some(b'\'') => Problem::JsonSingleQuote,
        Some(b'#' | b'/') => Problem::JsonComment,
        Some(b']' | b'}') if last.is_none() || last == Some(&b',') => Problem::JsonTrailingComma,
        _ if serde_json::Deserializer::from_str(text)
            .into_iter::<Value>()
            .next()
            .is_some_and(|v| v.is_ok()) =>
        {
            Problem::JsonTrailing
        }
        _ => Problem::Json,
    };
    let characters = String::from_utf8_lossy(before).chars().count() + 1;
    KeyListError {
        line: Some(line.max(1)),
        column: Some(characters),
        problem,
    }
}

/// The lines on which the members of the list at `depth` brackets begin, in valid JSON.
fn lines_of_members(text: &str, depth: usize) -> Vec<usize> {
    let mut lines = Vec::new();
    let (mut line, mut open, mut in_text, mut escaped, mut expects) =
        (1, 0, false, false, depth == 0);
    for byte in text.bytes() {
        if byte == b'\n' {
            line += 1;
        }
        if in_text {
            in_text = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        if expects && open == depth && !byte.is_ascii_whitespace() && byte != b']' {
            lines.push(line);
            expects = false;
        }
        match byte {
            b'"' => in_text = true,
            b'[' | b'{' => {
                open += 1;
                expects = expects || (open == depth && byte == b'[');
            }
            b']' | b'}' => open = usize::saturating_sub(open, 1),
            b',' if open == depth => expects = true,
            _ => {}
        }
    }
    lines
}

/// A field's name, where it stands.
struct Field {
    name: String,
    line: usize,
    /// How many brackets are open there.
    depth: usize,
    /// Whether its object has had one of that name before, whose value is lost.
    again: bool,
}

/// All names of fields, in valid JSON.
fn fields(text: &str) -> Vec<Field> {
    let mut fields = Vec::new();
    let (mut line, mut begun, mut escaped) = (1, None, false);
    // For each bracket that is open, the names met in it; a list has none.
    let mut open: Vec<HashSet<String>> = Vec::new();
    // Of an object's texts those that a colon follows are names; the last one is kept.
    let mut last = None;
    for (at, byte) in text.bytes().enumerate() {
        if byte == b'\n' {
            line += 1;
        }
        if let Some((from, on)) = begun {
            if !escaped && byte == b'"' {
                last = text.get(from..=at).map(|name| (name, on));
                begun = None;
            }
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'"' => begun = Some((at, line)),
            b'[' | b'{' => open.push(HashSet::new()),
            b']' | b'}' => {
                open.pop();
            }
            b':' => {
                let depth = open.len();
                let (Some((name, line)), Some(met)) = (last.take(), open.last_mut()) else {
                    continue;
                };
                let name: String = serde_json::from_str(name).unwrap_or_default();
                fields.push(Field {
                    again: !met.insert(name.clone()),
                    name,
                    line,
                    depth,
                });
            }
            _ => {}
        }
    }
    fields
}

/// The field that was perhaps meant: what other tools call it, or one a slip away.
fn nearest(unknown: &str) -> Option<&'static str> {
    let lower = unknown.to_ascii_lowercase().replace(['_', '-', ' '], "");
    match lower.as_str() {
        "apikey" | "secret" | "token" | "text" | "val" | "geminiapikey" | "googleapikey" => {
            return Some("value");
        }
        "name" | "id" | "alias" | "title" => return Some("label"),
        "projectid" | "projectnumber" | "projectname" | "account" => return Some("project"),
        "disabled" | "active" | "enable" => return Some("enabled"),
        _ => {}
    }
    FIELDS
        .into_iter()
        .map(|field| (distance(&lower, field), field))
        .filter(|(distance, field)| *distance <= field.len() / 3)
        .min()
        .map(|(_, field)| field)
}

/// Optimal string alignment: how many slips (a letter more, less, other, or two swapped) apart.
fn distance(a: &str, b: &str) -> usize {
    if a.len() > MAX_NAME {
        return usize::MAX;
    }
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let other = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let mut least = other.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    least = least.min(rows[i - 2][j - 2] + 1);
                }
                least
            };
        }
    }
    rows[a.len()][b.len()]
}

pub(super) const FIELDS: [&str; 9] = [
    "value", "key", "label", "project", "priority", "weight", "tags", "enabled", "models",
];

/// Enough for any name a person reads; it is repeated in every answer and every metric.
const MAX_NAME: usize = 100;

/// Keeps one round of the rotation short: a thousand turns for one key is already "nearly always".
const MAX_WEIGHT: u32 = 1000;
