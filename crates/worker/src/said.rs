//! What the glue is to do next, and how it is told: one text, since each thing that is handed from
//! WebAssembly to JavaScript costs about as much as all the thinking behind it.
//!
//! The first letter says what; lines follow. Header lines are `name:value` and end with an empty line.

use http::{HeaderMap, StatusCode};
use std::fmt::Write as _;

/// One instruction.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// Answer the client with this.
    Answer {
        /// The status.
        status: StatusCode,
        /// The headers.
        headers: HeaderMap,
        /// The body.
        body: Body,
    },
    /// Read the body of request `handle`, keeping up to `limit` bytes of it as far as there is `room`, and show it by
    /// `body`.
    Gather {
        /// Names the request from now on.
        handle: u32,
        /// The most to keep.
        limit: usize,
        /// The most to show.
        shown: usize,
        /// The longest pause inside it, in milliseconds.
        pause: u32,
    },
    /// Ask for a plan with this message, and hand what comes to `planned`.
    Ask(String),
    /// Call `turn` after so many milliseconds.
    Wait(u32),
    /// Send the request, and say what came by `answered` or `failed`.
    Send {
        /// Where to.
        url: String,
        /// The headers.
        headers: HeaderMap,
        /// By way of the egress object of this region.
        region: Option<String>,
        /// How long to wait for an answer, in milliseconds.
        patience: u32,
    },
    /// Read the whole answer, an error, and hand it to `error`.
    ReadError,
    /// Read the whole answer, a small one, and hand it to `whole`.
    ReadWhole,
    /// Read the next piece of the answer, keep it, and hand it to `piece`.
    Look,
    /// Pass the answer on: first what was kept, then the rest, each piece shown to `see`.
    Pass {
        /// The status.
        status: StatusCode,
        /// The headers.
        headers: HeaderMap,
        /// The longest pause inside it, in milliseconds.
        idle: u32,
    },
    /// Hand the WebSocket over.
    HandOver {
        /// The headers.
        headers: HeaderMap,
    },
    /// There is nothing to do: the request is not known any more.
    Gone,
}

/// The body of an answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Body {
    /// This text.
    Text(String),
    /// The bytes that were just handed over, as they are.
    AsRead,
    /// These bytes, which need not be text.
    Bytes(Vec<u8>),
    /// These bytes, after which the connection is to be cut: more was to come and did not.
    Cut(Vec<u8>),
}

impl Said {
    /// As one text.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut out = String::new();
        match self {
            Self::Answer {
                status,
                headers,
                body,
            } => {
                let how = match body {
                    Body::Text(_) => 'A',
                    Body::AsRead => 'R',
                    Body::Bytes(_) => 'B',
                    Body::Cut(_) => 'C',
                };
                let _ = writeln!(out, "{how}{}", status.as_u16());
                lines(&mut out, headers);
                match body {
                    Body::Text(text) => out.push_str(text),
                    Body::AsRead => {}
                    Body::Bytes(bytes) | Body::Cut(bytes) => latin(&mut out, bytes),
                }
            }
            Self::Gather {
                handle,
                limit,
                shown,
                pause,
            } => {
                let _ = write!(out, "G{handle}\n{limit}\n{shown}\n{pause}");
            }
            Self::Ask(message) => {
                let _ = write!(out, "Q{message}");
            }
            Self::Wait(millis) => {
                let _ = write!(out, "W{millis}");
            }
            Self::Send {
                url,
                headers,
                region,
                patience,
            } => {
                // An empty line would end the headers.
                let region = region.as_deref().unwrap_or("-");
                let _ = writeln!(out, "S{url}\n{patience}\n{region}");
                lines(&mut out, headers);
            }
            Self::ReadError => out.push('E'),
            Self::ReadWhole => out.push('U'),
            Self::Look => out.push('L'),
            Self::Pass {
                status,
                headers,
                idle,
            } => {
                let _ = writeln!(out, "P{}\n{idle}", status.as_u16());
                lines(&mut out, headers);
            }
            Self::HandOver { headers } => {
                out.push_str("H\n");
                lines(&mut out, headers);
            }
            Self::Gone => out.push('X'),
        }
        out
    }
}

fn lines(out: &mut String, headers: &HeaderMap) {
    for (name, value) in headers {
        out.push_str(name.as_str());
        out.push(':');
        out.push_str(&String::from_utf8_lossy(value.as_bytes()));
        out.push('\n');
    }
    out.push('\n');
}

/// What need not be text: each byte is the letter of its number.
fn latin(out: &mut String, bytes: &[u8]) {
    out.extend(bytes.iter().map(|byte| char::from(*byte)));
}

/// Header lines as the glue writes them.
pub(crate) fn headers<'a>(lines: impl Iterator<Item = &'a str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        // The runtime reads and writes headers as UTF-8.
        let value = http::HeaderValue::from_bytes(value.as_bytes());
        if let (Ok(name), Ok(value)) = (http::HeaderName::try_from(name), value) {
            headers.append(name, value);
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_survive_the_way_to_javascript_and_back() {
        let text = "x-a:1\nx-b:two:three\nx-c:caf\u{e9} ti\u{1ebf}ng\nx-a:4\n";
        let read = headers(text.lines());
        assert_eq!(read.get_all("x-a").iter().count(), 2);
        let mut out = String::new();
        lines(&mut out, &read);
        for line in text.lines() {
            assert!(out.contains(line), "{line}");
        }
        assert!(headers(["no colon", "bad name :x"].into_iter()).is_empty());
    }
}
