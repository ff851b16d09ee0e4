//! The names of settings. A setting under a name that nobody reads would be silent: the native relay does not
//! start then, and the Worker says so in its log.

use gemini_relay_core::options;
use serde_json::Value;

/// What is wrong with those variables that nobody reads.
pub(crate) fn strays(variables: &Value) -> Vec<String> {
    let given = variables.as_object().into_iter().flatten();
    given.filter_map(|(name, _)| stray(name)).collect()
}

fn stray(variable: &str) -> Option<String> {
    let name = variable.strip_prefix(PREFIX)?;
    if HERE.contains(&name) {
        return None;
    }
    if ELSEWHERE.contains(&name) {
        return Some(format!("{variable} does nothing on a Worker"));
    }
    Some(match options::nearest(name, HERE) {
        Some(near) => {
            format!("there is no setting {variable}; did you mean {PREFIX}{near}?")
        }
        None => format!("there is no setting {variable}"),
    })
}

const PREFIX: &str = "GEMINI_RELAY_";

/// Those that the Worker reads.
const HERE: [&str; 19] = [
    "AFFINITY",
    "ALLOW_ANONYMOUS",
    "ALLOW_HOST",
    "ALLOW_ORIGIN",
    "ATTEMPTS",
    "BASE_PATH",
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
const ELSEWHERE: [&str; 17] = [
    "BODY_TIMEOUT",
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
                "there is no setting GEMINI_RELAY_EGRESS_REGIONS; did you mean GEMINI_RELAY_EGRESS_REGION?",
            ),
            (
                "GEMINI_RELAY_TOKEN",
                "there is no setting GEMINI_RELAY_TOKEN; did you mean GEMINI_RELAY_TOKENS?",
            ),
            ("GEMINI_RELAY_XYZ", "there is no setting GEMINI_RELAY_XYZ"),
            (
                "GEMINI_RELAY_BODY_TIMEOUT",
                "GEMINI_RELAY_BODY_TIMEOUT does nothing on a Worker",
            ),
        ] {
            let config = Config::read(&json!({variable: "made-up"}).to_string());
            assert_eq!(config.problems, [said]);
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
