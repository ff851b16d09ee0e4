//! Google's refusals: what they say, and the shapes they come in.
//!
//! A client of Gemini is written against these bodies, word for word: it looks for a reason in
//! the details, or, where Google sends none, for a phrase in the message. So they are kept as
//! Google sends them, double spaces and all, and only names and numbers are filled in.
//!
//! One refusal has four shapes, by where it was asked: an object on native paths, the same object
//! in an array of one on the OpenAI paths and where a JSON array was going to be streamed, and an
//! object of other fields on `/interactions`.

mod key;
mod named;
mod quota;

use bytes::Bytes;
use http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};

pub(crate) use key::token_type_unsupported;
pub(crate) use key::{
    expected_oauth, for_state, missing_authorization, missing_key, multiple_credentials,
};
pub(crate) use named::{NAMES, named};
pub(crate) use named::{
    corrupted_signature, deadline_exceeded, deadline_too_short, missing_signature, model_not_found,
};
pub(crate) use named::{payload_too_large, token_count};
pub(crate) use quota::{Violation, quota_exceeded};

/// What an error body may speak of.
#[derive(Debug, Clone, Default)]
pub(crate) struct About {
    pub(crate) version: String,
    pub(crate) model: String,
    /// Google's name of the method, as in `models/X is not supported for generateContent`.
    pub(crate) verb: String,
    pub(crate) key: String,
    pub(crate) project_number: u64,
    pub(crate) path: String,
}

impl About {
    /// The full name of the method, as `ErrorInfo` metadata has it.
    fn grpc_method(&self) -> String {
        let mut letters = self.verb.chars();
        let first: String = letters
            .next()
            .map(|letter| letter.to_ascii_uppercase())
            .into_iter()
            .collect();
        format!(
            "google.ai.generativelanguage.{}.GenerativeService.{first}{}",
            self.version,
            letters.as_str()
        )
    }
}

/// Which shape a refusal takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Object,
    Array,
    Interactions,
}

/// A refusal of Google's.
#[derive(Debug, Clone)]
pub(crate) enum Refusal {
    /// By the API.
    Status(ErrorStatus),
    /// By something before the API: a page for people.
    Page { http: StatusCode, text: String },
    /// As it was met once, byte for byte.
    Verbatim { http: StatusCode, text: String },
}

/// `google.rpc.Status` as JSON, with its fields in Google's order.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ErrorStatus {
    pub(crate) code: u16,
    pub(crate) message: String,
    pub(crate) status: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) details: Vec<Value>,
}

impl Refusal {
    pub(crate) fn new(code: u16, status: &'static str, message: impl Into<String>) -> Refusal {
        Refusal::Status(ErrorStatus {
            code,
            message: message.into(),
            status,
            details: Vec::new(),
        })
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Refusal {
        Refusal::new(400, "INVALID_ARGUMENT", message)
    }

    pub(crate) fn with(mut self, detail: Value) -> Refusal {
        if let Refusal::Status(error) = &mut self {
            error.details.push(detail);
        }
        self
    }

    /// The same with the message said once more, as `LocalizedMessage`.
    fn localized(self) -> Refusal {
        let Refusal::Status(error) = &self else {
            return self;
        };
        let message = error.message.clone();
        self.with(json!({
            "@type": "type.googleapis.com/google.rpc.LocalizedMessage",
            "locale": "en-US",
            "message": message,
        }))
    }

    /// What Google says where there is nothing.
    pub(crate) fn no_such_path(path: &str) -> Refusal {
        Refusal::Page {
            http: StatusCode::NOT_FOUND,
            text: format!(
                "<!DOCTYPE html>\n<html lang=en>\n  <meta charset=utf-8>\n  <title>Error 404 (Not Found)!!1</title>\n  \
                 <p><b>404.</b> <ins>That\u{2019}s an error.</ins>\n  <p>The requested URL <code>{}</code> was not found \
                 on this server.  <ins>That\u{2019}s all we know.</ins>\n",
                path.replace('&', "&amp;")
                    .replace('<', "&lt;")
                    .replace('>', "&gt;")
            ),
        }
    }

    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Refusal::Status(error) => {
                StatusCode::from_u16(error.code).unwrap_or(StatusCode::BAD_REQUEST)
            }
            Refusal::Page { http, .. } | Refusal::Verbatim { http, .. } => *http,
        }
    }

    pub(crate) fn content_type(&self) -> &'static str {
        match self {
            Refusal::Status(_) | Refusal::Verbatim { .. } => "application/json; charset=UTF-8",
            Refusal::Page { .. } => "text/html; charset=UTF-8",
        }
    }

    pub(crate) fn body(&self, shape: Shape) -> Bytes {
        let error = match self {
            Refusal::Page { text, .. } | Refusal::Verbatim { text, .. } => {
                return Bytes::from(text.clone());
            }
            Refusal::Status(error) => error,
        };
        let text = match shape {
            Shape::Object => serde_json::to_string_pretty(&Envelope { error }),
            Shape::Array => serde_json::to_string_pretty(&[Envelope { error }]),
            Shape::Interactions => serde_json::to_string(&json!({
                "error": {"code": interactions_code(error), "message": error.message}
            })),
        };
        let mut text = text.unwrap_or_default();
        text.push('\n');
        Bytes::from(text)
    }
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: &'a ErrorStatus,
}

/// The word that the Interactions API has for the same thing.
fn interactions_code(error: &ErrorStatus) -> &'static str {
    match (error.code, error.status) {
        (400, "FAILED_PRECONDITION") => "failed_precondition",
        (400, _) => "invalid_request",
        (401, _) => "authentication",
        (402, _) => "payment_required",
        (403, _) => "permission_denied",
        (404, _) => "not_found",
        (429, _)
            if error
                .details
                .iter()
                .any(|detail| detail.to_string().contains("PerDay")) =>
        {
            "quota_exceeded"
        }
        (429, _) => "rate_limit_exceeded",
        _ => "internal",
    }
}

const SERVICE: &str = "generativelanguage.googleapis.com";

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(shape: Shape, expected: &str) {
        let refusal = Refusal::new(
            403,
            "PERMISSION_DENIED",
            "The caller does not have permission",
        );
        assert_eq!(std::str::from_utf8(&refusal.body(shape)).unwrap(), expected);
    }

    #[test]
    fn a_refusal_has_the_shape_of_where_it_was_asked() {
        check(
            Shape::Object,
            "{\n  \"error\": {\n    \"code\": 403,\n    \"message\": \"The caller does not have permission\",\n    \
             \"status\": \"PERMISSION_DENIED\"\n  }\n}\n",
        );
        check(
            Shape::Array,
            "[\n  {\n    \"error\": {\n      \"code\": 403,\n      \"message\": \"The caller does not have \
             permission\",\n      \"status\": \"PERMISSION_DENIED\"\n    }\n  }\n]\n",
        );
        check(
            Shape::Interactions,
            "{\"error\":{\"code\":\"permission_denied\",\"message\":\"The caller does not have permission\"}}\n",
        );
    }
}
