//! Where requests go, and that it is not back here.

use crate::options::value::{Listen, Remedy};
use gemini_relay_core::options;
use http::Uri;
use http::uri::{Authority, Scheme};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

/// The upstream, taken apart for building request URIs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Upstream {
    pub(crate) scheme: Scheme,
    pub(crate) authority: Authority,
    /// What stands before every path: empty, or `/` and a path without a slash at its end.
    pub(crate) path: String,
}

impl Upstream {
    /// See [`options::upstream`].
    pub(crate) fn parse(text: &str) -> Result<Self, Remedy> {
        let (scheme, authority, path) = options::upstream(text)?;
        Ok(Self {
            scheme,
            authority,
            path,
        })
    }

    /// Where connections to it go.
    pub(crate) fn destination(&self) -> Uri {
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query("/")
            .build()
            .unwrap_or_default()
    }

    pub(crate) fn is_https(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    pub(crate) fn port(&self) -> u16 {
        self.authority
            .port_u16()
            .unwrap_or(if self.is_https() { 443 } else { 80 })
    }

    /// Whether its host is, under whatever name, one of these addresses: a request sent there would come
    /// back, and go out again, until there are no sockets left. Asks the resolver; a host that cannot be
    /// resolved now is not this one.
    pub(crate) fn comes_back_to(&self, bound: &[SocketAddr]) -> bool {
        let host = self.authority.host().trim_matches(['[', ']']);
        let found = (host, self.port()).to_socket_addrs();
        found.into_iter().flatten().any(|to| {
            let to_ip = to.ip().to_canonical();
            bound.iter().any(|here| {
                let here_ip = here.ip().to_canonical();
                here.port() == to.port()
                    && (here_ip == to_ip
                        || to_ip.is_unspecified()
                        || here_ip.is_loopback() && to_ip.is_loopback()
                        || here_ip.is_unspecified() && is_of_this_machine(to_ip))
            })
        })
    }

    /// Whether a request sent there would come back to one of these addresses.
    pub(crate) fn is_one_of(&self, listen: &[Listen]) -> bool {
        let host = self
            .authority
            .host()
            .trim_matches(['[', ']'])
            .to_ascii_lowercase();
        let here = host == "localhost" || host.ends_with(".localhost");
        let ip: Option<IpAddr> = host.parse().ok();
        listen
            .iter()
            .filter(|l| l.address.port() == self.port())
            .any(|l| {
                let bound = l.address.ip();
                match ip {
                    // Port and loopback alike: nobody starts two servers so that only 127.0.0.2 differs.
                    Some(ip) if ip.is_loopback() || ip.is_unspecified() => {
                        bound.is_loopback() || bound.is_unspecified()
                    }
                    Some(ip) => ip == bound,
                    None => here && (bound.is_loopback() || bound.is_unspecified()),
                }
            })
    }
}

/// Only an address of this machine can be bound.
fn is_of_this_machine(ip: IpAddr) -> bool {
    std::net::UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::value::listen;

    #[test]
    fn a_version_at_the_end_is_dropped_and_a_path_kept() {
        let path = |text| Upstream::parse(text).unwrap().path;
        assert_eq!(path("https://generativelanguage.googleapis.com"), "");
        assert_eq!(
            path("https://generativelanguage.googleapis.com/v1beta/"),
            ""
        );
        assert_eq!(
            path("https://gateway.example/v1/abc/google-ai-studio/"),
            "/v1/abc/google-ai-studio"
        );
        for wrong in [
            "",
            "generativelanguage.googleapis.com",
            "ftp://a.example",
            "https://a:b@c.example",
            "https://c.example?key=x",
        ] {
            assert!(Upstream::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_relay_itself_is_known_by_any_of_its_names() {
        let is_self = |url, on| {
            Upstream::parse(url)
                .unwrap()
                .is_one_of(&listen(on).unwrap())
        };
        for url in [
            "http://127.0.0.1:8787",
            "http://localhost:8787/v1beta",
            "http://[::1]:8787",
            "http://0.0.0.0:8787",
        ] {
            assert!(is_self(url, "8787"), "{url}");
            assert!(is_self(url, ":8787"), "{url}");
            assert!(!is_self(url, "8788"), "{url}");
        }
        assert!(is_self("http://192.0.2.7:8787", "192.0.2.7:8787"));
        assert!(!is_self("http://192.0.2.8:8787", "192.0.2.7:8787"));
        assert!(!is_self("https://generativelanguage.googleapis.com", "443"));
    }

    #[test]
    fn an_upstream_under_another_name_of_this_relay_is_noticed() {
        let bound = |text: &str| vec![text.parse::<SocketAddr>().unwrap()];
        for (upstream, here, wanted) in [
            ("http://[::ffff:127.0.0.1]:8787", "127.0.0.1:8787", true),
            ("http://127.0.0.2:8787", "0.0.0.0:8787", true),
            ("http://[::1]:8787", "127.0.0.1:8787", true),
            ("http://0.0.0.0:8787", "127.0.0.1:8787", true),
            ("http://127.0.0.1:8788", "127.0.0.1:8787", false),
            ("http://192.0.2.1:8787", "0.0.0.0:8787", false),
        ] {
            let parsed = Upstream::parse(upstream).unwrap();
            assert_eq!(
                parsed.comes_back_to(&bound(here)),
                wanted,
                "{upstream} {here}"
            );
        }
    }
}
