//! The relay's own answers to clients, in the dialect they speak.
//!
//! Clients act on details: gemini-cli and Roo Code wait for what `Please retry in Ns.` says, gemini-cli
//! gives up on a `PerDay` violation and on `limit: 0`, SDKs read `RetryInfo` or `Retry-After`. So a
//! refusal for quota carries the violation of the project that returns first and the true time, rounded
//! up to whole seconds, and says nothing of the others.

use crate::facts::Surface;
use crate::google_error::Violation;
use crate::time::Time;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Why the relay answers by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Every project that the request may use is out of quota; the first is back at `back`.
    Quota {
        /// What was exceeded there.
        violation: Option<Arc<Violation>>,
        /// The model asked for.
        model: Option<String>,
        /// Whether it was a quota a day.
        day: bool,
        /// When the first is back.
        back: Time,
    },
    /// No project has any quota of this model.
    Tier {
        /// What was exceeded.
        violation: Option<Arc<Violation>>,
        /// The model asked for.
        model: Option<String>,
        /// When it will be tried again.
        back: Time,
    },
    /// No key can be used; the text counts them by reason.
    AllDead {
        /// Such as `2 not valid, 1 out of credit`.
        counts: String,
        /// When one will be tried again.
        back: Option<Time>,
    },
    /// No key of the pool may be used for this model.
    NotAllowed {
        /// The model asked for.
        model: Option<String>,
    },
    /// "Resource has been exhausted" everywhere: nobody's quota.
    Capacity {
        /// When to come again.
        back: Time,
    },
    /// The model is overloaded for everybody.
    Overloaded {
        /// When the next request is let through.
        back: Time,
    },
    /// Google refuses the relay's address.
    EgressBan {
        /// When the next request is let through.
        back: Time,
    },
    /// The attempts that a request may make were refused, and others are untried.
    Attempts {
        /// How many they were.
        made: u32,
        /// When to come again.
        back: Time,
    },
    /// What Google said to an earlier attempt of this request, which nobody after it was able to gainsay: the shell
    /// has it.
    Earlier,
    /// Google cannot be reached.
    Unreachable,
    /// The connection broke, and the request may not be repeated.
    Broken,
    /// No answer within the first-byte limit.
    Silent,
    /// The client's own deadline leaves too little time.
    Deadline,
    /// Too many requests wait already.
    Crowded {
        /// When the first of what they wait for returns.
        back: Time,
    },
    /// The client showed no token, or a wrong one.
    Unauthorized,
    /// It is open to everybody, has no client tokens, and was not told to do without.
    NoTokens,
    /// A web page of another origin, or a host name that is not the relay's.
    Forbidden(&'static str),
    /// The relay has no such path.
    NotFound,
    /// The request cannot be understood.
    BadRequest(&'static str),
    /// The client stopped in the middle of the request's body.
    Stalled,
    /// The upstream is this relay itself.
    Loop,
    /// The relay's own limits: too much held in memory.
    Busy,
    /// The relay is stopping.
    Stopping,
}

/// A refusal as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The HTTP status.
    pub status: u16,
    /// The JSON body.
    pub body: String,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
}

impl Refusal {
    /// The word for logs and for `x-gemini-relay-reason`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Quota { .. } => "quota",
            Self::Tier { .. } => "tier",
            Self::AllDead { .. } => "no-usable-key",
            Self::NotAllowed { .. } => "model-not-allowed",
            Self::Capacity { .. } => "shared-capacity",
            Self::Overloaded { .. } => "overloaded",
            Self::EgressBan { .. } => "egress-ban",
            Self::Attempts { .. } => "attempts",
            Self::Earlier => "earlier-answer",
            Self::Unreachable => "unreachable",
            Self::Broken => "connection-broken",
            Self::Silent => "first-byte-timeout",
            Self::Deadline => "client-deadline",
            Self::Crowded { .. } => "too-many-waiting",
            Self::Unauthorized => "unauthorized",
            Self::NoTokens => "no-client-tokens",
            Self::Forbidden(_) => "forbidden",
            Self::NotFound => "not-found",
            Self::BadRequest(_) => "bad-request",
            Self::Stalled => "body-timeout",
            Self::Loop => "loop",
            Self::Busy => "busy",
            Self::Stopping => "stopping",
        }
    }

    /// The answer in the dialect of `surface`; `array` where the client expects a JSON array.
    #[must_use]
    pub fn render(&self, surface: Surface, array: bool, now: Time) -> Rendered {
        let wait = self.back().map(|back| whole_seconds(back.since(now)));
        let (status, name) = self.status();
        let message = self.message(wait);
        if surface == Surface::Interactions {
            let body = json!({"error": {"code": self.interactions_code(), "message": message}});
            return Rendered {
                status,
                body: pretty(&body),
                retry_after: wait,
            };
        }
        let mut error = json!({"code": status, "message": message, "status": name});
        let details = self.details(wait);
        if !details.is_empty()
            && let Some(error) = error.as_object_mut()
        {
            error.insert("details".into(), Value::Array(details));
        }
        let mut body = json!({"error": error});
        if array || surface == Surface::OpenAi {
            body = json!([body]);
        }
        Rendered {
            status,
            body: pretty(&body),
            retry_after: wait,
        }
    }

    const fn back(&self) -> Option<Time> {
        match self {
            Self::Quota { back, .. }
            | Self::Tier { back, .. }
            | Self::Capacity { back }
            | Self::Overloaded { back }
            | Self::EgressBan { back }
            | Self::Attempts { back, .. }
            | Self::Crowded { back } => Some(*back),
            Self::AllDead { back, .. } => *back,
            _ => None,
        }
    }

    /// The status and Google's name for it.
    #[must_use]
    pub const fn status(&self) -> (u16, &'static str) {
        match self {
            Self::Quota { .. }
            | Self::Tier { .. }
            | Self::Capacity { .. }
            | Self::Attempts { .. }
            | Self::Crowded { .. } => (429, "RESOURCE_EXHAUSTED"),
            Self::AllDead { .. }
            | Self::Overloaded { .. }
            | Self::EgressBan { .. }
            | Self::Unreachable
            | Self::NoTokens
            | Self::Busy
            | Self::Stopping => (503, "UNAVAILABLE"),
            Self::NotAllowed { .. } | Self::NotFound => (404, "NOT_FOUND"),
            Self::Broken | Self::Earlier => (502, "UNAVAILABLE"),
            Self::Silent | Self::Deadline => (504, "DEADLINE_EXCEEDED"),
            Self::Unauthorized => (401, "UNAUTHENTICATED"),
            Self::Forbidden(_) => (403, "PERMISSION_DENIED"),
            Self::BadRequest(_) => (400, "INVALID_ARGUMENT"),
            Self::Stalled => (408, "DEADLINE_EXCEEDED"),
            Self::Loop => (508, "FAILED_PRECONDITION"),
        }
    }

    fn message(&self, wait: Option<u64>) -> String {
        let retry = wait.map_or_else(String::new, |seconds| {
            format!("\nPlease retry in {seconds}s.")
        });
        let model = |model: &Option<String>| model.clone().unwrap_or_else(|| "this model".into());
        match self {
            Self::Quota { violation, model: asked, .. } | Self::Tier { violation, model: asked, .. } => {
                let zero = matches!(self, Self::Tier { .. });
                format!("{EXCEEDED}{}{retry}", metric_line(violation.as_deref(), asked.as_deref(), zero))
            }
            Self::AllDead { counts, .. } => {
                format!("gemini-relay has no usable key: {counts}. See the relay's log, and replace or mend its keys.{retry}")
            }
            Self::NotAllowed { model: asked } => {
                format!("No key of this gemini-relay may be used for {}: see `models` in its key list.", model(asked))
            }
            Self::Capacity { .. } => format!("Resource has been exhausted (e.g. check quota).{retry}"),
            Self::Overloaded { .. } => format!("The model is overloaded. Please try again later.{retry}"),
            Self::EgressBan { .. } => format!(
                "Google refuses this relay's network address for a while (\"automated queries\"); its keys are not the reason.{retry}"
            ),
            Self::Attempts { made, .. } => format!(
                "gemini-relay tried {made} keys, as many as a request may (--attempts, GEMINI_RELAY_ATTEMPTS), and was refused by each. Others are untried.{retry}"
            ),
            Self::Unreachable => {
                "gemini-relay cannot reach Google: check the relay's network, proxy and --upstream (GEMINI_RELAY_UPSTREAM). Please try again later.".into()
            }
            Self::Broken | Self::Earlier => "The connection to Google broke before it answered, as often as this request can be sent safely.".into(),
            Self::Silent => "Google sent no answer within gemini-relay's first-byte limit.".into(),
            Self::Deadline => {
                "Deadline expired before operation could complete: X-Server-Timeout leaves less than the 10 seconds that Google takes at least.".into()
            }
            Self::Crowded { .. } => {
                format!("Too many requests are already waiting for quota in gemini-relay (--max-waiting, GEMINI_RELAY_MAX_WAITING).{retry}")
            }
            Self::Unauthorized => {
                "gemini-relay: this client's token is missing or wrong. Put one of the relay's client tokens where the API key goes.".into()
            }
            Self::NoTokens => {
                "gemini-relay has no client tokens yet, and its address is public: whoever found it could spend its keys. Set the secret GEMINI_RELAY_TOKENS (name=SECRET, separated by spaces), or, if something else keeps strangers out, the variable GEMINI_RELAY_ALLOW_ANONYMOUS=on. If that is done, the log says what is wrong with it.".into()
            }
            Self::Forbidden(why) | Self::BadRequest(why) => format!("gemini-relay: {why}"),
            Self::Stalled => "gemini-relay: the request's body stopped coming before its end (--body-timeout, GEMINI_RELAY_BODY_TIMEOUT).".into(),
            Self::Loop => {
                "gemini-relay: this request came back to the relay that sent it. Its upstream leads to itself: check --upstream (GEMINI_RELAY_UPSTREAM), and what its host name points at.".into()
            }
            Self::NotFound => "gemini-relay: nothing here. Is the base path right?".into(),
            Self::Busy => "gemini-relay holds as many request bodies as its memory limit allows. Please try again later.".into(),
            Self::Stopping => "gemini-relay is stopping. Please try again.".into(),
        }
    }

    fn details(&self, wait: Option<u64>) -> Vec<Value> {
        let retry = wait.map(|seconds| {
            json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": format!("{seconds}s")})
        });
        let (Self::Quota {
            violation, model, ..
        }
        | Self::Tier {
            violation, model, ..
        }) = self
        else {
            return match self {
                Self::Capacity { .. } | Self::Crowded { .. } | Self::Attempts { .. } => {
                    retry.into_iter().collect()
                }
                _ => Vec::new(),
            };
        };
        let mut details = vec![json!({
            "@type": "type.googleapis.com/google.rpc.Help",
            "links": [{"description": "Learn more about Gemini API quotas", "url": "https://ai.google.dev/gemini-api/docs/rate-limits"}],
        })];
        if let Some(violation) = violation
            .as_ref()
            .filter(|violation| !violation.quota_id.is_empty())
        {
            let mut shown = json!({"quotaMetric": violation.metric, "quotaId": violation.quota_id});
            if let Some(shown) = shown.as_object_mut() {
                if let Some(model) = violation.model.as_ref().or(model.as_ref()) {
                    shown.insert(
                        "quotaDimensions".into(),
                        json!({"location": "global", "model": model}),
                    );
                }
                if let Some(value) = violation.value.filter(|value| *value > 0) {
                    shown.insert("quotaValue".into(), json!(value.to_string()));
                }
            }
            details.push(json!({"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [shown]}));
        }
        details.extend(retry);
        details
    }

    const fn interactions_code(&self) -> &'static str {
        match self {
            Self::Quota { day: true, .. } | Self::Tier { .. } => "quota_exceeded",
            Self::Quota { .. }
            | Self::Capacity { .. }
            | Self::Attempts { .. }
            | Self::Crowded { .. } => "rate_limit_exceeded",
            Self::Unauthorized => "authentication",
            Self::Forbidden(_) => "permission_denied",
            Self::NotFound => "not_found",
            Self::NotAllowed { .. } => "model_not_found",
            Self::BadRequest(_) | Self::Stalled => "invalid_request",
            _ => "unavailable",
        }
    }
}

/// Google's own line, which gemini-cli looks for: `limit: 0` there means "never".
fn metric_line(violation: Option<&Violation>, model: Option<&str>, zero: bool) -> String {
    let Some(violation) = violation.filter(|violation| !violation.metric.is_empty()) else {
        return String::new();
    };
    let limit = match violation.value {
        _ if zero => ", limit: 0".to_owned(),
        Some(value) => format!(", limit: {value}"),
        None => String::new(),
    };
    let model = violation
        .model
        .as_deref()
        .or(model)
        .map_or_else(String::new, |model| format!(", model: {model}"));
    format!(
        "\n* Quota exceeded for metric: {}{limit}{model}",
        violation.metric
    )
}

/// Rounded up: a client that comes back too early is refused again.
fn whole_seconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis().div_ceil(1000))
        .unwrap_or(u64::MAX)
        .max(1)
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

/// The head of Google's message; clients look for it.
const EXCEEDED: &str = "You exceeded your current quota, please check your plan and billing details. For more information on this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits.";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::google_error::GoogleError;

    fn quota() -> Refusal {
        Refusal::Quota {
            violation: Some(Arc::new(Violation {
                metric: "generativelanguage.googleapis.com/generate_content_free_tier_requests"
                    .into(),
                quota_id: "GenerateRequestsPerMinutePerProjectPerModel-FreeTier".into(),
                model: Some("gemini-2.5-flash".into()),
                value: Some(10),
                dimensions: true,
            })),
            model: Some("gemini-2.5-flash".into()),
            day: false,
            back: Time::from_millis(12_001),
        }
    }

    #[test]
    fn an_option_that_is_named_is_named_as_a_variable_too() {
        let back = Time::from_millis(1000);
        for refusal in [
            Refusal::Attempts { made: 3, back },
            Refusal::Unreachable,
            Refusal::Crowded { back },
            Refusal::Stalled,
            Refusal::Loop,
            Refusal::Forbidden(crate::letin::FOREIGN_PAGE),
            Refusal::Forbidden(crate::letin::FOREIGN_ORIGIN),
            Refusal::Forbidden(crate::letin::FOREIGN_HOST),
        ] {
            let text = refusal.message(None);
            let (_, after) = text.split_once("--").unwrap();
            let end = after.find(|c: char| !(c.is_ascii_lowercase() || c == '-'));
            let variable = after[..end.unwrap()].to_ascii_uppercase().replace('-', "_");
            assert!(text.contains(&format!("GEMINI_RELAY_{variable}")), "{text}");
        }
    }

    #[test]
    fn a_quota_refusal_reads_like_googles_and_tells_the_true_time() {
        for (surface, array) in [
            (Surface::Gemini, false),
            (Surface::Gemini, true),
            (Surface::OpenAi, false),
        ] {
            let rendered = quota().render(surface, array, Time::from_millis(1000));
            assert_eq!(
                rendered.body.starts_with('['),
                array || surface == Surface::OpenAi
            );
            let error = GoogleError::parse(rendered.body.as_bytes());
            assert_eq!(
                (error.code, error.status.as_str()),
                (Some(429), "RESOURCE_EXHAUSTED")
            );
            assert!(
                error.message.ends_with("Please retry in 12s."),
                "{}",
                error.message
            );
            assert_eq!(error.retry_delay, Some(Duration::from_secs(12)));
            assert_eq!(error.violations[0].value, Some(10));
            assert_eq!(rendered.retry_after, Some(12));
        }
    }

    #[test]
    fn who_is_one_too_many_is_told_when_to_come_back() {
        let refusal = Refusal::Crowded {
            back: Time::from_millis(7_500),
        };
        let rendered = refusal.render(Surface::Gemini, false, Time::from_millis(1000));
        let error = GoogleError::parse(rendered.body.as_bytes());
        assert!(
            error.message.ends_with("Please retry in 7s."),
            "{}",
            error.message
        );
        assert_eq!(error.retry_delay, Some(Duration::from_secs(7)));
        assert_eq!(rendered.retry_after, Some(7));
    }

    #[test]
    fn interactions_have_a_shape_of_their_own() {
        let rendered = quota().render(Surface::Interactions, false, Time::ZERO);
        let value: Value = serde_json::from_str(&rendered.body).unwrap();
        assert_eq!(value["error"]["code"], "rate_limit_exceeded");
        assert!(value["error"].get("status").is_none());
    }

    #[test]
    fn a_pool_of_dead_keys_is_503_and_never_401() {
        let refusal = Refusal::AllDead {
            counts: "2 not valid".into(),
            back: None,
        };
        let rendered = refusal.render(Surface::Gemini, false, Time::ZERO);
        assert_eq!(rendered.status, 503);
        assert!(rendered.body.contains("2 not valid"));
    }
}
