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
    keys: Map<(Surface, usize), Suspect>,
    /// Counts refusals.
    count: u64,
}

#[derive(Clone, Copy, Debug)]
struct Suspect {
    since: Time,
    count: u64,
    /// Another was served what it was refused.
    alone: bool,
}

/// Who is passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passing {
    /// Those who were refused what another was served.
    Alone,
    /// All who were refused: by a request that one of them has refused already.
    All,
}

impl Suspects {
    pub(crate) fn add(&mut self, surface: Surface, key: usize, now: Time) {
        self.count += 1;
        let before = self.keys.get(&(surface, key));
        let alone =
            before.is_some_and(|before| before.alone && now.since(before.since) < SUSPECTED);
        let suspect = Suspect {
            since: now,
            count: self.count,
            alone,
        };
        self.keys.insert((surface, key), suspect);
    }

    /// This key was served what these were refused. If it was a suspect itself, then nobody is one any more for what
    /// all were refused. Gives those of whom that was not known.
    pub(crate) fn served(&mut self, surface: Surface, key: usize, refused: &[usize]) -> Vec<usize> {
        let mut news = Vec::new();
        if self.keys.is_empty() {
            return news;
        }
        if self.keys.remove(&(surface, key)).is_some() {
            self.keys
                .retain(|(on, _), suspect| *on != surface || suspect.alone);
        }
        for key in refused {
            if let Some(suspect) = self.keys.get_mut(&(surface, *key))
                && !std::mem::replace(&mut suspect.alone, true)
            {
                news.push(*key);
            }
        }
        news
    }

    pub(crate) fn has(&self, surface: Surface, key: usize, now: Time) -> bool {
        self.passes(Passing::All, surface, key, now)
    }

    pub(crate) fn passes(&self, who: Passing, surface: Surface, key: usize, now: Time) -> bool {
        !self.keys.is_empty()
            && self.keys.get(&(surface, key)).is_some_and(|suspect| {
                now.since(suspect.since) < SUSPECTED && (suspect.alone || who == Passing::All)
            })
    }

    /// All of a surface, whoever was refused longest ago first.
    pub(crate) fn by_age(&self, surface: Surface) -> Vec<usize> {
        let mut all: Vec<(u64, usize)> = self
            .keys
            .iter()
            .filter(|((on, _), _)| *on == surface)
            .map(|((_, key), suspect)| (suspect.count, *key))
            .collect();
        all.sort_unstable();
        all.into_iter().map(|(_, key)| key).collect()
    }
}

/// So long one that is no longer refused may be passed over; and so often one that still is costs two attempts.
const SUSPECTED: Duration = Duration::from_secs(15 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_was_refused_longest_ago_is_asked_first() {
        let mut suspects = Suspects::default();
        let now = Time::from_millis(1);
        let keys = [5, 3, 9, 1, 7, 2, 8, 4, 6, 0];
        for key in keys {
            suspects.add(Surface::Gemini, key, now);
        }
        suspects.add(Surface::OpenAi, 11, now);
        assert_eq!(suspects.by_age(Surface::Gemini), keys);
        suspects.add(Surface::Gemini, 5, now);
        assert_eq!(suspects.by_age(Surface::Gemini)[..2], [3, 9]);
        assert_eq!(suspects.by_age(Surface::Gemini).last(), Some(&5));
    }

    #[test]
    fn who_was_refused_what_another_was_served_is_known_until_it_is_served() {
        let (mut suspects, now) = (Suspects::default(), Time::from_millis(1));
        let passed = |suspects: &Suspects, who| {
            [0, 1].map(|key| suspects.passes(who, Surface::Gemini, key, now))
        };
        suspects.add(Surface::Gemini, 0, now);
        assert_eq!(passed(&suspects, Passing::All), [true, false]);
        assert_eq!(passed(&suspects, Passing::Alone), [false, false]);
        assert_eq!(suspects.served(Surface::Gemini, 2, &[0]), [0]);
        assert_eq!(passed(&suspects, Passing::Alone), [true, false]);
        // Again, and still.
        suspects.add(Surface::Gemini, 0, now);
        assert!(suspects.served(Surface::Gemini, 2, &[0]).is_empty());
        suspects.add(Surface::Gemini, 1, now);
        assert_eq!(passed(&suspects, Passing::Alone), [true, false]);
        suspects.served(Surface::Gemini, 1, &[]);
        assert_eq!(passed(&suspects, Passing::All), [true, false]);
        suspects.served(Surface::Gemini, 0, &[]);
        assert_eq!(passed(&suspects, Passing::All), [false, false]);
    }
}
