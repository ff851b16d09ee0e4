//! Client tokens, in every form that a variable or a secret of a Worker can have.
//!
//! Words as natively, or a table or a list, as `wrangler.toml` has them and JSON in a secret. Whoever says a token is let
//! in, and what is taken apart in the wrong place makes tokens of what was none: the braces of JSON that does not parse, or
//! the name in a table that was meant as one token's parts. Where that may have happened nobody is let in: names are
//! short, so of several secrets each has to be long.

use gemini_relay_core::value::Remedy;
use gemini_relay_core::{KeyText, options};
use serde_json::Value;

/// Names and secrets.
///
/// # Errors
/// Where something is no token, and what to write instead; never a word of it.
pub(crate) fn read(given: Option<&Value>) -> Result<Vec<(String, KeyText)>, String> {
    let said = match given {
        None => return Ok(Vec::new()),
        // What a variable that was not set leaves behind.
        Some(Value::String(text)) if text.trim().is_empty() => return Ok(Vec::new()),
        // A secret is always a text, of a table or list too.
        Some(Value::String(text)) if text.trim_start().starts_with(['{', '[']) => {
            members(&json(text).map_err(whole)?)
        }
        Some(Value::String(text)) => words(text),
        Some(other) => members(other),
    };
    let several = said.len() > 1;
    if said.is_empty() {
        return Err(whole(NOTHING));
    }
    said.into_iter()
        .enumerate()
        .map(|(at, token)| match token {
            Ok((_, secret)) if several && options::is_short(&secret) => Err((at, SHORT.to_owned())),
            said => said.map_err(|remedy| (at, remedy.to_owned())),
        })
        .collect::<Result<Vec<_>, _>>()
        .and_then(options::named)
        .map_err(|(at, remedy)| format!(", token {}: {remedy}", at + 1))
}

fn whole(remedy: Remedy) -> String {
    format!(": {remedy}")
}

/// A token and, if it has one, its name.
type Token = (Option<String>, KeyText);

fn json(text: &str) -> Result<Value, Remedy> {
    let value = serde_json::from_str(text).map_err(|_| NO_JSON)?;
    // Of two with the same name the reader keeps the last.
    if count(&value) == colons(text) {
        Ok(value)
    } else {
        Err("a name is there twice; give each token its own")
    }
}

/// How many names with something behind them there are in all objects.
fn count(value: &Value) -> usize {
    match value {
        Value::Object(fields) => fields.len() + fields.values().map(count).sum::<usize>(),
        Value::Array(members) => members.iter().map(count).sum(),
        _ => 0,
    }
}

/// How many a text says there are that is JSON.
fn colons(text: &str) -> usize {
    let (mut colons, mut quoted, mut escaped) = (0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b':' if !quoted => colons += 1,
            _ => {}
        }
    }
    colons
}

fn words(text: &str) -> Vec<Result<Token, Remedy>> {
    let mut said: Vec<_> = options::words(text).map(options::token).collect();
    if said.len() > 1 {
        for token in &mut said {
            if let Ok((Some(name), _)) = token
                && is_part(name)
            {
                *token = Err(NO_PARTS);
            }
        }
    }
    said
}

fn members(given: &Value) -> Vec<Result<Token, Remedy>> {
    match given {
        Value::Array(members) => members.iter().map(token).collect(),
        Value::Object(table) if !table.keys().any(|name| is_part(name)) => {
            let named = |(name, secret): (&String, &Value)| {
                let token = options::token_of(Some(name), secret.as_str().ok_or(NO_TOKEN)?)?;
                if options::is_short(&token.1) {
                    return Err(SHORT);
                }
                Ok(token)
            };
            table.iter().map(named).collect()
        }
        other => vec![token(other)],
    }
}

/// One of a list of tokens. Nothing in it is taken apart: what is a name there would open the door.
fn token(given: &Value) -> Result<Token, Remedy> {
    match given {
        Value::String(word) if options::words(word).next() == Some(word) => options::token(word),
        Value::Object(fields) => {
            let field = |name| fields.get(name).map(|field| field.as_str().ok_or(NO_TOKEN));
            let (name, secret) = (field("name").transpose()?, field("secret").transpose()?);
            let known = usize::from(name.is_some()) + usize::from(secret.is_some());
            match secret.filter(|_| known == fields.len()) {
                Some(secret) => options::token_of(name, secret),
                None => Err(NO_PARTS),
            }
        }
        _ => Err(NO_TOKEN),
    }
}

/// Whether people call a part of one token so. A table with one of these is not read as one of names and secrets:
/// `name = "alice"` would let in whoever says `alice`. For words that are not known there is [`SHORT`].
fn is_part(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace(['-', '_', '.', ' '], "");
    PARTS.contains(&name.as_str())
}

const PARTS: [&str; 23] = [
    "apikey",
    "client",
    "clientid",
    "clientname",
    "clientsecret",
    "email",
    "id",
    "key",
    "label",
    "login",
    "name",
    "pass",
    "passwd",
    "password",
    "pwd",
    "secret",
    "secrettext",
    "text",
    "token",
    "user",
    "userid",
    "username",
    "value",
];

const NO_JSON: Remedy = "it begins as JSON does and is none, perhaps because its first line alone came; write it as JSON on one line, or as name=SECRET";

const NOTHING: Remedy = r#"there is none in it; write "name=SECRET", or remove it"#;

const NO_TOKEN: Remedy = r#"write "name=SECRET", or a table of alice = "SECRET", or a list of { name = "alice", secret = "SECRET" }"#;

const NO_PARTS: Remedy = r#"a token's parts are name and secret, as in { name = "alice", secret = "SECRET" }; and of several clients, or in a table, none is called by a word for such a part, such as user or id"#;

/// The name of a client may stand where a secret should, and names are short.
const SHORT: Remedy = "of several secrets, and in a table, each has 16 characters or more";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use serde_json::json;

    #[test]
    fn a_token_that_is_none_lets_nobody_in() {
        for tokens in ["alice=", "alice==", "a=made-up-1 b=made-up-1", ","] {
            let config = Config::read(&format!(
                r#"{{"GEMINI_RELAY_TOKENS":"{tokens}","GEMINI_RELAY_ALLOW_ANONYMOUS":"on"}}"#
            ));
            assert!(config.tokens.is_empty() && !config.anonymous, "{tokens}");
            assert_eq!(config.problems.len(), 1);
            assert!(!config.problems[0].contains("made-up"));
        }
    }

    #[track_caller]
    fn tokens(given: &Value) -> Vec<String> {
        let variables = json!({"GEMINI_RELAY_TOKENS": given, "GEMINI_RELAY_ALLOW_ANONYMOUS": "on"});
        let config = Config::read(&variables.to_string());
        assert!(!config.anonymous);
        assert_eq!(config.problems.is_empty(), !config.tokens.is_empty());
        let shown = |(name, secret): &(String, KeyText)| format!("{name}={}", secret.expose());
        config.tokens.iter().map(shown).collect()
    }

    #[test]
    fn tables_and_lists_of_tokens_are_taken_as_they_are() {
        let listed = json!([
            {"name": "alice", "secret": "made-up-and-long-1"}, "bob=made-up-and-long-2", {"secret": "made=up-and-long-3"}
        ]);
        let named = [
            "alice=made-up-and-long-1",
            "bob=made-up-and-long-2",
            "client_0=made=up-and-long-3",
        ];
        assert_eq!(tokens(&listed), named);
        let table = json!({"alice": "made-up-and-long-1", "bob": "made-up-and-long-2"});
        assert_eq!(
            tokens(&table),
            ["alice=made-up-and-long-1", "bob=made-up-and-long-2"]
        );
        let one = json!({"name": "alice", "secret": "made-up-1"});
        assert_eq!(tokens(&one), ["alice=made-up-1"]);
        for text in [listed, table, one] {
            assert_eq!(tokens(&json!(text.to_string())), tokens(&text));
        }
    }

    #[test]
    fn what_begins_as_json_and_is_none_lets_nobody_in() {
        for text in [
            r#"{ "alice": "made-up-and-long-1", }"#,
            r#"[{ "name": "alice", "secret": "made-up-1" }"#,
            r#"{ alice = "made-up-and-long-1" }"#,
            "{ 'alice': 'made-up-and-long-1' }",
            "{",
            "[",
            "[{",
            "{made-up-1",
            r#"{"alice": "made-up-and-long-1"} x"#,
            // One of the two would be let in, and nobody could say which.
            r#"{"alice": "made-up-and-long-1", "alice": "made-up-and-long-2"}"#,
            r#"{"alice": "made-up-and-long-1", "\u0061lice": "made-up-and-long-2"}"#,
            r#"[{"name": "alice", "secret": "made-up-1", "secret": "made-up-2"}]"#,
            "{}",
            " [ ]",
            "[{}]",
        ] {
            assert_eq!(tokens(&json!(text)), [""; 0], "{text}");
        }
        let config = Config::read(&json!({"GEMINI_RELAY_TOKENS": "{"}).to_string());
        assert!(config.problems[0].contains("begins as JSON"));
        let secret = r#"made:"up:and"-long\"#;
        let text = json!({"alice": secret}).to_string();
        assert_eq!(tokens(&json!(text)), [format!("alice={secret}")]);
    }

    #[test]
    fn the_pieces_of_what_was_meant_otherwise_let_nobody_in() {
        let house = "alice-of-the-house";
        for text in [
            r#"'{"alice": "made-up-and-long-1"}'"#,
            r#"'["alice", "made-up-and-long-1"]'"#,
            r#""{\"alice\": \"made-up-and-long-1\"}""#,
            r#"GEMINI_RELAY_TOKENS={"alice": "made-up-and-long-1"}"#,
            &format!(r#"GEMINI_RELAY_TOKENS={{"{house}": "made-up-and-long-1"}}"#),
            &format!(r#"'{{"{house}": "made-up-and-long-1"}}'"#),
            "name=alice secret=made-up-and-long-1",
            &format!("name={house} secret=made-up-and-long-1"),
            "alice =made-up-and-long-1",
            "alice= made-up-and-long-1",
            &format!("{house} =made-up-and-long-1"),
            "alice => made-up-and-long-1",
            "name,secret\nalice,made-up-and-long-1",
            "# mine\nalice=made-up-and-long-1",
            "Bearer made-up-and-long-1",
            "\"alice=made-up-and-long-1\"",
            r#"["alice", "made-up-and-long-1"]"#,
            "undefined",
            "null",
            "name=SECRET",
            "alice=SECRET, bob=made-up-and-long-1",
            "user: alice\npassword: made-up-and-long-1",
        ] {
            assert_eq!(tokens(&json!(text)), [""; 0], "{text}");
        }
        for text in ["name=made-up-1", "made-up-1", "null=made-up-1"] {
            assert_eq!(tokens(&json!(text)).len(), 1, "{text}");
        }
    }

    #[test]
    fn a_table_of_one_tokens_parts_lets_in_nobody_by_its_name() {
        for given in [
            json!({"Name": "alice-of-the-house", "Secret": "made-up-and-long-1"}),
            json!({"user": "alice@made-up.example", "password": "made-up-and-long-1"}),
            json!({"ID": "alice-of-the-house", "secret_text": "made-up-and-long-1"}),
            json!({"client-id": "alice-of-the-house", "client-secret": "made-up-and-long-1"}),
            // Whatever its parts are called.
            json!({"nom": "alice", "mot_de_passe": "made-up-and-long-1"}),
        ] {
            assert_eq!(tokens(&given), [""; 0], "{given}");
            assert_eq!(tokens(&json!(given.to_string())), [""; 0], "{given}");
        }
    }

    #[test]
    fn what_is_no_token_in_a_table_or_list_lets_nobody_in() {
        for given in [
            json!(null),
            json!(true),
            json!(12_345_678),
            json!({"alice smith": "made-up-and-long-1"}),
            json!({"alice": "made up and long 1"}),
            json!({"alice": "made-up-and-long-1,x"}),
            json!({"alice": null}),
            json!({"alice": 12_345_678}),
            json!({"alice": {"secret": "made-up-1"}}),
            json!({"alice": ["made-up-1"]}),
            json!({"alice": "made-up-and-long-1", "bob": ""}),
            json!({"name": "alice"}),
            json!({"name": "alice", "token": "made-up-1"}),
            json!({"key": "alice-of-the-house", "value": "made-up-and-long-1"}),
            json!({"name": "alice", "secret": "made-up-1", "bob": "made-up-2"}),
            json!([{"name": "alice"}]),
            json!([{"alice": "made-up-1"}]),
            json!([{"name": "alice", "secret": true}]),
            json!([{"name": null, "secret": "made-up-1"}]),
            json!(["alice=made-up-1 bob"]),
            json!([["made-up-1"]]),
            json!([{}]),
            json!([]),
            json!({}),
            json!({"alice": "made-up-1"}),
        ] {
            assert_eq!(tokens(&given), [""; 0], "{given}");
            if given.is_object() || given.is_array() {
                assert_eq!(tokens(&json!(given.to_string())), [""; 0], "{given}");
            }
        }
    }
}
