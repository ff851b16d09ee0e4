//! Which headers go through, each way.

use crate::letin;
use crate::pool::{Carrier, KeyInfo};
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};

/// Makes of a client's headers those of every attempt but for the key: without what belongs to the client's
/// connection or names the client, and with a place for the key. `length` is the body's, where it is known.
/// `Host` is left for the shell to set.
///
/// `Accept-Encoding` stays behind too: what is compressed cannot be watched for its cost and its end
/// as it is, and every client takes plain text. Saying nothing would allow any coding.
pub fn for_google(headers: &mut HeaderMap, length: Option<u64>, upgrade: bool) {
    let mut gone = Vec::new();
    let (mut has_length, mut has_key) = (false, false);
    for name in headers.keys() {
        if *name == API_KEY {
            // Its value makes way for the attempt's key.
            has_key = true;
        } else if *name == header::CONNECTION {
            named_by_connection(headers, upgrade, &mut gone);
            gone.push(header::CONNECTION);
        } else if *name == header::CONTENT_LENGTH {
            has_length = true;
        } else if letin::is_credential(name)
            || is_hop_by_hop(name) && !(upgrade && *name == header::UPGRADE)
            || *name == header::EXPECT
            // In a compressed WebSocket nobody sees what Google quotes.
            || *name == header::SEC_WEBSOCKET_EXTENSIONS
        {
            gone.push(name.clone());
        }
    }
    for name in gone {
        headers.remove(name);
    }
    let said_twice = headers.len() > headers.keys_len();
    match length {
        None if has_length => drop(headers.remove(header::CONTENT_LENGTH)),
        Some(length) if has_length && said_twice => {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        _ => {}
    }
    headers.insert(header::ACCEPT_ENCODING, IDENTITY);
    if !has_key {
        headers.insert(API_KEY, HeaderValue::from_static(""));
    }
    if upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
}

/// Puts the key of an attempt into its place.
pub fn put_key(headers: &mut HeaderMap, key: &KeyInfo, carrier: Carrier) {
    let (name, secret) = key.credential(carrier);
    if name != API_KEY {
        headers.remove(API_KEY);
    }
    headers.insert(name, secret.clone());
}

/// Takes off what belongs to the connection with Google. `Alt-Svc` would send clients to port 443 of
/// the relay's host; a cookie would be one for all clients; and which web pages may read an answer is the relay's
/// to say.
///
/// With `must_end` it loses its length too: a client that is told one takes an answer of that length to be
/// whole, whether it said that it was at its end or not.
pub fn clean_answer(headers: &mut HeaderMap, must_end: bool) {
    let mut gone = Vec::new();
    for name in headers.keys() {
        if *name == header::CONNECTION {
            named_by_connection(headers, false, &mut gone);
        }
        if is_hop_by_hop(name)
            || *name == header::ALT_SVC
            || *name == header::SET_COOKIE
            || name.as_str().starts_with("access-control-")
            || must_end && *name == header::CONTENT_LENGTH
        {
            gone.push(name.clone());
        }
    }
    for name in gone {
        headers.remove(name);
    }
}

/// Takes off headers that quote a key, in their value or, in small letters, in their name.
pub fn drop_quoting<'a>(headers: &mut HeaderMap, keys: impl Iterator<Item = &'a KeyInfo> + Clone) {
    let quoting: Vec<HeaderName> = headers
        .iter()
        .filter(|(name, value)| {
            !is_made_of_itself(name, value)
                && keys.clone().any(|key| {
                    key.quoted().is_in(value.as_bytes()) || key.quoted().is_name(name.as_str())
                })
        })
        .map(|(name, _)| name.clone())
        .collect();
    for name in quoting {
        headers.remove(name);
    }
}

/// Headers that quote nothing that was asked, as nearly every answer has them.
fn is_made_of_itself(name: &HeaderName, value: &HeaderValue) -> bool {
    let value = value.as_bytes();
    *name == header::CONTENT_LENGTH
        || *name == header::CONTENT_TYPE && USUAL_TYPES.contains(&value)
        || *name == header::DATE && value.ends_with(b" GMT")
}

/// What `Connection` says is of this connection only.
fn named_by_connection(headers: &HeaderMap, upgrade: bool, gone: &mut Vec<HeaderName>) {
    for names in headers.get_all(header::CONNECTION) {
        let names = names.as_bytes().split(|byte| *byte == b',');
        let names = names.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok());
        gone.extend(names.filter(|name| !(upgrade && *name == header::UPGRADE)));
    }
}

/// The standard ones are compared by number, which costs next to nothing.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    *name == header::CONNECTION
        || *name == header::TRANSFER_ENCODING
        || *name == header::UPGRADE
        || *name == header::TE
        || *name == header::TRAILER
        || *name == header::PROXY_AUTHENTICATE
        || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

/// Google's.
const USUAL_TYPES: [&[u8]; 3] = [
    b"application/json; charset=UTF-8",
    b"text/event-stream",
    b"application/json",
];

const API_KEY: HeaderName = HeaderName::from_static("x-goog-api-key");
const IDENTITY: HeaderValue = HeaderValue::from_static("identity");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::Relay;
    use crate::{KeySpec, KeyText, Settings};
    use std::sync::Arc;

    /// As the first attempt would send them.
    fn cleaned(pairs: &[(&'static str, &'static str)], length: Option<u64>) -> Vec<String> {
        let mut headers: HeaderMap = pairs
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect();
        for_google(&mut headers, length, false);
        put_key(&mut headers, &key(), Carrier::ApiKeyHeader);
        let mut lines: Vec<String> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        lines.sort();
        lines
    }

    const ALWAYS: [&str; 2] = ["accept-encoding: identity", "x-goog-api-key: made-up-key"];

    #[test]
    fn what_names_the_client_or_its_connection_stays_here() {
        let all = [
            ("x-goog-api-key", "a-token"),
            ("authorization", "Bearer a-token"),
            ("cookie", "a=b"),
            ("connection", "x-mine, keep-alive"),
            ("x-mine", "1"),
            ("keep-alive", "5"),
            ("te", "trailers"),
            ("expect", "100-continue"),
            ("accept-encoding", "gzip"),
        ];
        assert_eq!(cleaned(&all, None), ALWAYS);
    }

    #[test]
    fn a_length_is_said_once_and_only_where_it_is_known() {
        let twice = [("content-length", "5"), ("content-length", "5")];
        let with = |line: &'static str| {
            let mut lines = vec![ALWAYS[0], line, ALWAYS[1]];
            lines.sort_unstable();
            lines
        };
        assert_eq!(cleaned(&twice, Some(5)), with("content-length: 5"));
        assert_eq!(cleaned(&twice, None), ALWAYS);
        assert_eq!(cleaned(&[], Some(0)), ALWAYS, "a GET says nothing of it");
    }

    #[test]
    fn a_header_that_is_called_as_the_key_is_not_passed_on() {
        let key = key();
        let mut headers = HeaderMap::new();
        headers.insert("x-made-up-key-7", HeaderValue::from_static("1"));
        headers.insert("x-other", HeaderValue::from_static("1"));
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/plain; x=made-up-key"),
        );
        drop_quoting(&mut headers, std::iter::once(&*key));
        assert_eq!(headers.keys().collect::<Vec<_>>(), ["x-other"]);
    }

    #[test]
    fn a_key_that_travels_as_a_bearer_token_travels_alone() {
        let mut headers = HeaderMap::new();
        headers.insert(API_KEY, HeaderValue::from_static("a-token"));
        for_google(&mut headers, None, false);
        put_key(&mut headers, &key(), Carrier::Bearer);
        assert!(!headers.contains_key(API_KEY));
        assert_eq!(headers[header::AUTHORIZATION], "Bearer made-up-key");
    }

    #[test]
    fn an_answers_header_that_quotes_a_key_is_dropped() {
        let mut came = HeaderMap::new();
        for (name, value) in [
            ("x-goog-upload-url", "https://up.example/?key=made-up-key"),
            ("x-encoded", "https://up.example/?key=%6dade%2Dup%2dkey"),
            ("alt-svc", "h3"),
            ("set-cookie", "a=b"),
            ("vary", "origin"),
        ] {
            came.insert(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        clean_answer(&mut came, false);
        drop_quoting(&mut came, std::iter::once(&*key()));
        assert_eq!(came.keys().collect::<Vec<_>>(), ["vary"]);
    }

    #[test]
    fn an_answer_that_must_say_its_end_is_told_no_length() {
        for (must_end, left) in [(true, 0), (false, 1)] {
            let mut came = HeaderMap::new();
            came.insert(header::CONTENT_LENGTH, HeaderValue::from_static("5"));
            clean_answer(&mut came, must_end);
            assert_eq!(came.len(), left);
        }
    }

    fn key() -> Arc<KeyInfo> {
        let spec = KeySpec::bare(KeyText::new("made-up-key").unwrap());
        let relay = Relay::new(&[spec], Settings::default(), 0, 0, 0);
        Arc::clone(relay.pool().keys().next().unwrap())
    }
}
