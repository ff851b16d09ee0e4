//! Which headers go through, each way.

use gemini_relay_core::{KeyText, letin};
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};
use std::fmt::Write as _;

/// Takes off what belongs to one connection or names the client; the rest goes to Google.
///
/// `Accept-Encoding` goes too: what is compressed cannot be watched for its cost and its end, and
/// every client takes plain text.
pub(crate) fn clean_request(headers: &mut HeaderMap, upgrade: bool) {
    letin::strip_credentials(headers);
    hop_by_hop(headers, upgrade);
    for name in [
        header::HOST,
        header::ACCEPT_ENCODING,
        header::CONTENT_LENGTH,
        header::EXPECT,
    ] {
        headers.remove(name);
    }
}

/// Takes off what belongs to the connection with Google. `Alt-Svc` would send clients to port 443 of
/// the relay's host.
pub(crate) fn clean_answer(headers: &mut HeaderMap) {
    hop_by_hop(headers, false);
    headers.remove(header::ALT_SVC);
    headers.remove(header::SET_COOKIE);
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

fn hop_by_hop(headers: &mut HeaderMap, upgrade: bool) {
    if let Some(connection) = headers.remove(header::CONNECTION)
        && let Ok(names) = connection.to_str()
        && !upgrade
    {
        for name in names
            .split(',')
            .filter_map(|name| HeaderName::try_from(name.trim()).ok())
        {
            headers.remove(name);
        }
    }
    for name in [
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::PROXY_AUTHENTICATE,
    ] {
        headers.remove(name);
    }
    for name in ["keep-alive", "proxy-connection"] {
        headers.remove(name);
    }
    if upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    } else {
        headers.remove(header::UPGRADE);
    }
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
