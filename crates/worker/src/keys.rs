//! Keys, from where a Worker can have them.
//!
//! KV's `GEMINI_API_KEYS_CONFIG` holds a whole list in any of the native formats. Somebody who put
//! `gemini-keys.json` there in bulk has an entry a key instead, named by the label. And there is the
//! secret `GEMINI_API_KEYS`. They add up, as they do natively. A list that cannot be read is said in
//! the log, without a word of it, and takes no key away.
//!
//! Others may keep anything in the same namespace, secrets among it, and what is taken for a key is sent
//! to Google. So an entry counts only if it looks like the keys that Google gives out; where nothing but
//! keys belongs, a key may look as it likes. What is passed over stands in the way of no change.

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
/// "others": the name of an entry without a key, "more": whether there are more entries than are read,
/// "unread": whether some were not read for want of requests, "lost": whether KV could not be asked}`.
/// `tokens` are the clients', and `known` says whether there are keys already.
pub(crate) fn read(found: &str, tokens: &[(String, KeyText)], known: bool) -> Keys {
    let found: Value = serde_json::from_str(found).unwrap_or_default();
    let is = |what: &str| found.get(what) == Some(&Value::Bool(true));
    let mut problems = Vec::new();
    let mut lists: Vec<KeyList> = Vec::new();
    let mut partial = is("lost") || is("unread");
    if is("lost") {
        problems.push("KV cannot be read".into());
    }
    if is("unread") {
        problems.push("KV's entries of one key each cannot all be read with the requests there are, since some are large or in UTF-16: put one list of all keys there instead (update-keys)".into());
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
    let mut broken = Vec::new();
    let mut passed_over = None;
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
                Ok(Some(list)) => lists.push(list),
                Ok(None) => passed_over = passed_over.or(Some(name)),
                Err(error) => broken.push((name, error)),
            }
        }
    }
    partial |= !broken.is_empty();
    if is("more") {
        problems.push(
            "KV has more entries than are read, which are a hundred with keys among the first thousand by name: put one list of all keys there instead (update-keys)".into(),
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
    let shown = |name: &str| match keylist::is_secret(name, &secrets) {
        true => "whose name is a key or a token".to_owned(),
        false => format!(
            "{:?}",
            name.chars().take(MOST_OF_A_NAME).collect::<String>()
        ),
    };
    for (name, error) in broken {
        problems.push(format!("KV entry {}: {error}", shown(name)));
    }
    if let Some(name) = passed_over.or(found.get("others").and_then(Value::as_str)) {
        problems.push(format!(
            "KV entry {} does not look like a key of Google's (AIza…, AQ.…), and is passed over, as are others like it: a key that looks otherwise belongs in one list of all keys (update-keys)",
            shown(name)
        ));
    }
    lists.retain(|list| {
        let said = keylist::refuse_secrets_in_names(list, &secrets);
        if let Err(error) = &said {
            partial = true;
            problems.push(format!("a list of keys: {error}"));
        }
        said.is_ok()
    });
    let merged = keylist::merge(lists);
    // An entry's label is the name under which it was put, and has to be some other.
    let mut others = merged.duplicates.iter().filter(|d| d.ignored != ["label"]);
    if let Some((duplicate, said)) = others.find_map(|d| Some((d, d.contradiction()?))) {
        problems.push(format!(
            "the key {} is given twice and counts once: its other place {said}",
            duplicate.label
        ));
    }
    let mut keys = merged.keys;
    leave_out_tokens(&mut keys, tokens, &mut problems);
    if !keys.is_empty() && keys.iter().all(|key| !key.enabled) {
        problems.push(keylist::ALL_DISABLED.into());
    }
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

/// One entry of a bulk put; nothing if it is something else's.
fn entry_list(name: &str, text: &str) -> Result<Option<KeyList>, KeyListError> {
    let text = text.trim();
    if name == LIST {
        return keylist::parse(text.as_bytes()).map(Some);
    }
    if keylist::looks_like_a_key(text) {
        let entry = serde_json::json!([{"label": name, "value": text}]).to_string();
        return keylist::parse(entry.as_bytes())
            .or_else(|_| keylist::parse(text.as_bytes()))
            .map(Some);
    }
    let looks = |list: &KeyList| {
        let mut texts = list.entries.iter().map(|entry| entry.text.expose());
        !list.entries.is_empty() && texts.all(keylist::looks_like_a_key)
    };
    match keylist::parse(text.as_bytes()) {
        Err(error) if is_meant(text) => Err(error),
        said => Ok(said.ok().filter(looks)),
    }
}

/// Whether what cannot be read was meant to be keys, by where they stand in it: others may have a key of Google's
/// among what is theirs. What is not even JSON may be a list that somebody is writing.
fn is_meant(text: &str) -> bool {
    let is_key = |value: &Value| {
        let text = value.as_str().or_else(|| value.get("value")?.as_str());
        text.is_some_and(keylist::looks_like_a_key)
    };
    let lacks_one = |value: &Value| value.is_object() && value.get("value").is_none();
    let are_keys = |members: &Vec<Value>| {
        members.iter().any(is_key) && members.iter().all(|one| is_key(one) || lacks_one(one))
    };
    match serde_json::from_str(text) {
        Ok(Value::Array(members)) => are_keys(&members),
        Ok(object) => {
            let listed = object.get("keys").and_then(Value::as_array);
            is_key(&object) || listed.is_some_and(are_keys)
        }
        Err(_) => is_begun(text),
    }
}

/// Whether something that is no JSON begins as a list of keys does, and has a key where a list has one. Quotes are
/// not asked for: they may be what is wrong.
fn is_begun(text: &str) -> bool {
    let is_mark = |c: char| "[]{},:".contains(c);
    let words = text.split(|c: char| c.is_whitespace() || "\"'".contains(c));
    let parts: Vec<&str> = words
        .flat_map(|word| word.split_inclusive(is_mark))
        .flat_map(|part| <[&str; 2]>::from(part.split_at(part.trim_end_matches(is_mark).len())))
        .filter(|part: &&str| !part.is_empty())
        .collect();
    let first = parts.iter().find(|part| !["[", "{"].contains(part));
    let begins =
        first.is_some_and(|name| keylist::looks_like_a_key(name) || keylist::is_field(name));
    let mut before = ["", ""];
    text.starts_with(['[', '{'])
        && begins
        && parts.into_iter().any(|part| {
            let listed = matches!(before, [_, "[" | ","] | ["value", ":"]);
            before = [before[1], part];
            listed && keylist::looks_like_a_key(part)
        })
}

/// What is kept of an entry, read as UTF-8: nothing if it is something else's, and an empty text if its bytes are
/// needed.
#[must_use]
pub fn kept(name: &str, text: &str) -> Option<String> {
    let text = text.trim_start_matches('\u{feff}');
    let plain = text.replace(['\0', '\u{feff}', '\u{fffd}'], "");
    if matches!(entry_list(name, &plain), Ok(None)) {
        return None;
    }
    let is_whole = plain.len() == text.len() || is_utf_16(text);
    Some(if is_whole { plain } else { String::new() })
}

/// Whether it was UTF-16 of ASCII alone, of which nothing is lost: behind the mark each other character is a zero.
fn is_utf_16(text: &str) -> bool {
    let text = text.trim_start_matches('\u{fffd}');
    let first = usize::from(!text.starts_with('\0'));
    text.chars()
        .enumerate()
        .all(|(at, c)| (c == '\0') == (at % 2 == first) && c.is_ascii())
}

/// The entry of the one list.
const LIST: &str = "GEMINI_API_KEYS_CONFIG";

/// Labels are not longer.
const MOST_OF_A_NAME: usize = 100;

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

    const ONE: &str = "AIza-made-up-key-of-an-entry-1";
    const TWO: &str = "AQ.made-up-key-of-an-entry-2.of-the-newer-form";

    #[test]
    fn a_whole_list_single_entries_and_a_secret_add_up() {
        let found = json!({
            "config": json!([{"key": "first", "value": ONE, "project": "p"}, "made-up-key-2"]).to_string(),
            "entries": [["second", format!("{TWO}\n")], ["first-again", ONE]],
            "secret": "made-up-key-3, made-up-key-4",
        });
        let (labels, problems) = labels(&found);
        assert_eq!(problems, 0);
        assert_eq!(labels.len(), 5, "{labels:?}");
        assert!(
            ["first", "second"]
                .iter()
                .all(|name| labels.contains(&(*name).to_owned()))
        );
    }

    #[test]
    fn a_key_whose_two_places_contradict_each_other_is_named() {
        let first = json!([{"label": "first", "value": ONE, "project": "p"}]).to_string();
        let second = json!([{"value": ONE, "project": "q", "weight": 2}]).to_string();
        let keys = read(
            &json!({"config": first, "secret": second}).to_string(),
            &[],
            true,
        );
        assert!(keys.replace);
        assert_eq!(
            keys.problems,
            [
                "the key first is given twice and counts once: its other place says something else of its project, which is ignored"
            ]
        );
    }

    #[test]
    fn where_no_key_is_to_be_used_it_is_said() {
        let list = |second: bool| {
            json!([{"value": ONE, "enabled": false}, {"value": TWO, "enabled": second}]).to_string()
        };
        let said = |second| {
            read(&json!({"config": list(second)}).to_string(), &[], false)
                .problems
                .len()
        };
        assert_eq!((said(false), said(true)), (1, 0));
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
    fn what_others_keep_in_the_namespace_is_named_is_no_key_and_stands_in_no_way() {
        let apps = json!({"apiKey": ONE, "appId": "1:2:web:3"}).to_string();
        let mixed = json!([TWO, "s3ss10n-secret-of-another-app"]).to_string();
        let more = json!([TWO, "a word", 17]).to_string();
        let settings = json!([{"name": "maps", "value": ONE}, {"name": "theme", "value": "dark"}]);
        let settings = settings.to_string();
        let of_an_app = [
            format!("{{\"t\":1,\"k\":\"{TWO}\"}}\n{{\"t\":2}}"),
            format!("{{\"key\":\"{TWO}\",\"hits\":1}}\n{{\"key\":\"{TWO}\",\"hits\":2}}"),
            format!("{{\"project\":\"p\",\"apiKey\":\"{TWO}\",}}"),
            format!("[2026-11-23T12:00:00Z] GET /maps, {TWO} 200"),
            format!("{{apiKey: \"{TWO}\"}}"),
            format!("[map](https://maps.example/?key={TWO})"),
            format!("[\"see key={TWO}\""),
            format!("<script src=\"https://maps.example/?key={TWO}\"></script>"),
        ];
        for others in [
            r#"{"currentIndex":3}"#,
            r#"{"theme":"dark","keys":7}"#,
            r#"{"keys":[1,2]}"#,
            r#"{"keys":["dark-mode"],"currentIndex":3}"#,
            r#"["dark-mode","light-mode"]"#,
            r#"[{"id":1},2]"#,
            "[[]]",
            "[dark",
            "17",
            "a word and another",
            "2026-11-23T12:00:00.000Z",
            "s3ss10n-secret-of-another-app",
            &apps,
            &mixed,
            &more,
            &settings,
        ]
        .into_iter()
        .chain(of_an_app.iter().map(String::as_str))
        {
            assert_eq!(kept("STATE", others), None, "{others}");
            let found = json!({"entries": [["STATE", others], ["first", ONE]]});
            let keys = read(&found.to_string(), &[], true);
            assert!(keys.replace, "{others}");
            let texts: Vec<&str> = keys.keys.iter().map(|key| key.text.expose()).collect();
            assert_eq!(texts, [ONE], "{others}");
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
            ("second", format!(r#"["{TWO}""#)),
            ("second", format!("['{TWO}']")),
            ("second", format!("[{TWO}, {TWO}]")),
            (
                "second",
                format!(r#"[{{"key": "my own", "value": "{TWO}",}}]"#),
            ),
            ("second", format!(r#"{{"keys": ["{TWO}"]"#)),
            ("second", format!(r#"["{TWO}", {{"key": "home"}}]"#)),
            ("second", format!(r#"[{{"value":"{TWO}","proiect":"a"}}]"#)),
            (
                "second",
                format!(r#"{{"keys":["{TWO}"],"currentIndex":3}}"#),
            ),
            (LIST, r#"{"currentIndex":3}"#.to_owned()),
        ] {
            assert_eq!(kept(name, &broken).as_ref(), Some(&broken));
            let found = json!({"entries": [[name, broken], ["first", ONE]]});
            let keys = read(&found.to_string(), &[], true);
            assert!(!keys.replace, "{broken}");
            let said = keys.problems.join("\n");
            assert!(said.contains(name) && said.contains("read before are used"));
            assert!(!said.contains("made-up"), "{said}");
            assert!(read(&found.to_string(), &[], false).replace);
        }
    }

    #[test]
    fn entries_that_were_not_read_for_want_of_requests_take_no_key_away() {
        let found = json!({"entries": [["first", ONE]], "unread": true}).to_string();
        let keys = read(&found, &[], true);
        let said = keys.problems.join("\n");
        assert!(!keys.replace);
        assert!(said.contains("cannot all be read") && said.contains("read before are used"));
        assert!(
            read(&found, &[], false).replace,
            "some are better than none"
        );
        // The hundred are a limit, and what they are changes.
        let more = json!({"entries": [["first", ONE]], "more": true}).to_string();
        assert!(read(&more, &[], true).replace);
    }

    #[test]
    fn a_key_where_an_entrys_name_belongs_is_not_said() {
        for entries in [
            json!([[ONE, "work"], ["second", TWO]]),
            json!([[ONE, format!("[\"{TWO}")], ["second", TWO]]),
            json!([["made-up-token-1", "work"], ["second", TWO]]),
            json!([[format!("old-{ONE}"), "work"], ["second", TWO]]),
            json!([[format!("{ONE}/x"), "["], ["second", TWO]]),
            json!([[format!("u:{ONE}"), format!("[\"{TWO}")], ["second", TWO]]),
        ] {
            let tokens = [("alice".to_owned(), KeyText::new("made-up-token-1").unwrap())];
            let keys = read(&json!({ "entries": entries }).to_string(), &tokens, false);
            let said = keys.problems.join("; ");
            assert!(
                said.contains("whose name is a key") && !said.contains("made-up"),
                "{said}"
            );
        }
    }

    #[track_caller]
    fn kept_of_utf_16(text: &str) -> Option<String> {
        let [little, big] = [u16::to_le_bytes, u16::to_be_bytes].map(|bytes| {
            let bytes: Vec<u8> = text.encode_utf16().flat_map(bytes).collect();
            kept("first", &String::from_utf8_lossy(&bytes))
        });
        assert_eq!(little, big);
        little
    }

    #[test]
    fn an_entrys_name_with_a_key_in_it_is_no_label() {
        let found = json!({"entries": [[format!("old-{ONE}"), TWO]]});
        let (labels, problems) = labels(&found);
        assert_eq!((labels, problems), (vec!["key_0".to_owned()], 0));
    }

    #[test]
    fn of_utf_16_that_was_read_as_utf_8_bytes_are_asked_for_only_if_something_is_lost() {
        for text in [
            ONE.to_owned(),
            format!("\u{feff}{ONE}\r\n"),
            format!("[\"{ONE}\"]"),
        ] {
            let plain = text.trim_start_matches('\u{feff}').to_owned();
            assert_eq!(kept_of_utf_16(&text), Some(plain.clone()));
            assert_eq!(kept("first", &text), Some(plain));
        }
        let labelled = format!("\u{feff}[{{\"label\":\"khóa ế\",\"value\":\"{ONE}\"}}]");
        assert_eq!(kept_of_utf_16(&labelled), Some(String::new()));
        assert_eq!(kept_of_utf_16("\u{feff}theme: dark"), None);
        assert_eq!(kept("picture", "\0\u{fffd}PNG\u{fffd} AIza"), None);
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
