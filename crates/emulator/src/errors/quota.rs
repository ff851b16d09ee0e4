//! The 429 that says which quota is used up.
//!
//! Its parts contradict each other at times, and that is kept: a day quota may come with
//! `RetryInfo` of less than a minute, a limit of zero names three quotas and no value, and the
//! message has the time to the nanosecond where `RetryInfo` has whole seconds.

use serde_json::{Value, json};

use super::{Refusal, SERVICE};
use crate::clock::Ms;
use crate::config::{Metric, RetryStyle, Tier};
use crate::kind::Kind;

/// One limit that a request would have passed.
#[derive(Debug, Clone)]
pub(crate) struct Violation {
    pub(crate) metric: Metric,
    pub(crate) limit: u64,
    pub(crate) tier: Tier,
    pub(crate) retry: RetryStyle,
    /// The kind that the quota is on.
    pub(crate) kind: Option<Kind>,
    pub(crate) wait: Ms,
}

/// The refusal of a request of kind `asked` to `model` that passes these limits.
pub(crate) fn quota_exceeded(
    model: &str,
    asked: Kind,
    violations: &[Violation],
    now: Ms,
) -> Refusal {
    let free = violations
        .iter()
        .any(|violation| violation.tier == Tier::Free);
    let head = if free { FREE } else { PAID };
    // The most dishonest of the quotas speaks for all of them.
    if violations
        .iter()
        .any(|violation| violation.retry == RetryStyle::None)
    {
        return Refusal::new(429, "RESOURCE_EXHAUSTED", format!("{head}. "));
    }
    let wait = wait_told(violations, now);
    let retry_line = format!("\nPlease retry in {}.", to_the_nanosecond(wait));
    // No body about grounding is known to name its quota: what people report is the bare message.
    if violations
        .iter()
        .all(|violation| violation.kind == Some(Kind::Grounded))
    {
        return Refusal::new(429, "RESOURCE_EXHAUSTED", format!("{head}. {retry_line}"));
    }
    let lines: Vec<Line> = violations
        .iter()
        .flat_map(|violation| Line::all(violation, asked))
        .collect();
    let mut message = format!("{head}. ");
    for line in &lines {
        message.push_str(&format!(
            "\n* Quota exceeded for metric: {SERVICE}/{}, limit: {}, model: {model}",
            line.metric, line.limit
        ));
    }
    message.push_str(&retry_line);
    Refusal::new(429, "RESOURCE_EXHAUSTED", message)
        .with(json!({
            "@type": "type.googleapis.com/google.rpc.Help",
            "links": [{
                "description": "Learn more about Gemini API quotas",
                "url": "https://ai.google.dev/gemini-api/docs/rate-limits",
            }],
        }))
        .with(json!({
            "@type": "type.googleapis.com/google.rpc.QuotaFailure",
            "violations": lines.iter().map(|line| line.violation(model)).collect::<Vec<_>>(),
        }))
        .with(json!({
            "@type": "type.googleapis.com/google.rpc.RetryInfo",
            "retryDelay": format!("{}s", wait / 1_000),
        }))
}

/// Milliseconds until every one of the quotas has room, as the body tells it.
fn wait_told(violations: &[Violation], now: Ms) -> Ms {
    let told = |violation: &Violation| {
        if violation.limit == 0 {
            // There is nothing to wait for, and Google names a time all the same.
            10_689 + now % 30_000
        } else if violation.retry == RetryStyle::Short {
            SHORT
        } else {
            violation.wait
        }
    };
    violations.iter().map(told).max().unwrap_or(SHORT)
}

/// One metric of a violation: a limit of zero has several.
struct Line {
    metric: &'static str,
    id: String,
    limit: u64,
}

impl Line {
    fn all(violation: &Violation, asked: Kind) -> Vec<Line> {
        let metrics: &[Metric] = if violation.limit == 0 {
            &[
                Metric::RequestsPerDay,
                Metric::RequestsPerMinute,
                Metric::TokensPerMinute,
            ]
        } else {
            &[violation.metric]
        };
        metrics
            .iter()
            .map(|metric| Line::of(*metric, violation, asked))
            .collect()
    }

    fn of(metric: Metric, violation: &Violation, asked: Kind) -> Line {
        let span = if metric.per_day() { "Day" } else { "Minute" };
        let embeds = violation.kind.unwrap_or(asked) == Kind::Embed;
        let (metric, id) = match (violation.tier, metric.tokens(), embeds) {
            (Tier::Free, false, false) => (
                "generate_content_free_tier_requests",
                format!("GenerateRequestsPer{span}PerProjectPerModel-FreeTier"),
            ),
            (Tier::Free, true, false) => (
                "generate_content_free_tier_input_token_count",
                format!("GenerateContentInputTokensPerModelPer{span}-FreeTier"),
            ),
            (Tier::Free, false, true) => (
                "embed_content_free_tier_requests",
                format!("EmbedContentRequestsPer{span}PerUserPerProjectPerModel-FreeTier"),
            ),
            (Tier::Free, true, true) => (
                "embed_content_free_tier_input_token_count",
                format!("EmbedContentInputTokensPer{span}PerProjectPerModel-FreeTier"),
            ),
            (Tier::Paid, false, false) if span == "Day" => (
                "generate_requests_per_model_per_day",
                "GenerateRequestsPerDayPerProjectPerModel".to_owned(),
            ),
            (Tier::Paid, false, false) => (
                "generate_requests_per_model",
                "GenerateRequestsPerMinutePerProjectPerModel".to_owned(),
            ),
            (Tier::Paid, true, false) => (
                "generate_content_paid_tier_input_token_count",
                format!("GenerateContentPaidTierInputTokensPerModelPer{span}"),
            ),
            (Tier::Paid, false, true) => (
                "embed_content_paid_tier_requests",
                format!("EmbedContentRequestsPer{span}PerProjectPerModel"),
            ),
            (Tier::Paid, true, true) => (
                "embed_content_paid_tier_input_token_count",
                format!("EmbedContentPaidTierInputTokensPer{span}PerProjectPerModel"),
            ),
        };
        Line {
            metric,
            id,
            limit: violation.limit,
        }
    }

    fn violation(&self, model: &str) -> Value {
        let mut violation = json!({
            "quotaMetric": format!("{SERVICE}/{}", self.metric),
            "quotaId": self.id,
            "quotaDimensions": {"location": "global", "model": model},
        });
        // A value of zero is a default, and defaults are left out of Google's JSON.
        if self.limit > 0 {
            violation["quotaValue"] = json!(self.limit.to_string());
        }
        violation
    }
}

/// `10h17m5.7s`, `51.6s` or `856.5ms`, a little after the truth: never before it.
fn to_the_nanosecond(wait: Ms) -> String {
    let (seconds, millis) = (wait / 1_000, wait % 1_000);
    if seconds == 0 {
        return format!("{millis}.{NANOS:06}ms");
    }
    let (hours, minutes, rest) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let last = format!("{rest}.{millis:03}{NANOS:06}s");
    match (hours, minutes) {
        (0, 0) => last,
        (0, _) => format!("{minutes}m{last}"),
        _ => format!("{hours}h{minutes}m{last}"),
    }
}

const FREE: &str = "You exceeded your current quota, please check your plan and billing details. For more information on \
                    this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits. To monitor your current \
                    usage, head to: https://ai.dev/rate-limit";
const PAID: &str = "You exceeded your current quota. Go to https://aistudio.google.com/apikey to upgrade your quota tier, \
                    or submit a quota increase request in \
                    https://ai.google.dev/gemini-api/docs/rate-limits#request-rate-limit-increase";

/// What a day quota that is used up was seen to say.
const SHORT: Ms = 51_606;

/// The nanoseconds that Google's messages have and the emulator's clock has not.
const NANOS: u32 = 482_386;

#[cfg(test)]
mod tests {
    use super::*;

    fn violation(metric: Metric, limit: u64, wait: Ms) -> Violation {
        Violation {
            metric,
            limit,
            tier: Tier::Free,
            retry: RetryStyle::Truth,
            kind: None,
            wait,
        }
    }

    fn body(violations: &[Violation]) -> Value {
        let refusal = quota_exceeded("gemini-2.5-flash-lite", Kind::Generate, violations, 0);
        serde_json::from_slice(&refusal.body(super::super::Shape::Object)).unwrap()
    }

    #[test]
    fn a_day_quota_that_says_51_seconds_reads_as_it_was_reported() {
        let short = Violation {
            retry: RetryStyle::Short,
            ..violation(Metric::RequestsPerDay, 20, 40_000_000)
        };
        let expected = json!({"error": {
            "code": 429,
            "message": "You exceeded your current quota, please check your plan and billing details. For more information \
                        on this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits. To monitor your current \
                        usage, head to: https://ai.dev/rate-limit. \n* Quota exceeded for metric: \
                        generativelanguage.googleapis.com/generate_content_free_tier_requests, limit: 20, model: \
                        gemini-2.5-flash-lite\nPlease retry in 51.606482386s.",
            "status": "RESOURCE_EXHAUSTED",
            "details": [
                {"@type": "type.googleapis.com/google.rpc.Help", "links": [{
                    "description": "Learn more about Gemini API quotas",
                    "url": "https://ai.google.dev/gemini-api/docs/rate-limits",
                }]},
                {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{
                    "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
                    "quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier",
                    "quotaDimensions": {"location": "global", "model": "gemini-2.5-flash-lite"},
                    "quotaValue": "20",
                }]},
                {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "51s"},
            ],
        }});
        assert_eq!(body(&[short]), expected);
    }

    #[test]
    fn a_limit_of_zero_names_three_quotas_and_no_value() {
        let body = body(&[violation(Metric::RequestsPerMinute, 0, 1)]);
        let violations = body["error"]["details"][1]["violations"]
            .as_array()
            .unwrap();
        assert_eq!(violations.len(), 3);
        assert!(
            violations
                .iter()
                .all(|violation| violation.get("quotaValue").is_none())
        );
        assert_eq!(
            body["error"]["message"]
                .as_str()
                .unwrap()
                .matches("limit: 0, model:")
                .count(),
            3
        );
    }

    #[test]
    fn the_longest_of_several_waits_is_told() {
        let body = body(&[
            violation(Metric::RequestsPerMinute, 5, 3_000),
            violation(Metric::RequestsPerDay, 20, 37_025_723),
        ]);
        assert_eq!(body["error"]["details"][2]["retryDelay"], "37025s");
        assert!(
            body["error"]["message"]
                .as_str()
                .unwrap()
                .ends_with("Please retry in 10h17m5.723482386s.")
        );
    }

    #[test]
    fn times_are_written_as_google_writes_them() {
        assert_eq!(to_the_nanosecond(856), "856.482386ms");
        assert_eq!(to_the_nanosecond(51_606), "51.606482386s");
        assert_eq!(to_the_nanosecond(125_001), "2m5.001482386s");
        assert_eq!(to_the_nanosecond(37_025_723), "10h17m5.723482386s");
    }
}
