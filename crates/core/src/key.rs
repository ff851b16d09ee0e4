//! Keys: their text, which nothing can print, and what else is said of them.
//!
//! A key's text leaves this type in one place, [`KeyText::expose`], whose callers are few enough to
//! read: what a pool gets ready to send it and to find it quoted ([`KeyInfo`](crate::pool::KeyInfo)), the
//! redaction of Google's errors, an explicit export. `Debug` prints nothing of it, there is no `Display`, and
//! the memory is wiped when the key is dropped.
//!
//! A key is opaque: nothing here looks at how it begins (`AIza`, `AQ.`), since Google is changing
//! that and an unknown kind of key must work the day it appears.

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use std::fmt;

/// The text of one API key.
#[derive(Clone)]
pub struct KeyText(SecretString);

impl KeyText {
    /// Takes the text as given; white space around it is not part of it.
    ///
    /// # Errors
    /// [`KeyTextError`] when nothing is left, when it is longer than any header may be, or when it
    /// holds a character that no header can carry.
    pub fn new(text: &str) -> Result<Self, KeyTextError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(KeyTextError::Empty);
        }
        if text.len() > MAX_KEY_BYTES {
            return Err(KeyTextError::TooLong);
        }
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(KeyTextError::NotAHeaderValue);
        }
        Ok(Self(SecretString::from(text)))
    }

    /// The text itself, for the upstream request and for redaction.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// What names this key everywhere: in events, on other nodes, after a reload.
    #[must_use]
    pub fn id(&self) -> KeyId {
        let digest = Sha256::digest(self.expose().as_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        KeyId(u64::from_be_bytes(first))
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[key]")
    }
}

impl PartialEq for KeyText {
    fn eq(&self, other: &Self) -> bool {
        subtle::ConstantTimeEq::ct_eq(self.expose().as_bytes(), other.expose().as_bytes()).into()
    }
}

impl Eq for KeyText {}

/// Why a text cannot be a key. Never holds the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyTextError {
    /// Nothing but white space.
    Empty,
    /// Longer than a header value may be.
    TooLong,
    /// Spaces, control characters or letters beyond ASCII inside it.
    NotAHeaderValue,
}

impl fmt::Display for KeyTextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the key is empty",
            Self::TooLong => "the key is longer than 4096 characters",
            Self::NotAHeaderValue => {
                "the key has a space or a character that is not printable ASCII in it"
            }
        })
    }
}

impl std::error::Error for KeyTextError {}

/// A key's identity: the first 64 bits of the SHA-256 of its text.
///
/// Stable across restarts, files and nodes. Its `Display` is the *fingerprint* people see: eight
/// hexadecimal digits, enough to tell a person's keys apart and far too few to find the key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(pub u64);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0 >> 32)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One key and what its owner said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySpec {
    /// The key.
    pub text: KeyText,
    /// What people call it; without one it is `key_N` by its place in the pool.
    pub label: Option<String>,
    /// The Google Cloud project it belongs to; without one it is taken to be alone in its own.
    pub project: Option<String>,
    /// Lower numbers are used first; the next level only when all keys of this one are out.
    pub priority: u32,
    /// Its share beside others of the same priority. At least 1.
    pub weight: u32,
    /// Free words, for tying clients to keys.
    pub tags: Vec<String>,
    /// False: known, shown, never used.
    pub enabled: bool,
    /// Models it may be used for, `*` standing for any run of characters; empty means all.
    pub models: Vec<String>,
}

impl KeySpec {
    /// A key of which nothing else was said.
    #[must_use]
    pub fn bare(text: KeyText) -> Self {
        Self {
            text,
            label: None,
            project: None,
            priority: 0,
            weight: 1,
            tags: Vec::new(),
            enabled: true,
            models: Vec::new(),
        }
    }
}

/// Longer than any key Google ever made, short enough for every server's header limit.
const MAX_KEY_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_prints_a_key() {
        let spec = KeySpec::bare(KeyText::new("made-up-secret").unwrap());
        assert!(!format!("{spec:?} {}", spec.text.id()).contains("made-up-secret"));
    }

    #[test]
    fn a_key_is_trimmed_and_must_fit_a_header() {
        assert_eq!(KeyText::new(" a-key\r\n").unwrap().expose(), "a-key");
        assert_eq!(KeyText::new(" \n").unwrap_err(), KeyTextError::Empty);
        assert_eq!(
            KeyText::new("a key").unwrap_err(),
            KeyTextError::NotAHeaderValue
        );
        assert_eq!(
            KeyText::new(&"k".repeat(5000)).unwrap_err(),
            KeyTextError::TooLong
        );
    }

    #[test]
    fn the_fingerprint_is_short_and_stable() {
        let id = KeyText::new("made-up").unwrap().id();
        assert_eq!(id.to_string().len(), 8);
        assert_eq!(id, KeyText::new("made-up\n").unwrap().id());
    }
}
