//! Projects and their keys.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::Quota;

/// A Google Cloud project: what quota is counted by.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Project {
    /// What it is called here; Google never shows it.
    pub name: String,
    /// Google's number for it, shown in some error bodies; 0: one is made up.
    #[serde(default)]
    pub number: u64,
    /// Its keys.
    #[serde(default)]
    pub keys: Vec<Key>,
    /// The models it may use; `None`: every one.
    #[serde(default)]
    pub models: Option<Vec<String>>,
    /// What it may use of them.
    #[serde(default)]
    pub quotas: Vec<Quota>,
}

impl Project {
    /// A project with living keys, every model and no quotas.
    pub fn new<K: Into<Key>>(name: &str, keys: impl IntoIterator<Item = K>) -> Project {
        Project {
            name: name.to_owned(),
            keys: keys.into_iter().map(Into::into).collect(),
            ..Project::default()
        }
    }

    /// The same project with one more quota.
    pub fn quota(mut self, quota: Quota) -> Project {
        self.quotas.push(quota);
        self
    }

    /// The same project with these models only.
    pub fn models(mut self, names: &[&str]) -> Project {
        self.models = Some(names.iter().map(|name| (*name).to_owned()).collect());
        self
    }
}

/// One API key.
#[derive(Debug, Clone, Serialize)]
pub struct Key {
    /// Its text.
    pub value: String,
    /// What Google thinks of it.
    pub state: KeyState,
}

impl From<&str> for Key {
    fn from(value: &str) -> Key {
        Key {
            value: value.to_owned(),
            state: KeyState::Alive,
        }
    }
}

impl From<(&str, KeyState)> for Key {
    fn from((value, state): (&str, KeyState)) -> Key {
        Key {
            value: value.to_owned(),
            state,
        }
    }
}

/// What Google thinks of a key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is named after what Google's answer says")]
pub enum KeyState {
    #[default]
    Alive,
    Invalid,
    NotFound,
    Expired,
    Leaked,
    Suspended,
    ServiceDisabled,
    ServiceBlocked,
    ProjectDenied,
    RefererBlocked,
    TokenTypeUnsupported,
    /// Alive, and only as `Authorization: Bearer`.
    BearerOnly,
}

/// A key is text, or a table with its state. Written by hand because what serde makes of such a
/// choice says only that "no variant matched", not that the state is misspelt.
impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Key, D::Error> {
        from.deserialize_any(KeyVisitor)
    }
}

struct KeyVisitor;

impl<'de> Visitor<'de> for KeyVisitor {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key's text, or { value = \"...\", state = \"...\" }")
    }

    fn visit_str<E>(self, value: &str) -> Result<Key, E> {
        Ok(Key::from(value))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Key, A::Error> {
        let table = KeyTable::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Key {
            value: table.value,
            state: table.state,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyTable {
    value: String,
    #[serde(default)]
    state: KeyState,
}
