//! From texts to values. Each refusal says what is allowed and shows one right text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub(crate) use gemini_relay_core::value::{Remedy, duration, on_off, size};

/// One address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listen {
    pub(crate) address: SocketAddr,
    /// An IPv6 twin that nobody asked for by itself: a machine without IPv6 starts without it.
    pub(crate) optional: bool,
}

/// `8787`, `:8787`, `localhost:8787`, `0.0.0.0:8787`, `[::1]:8787`, or an address without a port.
pub(crate) fn listen(text: &str) -> Result<Vec<Listen>, Remedy> {
    const REMEDY: Remedy = "write a port such as 8787 (loopback), :8787 (every address), or an address such as 192.0.2.7:8787";
    let port = |digits: &str| digits.parse::<u16>().map_err(|_| REMEDY);
    let pair = |v4: Ipv4Addr, v6: Ipv6Addr, port| {
        vec![
            Listen {
                address: SocketAddr::new(v4.into(), port),
                optional: false,
            },
            Listen {
                address: SocketAddr::new(v6.into(), port),
                optional: true,
            },
        ]
    };
    let loopback = |port| pair(Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST, port);
    let everywhere = |port| pair(Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED, port);
    let one = |address| {
        vec![Listen {
            address,
            optional: false,
        }]
    };
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return port(text).map(loopback);
    }
    if let Some(digits) = text
        .strip_prefix("*:")
        .or_else(|| text.strip_prefix(':'))
        .filter(|d| !d.contains(':'))
    {
        return port(digits).map(everywhere);
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(one(address));
    }
    if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Ok(one(SocketAddr::new(ip, DEFAULT_PORT)));
    }
    match text.split_once(':') {
        Some(("localhost", digits)) => port(digits).map(loopback),
        None if text == "localhost" => Ok(loopback(DEFAULT_PORT)),
        _ => Err(REMEDY),
    }
}

/// The port of every example in the documents.
pub(crate) const DEFAULT_PORT: u16 = 8787;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_loopback_and_a_colon_is_everywhere() {
        let shown = |text| {
            listen(text)
                .unwrap()
                .iter()
                .map(|l| l.address.to_string())
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(shown("8787"), "127.0.0.1:8787 [::1]:8787");
        assert_eq!(shown("localhost:1"), "127.0.0.1:1 [::1]:1");
        assert_eq!(shown(":8787"), "0.0.0.0:8787 [::]:8787");
        assert_eq!(shown("0.0.0.0:8787"), "0.0.0.0:8787");
        assert_eq!(shown("[::1]:5"), "[::1]:5");
        assert_eq!(shown("::1"), "[::1]:8787");
        assert_eq!(shown("192.0.2.7"), "192.0.2.7:8787");
        for wrong in [
            "",
            ":",
            "70000",
            "http://127.0.0.1:1",
            "example.com:80",
            "localhost:",
        ] {
            assert!(listen(wrong).is_err(), "{wrong}");
        }
    }
}
