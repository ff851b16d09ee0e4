//! Requests that come back: an upstream that is, by some way round, this very relay.
//!
//! At the start the upstream's addresses are compared with the relay's own. But a name can be given another
//! address later, and a proxy in between can point back; then one request would become another for every
//! attempt, until there are no sockets left. So a request carries the mark of each relay that it went
//! through, and a relay that finds its own mark on what comes in answers 508 and sends nothing.
//!
//! The mark goes to upstreams that are not Google's only. Google gets nothing that its clients do not send, and
//! cannot be this relay: whoever takes over its name has no certificate for it. The marks of other relays
//! are passed on and taken off in the same way, so that two relays that point at each other are found too,
//! whether what is between them keeps the marks as lines of their own or joins them with commas.
//!
//! A mark can go stale within a circle, when a relay starts again. Then the number of marks ends it.

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};

/// The mark of this process.
#[derive(Clone, Debug)]
pub struct Hop {
    own: HeaderValue,
    /// Whether the upstream is Google.
    ends_here: bool,
}

impl Hop {
    /// A mark made of `entropy`, for requests to `upstream_host`.
    #[must_use]
    pub fn new(entropy: u64, upstream_host: &str) -> Self {
        let host = upstream_host.trim_end_matches('.').to_ascii_lowercase();
        let own = format!("{entropy:016x}");
        Self {
            own: HeaderValue::from_str(&own).unwrap_or(HeaderValue::from_static("0")),
            ends_here: host == GOOGLE || host.ends_with(BELOW_GOOGLE),
        }
    }

    /// Whether a request went through this relay before.
    #[must_use]
    pub fn is_back(&self, headers: &HeaderMap) -> bool {
        if self.ends_here {
            return false;
        }
        let mut marks = 0;
        // Looking at the few there are is quicker than asking the map.
        headers
            .iter()
            .filter(|(name, _)| *name == MARK)
            .flat_map(|(_, line)| line.as_bytes().split(|byte| *byte == b','))
            .any(|mark| {
                marks += 1;
                mark.trim_ascii() == self.own.as_bytes() || marks > MOST
            })
    }

    /// Marks a request that goes out.
    pub fn mark(&self, headers: &mut HeaderMap) {
        if self.ends_here {
            headers.remove(&MARK);
        } else {
            headers.append(&MARK, self.own.clone());
        }
    }
}

static MARK: HeaderName = HeaderName::from_static("x-gemini-relay-hop");

/// More relays than anybody has one behind the other.
const MOST: u32 = 16;

const GOOGLE: &str = "googleapis.com";
const BELOW_GOOGLE: &str = ".googleapis.com";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_comes_back_is_known_by_its_mark_whoever_it_went_through() {
        let (first, second) = (
            Hop::new(1, "relay.example"),
            Hop::new(2, "relay.example:8787"),
        );
        let mut headers = HeaderMap::new();
        assert!(!first.is_back(&headers));
        first.mark(&mut headers);
        assert!(first.is_back(&headers) && !second.is_back(&headers));
        second.mark(&mut headers);
        assert!(first.is_back(&headers) && second.is_back(&headers));
    }

    #[test]
    fn marks_that_were_joined_into_one_line_are_known_too() {
        let (first, second) = (Hop::new(1, "relay.example"), Hop::new(2, "relay.example"));
        for line in [
            "0000000000000001, 0000000000000002",
            "0000000000000002,0000000000000001",
        ] {
            let mut headers = HeaderMap::new();
            headers.append(&MARK, HeaderValue::from_static(line));
            assert!(
                first.is_back(&headers) && second.is_back(&headers),
                "{line}"
            );
            assert!(!Hop::new(3, "relay.example").is_back(&headers), "{line}");
        }
    }

    #[test]
    fn a_circle_of_relays_that_forget_their_marks_ends() {
        let mut headers = HeaderMap::new();
        let mut rounds = 0;
        while !Hop::new(rounds, "relay.example").is_back(&headers) {
            rounds += 1;
            Hop::new(rounds << 32, "relay.example").mark(&mut headers);
            assert!(rounds < 20);
        }
        assert!(rounds > 10);
    }

    #[test]
    fn google_sees_no_mark() {
        for host in [
            "generativelanguage.googleapis.com",
            "GenerativeLanguage.googleapis.com.",
            "googleapis.com",
        ] {
            let mut headers = HeaderMap::new();
            Hop::new(1, "relay.example").mark(&mut headers);
            Hop::new(2, host).mark(&mut headers);
            assert!(headers.is_empty(), "{host}");
        }
        let mut headers = HeaderMap::new();
        Hop::new(1, "notgoogleapis.com").mark(&mut headers);
        assert_eq!(headers.len(), 1);
    }
}
