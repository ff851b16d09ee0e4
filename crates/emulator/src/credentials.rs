//! The credentials of a request, wherever it carries them.
//!
//! Google takes exactly one. The record of a request lists all, and `x-api-key` too, which Google
//! does not read: that one is a client's token that a relay forgot to remove.

use http::{HeaderMap, header};
use serde::Serialize;

use crate::config::KeyState;
use crate::errors::{
    About, Refusal, expected_oauth, missing_authorization, missing_key, multiple_credentials,
};
use crate::errors::{for_state, token_type_unsupported};
use crate::route::{Surface, query_pairs};

/// One credential: where it stood, and its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Credential {
    /// `x-goog-api-key`, `key`, `bearer`, `token`, `access_token`, `authorization` or `x-api-key`.
    pub carrier: &'static str,
    /// Its text.
    pub value: String,
}

/// Every credential of a request. An empty one is none: gemini-cli sends an empty
/// `x-goog-api-key` when it has no key.
pub(crate) fn credentials(headers: &HeaderMap, query: &str) -> Vec<Credential> {
    let mut found = Vec::new();
    let mut add = |carrier, value: &str| {
        let value = value.trim();
        if !value.is_empty() {
            found.push(Credential {
                carrier,
                value: value.to_owned(),
            });
        }
    };
    for value in headers.get_all("x-goog-api-key") {
        add("x-goog-api-key", &String::from_utf8_lossy(value.as_bytes()));
    }
    for value in headers.get_all(header::AUTHORIZATION) {
        let text = String::from_utf8_lossy(value.as_bytes());
        let (scheme, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        match scheme.to_ascii_lowercase().as_str() {
            "bearer" => add("bearer", rest),
            "token" => add("token", rest),
            _ => add("authorization", &text),
        }
    }
    for (name, value) in query_pairs(query) {
        match name.as_str() {
            "key" => add("key", &value),
            "access_token" => add("access_token", &value),
            _ => {}
        }
    }
    for value in headers.get_all("x-api-key") {
        add("x-api-key", &String::from_utf8_lossy(value.as_bytes()));
    }
    found
}

/// The one credential that Google would read, if there is exactly one and it is where this surface
/// has it.
pub(crate) fn the_one(found: &[Credential], surface: Surface) -> Result<&Credential, Refusal> {
    let mut read = found
        .iter()
        .filter(|credential| credential.carrier != "x-api-key");
    match (read.next(), read.next(), surface) {
        (Some(_), Some(_), _) => Err(multiple_credentials()),
        (Some(one), None, Surface::OpenAi) if one.carrier == "bearer" => Ok(one),
        (_, None, Surface::OpenAi) => Err(missing_authorization()),
        (Some(one), None, _) => Ok(one),
        (None, ..) => Err(missing_key()),
    }
}

/// Whether a key in this state may come in this carrier; `None` for a key that Google does not
/// know.
pub(crate) fn check_key(
    one: &Credential,
    state: Option<KeyState>,
    surface: Surface,
    about: &About,
) -> Result<(), Refusal> {
    let as_key = matches!(one.carrier, "x-goog-api-key" | "key");
    match state {
        // On a native path a bearer is read as an OAuth token, and an API key is none.
        _ if !as_key && surface != Surface::OpenAi && state != Some(KeyState::BearerOnly) => {
            Err(expected_oauth())
        }
        Some(KeyState::BearerOnly) if as_key => Err(token_type_unsupported(about)),
        Some(KeyState::BearerOnly) if one.carrier != "bearer" => Err(expected_oauth()),
        None => for_state(KeyState::Invalid, about).map_or(Ok(()), Err),
        Some(state) => for_state(state, about).map_or(Ok(()), Err),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(headers: &[(&'static str, &'static str)], query: &str) -> Vec<Credential> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        credentials(&map, query)
    }

    #[test]
    fn credentials_are_found_in_every_carrier() {
        let found = of(
            &[
                ("x-goog-api-key", "a"),
                ("authorization", "Bearer b"),
                ("authorization", "token c"),
                ("x-api-key", "d"),
            ],
            "alt=sse&key=e&access_token=f",
        );
        let carriers: Vec<_> = found
            .iter()
            .map(|one| (one.carrier, one.value.as_str()))
            .collect();
        assert_eq!(
            carriers,
            [
                ("x-goog-api-key", "a"),
                ("bearer", "b"),
                ("token", "c"),
                ("key", "e"),
                ("access_token", "f"),
                ("x-api-key", "d")
            ]
        );
    }

    #[test]
    fn an_empty_credential_is_none() {
        assert_eq!(of(&[("x-goog-api-key", "")], "key="), []);
    }

    #[test]
    fn what_google_does_not_read_is_not_a_second_one() {
        let found = of(&[("x-goog-api-key", "a"), ("x-api-key", "d")], "");
        assert_eq!(the_one(&found, Surface::Gemini).unwrap().value, "a");
    }
}
