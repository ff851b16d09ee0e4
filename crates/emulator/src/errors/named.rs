//! The built-in refusals by name, for faults: what no quota and no key's state brings about.

use http::StatusCode;
use serde_json::json;

use super::key::{
    denied, expected_oauth, missing_authorization, missing_key, multiple_credentials, robot_page,
};
use super::{About, Refusal, SERVICE, Violation, for_state, quota_exceeded};
use crate::clock::Ms;
use crate::config::{KeyState, Metric, RetryStyle, Tier};
use crate::kind::Kind;

/// The refusal called `name`, about this request.
pub(crate) fn named(name: &str, about: &About, now: Ms) -> Option<Refusal> {
    Some(match name {
        "overloaded" => unavailable("The model is overloaded. Please try again later."),
        "high_demand" => unavailable(
            "This model is currently experiencing high demand. Spikes in demand are usually temporary. Please try again \
             later.",
        ),
        "internal" => Refusal::new(
            500,
            "INTERNAL",
            "An internal error has occurred. Please retry or report in \
             https://developers.generativeai.google/guide/troubleshooting",
        ),
        "bad_gateway" => bad_gateway(),
        "deadline_exceeded" => deadline_exceeded(),
        "resource_exhausted" => exhausted("Resource has been exhausted (e.g. check quota)."),
        "exceeded_no_details" => exhausted(
            "You exceeded your current quota, please check your plan and billing details. For more information on this \
             error, head to: https://ai.google.dev/gemini-api/docs/rate-limits. To monitor your current usage, head to: \
             https://ai.dev/rate-limit. ",
        ),
        "quota_minute" => quota(about, Metric::RequestsPerMinute, 10, 51_606, now),
        "quota_day" => quota(about, Metric::RequestsPerDay, 20, 37_025_723, now),
        "quota_zero" => quota(about, Metric::RequestsPerMinute, 0, 10_689, now),
        "quota_old_form" => old_form(about),
        "quota_malformed" => malformed(about),
        "no_free_tier" => no_free_tier(about),
        "prepay_depleted" => Refusal::new(
            402,
            "RESOURCE_EXHAUSTED",
            "Your prepayment credits are depleted. Please go to AI Studio at    https://ai.studio/projects to manage your \
             project and billing. Learn more at https://ai.google.dev/gemini-api/docs/billing#prepay.",
        ),
        "spending_cap" => exhausted(
            "Your project has exceeded its monthly spending cap. Please go to AI Studio at https://ai.studio/spend to \
             manage your project spend cap.",
        ),
        "location" => Refusal::new(
            400,
            "FAILED_PRECONDITION",
            "User location is not supported for the API use.",
        ),
        "caller_no_permission" => denied("The caller does not have permission"),
        "file_permission" => denied(&format!(
            "You do not have permission to access the File {} or it may not exist.",
            about
                .path
                .rsplit('/')
                .next()
                .filter(|_| about.path.contains("/files/"))
                .unwrap_or("made-up-file")
        )),
        "cache_permission" => denied("CachedContent not found (or permission denied)"),
        "robot_page" => robot_page(),
        "key_invalid" => return for_state(KeyState::Invalid, about),
        "key_not_found" => return for_state(KeyState::NotFound, about),
        "key_expired" => return for_state(KeyState::Expired, about),
        "key_leaked" => return for_state(KeyState::Leaked, about),
        "key_suspended" => return for_state(KeyState::Suspended, about),
        "service_disabled" => return for_state(KeyState::ServiceDisabled, about),
        "service_blocked" => return for_state(KeyState::ServiceBlocked, about),
        "project_denied" => return for_state(KeyState::ProjectDenied, about),
        "referer_blocked" => return for_state(KeyState::RefererBlocked, about),
        "token_type_unsupported" => return for_state(KeyState::TokenTypeUnsupported, about),
        "expected_oauth" => expected_oauth(),
        "missing_key" => missing_key(),
        "missing_authorization" => missing_authorization(),
        "multiple_credentials" => multiple_credentials(),
        "model_not_found" => model_not_found(about),
        "model_no_longer_available" => Refusal::new(
            404,
            "NOT_FOUND",
            format!(
                "This model models/{} is no longer available to new users. Please update your code to use a newer model \
                 for the latest features and improvements.",
                about.model
            ),
        ),
        "corrupted_signature" => corrupted_signature(),
        "missing_signature" => missing_signature(),
        "invalid_argument" => Refusal::invalid("Request contains an invalid argument."),
        "payload_too_large" => payload_too_large(314_572_800),
        "entity_too_large" => Refusal::new(
            413,
            "Request Entity Too Large",
            "Maximum request body size 1048576 exceeded, actual body size 1056562",
        ),
        "token_count" => token_count(1_048_576),
        "deadline_too_short" => deadline_too_short("8"),
        _ => return None,
    })
}

/// Every name there is.
pub(crate) const NAMES: &[&str] = &[
    "overloaded",
    "high_demand",
    "internal",
    "bad_gateway",
    "deadline_exceeded",
    "resource_exhausted",
    "exceeded_no_details",
    "quota_minute",
    "quota_day",
    "quota_zero",
    "quota_old_form",
    "quota_malformed",
    "no_free_tier",
    "prepay_depleted",
    "spending_cap",
    "location",
    "caller_no_permission",
    "file_permission",
    "cache_permission",
    "robot_page",
    "key_invalid",
    "key_not_found",
    "key_expired",
    "key_leaked",
    "key_suspended",
    "service_disabled",
    "service_blocked",
    "project_denied",
    "referer_blocked",
    "token_type_unsupported",
    "expected_oauth",
    "missing_key",
    "missing_authorization",
    "multiple_credentials",
    "model_not_found",
    "model_no_longer_available",
    "corrupted_signature",
    "missing_signature",
    "invalid_argument",
    "payload_too_large",
    "entity_too_large",
    "token_count",
    "deadline_too_short",
];

pub(crate) fn model_not_found(about: &About) -> Refusal {
    Refusal::new(
        404,
        "NOT_FOUND",
        format!(
            "models/{} is not found for API version {}, or is not supported for {}. Call ListModels to see the list of \
             available models and their supported methods.",
            about.model, about.version, about.verb
        ),
    )
}

pub(crate) fn corrupted_signature() -> Refusal {
    Refusal::invalid("Corrupted thought signature.")
}

pub(crate) fn missing_signature() -> Refusal {
    Refusal::invalid(
        "Function call is missing a thought_signature in functionCall parts. This is required for tools to work \
         correctly, and missing thought_signature may lead to degraded model performance.",
    )
}

pub(crate) fn token_count(limit: u64) -> Refusal {
    Refusal::invalid(format!(
        "The input token count exceeds the maximum number of tokens allowed {limit}."
    ))
}

pub(crate) fn payload_too_large(limit: u64) -> Refusal {
    Refusal::invalid(format!(
        "Request payload size exceeds the limit: {limit} bytes."
    ))
}

pub(crate) fn deadline_too_short(seconds: &str) -> Refusal {
    Refusal::invalid(format!(
        "Manually set deadline {seconds}s is too short. Minimum allowed deadline is 10s."
    ))
}

/// No body of this one has been seen whole; the status is sure, the message is not.
pub(crate) fn deadline_exceeded() -> Refusal {
    Refusal::new(
        504,
        "DEADLINE_EXCEEDED",
        "Deadline expired before operation could complete.",
    )
}

fn unavailable(message: &str) -> Refusal {
    Refusal::new(503, "UNAVAILABLE", message)
}

fn exhausted(message: &str) -> Refusal {
    Refusal::new(429, "RESOURCE_EXHAUSTED", message)
}

fn quota(about: &About, metric: Metric, limit: u64, wait: Ms, now: Ms) -> Refusal {
    let violation = Violation {
        metric,
        limit,
        tier: Tier::Free,
        retry: RetryStyle::Truth,
        kind: Some(Kind::Generate),
        wait,
    };
    quota_exceeded(&about.model, Kind::Generate, &[violation], now)
}

/// As the service infrastructure says it, before Gemini's own quotas are asked.
fn old_form(about: &About) -> Refusal {
    let consumer = format!("projects/{}", about.project_number);
    exhausted(&format!(
        "Quota exceeded for quota metric 'Generate Content API requests per minute' and limit 'GenerateContent request \
         limit per minute for a region' of service '{SERVICE}' for consumer 'project_number:{}'.",
        about.project_number
    ))
    .with(json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "RATE_LIMIT_EXCEEDED",
        "domain": "googleapis.com",
        "metadata": {
            "service": SERVICE,
            "consumer": consumer,
            "quota_metric": format!("{SERVICE}/generate_content_requests"),
            "quota_limit": "GenerateContentRequestsPerMinutePerProjectPerRegion",
            "quota_limit_value": "60",
            "quota_location": "us-central1",
        },
    }))
}

/// Not JSON to a strict reader: a raw line break in a string, and keys that begin with a space.
fn malformed(about: &About) -> Refusal {
    let metric = format!("{SERVICE}/generate_content_free_tier_requests");
    let text = format!(
        r#"{{
  "error": {{
    "code": 429,
    "message": "You exceeded your current quota, please check your plan and billing details. For more information on this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits.\n* Quota exceeded for metric: {metric}, limit: 2
Please retry in 54.887755558s.",
    "status": "RESOURCE_EXHAUSTED",
    "details": [
      {{
" @type": "type.googleapis.com/google.rpc.QuotaFailure",
        "violations": [
          {{
            "quotaMetric": "{metric}",
            "quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier",
            "quotaDimensions": {{
              "location": "global",
"model": "{}"
            }},
            "quotaValue": "2"
          }}
        ]
      }},
      {{
" @type": "type.googleapis.com/google.rpc.RetryInfo",
        "retryDelay": "54s"
      }}
    ]
  }}
}}
"#,
        about.model
    );
    Refusal::Verbatim {
        http: StatusCode::TOO_MANY_REQUESTS,
        text,
    }
}

fn no_free_tier(about: &About) -> Refusal {
    let violation = |metric: &str, id: &str| {
        json!({
            "quotaMetric": format!("{SERVICE}/{metric}"),
            "quotaId": id,
            "quotaDimensions": {"model": about.model, "location": "global"},
        })
    };
    exhausted(&format!(
        "{} doesn't have a free quota tier. For more information on this error, head to: \
         https://ai.google.dev/gemini-api/docs/rate-limits.",
        about.model
    ))
    .with(json!({
        "@type": "type.googleapis.com/google.rpc.QuotaFailure",
        "violations": [
            violation("generate_content_free_tier_requests", "GenerateRequestsPerDayPerProjectPerModel-FreeTier"),
            violation("generate_content_free_tier_requests", "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"),
            violation(
                "generate_content_free_tier_input_token_count",
                "GenerateContentInputTokensPerModelPerMinute-FreeTier",
            ),
        ],
    }))
}

fn bad_gateway() -> Refusal {
    Refusal::Page {
        http: StatusCode::BAD_GATEWAY,
        text: "<!DOCTYPE html>\n<html lang=en>\n  <meta charset=utf-8>\n  <title>Error 502 (Server Error)!!1</title>\n  \
               <p><b>502.</b> <ins>That\u{2019}s an error.</ins>\n  <p>The server encountered a temporary error and could \
               not complete your request.<p>Please try again in 30 seconds.  <ins>That\u{2019}s all we know.</ins>\n"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_body_and_the_readme_names_none_that_has_not() {
        for name in NAMES {
            assert!(named(name, &About::default(), 0).is_some(), "{name}");
        }
        let readme = include_str!("../../README.md");
        let line = readme
            .lines()
            .find(|line| line.starts_with("| `{\"error\":\"NAME\"}`"))
            .unwrap();
        for name in line.split('`').skip(3).step_by(2) {
            assert!(NAMES.contains(&name), "{name}");
        }
    }

    #[test]
    fn the_malformed_body_is_no_json() {
        let refusal = named("quota_malformed", &About::default(), 0).unwrap();
        let body = refusal.body(super::super::Shape::Object);
        assert!(serde_json::from_slice::<serde_json::Value>(&body).is_err());
    }
}
