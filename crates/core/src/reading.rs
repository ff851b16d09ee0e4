//! What a request's headers and its scanned body come to, and what of an answer must be seen.

use crate::facts::{ClientId, Facts, Kind, Repeat, Surface};
use crate::recognise::Recognised;
use crate::scan::Found;
use crate::time::Time;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};
use std::sync::Arc;
use std::time::Duration;

/// What the policy is told of a request, whose body has so many bytes and can, or cannot, be sent again.
#[must_use]
pub fn facts(
    found: &Recognised,
    body: &Found,
    client: ClientId,
    deadline: Option<Time>,
    (bytes, replayable): (u64, bool),
) -> Facts {
    let in_body = matches!(found.surface, Surface::OpenAi | Surface::Interactions);
    let kind = match found.kind {
        Kind::Generate if body.grounded => Kind::Grounded,
        kind => kind,
    };
    Facts {
        surface: found.surface,
        kind,
        method: found.method,
        model: found
            .model
            .clone()
            .or_else(|| body.model.as_deref().filter(|_| in_body).map(Arc::from)),
        streams: found.streams || in_body && body.stream,
        repeat: found.repeat,
        replayable,
        client,
        conversation: body
            .conversation
            .filter(|_| matches!(kind, Kind::Generate | Kind::Grounded)),
        items: if kind == Kind::Embed {
            body.items.max(1)
        } else {
            1
        },
        bytes,
        deadline,
    }
}

/// Whether the body is read before a key is chosen.
#[must_use]
pub fn is_json(headers: &HeaderMap, found: &Recognised) -> bool {
    if matches!(found.surface, Surface::Upload | Surface::Live) {
        return false;
    }
    match first(headers, &header::CONTENT_TYPE).map(HeaderValue::as_bytes) {
        Some(b"application/json") => true,
        Some(kind) => kind
            .windows(4)
            .any(|four| four.eq_ignore_ascii_case(b"json")),
        // curl -d says `application/x-www-form-urlencoded`, others say nothing.
        None => found.repeat == Repeat::Freely,
    }
}

/// When the client stops listening (`X-Server-Timeout` in seconds, sent by Google's SDKs); of less than Google takes
/// nothing is left.
#[must_use]
pub fn deadline(headers: &HeaderMap, now: impl FnOnce() -> Time) -> Option<Time> {
    let span = server_timeout(headers)?;
    let now = now();
    Some(if span < SHORTEST { now } else { now + span })
}

fn server_timeout(headers: &HeaderMap) -> Option<Duration> {
    let seconds: f64 = first(headers, &SERVER_TIMEOUT)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|span| *span < Duration::from_secs(86_400))
}

/// A header's first value. Of the few headers that a request has, looking at each is quicker than asking the map.
fn first<'a>(headers: &'a HeaderMap, wanted: &HeaderName) -> Option<&'a HeaderValue> {
    headers
        .iter()
        .find_map(|(name, value)| (name == wanted).then_some(value))
}

/// What is left of the client's own time, in whole seconds. The first attempt passes on what the client
/// said: an unreasonable value is Google's to refuse.
#[must_use]
pub fn remaining(deadline: Time, now: Time, attempt: u32, headers: &HeaderMap) -> HeaderValue {
    if attempt <= 1
        && let Some(own) = headers.get(SERVER_TIMEOUT)
        && deadline.since(now) < Duration::from_secs(10)
    {
        return own.clone();
    }
    // Google takes no less than ten; of a client that gave just that a moment is gone.
    HeaderValue::from(deadline.since(now).max(SHORTEST).as_secs())
}

/// Whether the beginning of a good answer is looked at before it is passed on.
#[must_use]
pub const fn is_looked_at(facts: &Facts) -> bool {
    matches!(
        facts.kind,
        Kind::Generate | Kind::Grounded | Kind::Embed | Kind::Count
    )
}

/// Whether a good answer must say that it is at its end.
#[must_use]
pub const fn must_end(facts: &Facts, found: &Recognised) -> bool {
    facts.streams && !found.partial && matches!(facts.surface, Surface::Gemini | Surface::OpenAi)
}

/// Google refuses less.
const SHORTEST: Duration = Duration::from_secs(10);

/// How long the client waits in all.
pub const SERVER_TIMEOUT: HeaderName = HeaderName::from_static("x-server-timeout");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_less_time_than_google_takes_nothing_is_left() {
        let now = Time::from_millis(1_000_000);
        for (seconds, left) in [("9.9", 0), ("0", 0), ("10", 10_000), ("12.5", 12_500)] {
            let mut headers = HeaderMap::new();
            headers.insert(SERVER_TIMEOUT, HeaderValue::from_static(seconds));
            let left = now + Duration::from_millis(left);
            assert_eq!(deadline(&headers, || now), Some(left), "{seconds}");
        }
        assert_eq!(deadline(&HeaderMap::new(), || now), None);
    }

    #[test]
    fn what_is_left_of_a_clients_time_is_passed_on_and_an_unreasonable_value_as_it_came() {
        let mut headers = HeaderMap::new();
        headers.insert(SERVER_TIMEOUT, HeaderValue::from_static("60.5"));
        assert_eq!(
            server_timeout(&headers),
            Some(Duration::from_millis(60_500))
        );
        let now = Time::from_millis(1_000_000);
        let left = |seconds, attempt| {
            remaining(now + Duration::from_secs(seconds), now, attempt, &headers)
        };
        assert_eq!(left(60, 1), "60");
        assert_eq!(left(60, 2), "60");
        assert_eq!(left(8, 1), "60.5");
        assert_eq!(left(9, 2), "10");
    }
}
