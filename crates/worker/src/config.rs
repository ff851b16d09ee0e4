//! Settings, from the Worker's variables and secrets, under the native names.
//!
//! A Worker that cannot start would answer everything with a page of Cloudflare's. So a value that
//! makes no sense is said in the log, by name and with what to write instead, and its default holds;
//! except where that would let somebody in: then nobody is. What a text means is core's (`options`).

use crate::log::Level;
use crate::{names, tokens};
use gemini_relay_core::value::{self, Remedy};
use gemini_relay_core::{KeyText, Settings, Strategy, options};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::HashSet;
use std::time::Duration;

/// What an operator can decide of a Worker.
#[derive(Debug)]
pub struct Config {
    pub(crate) settings: Settings,
    pub(crate) base_path: String,
    /// Names and secrets.
    pub(crate) tokens: Vec<(String, KeyText)>,
    pub(crate) anonymous: bool,
    pub(crate) origins: Vec<String>,
    pub(crate) hosts: Vec<String>,
    pub(crate) upstream: Upstream,
    pub(crate) body_timeout: Duration,
    pub(crate) first_byte_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) replay_limit: usize,
    pub(crate) replay_total: usize,
    pub(crate) response_headers: bool,
    pub(crate) json_log: bool,
    pub(crate) log: Level,
    /// Regions to send from, when Google does not serve the place where this runs.
    pub(crate) regions: Vec<String>,
    /// What is wrong, for the log.
    pub problems: Vec<String>,
}

/// Where requests go.
#[derive(Debug)]
pub(crate) struct Upstream {
    /// `https://HOST[:PORT][/PATH]`, without a slash at its end.
    pub(crate) url: String,
    pub(crate) host: String,
}

impl Config {
    /// Reads the variables, a JSON object: secrets are texts, and of `wrangler.toml` whatever TOML has.
    #[must_use]
    pub fn read(variables: &str) -> Self {
        let variables: Value = serde_json::from_str(variables).unwrap_or_default();
        let mut read = Reader {
            variables,
            problems: Vec::new(),
        };
        let mut closed = false;
        let tokens = tokens::read(read.given("TOKENS")).unwrap_or_else(|problem| {
            closed = true;
            read.problems.push(format!(
                "GEMINI_RELAY_TOKENS{problem}; nobody is let in until then"
            ));
            Vec::new()
        });
        let mut allowed = |name, what: fn(&str) -> Result<String, Remedy>| {
            let list = read.list(name, what);
            if read.is_given(name) && list.is_empty() {
                closed = true;
                read.problems.push(format!(
                    "GEMINI_RELAY_{name}: nothing is left of it; nobody is let in without a token until then"
                ));
            }
            list
        };
        let origins = allowed("ALLOW_ORIGIN", options::origin);
        let hosts = allowed("ALLOW_HOST", options::host);
        let mut regions = read.list("EGRESS_REGION", region);
        let mut met = HashSet::new();
        regions.retain(|region| met.insert(region.clone()));
        // Each of them is a request of the Worker's own too.
        let more = u32::try_from(regions.len().saturating_sub(1)).unwrap_or_default();
        let settings = Settings {
            strategy: read.value("STRATEGY", Strategy::RoundRobin, options::strategy),
            affinity: read.value("AFFINITY", true, value::on_off),
            max_wait: read.value("MAX_WAIT", Duration::from_secs(30), value::duration),
            max_waiting: read.value("MAX_WAITING", 1024, options::max_waiting),
            attempts: Some(
                read.value("ATTEMPTS", None, options::attempts)
                    .unwrap_or(MOST_ATTEMPTS)
                    .min(MOST_ATTEMPTS - more),
            ),
        };
        for stray in names::strays(&read.variables) {
            closed |= stray.is_of_the_door;
            read.problems.push(stray.said);
        }
        let anonymous = read.value("ALLOW_ANONYMOUS", false, value::on_off);
        Self {
            settings,
            base_path: read.value("BASE_PATH", String::new(), options::base_path),
            anonymous: anonymous && tokens.is_empty() && !closed,
            tokens,
            origins,
            hosts,
            upstream: read.value("UPSTREAM", Upstream::google(), Upstream::parse),
            body_timeout: read.value("BODY_TIMEOUT", BODY_TIMEOUT, options::some_time),
            first_byte_timeout: read.value("FIRST_BYTE_TIMEOUT", TEN_MINUTES, options::some_time),
            idle_timeout: read.value("IDLE_TIMEOUT", TEN_MINUTES, options::some_time),
            replay_limit: read.value("REPLAY_LIMIT", REPLAY_LIMIT, value::size),
            replay_total: read.value("REPLAY_TOTAL", REPLAY_TOTAL, value::size),
            response_headers: read.value("RESPONSE_HEADERS", true, value::on_off),
            json_log: read.value("LOG_FORMAT", false, |text| match text {
                "json" => Ok(true),
                "pretty" => Ok(false),
                _ => Err("write pretty or json"),
            }),
            log: read.value("LOG_LEVEL", Level::Info, |text| match text {
                "off" => Ok(Level::Off),
                "error" => Ok(Level::Error),
                "warn" => Ok(Level::Warn),
                "info" | "debug" | "trace" => Ok(Level::Info),
                _ => Err("write off, error, warn, info, debug or trace"),
            }),
            regions,
            problems: read.problems,
        }
    }
}

impl Upstream {
    fn google() -> Self {
        Self {
            url: "https://generativelanguage.googleapis.com".into(),
            host: "generativelanguage.googleapis.com".into(),
        }
    }

    fn parse(text: &str) -> Result<Self, Remedy> {
        let (scheme, authority, path) = options::upstream(text)?;
        Ok(Self {
            url: format!("{scheme}://{authority}{path}"),
            host: authority.host().to_owned(),
        })
    }
}

/// A place that Cloudflare lets one ask for.
fn region(word: &str) -> Result<String, Remedy> {
    let word = word.to_ascii_lowercase();
    if REGIONS.contains(&word.as_str()) {
        Ok(word)
    } else {
        Err("write wnam, enam, sam, weur, eeur, apac, oc, afr or me")
    }
}

struct Reader {
    variables: Value,
    problems: Vec<String>,
}

impl Reader {
    fn given(&self, name: &str) -> Option<&Value> {
        self.variables.get(format!("GEMINI_RELAY_{name}"))
    }

    /// A text of nothing is what a variable that was not set leaves behind.
    fn is_given(&self, name: &str) -> bool {
        match self.given(name) {
            None => false,
            Some(Value::String(text)) => !text.trim().is_empty(),
            Some(Value::Array(members)) => !members.is_empty(),
            Some(_) => true,
        }
    }

    fn value<T>(&mut self, name: &str, default: T, read: impl Fn(&str) -> Result<T, Remedy>) -> T {
        let Some(given) = self.given(name).filter(|_| self.is_given(name)) else {
            return default;
        };
        match text(given).and_then(|text| read(text.trim())) {
            Ok(value) => value,
            Err(remedy) => {
                // Not the value: it may be a secret under the wrong name.
                self.problems.push(format!(
                    "GEMINI_RELAY_{name}: {remedy}; its default is used"
                ));
                default
            }
        }
    }

    /// Those that make sense.
    fn list<T>(&mut self, name: &str, read: impl Fn(&str) -> Result<T, Remedy>) -> Vec<T> {
        let members = match self.given(name) {
            None => &[],
            Some(Value::Array(members)) => members.as_slice(),
            Some(one) => std::slice::from_ref(one),
        };
        let mut found = Vec::new();
        for member in members {
            match text(member) {
                Ok(text) => found.extend(options::words(&text).map(&read)),
                Err(remedy) => found.push(Err(remedy)),
            }
        }
        let mut list = Vec::new();
        for (at, found) in found.into_iter().enumerate() {
            match found {
                Ok(value) => list.push(value),
                Err(remedy) => self.problems.push(format!(
                    "GEMINI_RELAY_{name}, word {}: {remedy}; it is left out",
                    at + 1
                )),
            }
        }
        list
    }
}

/// What is written without quotes may be a number, or true or false.
fn text(given: &Value) -> Result<Cow<'_, str>, Remedy> {
    match given {
        Value::String(text) => Ok(text.into()),
        Value::Number(_) | Value::Bool(_) => Ok(given.to_string().into()),
        _ => Err("write a text in quotes"),
    }
}

/// A Worker may make 50 requests of its own for each of a client's, on the free plan. The plan, a report,
/// reading keys and one try through an egress object are among them.
const MOST_ATTEMPTS: u32 = 40;

/// Cloudflare's location hints (developers.cloudflare.com/durable-objects/reference/data-location).
const REGIONS: [&str; 9] = [
    "wnam", "enam", "sam", "weur", "eeur", "apac", "oc", "afr", "me",
];

/// As natively (docs/defaults.md).
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
const TEN_MINUTES: Duration = Duration::from_secs(600);

/// An isolate has 128 MB for everything: several such bodies must fit at once.
const REPLAY_LIMIT: usize = 16_000_000;
const REPLAY_TOTAL: usize = 48_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn native_names_mean_what_they_mean_natively() {
        let config = Config::read(
            r#"{"GEMINI_RELAY_MAX_WAIT":"5s","GEMINI_RELAY_ATTEMPTS":"all","GEMINI_RELAY_TOKENS":"alice=made-up-and-long-1, made-up-and-long-2",
               "GEMINI_RELAY_UPSTREAM":"http://127.0.0.1:1/x/v1beta/","GEMINI_RELAY_BASE_PATH":"/deep/er/"}"#,
        );
        assert_eq!(config.settings.max_wait, Duration::from_secs(5));
        assert_eq!(config.settings.attempts, Some(MOST_ATTEMPTS));
        let names: Vec<&str> = config.tokens.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["alice", "client_0"]);
        assert_eq!(config.upstream.url, "http://127.0.0.1:1/x");
        assert_eq!(config.base_path, "/deep/er");
        assert!(config.problems.is_empty(), "{:?}", config.problems);
    }

    #[test]
    fn a_wrong_value_is_said_by_name_and_its_default_holds() {
        let config = Config::read(r#"{"GEMINI_RELAY_MAX_WAIT":"soon"}"#);
        assert_eq!(config.settings.max_wait, Duration::from_secs(30));
        assert!(
            config.problems[0].contains("GEMINI_RELAY_MAX_WAIT")
                && !config.problems[0].contains("soon")
        );
    }

    #[test]
    fn values_without_quotes_and_lists_count_and_others_are_said() {
        let config = Config::read(
            r#"{"GEMINI_RELAY_ATTEMPTS":3,"GEMINI_RELAY_RESPONSE_HEADERS":false,"GEMINI_RELAY_EGRESS_REGION":["wnam","weur, sam"],
               "GEMINI_RELAY_MAX_WAIT":{"a":1},"GEMINI_RELAY_AFFINITY":null}"#,
        );
        assert_eq!(config.settings.attempts, Some(3));
        assert!(!config.response_headers);
        assert_eq!(config.regions, ["wnam", "weur", "sam"]);
        assert_eq!(config.problems.len(), 2, "{:?}", config.problems);
    }

    #[test]
    fn a_host_or_an_origin_of_which_nothing_is_left_lets_nobody_in_without_a_token() {
        for name in ["ALLOW_HOST", "ALLOW_ORIGIN"] {
            let name = format!("GEMINI_RELAY_{name}");
            for given in [
                json!("relay.example/?"),
                json!(["b/", "c/?"]),
                json!(","),
                json!({"a": "relay.example"}),
                json!(null),
            ] {
                let mut variables =
                    json!({name.clone(): given, "GEMINI_RELAY_ALLOW_ANONYMOUS": "on"});
                let config = Config::read(&variables.to_string());
                assert!(!config.anonymous, "{variables}");
                assert!(
                    config
                        .problems
                        .iter()
                        .any(|said| said.contains("nothing is left"))
                );
                variables["GEMINI_RELAY_TOKENS"] = json!("alice=made-up-1");
                assert_eq!(Config::read(&variables.to_string()).tokens.len(), 1);
            }
            let unset = json!({name: "", "GEMINI_RELAY_ALLOW_ANONYMOUS": "on"});
            assert!(Config::read(&unset.to_string()).anonymous);
        }
    }

    #[test]
    fn a_region_that_cloudflare_does_not_have_is_said_and_left_out() {
        let config = Config::read(r#"{"GEMINI_RELAY_EGRESS_REGION":"us-west WNAM,-,weur"}"#);
        assert_eq!(config.regions, ["wnam", "weur"]);
        assert_eq!(config.problems.len(), 2);
        assert!(config.problems[0].contains("EGRESS_REGION, word 1"));
        assert_eq!(config.settings.attempts, Some(MOST_ATTEMPTS - 1));
        let config = Config::read(r#"{"GEMINI_RELAY_EGRESS_REGION":"wnam, weur WNAM"}"#);
        assert_eq!(config.regions, ["wnam", "weur"], "each is tried once");
    }

    #[test]
    fn an_origin_that_no_browser_sends_is_said_and_left_out() {
        let config =
            Config::read(r#"{"GEMINI_RELAY_ALLOW_ORIGIN":"app.example https://App.example/"}"#);
        assert_eq!(config.origins, ["https://app.example"]);
        assert!(config.problems[0].contains("ALLOW_ORIGIN, word 1"));
    }
}
