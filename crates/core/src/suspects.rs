//! Keys that were refused with 401 lately, on which route.
//!
//! Whether that was the key's fault nobody says: a route, a model or a method may take one type of key, or none.
//! So such a key is not out. It is passed over while others are there, and one that is served is no suspect.

use crate::facts::Route;
use crate::map::Map;
use crate::time::Time;
use std::collections::BTreeSet;
use std::time::Duration;

/// The suspects among the keys of one ring.
#[derive(Debug, Default)]
pub(crate) struct Suspects {
    keys: Map<(Route, usize), Suspect>,
    /// Those who were refused what another was served last, and before that whoever was refused longest ago first.
    order: Map<Route, BTreeSet<(bool, u64, usize)>>,
    /// Counts refusals.
    count: u64,
    /// Until when suspects would have been asked, had each one who was taken its share of the time.
    doubted: Time,
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
    pub(crate) fn add(&mut self, route: Route, key: usize, now: Time) {
        self.count += 1;
        let before = self.keys.get(&(route, key));
        let alone =
            before.is_some_and(|before| before.alone && now.since(before.since) < SUSPECTED);
        let suspect = Suspect {
            since: now,
            count: self.count,
            alone,
        };
        if self.keys.len() >= MOST {
            // Clients choose what methods are called.
            self.keys.clear();
            self.order.clear();
        }
        let before = self.keys.insert((route, key), suspect);
        let order = self.order.entry(route).or_default();
        if let Some(before) = before {
            order.remove(&(before.alone, before.count, key));
        }
        order.insert((suspect.alone, suspect.count, key));
    }

    /// This key was served what these were refused. If it was a suspect itself, then nobody is one any more for what
    /// all were refused. Gives those of whom that was not known.
    pub(crate) fn served(&mut self, route: Route, key: usize, refused: &[usize]) -> Vec<usize> {
        let mut news = Vec::new();
        for key in refused {
            if let Some(suspect) = self.keys.get_mut(&(route, *key))
                && !std::mem::replace(&mut suspect.alone, true)
            {
                news.push(*key);
                let order = self.order.entry(route).or_default();
                order.remove(&(false, suspect.count, *key));
                order.insert((true, suspect.count, *key));
            }
        }
        if let Some(suspect) = self.keys.remove(&(route, key))
            && let Some(order) = self.order.get_mut(&route)
        {
            order.remove(&(suspect.alone, suspect.count, key));
            let proven = order.split_off(&(true, 0, 0));
            for (.., key) in std::mem::replace(order, proven) {
                self.keys.remove(&(route, key));
            }
        }
        news
    }

    pub(crate) fn has(&self, route: Route, key: usize, now: Time) -> bool {
        self.passes(Passing::All, route, key, now)
    }

    pub(crate) fn passes(&self, who: Passing, route: Route, key: usize, now: Time) -> bool {
        !self.keys.is_empty()
            && self.keys.get(&(route, key)).is_some_and(|suspect| {
                now.since(suspect.since) < SUSPECTED && (suspect.alone || who == Passing::All)
            })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether a request that so many have refused may ask suspects: two at any time, and more while few do.
    pub(crate) fn may_doubt(&self, asked: usize, now: Time) -> bool {
        asked < AGREE || self.doubted <= now + BURST
    }

    /// A suspect is asked.
    pub(crate) fn doubted(&mut self, now: Time) {
        self.doubted = self.doubted.max(now) + SHARE;
    }

    /// Those of a route, whoever was refused longest ago first; if `all`, then those who were refused what another
    /// was served.
    pub(crate) fn by_age(&self, route: Route, all: bool) -> impl Iterator<Item = usize> + '_ {
        let order = self.order.get(&route).into_iter().flatten();
        let wanted = order.take_while(move |(alone, ..)| all || !alone);
        wanted.map(|(.., key)| *key)
    }

    /// Grows with every refusal.
    pub(crate) const fn count(&self) -> u64 {
        self.count
    }
}

/// Keys that must agree that nobody is served this, where all others were refused it lately.
const AGREE: usize = 2;

/// A hundred suspects a second are asked beyond that, and four seconds' worth of them at once: clients that ask
/// without end what nobody is served must not have the whole pool asked each time.
const SHARE: Duration = Duration::from_millis(10);
const BURST: Duration = Duration::from_secs(4);

/// So long one that is no longer refused may be passed over; and so often one that still is costs two attempts.
const SUSPECTED: Duration = Duration::from_secs(15 * 60);

/// More than anybody's pool comes to.
const MOST: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Surface;

    const GENERATE: Route = Route {
        surface: Surface::Gemini,
        method: 1,
    };
    const ANSWER: Route = Route {
        surface: Surface::Gemini,
        method: 2,
    };

    #[test]
    fn whoever_was_refused_longest_ago_is_asked_first() {
        let mut suspects = Suspects::default();
        let now = Time::from_millis(1);
        let keys = [5, 3, 9, 1, 7, 2, 8, 4, 6, 0];
        for key in keys {
            suspects.add(GENERATE, key, now);
        }
        suspects.add(ANSWER, 11, now);
        let by_age = |suspects: &Suspects, all| suspects.by_age(GENERATE, all).collect::<Vec<_>>();
        assert_eq!(by_age(&suspects, true), keys);
        suspects.add(GENERATE, 5, now);
        assert_eq!(by_age(&suspects, true)[..2], [3, 9]);
        assert_eq!(by_age(&suspects, true).last(), Some(&5));
    }

    #[test]
    fn who_was_refused_what_another_was_served_is_known_until_it_is_served() {
        let (mut suspects, now) = (Suspects::default(), Time::from_millis(1));
        let passed =
            |suspects: &Suspects, who| [0, 1].map(|key| suspects.passes(who, GENERATE, key, now));
        suspects.add(GENERATE, 0, now);
        assert_eq!(passed(&suspects, Passing::All), [true, false]);
        assert_eq!(passed(&suspects, Passing::Alone), [false, false]);
        assert_eq!(suspects.served(GENERATE, 2, &[0]), [0]);
        assert_eq!(passed(&suspects, Passing::Alone), [true, false]);
        // Again, and still.
        suspects.add(GENERATE, 0, now);
        assert!(suspects.served(GENERATE, 2, &[0]).is_empty());
        suspects.add(GENERATE, 1, now);
        assert_eq!(passed(&suspects, Passing::Alone), [true, false]);
        suspects.served(GENERATE, 1, &[]);
        assert_eq!(passed(&suspects, Passing::All), [true, false]);
        suspects.served(GENERATE, 0, &[]);
        assert_eq!(passed(&suspects, Passing::All), [false, false]);
    }
    #[test]
    fn what_a_suspect_is_served_proves_who_was_refused_it() {
        let (mut suspects, now) = (Suspects::default(), Time::from_millis(1));
        for key in [0, 1, 2] {
            suspects.add(GENERATE, key, now);
        }
        assert_eq!(suspects.served(GENERATE, 1, &[0]), [0]);
        assert!(suspects.passes(Passing::Alone, GENERATE, 0, now));
        assert!(!suspects.has(GENERATE, 2, now));
        suspects.add(GENERATE, 3, now);
        let by_age = |all| suspects.by_age(GENERATE, all).collect::<Vec<_>>();
        assert_eq!(by_age(true), [3, 0], "it comes last");
        assert_eq!(by_age(false), [3]);
        assert!(!suspects.has(ANSWER, 0, now), "another method");
    }

    #[test]
    fn only_so_many_are_asked_again_at_a_time() {
        let (mut suspects, now) = (Suspects::default(), Time::from_millis(60_000));
        let mut asked = 0;
        while suspects.may_doubt(AGREE, now) {
            suspects.doubted(now);
            asked += 1;
        }
        assert_eq!(asked, 401);
        assert!(suspects.may_doubt(AGREE - 1, now), "two at any time");
        assert!(suspects.may_doubt(AGREE, now + SHARE));
    }
}
