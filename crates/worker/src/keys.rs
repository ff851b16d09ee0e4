//! Keys, from where a Worker can have them.
//!
//! KV's `GEMINI_API_KEYS_CONFIG` holds a whole list in any of the native formats. Somebody who put
//! `gemini-keys.json` there in bulk has an entry a key instead, named by the label. And there is the
//! secret `GEMINI_API_KEYS`. They add up, as they do natively. A list that cannot be read is said in
//! the log, without a word of it, and takes no key away. What others keep in the same namespace is
//! passed over: it must not stand in the way of a change for ever.

use gemini_relay_core::keylist::{self, KeyList, KeyListError};
use gemini_relay_core::{KeySpec, KeyText};
use serde_json::Value;

/// What was found of keys.
pub(crate) struct Keys {
    pub(crate) keys: Vec<KeySpec>,
    pub(crate) problems: Vec<String>,
    /// Whether these take the place of those that were known: what cannot be read takes no key away.
    pub(crate) replace: bool,
}

/// Reads what the glue found: `{"config": TEXT, "secret": TEXT, "entries": [[NAME, TEXT], …],
/// "more": whether there are more entries than these, "lost": whether KV could not be asked}`.
/// `tokens` are the clients', and `known` says whether there are keys already.
pub(crate) fn read(found: &str, tokens: &[(String, KeyText)], known: bool) -> Keys {
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
                problems.push(format!("KV, {LIST}: {error}"));
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
                    let meant = name == LIST || is_meant(text);
                    partial |= meant;
                    let passed = if meant { "" } else { "; it is passed over" };
                    let name: String = name.chars().take(MOST_OF_A_NAME).collect();
                    problems.push(format!("KV entry {name:?}: {error}{passed}"));
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
    let all = lists.iter().flat_map(|list| &list.entries);
    let secrets = all
        .map(|entry| &entry.text)
        .chain(tokens.iter().map(|(_, secret)| secret))
        .collect();
    lists.retain(|list| {
        let said = keylist::refuse_secrets_in_names(list, &secrets);
        if let Err(error) = &said {
            partial = true;
            problems.push(format!("a list of keys: {error}"));
        }
        said.is_ok()
    });
    let mut keys = keylist::merge(lists).keys;
    leave_out_tokens(&mut keys, tokens, &mut problems);
    let replace = !(keys.is_empty() || known && partial);
    if !replace {
        problems.push(
            match (known, partial) {
                (true, true) => "the keys that were read before are used until all can be read",
                (true, false) => "no keys are found any more, and those that were read before are still used: to take the last ones away, delete them at Google, or the Worker",
                (false, true) => "there are no keys until what there is can be read",
                (false, false) => "there are no keys: put a list of them into KV as GEMINI_API_KEYS_CONFIG (npx wrangler kv key put --binding KV GEMINI_API_KEYS_CONFIG --path gemini-keys.json --remote)",
            }
            .into(),
        );
    }
    Keys {
        keys,
        problems,
        replace,
    }
}

/// Sent to Google, such a key would give away what lets its client in.
fn leave_out_tokens(
    keys: &mut Vec<KeySpec>,
    tokens: &[(String, KeyText)],
    problems: &mut Vec<String>,
) {
    keys.retain(|key| {
        if tokens.iter().any(|(name, _)| name == key.text.expose()) {
            problems.push(
                "the name of a client token is one of the keys, and names are in the log: that key is left out".into(),
            );
            return false;
        }
        let Some((name, _)) = tokens.iter().find(|(_, secret)| *secret == key.text) else {
            return true;
        };
        problems.push(format!(
            "the key {} is the same text as the client token {name}: what clients show the relay is no key of Google's; it is left out",
            key.label.as_deref().unwrap_or_default()
        ));
        false
    });
}

/// One entry of a bulk put; what is no key is something else's.
fn entry_list(name: &str, text: &str) -> Result<Option<KeyList>, KeyListError> {
    let text = text.trim();
    if name == LIST || text.starts_with(['{', '[']) {
        return keylist::parse(text.as_bytes()).map(Some);
    }
    // As a number, which somebody counts in.
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

/// Whether what cannot be read was meant to be keys. The original Worker kept its place in the rotation in the same
/// namespace, as `{"currentIndex":3}`. What is not even JSON may be a list that somebody is writing.
fn is_meant(text: &str) -> bool {
    let is_key =
        |value: &Value| value.is_string() || value.get("value").is_some_and(Value::is_string);
    match serde_json::from_str(text) {
        Ok(Value::Array(members)) => members.iter().any(is_key),
        Ok(object) => is_key(&object) || object.get("keys").is_some_and(Value::is_array),
        Err(_) => true,
    }
}

/// The entry of the one list.
const LIST: &str = "GEMINI_API_KEYS_CONFIG";

/// Labels are not longer.
const MOST_OF_A_NAME: usize = 100;

/// Shorter than any key there is.
const SHORTEST: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn labels(found: &Value) -> (Vec<String>, usize) {
        let keys = read(&found.to_string(), &[], false);
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
        let keys = read(&found.to_string(), &[], false);
        assert_eq!(keys.keys.len(), 1);
        assert!(
            keys.problems[0].contains("GEMINI_API_KEYS_CONFIG")
                && !keys.problems[0].contains("made-up")
        );
    }

    #[test]
    fn what_others_keep_in_the_namespace_is_named_and_stands_in_no_way() {
        for others in [
            r#"{"currentIndex":3}"#,
            r#"{"theme":"dark","keys":7}"#,
            r#"[{"id":1},2]"#,
            "[[]]",
        ] {
            let found = json!({"entries": [["STATE", others], ["first", "made-up-key-1"]]});
            let keys = read(&found.to_string(), &[], true);
            assert!(keys.replace, "{others}");
            assert_eq!(keys.keys.len(), 1);
            assert!(
                keys.problems[0].contains("\"STATE\"") && keys.problems[0].contains("passed over"),
                "{:?}",
                keys.problems
            );
        }
    }

    #[test]
    fn an_entry_that_was_meant_to_be_keys_is_named_and_takes_none_away() {
        for (name, broken) in [
            ("second", r#"["made-up-key-2""#),
            ("second", r#"[{"value":"made-up-key-2","proiect":"a"}]"#),
            ("second", r#"{"keys":["made-up-key-2"],"currentIndex":3}"#),
            (LIST, r#"{"currentIndex":3}"#),
        ] {
            let found = json!({"entries": [[name, broken], ["first", "made-up-key-1"]]});
            let keys = read(&found.to_string(), &[], true);
            assert!(!keys.replace, "{broken}");
            let said = keys.problems.join("\n");
            assert!(said.contains(name) && said.contains("read before are used"));
            assert!(!said.contains("made-up"), "{said}");
            assert!(read(&found.to_string(), &[], false).replace);
        }
    }

    #[test]
    fn a_key_that_is_also_a_client_token_is_left_out_and_said() {
        let tokens = [("alice".to_owned(), KeyText::new("made-up-key-1").unwrap())];
        let found = json!({"config": r#"["made-up-key-1","made-up-key-2"]"#});
        let keys = read(&found.to_string(), &tokens, false);
        let texts: Vec<&str> = keys.keys.iter().map(|key| key.text.expose()).collect();
        assert_eq!(texts, ["made-up-key-2"]);
        assert!(keys.problems[0].contains("key_0") && keys.problems[0].contains("alice"));
        assert!(!keys.problems[0].contains("made-up"));
    }

    #[test]
    fn a_secret_where_a_name_belongs_is_shown_to_nobody() {
        let token = KeyText::new("made-up-token-1").unwrap();
        for label in ["made-up-key-1", "made-up-token-1"] {
            let list = json!([{"label": label, "value": "made-up-key-2"}]).to_string();
            let found = json!({"config": list, "secret": "made-up-key-1"});
            let tokens = [("alice".to_owned(), token.clone())];
            let keys = read(&found.to_string(), &tokens, true);
            assert!(!keys.replace);
            assert!(
                keys.keys
                    .iter()
                    .all(|key| key.label.as_deref() != Some(label))
            );
            assert!(!keys.problems.join("; ").contains("made-up"));
        }
        let tokens = [("made-up-key-1".to_owned(), token)];
        let found = json!({"secret": "made-up-key-1, made-up-key-2"});
        let keys = read(&found.to_string(), &tokens, false);
        assert_eq!(keys.keys.len(), 1);
        assert!(keys.problems[0].contains("the name of a client token"));
    }

    #[track_caller]
    fn said_of_none(found: &Value, known: bool) -> String {
        let keys = read(&found.to_string(), &[], known);
        assert!(!keys.replace);
        keys.problems.join("; ")
    }

    #[test]
    fn where_no_keys_are_found_it_is_said_what_holds_and_what_helps() {
        let (nothing, lost) = (json!({}), json!({"lost": true}));
        let broken = json!({"config": "["});
        assert!(said_of_none(&nothing, false).contains("put a list of them into KV"));
        assert!(said_of_none(&nothing, true).contains("read before are still used"));
        for unread in [lost, broken] {
            assert!(said_of_none(&unread, true).contains("read before are used until"));
            let said = said_of_none(&unread, false);
            assert!(said.contains("there are no keys until") && !said.contains("put a list"));
        }
    }
}
