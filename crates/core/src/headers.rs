//! Which headers go through, each way.

use crate::key::KeyText;
use crate::letin;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};

/// Takes off what belongs to the client's connection or names the client; the rest goes to Google.
///
/// `Accept-Encoding` stays behind too: what is compressed cannot be watched for its cost and its end
/// as it is, and every client takes plain text.
pub fn for_google(headers: &mut HeaderMap, upgrade: bool) {
    let mut gone = named_by_connection(headers, upgrade);
    gone.extend(
        headers
            .keys()
            .filter(|name| {
                letin::is_credential(name)
                    || is_hop_by_hop(name) && !(upgrade && **name == header::UPGRADE)
                    || **name == header::CONTENT_LENGTH
                    || **name == header::EXPECT
            })
            .cloned(),
    );
    for name in gone {
        headers.remove(name);
    }
    // Saying nothing would allow any coding.
    headers.insert(
        header::ACCEPT_ENCODING,
        HeaderValue::from_static("identity"),
    );
    if upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
}

/// Takes off what belongs to the connection with Google. `Alt-Svc` would send clients to port 443 of
/// the relay's host; a cookie would be one for all clients.
pub fn clean_answer(headers: &mut HeaderMap) {
    for name in named_by_connection(headers, false) {
        headers.remove(name);
    }
    let gone: Vec<HeaderName> = headers
        .keys()
        .filter(|name| {
            is_hop_by_hop(name) || **name == header::ALT_SVC || **name == header::SET_COOKIE
        })
        .cloned()
        .collect();
    for name in gone {
        headers.remove(name);
    }
}

/// Takes off headers that quote a key.
pub fn drop_quoting(headers: &mut HeaderMap, keys: &[&KeyText]) {
    let quoting: Vec<HeaderName> = headers
        .iter()
        .filter(|(_, value)| {
            let value = value.as_bytes();
            keys.iter().any(|key| {
                let key = key.expose().as_bytes();
                value.len() >= key.len() && value.windows(key.len()).any(|window| window == key)
            })
        })
        .map(|(name, _)| name.clone())
        .collect();
    for name in quoting {
        headers.remove(name);
    }
}

/// What `Connection` says is of this connection only.
fn named_by_connection(headers: &HeaderMap, upgrade: bool) -> Vec<HeaderName> {
    match headers.get(header::CONNECTION).map(HeaderValue::to_str) {
        // What nearly everybody says names nothing.
        Some(Ok("keep-alive" | "Keep-Alive" | "close")) => Vec::new(),
        Some(Ok(names)) if !upgrade => names
            .split(',')
            .filter_map(|name| HeaderName::try_from(name.trim()).ok())
            .collect(),
        _ => Vec::new(),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(of: &[(&'static str, &'static str)]) -> HeaderMap {
        of.iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn what_is_of_the_clients_connection_or_opens_doors_stays_behind() {
        let mut sent = headers(&[
            ("connection", "keep-alive, x-of-this-hop"),
            ("x-of-this-hop", "1"),
            ("authorization", "Bearer made-up"),
            ("x-goog-api-key", "made-up"),
            ("content-length", "7"),
            ("accept-encoding", "gzip"),
            ("x-goog-api-client", "genai-js/3.1.0"),
        ]);
        for_google(&mut sent, false);
        let left = headers(&[
            ("x-goog-api-client", "genai-js/3.1.0"),
            ("accept-encoding", "identity"),
        ]);
        assert_eq!(sent, left);
    }

    #[test]
    fn an_answers_header_that_quotes_a_key_is_dropped() {
        let mut came = headers(&[
            ("x-goog-upload-url", "https://up.example/?key=made-up-key"),
            ("alt-svc", "h3"),
            ("set-cookie", "a=b"),
            ("vary", "origin"),
        ]);
        clean_answer(&mut came);
        drop_quoting(&mut came, &[&KeyText::new("made-up-key").unwrap()]);
        assert_eq!(came, headers(&[("vary", "origin")]));
    }
}
