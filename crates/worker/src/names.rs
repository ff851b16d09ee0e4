//! The names of settings. A setting under a name that nobody reads would be silent: the native relay does not
//! start then, and the Worker says so in its log. Where such a name may have been meant to keep somebody out,
//! nobody is let in without a token.

use gemini_relay_core::options;
use serde_json::Value;

/// A variable that nobody reads.
pub(crate) struct Stray {
    /// What is wrong with it, for the log.
    pub(crate) said: String,
    /// Whether it may have been meant to say who is let in.
    pub(crate) is_of_the_door: bool,
}

/// Those variables that nobody reads.
pub(crate) fn strays(variables: &Value) -> Vec<Stray> {
    let given = variables.as_object().into_iter().flatten();
    given.filter_map(|(name, _)| stray(name)).collect()
}

fn stray(variable: &str) -> Option<Stray> {
    // Whoever writes it otherwise means the same.
    let upper = variable.to_ascii_uppercase().replace('-', "_");
    let Some(name) = upper.strip_prefix(PREFIX) else {
        return NATIVE_KEYS.contains(&variable).then(|| Stray {
            said: format!("{variable} does nothing on a Worker; {KEYS_ARE}"),
            is_of_the_door: false,
        });
    };
    if upper == variable && HERE.contains(&name) {
        return None;
    }
    let near = options::nearest(name, HERE);
    let is_of_the_door = [name]
        .into_iter()
        .chain(near)
        .any(|name| DOOR.iter().any(|word| name.contains(word)));
    let mut said = match near {
        _ if ELSEWHERE.contains(&name) => format!("{variable} does nothing on a Worker"),
        Some(near) => format!("there is no setting {variable} (did you mean {PREFIX}{near}?)"),
        None => format!("there is no setting {variable}"),
    };
    if KEYS.contains(&name) {
        said = format!("{said}; {KEYS_ARE}");
    }
    if is_of_the_door {
        said = format!("{said}; nobody is let in without a token until it is gone");
    }
    Some(Stray {
        said,
        is_of_the_door,
    })
}

const PREFIX: &str = "GEMINI_RELAY_";

/// Those that the Worker reads.
const HERE: [&str; 20] = [
    "AFFINITY",
    "ALLOW_ANONYMOUS",
    "ALLOW_HOST",
    "ALLOW_ORIGIN",
    "ATTEMPTS",
    "BASE_PATH",
    "BODY_TIMEOUT",
    "EGRESS_REGION",
    "FIRST_BYTE_TIMEOUT",
    "IDLE_TIMEOUT",
    "LOG_FORMAT",
    "LOG_LEVEL",
    "MAX_WAIT",
    "MAX_WAITING",
    "REPLAY_LIMIT",
    "REPLAY_TOTAL",
    "RESPONSE_HEADERS",
    "STRATEGY",
    "TOKENS",
    "UPSTREAM",
];

/// Those that only the native relay has.
const ELSEWHERE: [&str; 16] = [
    "CA",
    "CONFIG",
    "CONNECT_TIMEOUT",
    "DRAIN_DELAY",
    "DRAIN_LIMIT",
    "KEYS",
    "KEYS_FILE",
    "LISTEN",
    "MAX_CONNECTIONS",
    "PROXY",
    "TLS",
    "TLS_CA_FILE",
    "TLS_CERT",
    "TLS_KEY",
    "TOKENS_FILE",
    "WORKERS",
];

/// What the names of settings have in them that keep somebody out, here and elsewhere.
const DOOR: [&str; 8] = [
    "ALLOW",
    "ANONYMOUS",
    "AUTH",
    "CLIENT",
    "HOST",
    "ORIGIN",
    "PASSWORD",
    "TOKEN",
];

/// What may be meant for keys. The first two are native.
const KEYS: [&str; 4] = ["KEYS", "KEYS_FILE", "KEY", "API_KEYS"];

/// Those in which the native relay looks for a key too.
const NATIVE_KEYS: [&str; 2] = ["GEMINI_API_KEY", "GOOGLE_API_KEY"];

const KEYS_ARE: &str = "keys are in KV, or in the secret GEMINI_API_KEYS";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use serde_json::json;
    use std::collections::BTreeSet;

    #[test]
    fn a_misspelt_setting_is_said_with_the_one_that_was_meant() {
        for (variable, said) in [
            (
                "GEMINI_RELAY_EGRESS_REGIONS",
                "there is no setting GEMINI_RELAY_EGRESS_REGIONS (did you mean GEMINI_RELAY_EGRESS_REGION?)",
            ),
            (
                "GEMINI_RELAY_TOKEN",
                "there is no setting GEMINI_RELAY_TOKEN (did you mean GEMINI_RELAY_TOKENS?); nobody is let in without a token until it is gone",
            ),
            (
                "gemini_relay_max_wait",
                "there is no setting gemini_relay_max_wait (did you mean GEMINI_RELAY_MAX_WAIT?)",
            ),
            (
                "GEMINI_RELAY_KEYS",
                "GEMINI_RELAY_KEYS does nothing on a Worker; keys are in KV, or in the secret GEMINI_API_KEYS",
            ),
            (
                "GOOGLE_API_KEY",
                "GOOGLE_API_KEY does nothing on a Worker; keys are in KV, or in the secret GEMINI_API_KEYS",
            ),
            ("GEMINI_RELAY_XYZ", "there is no setting GEMINI_RELAY_XYZ"),
            (
                "GEMINI_RELAY_DRAIN_LIMIT",
                "GEMINI_RELAY_DRAIN_LIMIT does nothing on a Worker",
            ),
        ] {
            let config = Config::read(&json!({variable: "made-up"}).to_string());
            assert_eq!(config.problems, [said]);
        }
    }

    #[test]
    fn a_misspelt_setting_of_the_door_lets_nobody_in_without_a_token() {
        for name in [
            "TOKEN",
            "TOKNES",
            "TOKENS_FILE",
            "CLIENT_TOKENS",
            "ALLOW_HOSTS",
            "ALLOWED_ORIGINS",
            "HOSTS",
        ] {
            let mut variables =
                json!({format!("{PREFIX}{name}"): "x", "GEMINI_RELAY_ALLOW_ANONYMOUS": "on"});
            let config = Config::read(&variables.to_string());
            assert!(!config.anonymous, "{name}");
            assert!(config.problems[0].contains("nobody is let in"), "{name}");
            variables["GEMINI_RELAY_TOKENS"] = json!("alice=made-up-1");
            assert_eq!(Config::read(&variables.to_string()).tokens.len(), 1);
        }
        for name in [
            "gemini_relay_tokens",
            "GEMINI_RELAY_token",
            "Gemini-Relay-Tokens",
            "gemini_relay_allow_host",
        ] {
            let variables = json!({name: "x", "GEMINI_RELAY_ALLOW_ANONYMOUS": "on"});
            assert!(!Config::read(&variables.to_string()).anonymous, "{name}");
        }
        for name in [
            "EGRESS_REGIONS",
            "MAXWAIT",
            "KEYS",
            "GEMINI_API_KEY",
            "LISTEN",
        ] {
            let variables =
                json!({format!("{PREFIX}{name}"): "x", "GEMINI_RELAY_ALLOW_ANONYMOUS": "on"});
            assert!(Config::read(&variables.to_string()).anonymous, "{name}");
        }
    }

    #[test]
    fn every_setting_that_is_said_to_be_read_is_read() {
        for name in HERE {
            let nonsense = if name == "TOKENS" { "a=" } else { "?" };
            let variable = format!("{PREFIX}{name}");
            let config = Config::read(&json!({&variable: nonsense}).to_string());
            assert!(
                config.problems.iter().any(|said| said.contains(&variable)),
                "{name}"
            );
        }
    }

    #[test]
    fn every_native_setting_is_known() {
        let native: BTreeSet<&str> = include_str!("../../../docs/defaults.md")
            .split(PREFIX)
            .skip(1)
            .map(|after| {
                let end = after.find(|c: char| !(c.is_ascii_uppercase() || c == '_'));
                &after[..end.unwrap_or(after.len())]
            })
            .collect();
        let known: BTreeSet<&str> = HERE
            .into_iter()
            .filter(|name| *name != "EGRESS_REGION")
            .chain(ELSEWHERE)
            .collect();
        assert_eq!(native, known);
    }
}
