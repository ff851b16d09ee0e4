//! Many secrets, looked for at once where none belongs: in names that people read.

use crate::key::{KeyId, KeyText};
use crate::map::Map;
use std::collections::BTreeSet;

/// Texts of keys and tokens, by how they begin; only their digests are kept.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    texts: Map<[u8; BEGINNING], BTreeSet<(usize, KeyId)>>,
    /// How long the shortest of them is.
    shortest: Option<usize>,
}

/// Bytes by which a place is recognised. What is shorter is no key, and not looked for.
const BEGINNING: usize = 8;

impl Secrets {
    /// Adds one.
    pub fn add(&mut self, text: &KeyText) {
        let bytes = text.expose().as_bytes();
        if let Some(beginning) = bytes.first_chunk() {
            let same = self.texts.entry(*beginning).or_default();
            same.insert((bytes.len(), text.id()));
            self.shortest = Some(self.shortest.unwrap_or(usize::MAX).min(bytes.len()));
        }
    }

    /// Whether a text has room for any of them.
    #[must_use]
    pub fn fit_in(&self, text: &str) -> bool {
        self.shortest.is_some_and(|shortest| text.len() >= shortest)
    }

    /// Whether any stands in `text`, beginning in the first `places` bytes.
    #[must_use]
    pub fn are_in(&self, text: &[u8], places: usize) -> bool {
        (0..text.len().min(places)).any(|at| self.begins(text.get(at..).unwrap_or_default()))
    }

    fn begins(&self, rest: &[u8]) -> bool {
        let same = rest.first_chunk().and_then(|first| self.texts.get(first));
        let mut read = None;
        same.into_iter().flatten().any(|(length, id)| {
            // Those of one length are one text here.
            if read.is_none_or(|(at, _)| at != *length) {
                let text = rest.get(..*length);
                let text = text.and_then(|text| std::str::from_utf8(text).ok());
                let found = text.and_then(|text| KeyText::new(text).ok());
                read = Some((*length, found.map(|text| text.id())));
            }
            read.is_some_and(|(_, found)| found == Some(*id))
        })
    }
}

impl<'a> FromIterator<&'a KeyText> for Secrets {
    fn from_iter<T: IntoIterator<Item = &'a KeyText>>(texts: T) -> Self {
        let mut secrets = Self::default();
        for text in texts {
            secrets.add(text);
        }
        secrets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_wherever_it_stands() {
        let texts = ["made-up-1", "made-up-22", "made-up-333", "short"];
        let secrets: Secrets = texts
            .map(|text| KeyText::new(text).unwrap())
            .iter()
            .collect();
        for text in [
            "made-up-1",
            "xmade-up-22",
            "é made-up-333!",
            "made-up-made-up-1",
        ] {
            assert!(secrets.are_in(text.as_bytes(), usize::MAX), "{text}");
        }
        for text in ["made-up-", "made-up-4", "made-up-2é", "short", ""] {
            assert!(!secrets.are_in(text.as_bytes(), usize::MAX), "{text}");
        }
        assert!(!secrets.are_in(b"xxmade-up-1", 2), "it begins later");
        assert!(secrets.fit_in("nine-long") && !secrets.fit_in("eight---"));
    }
}
