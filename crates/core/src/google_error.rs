//! Google's error bodies, read as data.
//!
//! They come as an object, as a one-element array (OpenAI surface, JSON-array streams), in the shape
//! of the Interactions API, as gRPC text, as an HTML page, and broken: with a raw newline inside a
//! string, with `" @type"` for a key, cut off in the middle. All are read into one [`GoogleError`].
//! Details are found by the end of their `@type` and, where that is missing, by what they hold; never
//! by their place, which has changed twice.

use crate::time::parse_span;
use serde_json::Value;
use std::time::Duration;

/// An error as Google said it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GoogleError {
    /// `error.code` where it is a number.
    pub code: Option<u16>,
    /// `error.status`, or the Interactions API's `error.code`.
    pub status: String,
    /// `error.message`, or all of a body that is not JSON (its first kilobytes).
    pub message: String,
    /// The reasons in `ErrorInfo`, those that speak of another of Google's services left aside.
    pub reasons: Vec<String>,
    /// Whether it speaks of another of Google's services: one that a tool wanted.
    pub elsewhere: bool,
    /// `projects/NUMBER`, where Google names the project.
    pub consumer: Option<String>,
    /// The quotas that were exceeded.
    pub violations: Vec<Violation>,
    /// When to try again: `RetryInfo`, else the text of the message.
    pub retry_delay: Option<Duration>,
    /// Whether the body was JSON in one of Google's shapes.
    pub structured: bool,
}

/// One quota that was exceeded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Violation {
    /// Such as `generativelanguage.googleapis.com/generate_content_free_tier_requests`.
    pub metric: String,
    /// Such as `GenerateRequestsPerDayPerProjectPerModel-FreeTier`.
    pub quota_id: String,
    /// The model that Google counts under.
    pub model: Option<String>,
    /// The limit. Google leaves it out when it is 0, and older bodies leave it out always.
    pub value: Option<u64>,
    /// Whether the body says under which model and location it counts: only newer bodies do, and those
    /// give the value unless it is 0.
    pub dimensions: bool,
}

impl Violation {
    /// Whether the limit is 0: this project has none of this model.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.value == Some(0) || self.value.is_none() && self.dimensions
    }
}

impl GoogleError {
    /// Reads a body, decompressed. Never fails: what cannot be read is the message.
    #[must_use]
    pub fn parse(body: &[u8]) -> Self {
        let value = serde_json::from_slice::<Value>(body)
            .or_else(|_| serde_json::from_slice(&without_control_characters(body)));
        let mut error = match &value {
            Ok(value) => Self::from_value(value).unwrap_or_default(),
            Err(_) => Self::default(),
        };
        if !error.structured {
            let head = body.get(..MAX_TEXT).unwrap_or(body);
            error.message = String::from_utf8_lossy(head).into_owned();
        }
        if error.violations.is_empty() {
            error.violations.extend(
                error
                    .message
                    .lines()
                    .take(64)
                    .filter_map(metric_line)
                    .take(MAX_VIOLATIONS),
            );
        }
        // RetryInfo is rounded down to whole seconds (`51s`) where the text is exact (`51.606482386s`): a
        // request that comes half a second early is refused again.
        let text = retry_in_text(&error.message);
        error.retry_delay = match (error.retry_delay, text) {
            (Some(info), Some(text)) if text.abs_diff(info) < Duration::from_secs(1) => {
                Some(info.max(text))
            }
            (info, text) => info.or(text),
        };
        error
    }

    /// The HTTP status that this error stands for where it did not come with one of its own: inside a
    /// stream that had begun with 200.
    #[must_use]
    pub fn own_status(&self) -> u16 {
        self.code.unwrap_or(match self.status.as_str() {
            "invalid_request" | "failed_precondition" | "parameter_unknown" => 400,
            "authentication" => 401,
            "payment_required" => 402,
            "permission_denied" => 403,
            "not_found" | "model_not_found" => 404,
            "rate_limit_exceeded" | "quota_exceeded" => 429,
            _ => 500,
        })
    }

    /// Whether `ErrorInfo` gives this reason.
    #[must_use]
    pub fn gives(&self, reason: &str) -> bool {
        self.reasons.iter().any(|given| given == reason)
    }

    /// Whether the message begins with `text`, whatever the case, its own status left aside.
    ///
    /// The beginning is Google's. What follows may be the client's: the model it made up, the parameter that
    /// is not known, the file that is not there.
    #[must_use]
    pub fn begins(&self, text: &str) -> bool {
        let message = self.message.trim_start();
        let message = message
            .split_once(' ')
            .filter(|(status, _)| status.len() == 3 && status.bytes().all(|b| b.is_ascii_digit()))
            .map_or(message, |(_, rest)| rest);
        message
            .get(..text.len())
            .is_some_and(|begin| begin.eq_ignore_ascii_case(text))
    }

    /// Whether any reason or the message says `text`, whatever the case.
    ///
    /// A client can make Google say many things, so what this finds must harm no key.
    #[must_use]
    pub fn says(&self, text: &str) -> bool {
        let contains = |hay: &str| {
            hay.as_bytes()
                .windows(text.len().max(1))
                .any(|window| window.eq_ignore_ascii_case(text.as_bytes()))
        };
        self.reasons.iter().any(|reason| contains(reason)) || contains(&self.message)
    }

    fn from_value(value: &Value) -> Option<Self> {
        let value = value
            .as_array()
            .and_then(|array| array.first())
            .unwrap_or(value);
        let inner = value.get("error")?;
        let mut error = Self {
            structured: true,
            ..Self::default()
        };
        let Some(inner) = inner.as_object() else {
            error.message = inner.as_str().unwrap_or_default().to_owned();
            return Some(error);
        };
        let text = |key: &str| {
            inner
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        error.message = text("message");
        error.status = text("status");
        match inner.get("code") {
            Some(Value::String(code)) => match code.parse() {
                Ok(number) => error.code = Some(number),
                Err(_) => error.status.clone_from(code),
            },
            Some(code) => error.code = code.as_u64().and_then(|code| u16::try_from(code).ok()),
            None => {}
        }
        for detail in inner
            .get("details")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            error.detail(detail);
        }
        Some(error)
    }

    fn detail(&mut self, detail: &Value) {
        let Some(object) = detail.as_object() else {
            return;
        };
        let kind = object
            .iter()
            .find(|(key, _)| key.trim() == "@type")
            .and_then(|(_, value)| value.as_str())
            .map_or("", |name| {
                name.rsplit(['.', '/']).next().unwrap_or_default()
            });
        let is = |name: &str, member: &str| {
            kind == name || kind.is_empty() && object.contains_key(member)
        };
        if is("ErrorInfo", "reason") {
            let metadata = |key: &str| {
                detail
                    .get("metadata")?
                    .get(key)?
                    .as_str()
                    .map(str::to_owned)
            };
            // A project without the Places API (which a Maps tool wants) still has this one.
            if metadata("service").is_some_and(|service| service != SERVICE) {
                self.elsewhere = true;
            } else {
                let reason = detail.get("reason").and_then(Value::as_str);
                self.reasons.extend(reason.map(str::to_owned));
            }
            self.consumer = self.consumer.take().or_else(|| metadata("consumer"));
            // The old form of a quota error, from Google's service infrastructure.
            if let Some(quota_id) = metadata("quota_limit") {
                self.violations.push(Violation {
                    quota_id,
                    metric: metadata("quota_metric").unwrap_or_default(),
                    value: metadata("quota_limit_value").and_then(|value| value.parse().ok()),
                    ..Violation::default()
                });
            }
        }
        if is("QuotaFailure", "violations") {
            let violations = detail
                .get("violations")
                .and_then(Value::as_array)
                .into_iter()
                .flatten();
            self.violations
                .extend(violations.take(MAX_VIOLATIONS).map(violation));
        }
        if is("RetryInfo", "retryDelay") {
            self.retry_delay = detail
                .get("retryDelay")
                .and_then(Value::as_str)
                .and_then(parse_span);
        }
    }
}

fn violation(value: &Value) -> Violation {
    let text = |key: &str| {
        value
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let dimensions = value.get("quotaDimensions").and_then(Value::as_object);
    Violation {
        metric: text("quotaMetric"),
        quota_id: text("quotaId"),
        model: dimensions
            .and_then(|d| d.get("model"))
            .and_then(Value::as_str)
            .map(str::to_owned),
        value: value.get("quotaValue").and_then(|value| match value {
            Value::String(text) => text.parse().ok(),
            other => other.as_u64(),
        }),
        dimensions: dimensions.is_some_and(|d| !d.is_empty()),
    }
}

/// `* Quota exceeded for metric: M, limit: 20, model: X`: what bodies without details still say. It does
/// not say which window it was.
fn metric_line(line: &str) -> Option<Violation> {
    let (_, rest) = line.split_once("Quota exceeded for metric: ")?;
    let mut parts = rest.split(", ");
    let mut violation = Violation {
        metric: parts.next()?.trim().to_owned(),
        ..Violation::default()
    };
    for part in parts {
        match part.split_once(": ") {
            Some(("limit", value)) => violation.value = value.trim().parse().ok(),
            Some(("model", model)) => violation.model = Some(model.trim().to_owned()),
            _ => {}
        }
    }
    Some(violation)
}

/// `Please retry in 10h17m5.7s.`: the span, without the full stop.
fn retry_in_text(message: &str) -> Option<Duration> {
    let (_, after) = message.split_once("retry in ")?;
    let span = after
        .split(|c: char| c.is_whitespace() || c == ',')
        .next()?;
    parse_span(span.trim_end_matches('.'))
}

/// Google has sent raw newlines inside strings; a space in their place changes nothing that is read.
fn without_control_characters(body: &[u8]) -> Vec<u8> {
    body.iter()
        .map(|&byte| if byte < b' ' { b' ' } else { byte })
        .collect()
}

/// An HTML page or a text says what it is in its first lines.
const MAX_TEXT: usize = 4096;

/// Google sends three or four.
const MAX_VIOLATIONS: usize = 16;

/// The API's name among Google's services.
const SERVICE: &str = "generativelanguage.googleapis.com";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_found_wherever_and_however_they_stand() {
        let violation = r#"{" @type":"x/google.rpc.QuotaFailure","violations":[{"quotaId":"APerDay","quotaValue":"20","quotaDimensions":{"model":"m"}}]}"#;
        let retry = r#"{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"51s"}"#;
        let info = r#"{"reason":"WHY","metadata":{"consumer":"projects/7"}}"#;
        for details in [
            [violation, retry, info],
            [info, violation, retry],
            [retry, info, violation],
        ] {
            let body = format!(
                r#"[{{"error":{{"code":429,"message":"m","status":"S","details":[{}]}}}}]"#,
                details.join(",")
            );
            let error = GoogleError::parse(body.as_bytes());
            assert_eq!(error.code, Some(429));
            assert_eq!(error.reasons, ["WHY"]);
            assert_eq!(error.consumer.as_deref(), Some("projects/7"));
            assert_eq!(error.retry_delay, Some(Duration::from_secs(51)));
            assert_eq!(error.violations[0].value, Some(20));
            assert_eq!(error.violations[0].model.as_deref(), Some("m"));
        }
    }

    #[test]
    fn a_missing_value_is_zero_only_where_values_are_given() {
        let newer = Violation {
            dimensions: true,
            ..Violation::default()
        };
        assert!(newer.is_zero());
        assert!(!Violation::default().is_zero());
        assert!(
            !Violation {
                value: Some(3),
                ..newer
            }
            .is_zero()
        );
    }

    #[test]
    fn what_is_not_json_is_the_message() {
        for body in [
            "<html>Sorry...",
            "",
            "{\"error\"",
            "null",
            "[]",
            "{\"error\":7}",
            "\u{1}\u{2}",
        ] {
            let error = GoogleError::parse(body.as_bytes());
            assert!(error.violations.is_empty());
        }
        assert!(GoogleError::parse(b"<html>Sorry...").says("sorry"));
        assert_eq!(GoogleError::parse(b"{\"error\":\"text\"}").message, "text");
    }
}
