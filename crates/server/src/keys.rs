//! The keys, from everywhere they may be.
//!
//! They add up over the files that were named, `GEMINI_API_KEYS`, and `gemini-keys.json` and
//! `gemini.keys` in the folder at hand. Only when none of these gives any are `GEMINI_API_KEY` and
//! `GOOGLE_API_KEY` looked at: a shell that has clients in it often holds there the token that the
//! clients show this very relay. That is also why a key that equals a client token is an error and
//! not a key: sent to Google it would publish the token, and it would fail every request it got.
//!
//! A load is all or nothing. One file that cannot be read or understood fails the whole, at the
//! start and at every reload: a pool that quietly lost a third of its keys shows itself only as
//! quota that ends too soon.

mod hangup;
mod push;
mod source;
mod watch;

pub(crate) use push::push;
pub(crate) use source::Sources;
pub(crate) use watch::watch;

use gemini_relay_core::KeySpec;
use gemini_relay_core::keylist::KeyListError;
use std::collections::HashSet;
use std::fmt;

/// All keys together.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyPool {
    /// Each key once, each with a label of its own.
    pub(crate) keys: Vec<KeySpec>,
    /// What had to be settled to make one pool: duplicates, labels that were taken. For the log.
    pub(crate) notes: Vec<String>,
}

/// How many projects some keys are in; one whose project is unknown counts alone.
pub(crate) fn projects(keys: &[KeySpec]) -> usize {
    let named: HashSet<&str> = keys.iter().filter_map(|k| k.project.as_deref()).collect();
    named.len() + keys.iter().filter(|k| k.project.is_none()).count()
}

/// Why there is no pool. Shows no key.
#[derive(Debug)]
pub(crate) enum KeysError {
    /// A file is not there or may not be read.
    Unreadable {
        source: String,
        error: std::io::Error,
    },
    /// A source that is no list of keys.
    Bad { source: String, error: KeyListError },
    /// A key is also what a client shows.
    IsToken { label: String, token: String },
    /// A client's token is called like a key.
    NamesToken,
    /// No source gave any. These are there, and empty.
    Nothing { empty: Vec<String> },
}

impl KeysError {
    /// Whether a file is not there.
    fn is_gone(&self) -> bool {
        matches!(self, Self::Unreadable { error, .. } if error.kind() == std::io::ErrorKind::NotFound)
    }
}

impl fmt::Display for KeysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { source, error } => {
                write!(
                    f,
                    "{source}: it cannot be read ({error}); name a file that is there and that this user may read"
                )?;
                if source.contains("(not shown") {
                    f.write_str(
                        "; keys themselves go into GEMINI_API_KEYS, not into the name of a file",
                    )?;
                }
                Ok(())
            }
            Self::Bad { source, error } => write!(f, "{source}: {error}"),
            Self::IsToken { label, token } => write!(
                f,
                "the key {label} is the same text as the client token {token}: what clients show the relay is no key of Google's; \
                 remove it from the keys (perhaps GEMINI_API_KEY holds it for a client in this shell)"
            ),
            Self::NamesToken => f.write_str(
                "the name of a client token is one of the keys or tokens, and names are in the log: a token is written name=SECRET",
            ),
            Self::Nothing { empty } if empty.is_empty() => {
                write!(f, "No API keys. {HOW_TO_GIVE_KEYS}")
            }
            Self::Nothing { empty } => write!(
                f,
                "No API keys: nothing is in {}. {HOW_TO_GIVE_KEYS}",
                empty.join(", ")
            ),
        }
    }
}

impl std::error::Error for KeysError {}

const HOW_TO_GIVE_KEYS: &str = "\
Give them as GEMINI_API_KEYS=KEY,KEY,KEY in the environment,
or in a file: --keys FILE, ./gemini-keys.json or ./gemini.keys (one key a line, or JSON).
Keys are made at https://aistudio.google.com/apikey; `gemini-relay demo` needs none.";
