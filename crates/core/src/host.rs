//! The host that a request asks for, which without client tokens tells a program from a web page.
//!
//! A page can have its own name point at 127.0.0.1 and cannot keep the browser from saying that name. So
//! there must be no doubt which name was said: a request can say one in its request line and any number in
//! headers, and whoever looks at another of them than the next one judges another request.

use crate::refusal::Refusal;
use http::header::HOST;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue};
use std::net::IpAddr;

/// Puts the host that was asked for where it is looked for: a request line that names one, as HTTP/2's
/// always does and HTTP/1's to a proxy, counts for more than `Host` (RFC 9112, 3.2.2).
///
/// # Errors
/// When there are two `Host` headers: whoever looks at the other one would judge another request. When the
/// host is given with a user's name, which has no place there (RFC 9110, 4.2.4).
pub fn settle(headers: &mut HeaderMap, authority: Option<&Authority>) -> Result<(), Refusal> {
    let mut named = headers.get_all(HOST).iter();
    let host = named.next().map(HeaderValue::as_bytes);
    if named.next().is_some() {
        return Err(Refusal::BadRequest("the request has two Host headers."));
    }
    let authority = authority.map(Authority::as_str);
    let counts = authority.map(str::as_bytes).or(host).unwrap_or_default();
    if memchr::memchr(b'@', counts).is_some() {
        return Err(Refusal::BadRequest(
            "the request's host has a user's name before it.",
        ));
    }
    if let Some(authority) = authority
        && let Ok(host) = HeaderValue::from_str(authority)
    {
        headers.insert(HOST, host);
    }
    Ok(())
}

/// The host that was asked for, without its port. HTTP/2 has it in `:authority`, which the shell puts
/// where HTTP/1 has it.
pub(crate) fn asked(headers: &HeaderMap) -> Option<String> {
    let host = headers.get(HOST)?.to_str().ok()?;
    // `127.0.0.1:x@evil.example` is not of this machine.
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let (name, rest) = match host.strip_prefix('[') {
        Some(inside) => inside.split_once(']')?,
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let port = rest.strip_prefix(':').unwrap_or(rest);
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        // No host and port, whatever it begins with.
        return None;
    }
    Some(name.trim_end_matches('.').to_ascii_lowercase())
}

/// Whether a name or address is this machine's own for itself.
pub(crate) fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host.ends_with(".localhost")
        || host
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::letin::Door;
    use http::HeaderName;

    fn hosts(names: &[&str]) -> HeaderMap {
        let name = |value: &&str| (HeaderName::from_static("host"), value.parse().unwrap());
        names.iter().map(name).collect()
    }

    #[test]
    fn the_request_lines_host_counts_and_two_hosts_are_none() {
        let door = Door::new(std::iter::empty(), false, Vec::new(), Vec::new());
        let evil: Authority = "evil.example:8787".parse().unwrap();
        let here: Authority = "127.0.0.1:8787".parse().unwrap();
        for (host, authority, let_in) in [
            ("127.0.0.1:8787", None, true),
            ("127.0.0.1:8787", Some(&evil), false),
            ("evil.example", Some(&here), true),
        ] {
            let mut headers = hosts(&[host]);
            settle(&mut headers, authority).unwrap();
            assert_eq!(door.admit("/", &headers).is_ok(), let_in, "{authority:?}");
        }
        let mut two = hosts(&["127.0.0.1", "evil.example"]);
        assert!(settle(&mut two, Some(&here)).is_err());
    }

    #[test]
    fn what_only_begins_like_this_machine_is_not_it() {
        for (host, name) in [
            ("127.0.0.1", Some("127.0.0.1")),
            ("LocalHost.:8787", Some("localhost")),
            ("[::1]", Some("::1")),
            ("[::1]:8787", Some("::1")),
            ("[::1].evil", None),
            ("[::1", None),
            ("127.0.0.1:80:evil", None),
            ("127.0.0.1:evil", None),
        ] {
            assert_eq!(asked(&hosts(&[host])).as_deref(), name, "{host}");
        }
    }

    #[test]
    fn a_host_with_a_users_name_is_refused() {
        let hidden: Authority = "127.0.0.1:x@evil.example".parse().unwrap();
        assert!(settle(&mut hosts(&["127.0.0.1"]), Some(&hidden)).is_err());
        assert!(settle(&mut hosts(&["evil@localhost"]), None).is_err());
    }
}
