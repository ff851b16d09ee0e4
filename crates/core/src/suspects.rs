//! Keys that were refused with 401 lately, on which surface.
//!
//! Whether that was the key's fault nobody says: a surface, a model or a method may take one type of key, or none.
//! So such a key is not out. It is passed over while others are there, and one that is served is no suspect.

use crate::facts::Surface;
use crate::map::Map;
use crate::time::Time;
use std::time::Duration;

/// The suspects among the keys of one ring.
#[derive(Debug, Default)]
pub(crate) struct Suspects {
    keys: Map<(Surface, usize), (Time, u64)>,
    /// Counts refusals.
    count: u64,
}

impl Suspects {
    pub(crate) fn add(&mut self, surface: Surface, key: usize, now: Time) {
        self.count += 1;
        self.keys.insert((surface, key), (now, self.count));
    }

    /// It was served. If it was a suspect, then nobody is one for what its last request was refused.
    pub(crate) fn served(&mut self, surface: Surface, key: usize) {
        if !self.keys.is_empty() && self.keys.contains_key(&(surface, key)) {
            self.keys.retain(|(on, _), _| *on != surface);
        }
    }

    pub(crate) fn has(&self, surface: Surface, key: usize, now: Time) -> bool {
        !self.keys.is_empty()
            && self
                .keys
                .get(&(surface, key))
                .is_some_and(|(at, _)| now.since(*at) < SUSPECTED)
    }

    /// All of a surface, whoever was refused longest ago first.
    pub(crate) fn by_age(&self, surface: Surface) -> Vec<usize> {
        let mut all: Vec<(u64, usize)> = self
            .keys
            .iter()
            .filter(|((on, _), _)| *on == surface)
            .map(|((_, key), (_, count))| (*count, *key))
            .collect();
        all.sort_unstable();
        all.into_iter().map(|(_, key)| key).collect()
    }
}

/// So long one that is no longer refused may be passed over; and so often one that still is costs two attempts.
const SUSPECTED: Duration = Duration::from_secs(15 * 60);
