//! In which coding an answer comes.
//!
//! Google is asked for plain text. What comes compressed all the same, from a cache or a proxy on the way
//! or because Google forgot, cannot be looked into as it is: not for a key that it quotes, nor for its
//! cost, its end, or an error where an answer should be. So it is decompressed on its way, and where that
//! cannot be done it is not passed on: that no key's text leaves is promised, and that everything an
//! upstream makes up arrives is not.

use http::header::CONTENT_ENCODING;
use http::{HeaderMap, Method, StatusCode};

/// The coding of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// None, or there is nothing that could be decoded.
    Plain,
    /// gzip.
    Gzip,
    /// deflate, which some take to mean zlib's format and some what is inside it.
    Deflate,
    /// One that is not known here, or several.
    Unknown,
}

/// The coding of the body of an answer to `method`.
#[must_use]
pub fn of(method: &Method, status: StatusCode, headers: &HeaderMap) -> Coding {
    // The head of an answer without a body says what the body would be like; and a part of a compressed
    // file is no compressed file.
    if *method == Method::HEAD
        || status.is_informational()
        || matches!(
            status,
            StatusCode::NO_CONTENT | StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED
        )
    {
        return Coding::Plain;
    }
    let mut found = Coding::Plain;
    for value in headers.get_all(CONTENT_ENCODING) {
        for name in value.as_bytes().split(|byte| *byte == b',') {
            let coding = match name.trim_ascii().to_ascii_lowercase().as_slice() {
                b"" | b"identity" => continue,
                b"gzip" | b"x-gzip" => Coding::Gzip,
                b"deflate" => Coding::Deflate,
                _ => Coding::Unknown,
            };
            found = if found == Coding::Plain {
                coding
            } else {
                Coding::Unknown
            };
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[track_caller]
    fn check(method: &Method, status: u16, values: &[&'static str], coding: Coding) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CONTENT_ENCODING, HeaderValue::from_static(value));
        }
        let status = StatusCode::from_u16(status).unwrap();
        assert_eq!(of(method, status, &headers), coding, "{method} {values:?}");
    }

    #[test]
    fn a_coding_is_known_by_its_name_however_it_is_written() {
        for (values, coding) in [
            (&[][..], Coding::Plain),
            (&["identity"], Coding::Plain),
            (&["gzip"], Coding::Gzip),
            (&["X-GZip "], Coding::Gzip),
            (&["deflate, identity"], Coding::Deflate),
            (&["br"], Coding::Unknown),
            (&["zstd"], Coding::Unknown),
            (&["gzip, gzip"], Coding::Unknown),
            (&["gzip", "br"], Coding::Unknown),
            (&["made-up"], Coding::Unknown),
        ] {
            for status in [200, 201, 302, 404, 503] {
                check(&Method::POST, status, values, coding);
            }
        }
    }

    #[test]
    fn what_has_no_body_or_a_part_of_one_stays_as_it_is() {
        check(&Method::HEAD, 200, &["gzip"], Coding::Plain);
        for status in [101, 204, 206, 304] {
            check(&Method::GET, status, &["br"], Coding::Plain);
        }
    }
}
