//! The beginning of an answer that says 200.
//!
//! Google can answer 200 and then send an error: raw, without `data:`, in the middle of what should be
//! events; or as an event; or as the first element of the array. While nothing has gone to the client
//! that is still an error like any other and can be tried again. So the first bytes are held until they
//! show what it is, which in a good answer takes a dozen of them.

use crate::google_error::GoogleError;

/// What the beginning shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Head {
    /// Not enough yet.
    Undecided,
    /// An answer; it may be passed on.
    Fine,
    /// An error. Its own status is in it.
    Error(GoogleError),
}

/// Looks at the beginning of an answer; `ended` if that is all of it.
#[must_use]
pub fn look(start: &[u8], ended: bool) -> Head {
    let undecided = if ended || start.len() >= MAX_HEAD {
        Head::Fine
    } else {
        Head::Undecided
    };
    let mut rest = start.trim_ascii_start();
    if rest.is_empty() {
        return undecided;
    }
    if let Some(event) = rest.strip_prefix(b"data:") {
        rest = event.trim_ascii_start();
    } else if b"data:".starts_with(rest) {
        return undecided;
    }
    rest = rest.strip_prefix(b"[").unwrap_or(rest).trim_ascii_start();
    let Some(object) = rest.strip_prefix(b"{") else {
        // An array that ends before anything was in it is no answer.
        return if rest.is_empty() || rest.starts_with(b"]") {
            undecided
        } else {
            Head::Fine
        };
    };
    let key = object.trim_ascii_start();
    if !key.starts_with(ERROR) {
        return if ERROR.starts_with(key) {
            undecided
        } else {
            Head::Fine
        };
    }
    // It is an error: all of it is wanted.
    let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<serde_json::Value>();
    match values.next() {
        Some(Ok(value)) => Head::Error(GoogleError::parse(value.to_string().as_bytes())),
        Some(Err(error)) if error.is_eof() && !ended && start.len() < MAX_HEAD => Head::Undecided,
        _ => Head::Error(GoogleError::parse(rest)),
    }
}

const ERROR: &[u8] = b"\"error\"";

/// Google's longest error bodies, with every detail, are a third of this.
pub const MAX_HEAD: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const ERROR_BODY: &str = "{\n  \"error\": {\n    \"code\": 503,\n    \"message\": \"The model is overloaded.\",\n    \"status\": \"UNAVAILABLE\"\n  }\n}\n";

    #[test]
    fn an_error_is_seen_in_every_wrapping_and_only_when_whole() {
        for body in [
            ERROR_BODY.to_owned(),
            format!("[{ERROR_BODY}]"),
            format!("data: {}\r\n\r\n", ERROR_BODY.replace('\n', " ")),
        ] {
            let Head::Error(error) = look(body.as_bytes(), true) else {
                panic!("{body}")
            };
            assert_eq!(error.own_status(), 503);
            let mut decided = false;
            for end in 0..body.len() {
                match look(&body.as_bytes()[..end], false) {
                    Head::Undecided => assert!(!decided),
                    Head::Error(error) => {
                        decided = true;
                        assert_eq!(error.own_status(), 503);
                    }
                    Head::Fine => panic!("passed on at {end} of {body}"),
                }
            }
        }
    }

    #[test]
    fn an_array_without_anything_in_it_is_held_to_its_end() {
        for body in ["[", "[ ]", "[]\n"] {
            assert_eq!(look(body.as_bytes(), false), Head::Undecided, "{body}");
            assert_eq!(look(body.as_bytes(), true), Head::Fine, "{body}");
        }
    }

    #[test]
    fn a_good_beginning_is_passed_on_at_its_first_name() {
        for body in [
            "data: {\"candidates\": [",
            "[{\"candidates\"",
            "{\"error_free\"",
            "event: interaction.start\n",
            "plain",
        ] {
            assert_eq!(look(body.as_bytes(), false), Head::Fine, "{body}");
        }
        for body in ["", "da", "data: ", "[{", "{\"err", "\r\n"] {
            assert_eq!(look(body.as_bytes(), false), Head::Undecided, "{body}");
            assert_eq!(look(body.as_bytes(), true), Head::Fine, "{body}");
        }
    }
}
