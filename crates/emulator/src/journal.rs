//! What was received: the newest requests, and counts of all.
//!
//! Memory is bounded twice over, by the number of requests and by the text of their bodies, so
//! that a benchmark can run against the emulator for hours.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

use crate::credentials::Credential;
use crate::kind::Kind;

/// One request, and what became of it.
#[derive(Debug, Clone, Serialize)]
pub struct Received {
    /// Its number, from 1.
    pub seq: u64,
    /// When it came, in milliseconds since 1970 on the emulator's clock.
    pub at_ms: u64,
    /// `GET`, `POST`, ...
    pub method: String,
    /// As it came, not decoded.
    pub path: String,
    /// As it came, without the question mark.
    pub query: String,
    /// All headers in order, names in small letters.
    pub headers: Vec<(String, String)>,
    /// Everything in it that could be a credential.
    pub credentials: Vec<Credential>,
    /// Whose key it was.
    pub project: Option<String>,
    /// The model it asked for.
    pub model: Option<String>,
    /// What it asked of quota.
    pub kind: Kind,
    /// How long its body was.
    pub body_bytes: u64,
    /// The body's beginning, as text.
    pub body: String,
    /// The status it was answered with, if it was.
    pub status: Option<u16>,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Not answered to the end yet.
    Open,
    /// Answered in full.
    Served,
    /// Turned down, as Google would have.
    Refused,
    /// Met by a fault.
    Fault,
    /// Given up by the client before the answer's end.
    Cancelled,
}

/// Counts since the emulator began.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Stats {
    /// Connections on which a request came; those that only control the emulator are not counted.
    pub connections: u64,
    /// Requests being answered now.
    pub open_requests: u64,
    /// Answered in full.
    pub served: u64,
    /// Turned down.
    pub refused: u64,
    /// Met by a fault.
    pub faults: u64,
    /// Given up by the client.
    pub cancelled: u64,
    /// By the text of the first credential.
    pub by_key: BTreeMap<String, KeyStats>,
}

/// One key's counts.
#[derive(Debug, Clone, Default, Serialize)]
#[expect(missing_docs, reason = "as in `Stats`")]
pub struct KeyStats {
    pub requests: u64,
    pub served: u64,
    pub refused: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Journal {
    requests: VecDeque<Received>,
    last_seq: u64,
    body_bytes: usize,
    pub(crate) dropped: u64,
    pub(crate) stats: Stats,
}

impl Journal {
    /// Notes a request that has begun; its number is given here.
    pub(crate) fn open(&mut self, mut request: Received) -> u64 {
        self.last_seq += 1;
        request.seq = self.last_seq;
        self.stats.open_requests += 1;
        if let Some(key) = self.key_stats(&request) {
            key.requests += 1;
        }
        self.requests.push_back(request);
        self.shrink();
        self.last_seq
    }

    /// The request of that number, unless it was forgotten since.
    pub(crate) fn find(&mut self, seq: u64) -> Option<&mut Received> {
        let first = self.requests.front()?.seq;
        self.requests
            .get_mut(usize::try_from(seq.checked_sub(first)?).ok()?)
    }

    /// Keeps the beginning of a request's body.
    pub(crate) fn body(&mut self, seq: u64, body: &[u8]) {
        let kept = body.get(..BODY_KEPT).unwrap_or(body);
        let text = String::from_utf8_lossy(kept).into_owned();
        let length = text.len();
        if let Some(request) = self.find(seq) {
            request.body_bytes = body.len() as u64;
            request.body = text;
            self.body_bytes += length;
            self.shrink();
        }
    }

    pub(crate) fn close(&mut self, seq: u64, key: Option<&str>, outcome: Outcome) {
        self.stats.open_requests -= 1;
        let by_key = key.and_then(|key| self.stats.by_key.get_mut(key));
        match outcome {
            Outcome::Served => {
                self.stats.served += 1;
                by_key.into_iter().for_each(|key| key.served += 1);
            }
            Outcome::Refused => {
                self.stats.refused += 1;
                by_key.into_iter().for_each(|key| key.refused += 1);
            }
            Outcome::Fault => self.stats.faults += 1,
            Outcome::Cancelled | Outcome::Open => self.stats.cancelled += 1,
        }
        if let Some(request) = self.find(seq) {
            request.outcome = outcome;
        }
    }

    pub(crate) fn all(&self) -> Vec<Received> {
        self.requests.iter().cloned().collect()
    }

    pub(crate) fn clear(&mut self) {
        self.requests.clear();
        self.body_bytes = 0;
        self.dropped = 0;
    }

    fn key_stats(&mut self, request: &Received) -> Option<&mut KeyStats> {
        let key = &request.credentials.first()?.value;
        if !self.stats.by_key.contains_key(key) && self.stats.by_key.len() >= KEYS_KEPT {
            return None;
        }
        Some(self.stats.by_key.entry(key.clone()).or_default())
    }

    fn shrink(&mut self) {
        while self.requests.len() > REQUESTS_KEPT || self.body_bytes > BODIES_KEPT {
            let Some(oldest) = self.requests.pop_front() else {
                return;
            };
            self.body_bytes -= oldest.body.len();
            self.dropped += 1;
        }
    }
}

/// As the README promises.
const REQUESTS_KEPT: usize = 10_000;
const BODY_KEPT: usize = 64 << 10;

/// All bodies together: a thousand of the longest.
const BODIES_KEPT: usize = 64 << 20;

/// Keys are text from the network: somebody may send a new one each time.
const KEYS_KEPT: usize = 20_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn request(key: &str) -> Received {
        Received {
            seq: 0,
            at_ms: 0,
            method: String::new(),
            path: String::new(),
            query: String::new(),
            headers: Vec::new(),
            credentials: vec![Credential {
                carrier: "key",
                value: key.to_owned(),
            }],
            project: None,
            model: None,
            kind: Kind::Other,
            body_bytes: 0,
            body: String::new(),
            status: None,
            outcome: Outcome::Open,
        }
    }

    #[test]
    fn the_newest_requests_are_kept_and_the_rest_are_counted() {
        let mut journal = Journal::default();
        for _ in 0..REQUESTS_KEPT + 10 {
            let seq = journal.open(request("k"));
            journal.close(seq, Some("k"), Outcome::Served);
        }
        assert_eq!(
            (journal.requests.len(), journal.dropped),
            (REQUESTS_KEPT, 10)
        );
        assert_eq!(journal.requests[0].seq, 11);
        assert_eq!(journal.stats.by_key["k"].served, 10_010);
    }

    #[test]
    fn long_bodies_make_old_requests_go() {
        let mut journal = Journal::default();
        let body = vec![b'x'; 100_000];
        for _ in 0..2_000 {
            let seq = journal.open(request("k"));
            journal.body(seq, &body);
        }
        assert_eq!(journal.requests.len(), BODIES_KEPT / BODY_KEPT);
        assert_eq!(
            journal.requests.back().map(|request| request.body_bytes),
            Some(100_000)
        );
    }

    #[test]
    fn a_request_that_was_forgotten_can_still_end() {
        let mut journal = Journal::default();
        let seq = journal.open(request("k"));
        journal.clear();
        journal.open(request("k"));
        journal.close(seq, Some("k"), Outcome::Refused);
        assert_eq!(journal.requests[0].outcome, Outcome::Open);
        assert_eq!((journal.stats.refused, journal.stats.open_requests), (1, 1));
    }
}
