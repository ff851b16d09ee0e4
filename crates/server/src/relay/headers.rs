//! Which headers go through, each way.

use gemini_relay_core::{KeyText, letin};
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};
use std::fmt::Write as _;

/// The client's headers without what belongs to its connection or names it; the rest goes to Google.
///
/// `Accept-Encoding` stays behind too: what is compressed cannot be watched for its cost and its end,
/// and every client takes plain text.
pub(crate) fn for_google(client: &HeaderMap, upgrade: bool) -> HeaderMap {
    let named = named_by_connection(client, upgrade);
    let mut headers = HeaderMap::with_capacity(client.len() + 2);
    for (name, value) in client {
        let stays = letin::is_credential(name)
            || is_hop_by_hop(name) && !(upgrade && *name == header::UPGRADE)
            || matches!(
                name.as_str(),
                "host" | "accept-encoding" | "content-length" | "expect"
            )
            || named.contains(name);
        if !stays {
            headers.append(name.clone(), value.clone());
        }
    }
    // Saying nothing would allow any coding.
    headers.insert(
        header::ACCEPT_ENCODING,
        HeaderValue::from_static("identity"),
    );
    if upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    headers
}

/// Takes off what belongs to the connection with Google. `Alt-Svc` would send clients to port 443 of
/// the relay's host; a cookie would be one for all clients.
pub(crate) fn clean_answer(headers: &mut HeaderMap) {
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
pub(crate) fn drop_quoting(headers: &mut HeaderMap, keys: &[&KeyText]) {
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

/// A label as a header's value: what is not plain ASCII is percent-encoded.
pub(crate) fn label(label: &str) -> HeaderValue {
    if let Ok(value) = HeaderValue::from_str(label) {
        return value;
    }
    let mut out = String::with_capacity(label.len() * 3);
    for byte in label.bytes() {
        if byte.is_ascii_graphic() && byte != b'%' {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    HeaderValue::from_str(&out).unwrap_or(HeaderValue::from_static("?"))
}

/// An error with its causes, for the log.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
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

    #[test]
    fn a_label_of_any_letters_fits_a_header() {
        assert_eq!(label("key_0"), "key_0");
        assert!(label("khoá ấy\n").to_str().unwrap().starts_with("kho%C3"));
    }
}
