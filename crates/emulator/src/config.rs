//! The configuration: what the TOML file, the control API and a test in the same process say.
//!
//! One set of types serves all three, since the emulator has nothing to gain from a second one:
//! a [`Config`] is plain data, [`Config::check`] says what is wrong with it, and only a checked one
//! becomes a running world. A mistake is told with what to write instead, for the reader is
//! somebody whose test does not start.

mod project;
mod quota;

use std::fmt;

use chrono::DateTime;
use serde::{Deserialize, Serialize};

pub use project::{Key, KeyState, Project};
pub use quota::{Metric, Quota, RetryStyle, Tier, Window};

use crate::catalog::{self, Model};

/// All that can be set.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How long a day window lasts; 0: real days, ending at midnight in Los Angeles.
    pub day_seconds: f64,
    /// How long a minute window lasts.
    pub minute_seconds: f64,
    /// Events in a stream.
    pub chunks: usize,
    /// Pause before each event after the first.
    pub chunk_delay_ms: u64,
    /// Silence before an answer's first byte.
    pub first_byte_delay_ms: u64,
    /// Words in one event of a stream; the last event has what remains.
    pub words_per_chunk: usize,
    /// Whether answers carry `thoughtSignature`, and another project's are refused.
    pub signatures: bool,
    /// Whether streams are compressed for a client that accepts it.
    pub gzip_streams: bool,
    /// What the emulator's clock shows at first, RFC 3339; absent: the real time.
    pub clock_start: Option<String>,
    /// The projects; none: one with one key.
    pub projects: Vec<Project>,
    /// Models besides the built-in ones; one of the same name replaces it.
    pub models: Vec<Model>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            day_seconds: 0.0,
            minute_seconds: 60.0,
            chunks: 5,
            chunk_delay_ms: 0,
            first_byte_delay_ms: 0,
            words_per_chunk: 4,
            signatures: false,
            gzip_streams: false,
            clock_start: None,
            projects: Vec::new(),
            models: Vec::new(),
        }
    }
}

impl Config {
    /// Reads a TOML file's text and checks it.
    pub fn from_toml(text: &str) -> Result<Config, ConfigError> {
        let config: Config = toml::from_str(text).map_err(ConfigError::new)?;
        config.check()?;
        Ok(config)
    }

    /// Reads the same thing as JSON and checks it.
    pub fn from_json(text: &str) -> Result<Config, ConfigError> {
        let config: Config = serde_json::from_str(text).map_err(ConfigError::new)?;
        config.check()?;
        Ok(config)
    }

    /// Says what is wrong, if anything is.
    pub fn check(&self) -> Result<(), ConfigError> {
        check_seconds("minute_seconds", self.minute_seconds, 0.001)?;
        check_seconds("day_seconds", self.day_seconds, 0.0)?;
        if self.chunks == 0 || self.words_per_chunk == 0 {
            return Err(ConfigError::new(
                "chunks and words_per_chunk are at least 1",
            ));
        }
        if let Some(start) = &self.clock_start {
            let at = DateTime::parse_from_rfc3339(start).map_err(|error| {
                ConfigError::new(format!(
                    "clock_start {start:?}: {error}; write it like \"2026-03-07T20:00:00Z\""
                ))
            })?;
            if at.timestamp_millis() < 0 {
                return Err(ConfigError::new(format!(
                    "clock_start {start:?} is before 1970"
                )));
            }
        }
        let models = catalog::all(&self.models);
        let mut names = Vec::new();
        let mut keys = Vec::new();
        for project in &self.projects {
            if project.name.is_empty() {
                return Err(ConfigError::new("a project has no name"));
            }
            if names.contains(&project.name.as_str()) {
                return Err(ConfigError::new(format!(
                    "two projects are named {:?}",
                    project.name
                )));
            }
            names.push(&project.name);
            for key in &project.keys {
                if key.value.is_empty() {
                    return Err(ConfigError::new(format!(
                        "project {:?} has an empty key",
                        project.name
                    )));
                }
                if keys.contains(&key.value.as_str()) {
                    return Err(ConfigError::new(format!(
                        "the key {:?} is there twice",
                        key.value
                    )));
                }
                keys.push(&key.value);
            }
            for quota in project.quotas.iter().filter(|quota| quota.model != "*") {
                if !models.iter().any(|model| model.name == quota.model) {
                    return Err(ConfigError::new(format!(
                        "project {:?} has a quota on {:?}, which is neither \"*\" nor a model",
                        project.name, quota.model
                    )));
                }
            }
            for name in project.models.iter().flatten() {
                if !models.iter().any(|model| &model.name == name) {
                    return Err(ConfigError::new(format!(
                        "project {:?} has the model {name:?}, which is neither built in nor under [[models]]",
                        project.name
                    )));
                }
            }
        }
        Ok(())
    }

    /// The clock's first reading, when it is set.
    pub(crate) fn clock_start_ms(&self) -> Option<u64> {
        let at = DateTime::parse_from_rfc3339(self.clock_start.as_deref()?).ok()?;
        u64::try_from(at.timestamp_millis()).ok()
    }

    /// The projects, the default one when none is named, each with a number of its own.
    pub(crate) fn numbered_projects(&self) -> Vec<Project> {
        let mut projects = self.projects.clone();
        if projects.is_empty() {
            projects.push(Project::new("alpha", ["emulator-key-alpha-1"]));
        }
        for (project, spare) in projects.iter_mut().zip(FIRST_NUMBER..) {
            if project.number == 0 {
                project.number = spare;
            }
        }
        projects
    }
}

/// Why a configuration does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(String);

impl ConfigError {
    fn new(text: impl ToString) -> ConfigError {
        ConfigError(text.to_string())
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.trim_end())
    }
}

impl std::error::Error for ConfigError {}

fn check_seconds(name: &str, seconds: f64, least: f64) -> Result<(), ConfigError> {
    // A thousand years: more than any test wants, and safe to turn into milliseconds.
    if (least..=3.2e10).contains(&seconds) {
        Ok(())
    } else {
        Err(ConfigError::new(format!(
            "{name} = {seconds} is not a length of time"
        )))
    }
}

/// Numbers given to projects that name none: as long as Google's.
const FIRST_NUMBER: u64 = 578_829_824_020;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_the_readme_is_read() {
        let readme = include_str!("../README.md");
        let block = readme
            .split("```toml")
            .nth(1)
            .unwrap()
            .split("```")
            .next()
            .unwrap();
        let config = Config::from_toml(block).unwrap();
        assert_eq!(config.projects[0].keys[1].state, KeyState::Expired);
        assert_eq!(config.projects[0].quotas[0].limit, 10);
    }

    #[track_caller]
    fn check_error(text: &str, part: &str) {
        let error = Config::from_toml(text).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }

    #[test]
    fn mistakes_are_told_with_what_to_write() {
        check_error("chunk = 3", "unknown field `chunk`");
        check_error("chunks = 0", "at least 1");
        check_error("clock_start = \"yesterday\"", "2026-03-07T20:00:00Z");
        check_error("[[projects]]\nname=\"a\"\nkeys=[\"k\",\"k\"]", "twice");
        check_error(
            "[[projects]]\nname=\"a\"\nkeys=[{value=\"k\",state=\"tired\"}]",
            "unknown variant `tired`",
        );
        check_error(
            "[[projects]]\nname=\"a\"\nmodels=[\"gemini-9\"]",
            "[[models]]",
        );
        check_error(
            "[[projects]]\nname=\"a\"\n[[projects.quotas]]\nmodel=\"gemini-9\"\nmetric=\"requests_per_day\"\nlimit=1",
            "nor a model",
        );
        check_error(
            "[[projects]]\nname=\"a\"\n[[projects.quotas]]\nkind=\"guess\"\nmetric=\"requests_per_day\"\nlimit=1",
            "or `*`",
        );
    }

    #[test]
    fn with_nothing_said_there_is_one_project_with_one_key() {
        let projects = Config::default().numbered_projects();
        assert_eq!(projects[0].name, "alpha");
        assert_eq!(projects[0].keys[0].value, "emulator-key-alpha-1");
        assert_ne!(projects[0].number, 0);
    }
}
