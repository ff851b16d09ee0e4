//! Keys, from where a Worker can have them.
//!
//! KV's `GEMINI_API_KEYS_CONFIG` holds a whole list in any of the native formats. Somebody who put
//! `gemini-keys.json` there in bulk has an entry a key instead, named by the label. And there is the
//! secret `GEMINI_API_KEYS`. They add up, as they do natively. A list that cannot be read is said in
//! the log, without a word of it, and the others are used.

use gemini_relay_core::keylist::{self, KeyList, KeyListError};
use gemini_relay_core::{KeySpec, KeyText};
use serde_json::Value;

/// What was found of keys.
pub(crate) struct Keys {
    pub(crate) keys: Vec<KeySpec>,
    pub(crate) problems: Vec<String>,
    /// Whether some of what there is could not be read.
    partial: bool,
}

impl Keys {
    /// Whether these take the place of those that were known: what cannot be read takes no key away.
    pub(crate) fn replaces(&self, known: bool) -> bool {
        !(self.keys.is_empty() || known && self.partial)
    }
}

/// Reads what the glue found: `{"config": TEXT, "secret": TEXT, "entries": [[NAME, TEXT], …],
/// "more": whether there are more entries than these, "lost": whether KV could not be asked}`.
pub(crate) fn read(found: &str) -> Keys {
    let found: Value = serde_json::from_str(found).unwrap_or_default();
    let mut problems = Vec::new();
    let mut lists: Vec<KeyList> = Vec::new();
    let mut partial = found.get("lost") == Some(&Value::Bool(true));
    if partial {
        problems.push("KV cannot be read".into());
    }
    if let Some(text) = found.get("config").and_then(Value::as_str) {
        match keylist::parse(text.as_bytes()) {
            Ok(list) => lists.push(list),
            Err(error) => {
                partial = true;
                problems.push(format!("KV, GEMINI_API_KEYS_CONFIG: {error}"));
            }
        }
    }
    for entry in found
        .get("entries")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        if let (Some(name), Some(text)) = (
            entry.get(0).and_then(Value::as_str),
            entry.get(1).and_then(Value::as_str),
        ) {
            match entry_list(name, text) {
                Ok(list) => lists.extend(list),
                Err(error) => {
                    partial = true;
                    problems.push(format!("a KV entry: {error}"));
                }
            }
        }
    }
    if found.get("more") == Some(&Value::Bool(true)) {
        problems.push(
            "KV has more entries of one key each than are read: put one list of all keys there instead (update-keys)".into(),
        );
    }
    if let Some(text) = found.get("secret").and_then(Value::as_str) {
        match keylist::parse_variable(text) {
            Ok(list) => lists.push(list),
            Err(error) => {
                partial = true;
                problems.push(format!("secret GEMINI_API_KEYS: {error}"));
            }
        }
    }
    let keys = keylist::merge(lists).keys;
    if keys.is_empty() {
        problems.push(
            "there are no keys: put a list of them into KV as GEMINI_API_KEYS_CONFIG (npx wrangler kv key put --binding KV GEMINI_API_KEYS_CONFIG --path gemini-keys.json --remote)".into(),
        );
    }
    Keys {
        keys,
        problems,
        partial,
    }
}

/// One entry of a bulk put; what is no key is something else's.
fn entry_list(name: &str, text: &str) -> Result<Option<KeyList>, KeyListError> {
    let text = text.trim();
    if text.starts_with(['{', '[']) {
        return keylist::parse(text.as_bytes()).map(Some);
    }
    // The original Worker kept its place in the rotation there: a number, which is no key.
    if text.len() < SHORTEST || text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    if KeyText::new(text).is_err() {
        return Ok(None);
    }
    let entry = serde_json::json!([{"label": name, "value": text}]).to_string();
    keylist::parse(entry.as_bytes())
        .or_else(|_| keylist::parse(text.as_bytes()))
        .map(Some)
}

/// Shorter than any key there is.
const SHORTEST: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn labels(found: &Value) -> (Vec<String>, usize) {
        let keys = read(&found.to_string());
        let labels = keys
            .keys
            .iter()
            .map(|key| key.label.clone().unwrap_or_default());
        (labels.collect(), keys.problems.len())
    }

    #[test]
    fn a_whole_list_single_entries_and_a_secret_add_up() {
        let found = json!({
            "config": r#"[{"key": "first", "value": "made-up-key-1", "project": "p"}]"#,
            "entries": [["second", "made-up-key-2"], ["first-again", "made-up-key-1"], ["index", "7 "], ["note", "a word and another"]],
            "secret": "made-up-key-3, made-up-key-4",
        });
        let (labels, problems) = labels(&found);
        assert_eq!(problems, 0);
        assert_eq!(&labels[..2], ["first", "second"]);
        assert!(labels.len() >= 4, "{labels:?}");
    }

    #[test]
    fn a_broken_list_is_named_and_never_shown() {
        let found = json!({"config": "[\"made-up-key-1\",", "secret": "made-up-key-2"});
        let keys = read(&found.to_string());
        assert_eq!(keys.keys.len(), 1);
        assert!(
            keys.problems[0].contains("GEMINI_API_KEYS_CONFIG")
                && !keys.problems[0].contains("made-up")
        );
    }

    #[test]
    fn no_keys_at_all_are_said() {
        assert_eq!(labels(&json!({})).1, 1);
    }
}
