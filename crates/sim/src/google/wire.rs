//! Answers as they come over the wire: Google's bodies, read by core as the relay reads them.
//!
//! Bodies are as in the collected ones (`QuotaFailure`, `Help`, `RetryInfo`; a limit of zero without
//! `quotaValue`; `RetryInfo` rounded down and the text beside it exact). Each is written and read once and
//! then kept; only the delay differs between two of a kind, and is put in. Reading a body is measured
//! elsewhere; what core makes of it is paid in each run.

use super::{Answer, Exceeded, Limits, World};
use crate::clock::SECOND;
use gemini_relay_core::google_error::GoogleError;
use gemini_relay_core::verdict::Outcome;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

/// Writes answers as core gets them.
#[derive(Debug, Default)]
pub struct Wire {
    quotas: HashMap<(bool, usize, [bool; 4], Limits), GoogleError>,
    others: HashMap<(&'static str, usize), Outcome>,
}

impl Wire {
    /// What the relay sees of this answer to a request for `model` with a key of `project`.
    pub fn outcome(
        &mut self,
        world: &World,
        project: usize,
        model: usize,
        answer: &Answer,
    ) -> Outcome {
        let name = &world.models[model].name;
        let body = match answer {
            Answer::Served => return Outcome::Served,
            Answer::Quota(exceeded) => {
                let free = world.projects[project].free;
                let embeds = world.models[model].embeds;
                let key = (free, model, exceeded.which, exceeded.limits);
                let mut error = self
                    .quotas
                    .entry(key)
                    .or_insert_with(|| {
                        GoogleError::parse(quota(name, embeds, free, exceeded).as_bytes())
                    })
                    .clone();
                error.retry_delay = exceeded.retry.map(Duration::from_millis);
                return Outcome::Refused { status: 429, error };
            }
            Answer::Tier => (429, tier(name)),
            Answer::Exhausted => (
                429,
                plain(
                    429,
                    "Resource has been exhausted (e.g. check quota).",
                    "RESOURCE_EXHAUSTED",
                ),
            ),
            Answer::Overloaded => (
                503,
                plain(
                    503,
                    "The model is overloaded. Please try again later.",
                    "UNAVAILABLE",
                ),
            ),
            Answer::Invalid => (400, INVALID.to_owned()),
            Answer::Leaked => (
                403,
                plain(
                    403,
                    "Your API key was reported as leaked. Please use another API key.",
                    "PERMISSION_DENIED",
                ),
            ),
            Answer::Banned => (403, BANNED.to_owned()),
        };
        self.others
            .entry((answer.name(), model))
            .or_insert_with(|| Outcome::Refused {
                status: body.0,
                error: GoogleError::parse(body.1.as_bytes()),
            })
            .clone()
    }
}

fn plain(code: u16, message: &str, status: &str) -> String {
    format!(r#"{{"error": {{"code": {code}, "message": "{message}", "status": "{status}"}}}}"#)
}

fn quota(model: &str, embeds: bool, free: bool, exceeded: &Exceeded) -> String {
    let mut lines = String::new();
    let mut violations = Vec::new();
    for at in 0..4 {
        if !exceeded.which[at] {
            continue;
        }
        let (metric, id) = names(at, embeds, free);
        let limit = exceeded.limits.each()[at];
        let _ = write!(
            lines,
            r"\n* Quota exceeded for metric: {metric}, limit: {limit}, model: {model}"
        );
        violations.push(format!(
            r#"{{"quotaMetric": "{metric}", "quotaId": "{id}", "quotaDimensions": {{"location": "global", "model": "{model}"}}, "quotaValue": "{limit}"}}"#
        ));
    }
    let violations = violations.join(", ");
    let (text, info) = exceeded.retry.map_or_else(Default::default, |retry| {
        let (whole, rest) = (retry / SECOND, retry % SECOND);
        (
            format!(r"\nPlease retry in {whole}.{rest:03}s."),
            format!(r#", {{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "{whole}s"}}"#),
        )
    });
    format!(
        r#"{{"error": {{"code": 429, "message": "{EXCEEDED}{lines}{text}", "status": "RESOURCE_EXHAUSTED", "details": [{HELP}, {{"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{violations}]}}{info}]}}}}"#
    )
}

/// A limit of zero has no `quotaValue`.
fn tier(model: &str) -> String {
    let (metric, id) = names(2, false, true);
    format!(
        r#"{{"error": {{"code": 429, "message": "{EXCEEDED}\n* Quota exceeded for metric: {metric}, limit: 0, model: {model}\nPlease retry in 20.044s.", "status": "RESOURCE_EXHAUSTED", "details": [{HELP}, {{"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{{"quotaMetric": "{metric}", "quotaId": "{id}", "quotaDimensions": {{"location": "global", "model": "{model}"}}}}]}}, {{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "20s"}}]}}}}"#
    )
}

/// Metric and `quotaId`, in the order of [`Limits::each`]. Those of embeddings were never captured: they
/// are named after the metric that was.
const fn names(at: usize, embeds: bool, free: bool) -> (&'static str, &'static str) {
    match (at, embeds, free) {
        (0, false, true) => (
            "generativelanguage.googleapis.com/generate_content_free_tier_requests",
            "GenerateRequestsPerMinutePerProjectPerModel-FreeTier",
        ),
        (0, false, false) => (
            "generativelanguage.googleapis.com/generate_requests_per_model",
            "GenerateRequestsPerMinutePerProjectPerModel",
        ),
        (1, false, true) => (
            "generativelanguage.googleapis.com/generate_content_free_tier_input_token_count",
            "GenerateContentInputTokensPerModelPerMinute-FreeTier",
        ),
        (1, false, false) => (
            "generativelanguage.googleapis.com/generate_content_paid_tier_input_token_count",
            "GenerateContentPaidTierInputTokensPerModelPerMinute",
        ),
        (2, false, true) => (
            "generativelanguage.googleapis.com/generate_content_free_tier_requests",
            "GenerateRequestsPerDayPerProjectPerModel-FreeTier",
        ),
        (2, false, false) => (
            "generativelanguage.googleapis.com/generate_requests_per_model_per_day",
            "GenerateRequestsPerDayPerProjectPerModel",
        ),
        (_, false, true) => (
            "generativelanguage.googleapis.com/generate_content_free_tier_input_token_count",
            "GenerateContentInputTokensPerModelPerDay-FreeTier",
        ),
        (_, false, false) => (
            "generativelanguage.googleapis.com/generate_content_paid_tier_input_token_count",
            "GenerateContentPaidTierInputTokensPerModelPerDay",
        ),
        (0, true, true) => (
            "generativelanguage.googleapis.com/embed_content_free_tier_requests",
            "EmbedContentRequestsPerMinutePerProjectPerModel-FreeTier",
        ),
        (0, true, false) => (
            "generativelanguage.googleapis.com/embed_content_requests",
            "EmbedContentRequestsPerMinutePerProjectPerModel",
        ),
        (1, true, true) => (
            "generativelanguage.googleapis.com/embed_content_free_tier_input_token_count",
            "EmbedContentInputTokensPerModelPerMinute-FreeTier",
        ),
        (1, true, false) => (
            "generativelanguage.googleapis.com/embed_content_input_token_count",
            "EmbedContentInputTokensPerModelPerMinute",
        ),
        (2, true, true) => (
            "generativelanguage.googleapis.com/embed_content_free_tier_requests",
            "EmbedContentRequestsPerDayPerProjectPerModel-FreeTier",
        ),
        (2, true, false) => (
            "generativelanguage.googleapis.com/embed_content_requests",
            "EmbedContentRequestsPerDayPerProjectPerModel",
        ),
        (_, true, true) => (
            "generativelanguage.googleapis.com/embed_content_free_tier_input_token_count",
            "EmbedContentInputTokensPerModelPerDay-FreeTier",
        ),
        (_, true, false) => (
            "generativelanguage.googleapis.com/embed_content_input_token_count",
            "EmbedContentInputTokensPerModelPerDay",
        ),
    }
}

const EXCEEDED: &str = "You exceeded your current quota, please check your plan and billing details. For more information on this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits. To monitor your current usage, head to: https://ai.dev/rate-limit. ";

const HELP: &str = r#"{"@type": "type.googleapis.com/google.rpc.Help", "links": [{"description": "Learn more about Gemini API quotas", "url": "https://ai.google.dev/gemini-api/docs/rate-limits"}]}"#;

const INVALID: &str = r#"{"error": {"code": 400, "message": "API key not valid. Please pass a valid API key.", "status": "INVALID_ARGUMENT", "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com", "metadata": {"service": "generativelanguage.googleapis.com"}}, {"@type": "type.googleapis.com/google.rpc.LocalizedMessage", "locale": "en-US", "message": "API key not valid. Please pass a valid API key."}]}}"#;

const BANNED: &str = "<html><head><title>Sorry...</title></head><body><h1>We're sorry...</h1><p>... but your computer or network may be sending automated queries. To protect our users, we can't process your request right now.</p></body></html>";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::google::{Model, Project, RetryInfo, Shape};

    fn world() -> World {
        World {
            models: vec![Model {
                name: "gemini-made-up".into(),
                embeds: false,
            }],
            projects: vec![Project {
                free: true,
                limits: vec![Limits::new(10, 250_000, 250)],
                shape: Shape::Fixed,
                ahead: 0,
                counts_refused: false,
                retry: RetryInfo::Exact,
                outside: 0.0,
                changes: Vec::new(),
            }],
            ..World::default()
        }
    }

    fn error(answer: &Answer) -> (u16, GoogleError) {
        match Wire::default().outcome(&world(), 0, 0, answer) {
            Outcome::Refused { status, error } => (status, error),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_quota_is_told_as_google_tells_it() {
        let exceeded = Exceeded {
            which: [true, false, true, false],
            limits: Limits::new(10, 250_000, 250),
            retry: Some(51_606),
        };
        let (status, read) = error(&Answer::Quota(exceeded));
        assert_eq!(
            (status, read.structured, read.status.as_str()),
            (429, true, "RESOURCE_EXHAUSTED")
        );
        let told: Vec<_> = read
            .violations
            .iter()
            .map(|v| (v.quota_id.as_str(), v.value))
            .collect();
        assert_eq!(
            told,
            [
                (
                    "GenerateRequestsPerMinutePerProjectPerModel-FreeTier",
                    Some(10)
                ),
                (
                    "GenerateRequestsPerDayPerProjectPerModel-FreeTier",
                    Some(250)
                ),
            ]
        );
        assert_eq!(read.retry_delay, Some(Duration::from_millis(51_606)));
        // What is put in is what reading would have given.
        let body = quota("gemini-made-up", false, true, &exceeded);
        assert_eq!(GoogleError::parse(body.as_bytes()), read);
        let (_, silent) = error(&Answer::Quota(Exceeded {
            retry: None,
            ..exceeded
        }));
        assert_eq!(silent.retry_delay, None);
    }

    #[test]
    fn other_refusals_are_told_as_google_tells_them() {
        assert!(error(&Answer::Tier).1.violations[0].is_zero());
        assert!(error(&Answer::Invalid).1.gives("API_KEY_INVALID"));
        assert!(error(&Answer::Leaked).1.says("leaked"));
        assert_eq!(error(&Answer::Overloaded).0, 503);
        let (status, page) = error(&Answer::Banned);
        assert!(status == 403 && !page.structured && page.says("automated queries"));
        assert!(error(&Answer::Exhausted).1.retry_delay.is_none());
    }
}
