//! Every real error body that is known, with the verdict it must get, and rules beside them.

use super::*;
use crate::facts::{ClientId, Repeat, Surface};
use serde_json::Value;

/// Noon of 22 November 2026, UTC; midnight in Los Angeles is twenty hours later.
const NOW: Time = Time::from_millis(1_795_348_800_000);
const MIDNIGHT: Duration = Duration::from_secs(20 * 3600);
const SECOND: Duration = Duration::from_secs(1);

fn facts(kind: Kind, model: &str) -> Facts {
    Facts {
        surface: Surface::Gemini,
        kind,
        method: 0,
        model: Some(model.into()),
        streams: false,
        repeat: Repeat::Freely,
        replayable: true,
        client: ClientId::ANONYMOUS,
        conversation: None,
        items: 1,
        bytes: 0,
        deadline: None,
    }
}

/// What a sample must come to: meaning, and who is out for what reason, model, kinds and time.
type Expected = (
    Meaning,
    Option<(Whose, Reason, Option<&'static str>, Kinds, Option<Duration>)>,
);

const fn nothing(meaning: Meaning) -> Expected {
    (meaning, None)
}

const fn dead(whose: Whose, reason: Reason) -> Expected {
    (
        Meaning::KeyDead,
        Some((whose, reason, None, Kinds::ALL, None)),
    )
}

const fn quota(
    reason: Reason,
    model: &'static str,
    kinds: Kinds,
    span: Option<Duration>,
) -> Expected {
    (
        Meaning::Quota,
        Some((Whose::Project, reason, Some(model), kinds, span)),
    )
}

/// By place in `errors.json`. The model asked for is `asked`; where Google names another, that counts.
fn expected(sample: usize) -> Expected {
    const ALL: Kinds = Kinds::GENERATION;
    const ONE: Kinds = Kinds::only(Kind::Generate);
    let secs = |millis| Some(Duration::from_millis(millis));
    match sample {
        0 => (
            Meaning::Denied,
            Some((
                Whose::Key,
                Reason::Denied,
                Some("asked"),
                Kinds::ALL,
                Some(DENIED),
            )),
        ),
        1 => (
            Meaning::Billing,
            Some((Whose::Project, Reason::Billing, None, Kinds::ALL, None)),
        ),
        2..=8 | 10 => (
            Meaning::Capacity,
            Some((
                Whose::Project,
                Reason::Capacity,
                Some("asked"),
                ONE,
                Some(CAPACITY),
            )),
        ),
        9 => quota(Reason::Quota, "asked", ONE, Some(MINUTE)),
        11..=16 => nothing(Meaning::Carrier),
        17 | 21 | 22 | 24 | 25 => nothing(Meaning::Client),
        18..=20 => nothing(Meaning::Signature),
        23 => (
            Meaning::ModelMissing,
            Some((
                Whose::Project,
                Reason::ModelMissing,
                Some("asked"),
                Kinds::ALL,
                None,
            )),
        ),
        26 => nothing(Meaning::EgressBan),
        27 | 53 => nothing(Meaning::NotOwner),
        28..=30 | 34 => dead(Whose::Key, Reason::Expired),
        31..=33 => dead(Whose::Key, Reason::Invalid),
        35 => dead(Whose::Project, Reason::ServiceDisabled),
        36 => dead(Whose::Key, Reason::Leaked),
        37..=39 => dead(Whose::Project, Reason::Suspended),
        40 => dead(Whose::Key, Reason::Restricted),
        41..=44 => nothing(Meaning::Location),
        45..=52 => nothing(Meaning::Server),
        54 => quota(
            Reason::QuotaDay,
            "gemini-2.5-flash-lite",
            ALL,
            Some(MIDNIGHT),
        ),
        55 => quota(Reason::Tier, "gemini-2.5-flash-preview-image", ALL, None),
        56 | 63 => quota(Reason::Tier, "gemini-2.0-flash", ALL, None),
        57 => quota(Reason::QuotaDay, "asked", ALL, Some(MIDNIGHT)),
        58 => quota(Reason::QuotaDay, "gemini-2.5-flash", ALL, Some(MIDNIGHT)),
        59 => quota(Reason::QuotaMinute, "gemini-2.5-flash", ALL, secs(26_000)),
        60 => quota(Reason::QuotaMinute, "gemini-2.5-pro", ALL, Some(MINUTE)),
        61 => quota(Reason::QuotaMinute, "gemini-2.5-pro", ALL, secs(54_887)),
        62 => quota(Reason::Quota, "gemini-2.5-flash", ONE, secs(20_223)),
        64 | 66 => quota(Reason::Tier, "gemini-2.5-pro", ONE, None),
        65 => quota(Reason::Tier, "gemini-3-pro", ONE, None),
        67..=71 => quota(Reason::Tier, "asked", ONE, None),
        72 => quota(Reason::Tier, "gemini-3.1-pro", ONE, None),
        73 => quota(Reason::Tier, "gemini-2.5-pro-exp", ALL, None),
        other => panic!("no verdict is written down for sample {other}"),
    }
}

#[track_caller]
fn check(name: &str, status: u16, body: &[u8], kind: Kind, expected: &Expected) {
    let error = GoogleError::parse(body);
    let status = if status == 200 {
        error.own_status()
    } else {
        status
    };
    let verdict = judge(
        &facts(kind, "asked"),
        &Outcome::Refused { status, error },
        NOW,
    );
    assert_eq!(verdict.meaning, expected.0, "{name}");
    let effect = verdict.effect.map(|effect| {
        let span = match effect.until {
            Until::At(until) => Some(until.since(NOW)),
            Until::TriedAgain => None,
        };
        (
            effect.whose,
            effect.reason,
            effect.model,
            effect.kinds,
            span,
        )
    });
    let wanted = expected.1.map(|(whose, reason, model, kinds, span)| {
        (whose, reason, model.map(str::to_owned), kinds, span)
    });
    assert_eq!(effect, wanted, "{name}");
}

#[test]
fn every_real_error_body_gets_its_verdict() {
    let samples: Vec<Value> =
        serde_json::from_str(include_str!("../../tests/errors.json")).unwrap();
    assert_eq!(samples.len(), 74);
    for (at, sample) in samples.iter().enumerate() {
        let body = match &sample["body"] {
            Value::String(text) => text.clone(),
            value => value.to_string(),
        };
        let status = u16::try_from(sample["status"].as_u64().unwrap()).unwrap();
        let name = format!("sample {at}, {}", sample["source"]);
        check(
            &name,
            status,
            body.as_bytes(),
            Kind::Generate,
            &expected(at),
        );
        // The same error means the same in the other shapes.
        if sample["body"].is_object() && status != 200 {
            check(
                &name,
                status,
                format!("[{body}]").as_bytes(),
                Kind::Generate,
                &expected(at),
            );
        }
    }
}

fn body(violations: &[(&str, &str)], retry: &str) -> Vec<u8> {
    let violations: Vec<Value> = violations
        .iter()
        .map(|(id, value)| serde_json::json!({"quotaMetric": format!("x/{}", if id.contains("Grounding") {"grounding_requests"} else {"generate_content_requests"}),
            "quotaId": id, "quotaValue": value, "quotaDimensions": {"model": "m"}}))
        .collect();
    serde_json::json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "no", "details": [
        {"@type": "x.RetryInfo", "retryDelay": retry}, {"@type": "x.QuotaFailure", "violations": violations}]}})
    .to_string()
    .into_bytes()
}

#[test]
fn the_longest_of_several_violations_wins() {
    for order in [["APerDayB", "APerMinuteB"], ["APerMinuteB", "APerDayB"]] {
        let body = body(&order.map(|id| (id, "5")), "30s");
        check(
            "both",
            429,
            &body,
            Kind::Generate,
            &quota(Reason::QuotaDay, "m", Kinds::GENERATION, Some(MIDNIGHT)),
        );
    }
}

#[test]
fn a_day_ends_at_midnight_however_short_the_delay_unless_it_is_over_an_hour() {
    let day = [("APerDayB", "5")];
    for (retry, span) in [
        ("51s", MIDNIGHT),
        ("3600s", MIDNIGHT),
        ("10h17m5.5s", Duration::from_millis(37_025_500)),
    ] {
        check(
            retry,
            429,
            &body(&day, retry),
            Kind::Generate,
            &quota(Reason::QuotaDay, "m", Kinds::GENERATION, Some(span)),
        );
    }
}

#[test]
fn a_day_that_is_used_up_just_after_midnight_was_yesterday() {
    let midnight = NOW.next_pacific_midnight();
    let facts = facts(Kind::Generate, "asked");
    for (after, until) in [
        (0, midnight + Duration::from_secs(5)),
        (4_900, midnight + Duration::from_secs(5)),
        (
            5_100,
            (midnight + Duration::from_secs(6)).next_pacific_midnight(),
        ),
    ] {
        let error = GoogleError::parse(&body(&[("APerDayB", "5")], "30s"));
        let outcome = Outcome::Refused { status: 429, error };
        let now = midnight + Duration::from_millis(after);
        let effect = judge(&facts, &outcome, now).effect.unwrap();
        assert_eq!(effect.until, Until::At(until), "{after}");
    }
}

#[test]
fn a_minute_cools_for_the_delay_or_to_the_windows_end() {
    let minute = [("APerMinuteB", "5")];
    for (retry, span) in [
        ("51.6s", Duration::from_millis(51_600)),
        ("", MINUTE),
        ("0s", SECOND),
        ("900000s", LONGEST),
    ] {
        let wanted = quota(Reason::QuotaMinute, "m", Kinds::GENERATION, Some(span));
        check(retry, 429, &body(&minute, retry), Kind::Generate, &wanted);
    }
}

#[test]
fn a_quota_of_grounding_leaves_generating_alone() {
    let search = Kinds::only(Kind::Grounded);
    let violation = [("GroundingRequestsPerDayPerProject", "0")];
    check(
        "search",
        429,
        &body(&violation, "5s"),
        Kind::Grounded,
        &quota(Reason::Tier, "m", search, None),
    );
    let plain = [("GenerateRequestsPerDayPerProjectPerModel", "9")];
    check(
        "plain",
        429,
        &body(&plain, "5s"),
        Kind::Grounded,
        &quota(Reason::QuotaDay, "m", Kinds::GENERATION, Some(MIDNIGHT)),
    );
    check(
        "embed",
        429,
        &body(&plain, "5s"),
        Kind::Count,
        &quota(
            Reason::QuotaDay,
            "m",
            Kinds::only(Kind::Count),
            Some(MIDNIGHT),
        ),
    );
}

#[test]
fn the_interactions_api_says_its_window_by_its_code() {
    let one = Kinds::only(Kind::Generate);
    let body = |code: &str| {
        serde_json::json!({"error": {"code": code, "message": "x"}})
            .to_string()
            .into_bytes()
    };
    check(
        "minute",
        429,
        &body("rate_limit_exceeded"),
        Kind::Generate,
        &quota(Reason::QuotaMinute, "asked", one, Some(MINUTE)),
    );
    check(
        "day",
        429,
        &body("quota_exceeded"),
        Kind::Generate,
        &quota(Reason::QuotaDay, "asked", one, Some(MIDNIGHT)),
    );
}

#[test]
fn a_clients_own_mistake_means_nothing_for_the_pool() {
    for (status, message) in [
        (400, "Invalid JSON payload received."),
        (400, "The limit: 0 you gave is not allowed"),
        (404, "No such page"),
        (413, "Too large"),
        (422, "Unprocessable"),
        (409, "Conflict"),
        (416, "Out of range"),
        (501, "Not implemented"),
    ] {
        let body = serde_json::json!({"error": {"code": status, "message": message}}).to_string();
        check(
            message,
            status,
            body.as_bytes(),
            Kind::Generate,
            &nothing(Meaning::Client),
        );
    }
}

#[test]
fn words_that_a_client_makes_google_say_harm_no_key() {
    let harmless = [
        Meaning::Client,
        Meaning::ModelMissing,
        Meaning::NotOwner,
        Meaning::Signature,
        Meaning::Denied,
    ];
    for words in [
        "API_KEY_INVALID",
        "API_KEY_EXPIRED",
        "API key not valid",
        "API key expired",
        "reported as leaked",
        "CONSUMER_SUSPENDED",
        "Permission denied: Consumer 'x' has been suspended",
        "SERVICE_DISABLED",
        "Generative Language API has not been used in project 1",
        "project has been denied access",
        "spending cap",
        "Your prepayment credits are depleted",
        "CREDENTIALS_MISSING",
        "ACCESS_TOKEN_TYPE_UNSUPPORTED",
        "Multiple authentication credentials received",
        "User location is not supported",
        "limit: 0",
        "automated queries",
        "Resource has been exhausted",
    ] {
        for (status, message) in [
            (
                404,
                format!("models/{words} is not found for API version v1beta"),
            ),
            (
                400,
                format!(
                    "Invalid JSON payload received. Unknown name \"{words}\": Cannot bind query parameter."
                ),
            ),
            (
                400,
                format!("* GenerateContentRequest.model: unexpected model name format {words}"),
            ),
            (
                403,
                format!(
                    "You do not have permission to access the File {words} or it may not exist."
                ),
            ),
            (404, words.to_owned()),
            (422, words.to_owned()),
        ] {
            let body = serde_json::json!({"error": {"code": status, "message": message}});
            let outcome = Outcome::Refused {
                status,
                error: GoogleError::parse(body.to_string().as_bytes()),
            };
            let verdict = judge(&facts(Kind::Generate, words), &outcome, NOW);
            assert!(
                harmless.contains(&verdict.meaning),
                "{status} {message}: {:?}",
                verdict.meaning
            );
        }
    }
}

#[test]
fn other_words_for_the_same_things() {
    let body = |message: &str| {
        serde_json::json!({"error": {"message": message}})
            .to_string()
            .into_bytes()
    };
    for (status, message, meaning) in [
        (
            429,
            "Your project has exceeded its monthly spending cap.",
            Meaning::Billing,
        ),
        (
            403,
            "Method doesn't allow unregistered callers (callers without established identity).",
            Meaning::Carrier,
        ),
        (
            400,
            "Missing or invalid Authorization header.",
            Meaning::Carrier,
        ),
        (
            404,
            "This model models/gemini-2.0-flash is no longer available to new users.",
            Meaning::ModelMissing,
        ),
        (
            403,
            "CachedContent not found (or permission denied)",
            Meaning::NotOwner,
        ),
        (404, "Requested entity was not found.", Meaning::NotOwner),
        (
            403,
            "Your project has been denied access. Please contact support.",
            Meaning::KeyDead,
        ),
        (
            403,
            "Requests from referer <empty> are blocked.",
            Meaning::KeyDead,
        ),
        (504, "Deadline expired", Meaning::Server),
        (502, "", Meaning::Server),
    ] {
        let error = GoogleError::parse(&body(message));
        let verdict = judge(
            &facts(Kind::Generate, "m"),
            &Outcome::Refused { status, error },
            NOW,
        );
        assert_eq!(verdict.meaning, meaning, "{message}");
    }
    let html = b"<html><title>Sorry...</title>... may be sending Automated Queries ...";
    check(
        "html",
        403,
        html,
        Kind::Generate,
        &nothing(Meaning::EgressBan),
    );
}

#[test]
fn what_another_of_googles_services_refuses_takes_no_project_away() {
    for reason in [
        "SERVICE_DISABLED",
        "API_KEY_SERVICE_BLOCKED",
        "CONSUMER_INVALID",
    ] {
        let judged = |service: &str| {
            let body = serde_json::json!({"error": {"code": 403, "status": "PERMISSION_DENIED",
                "message": "It has not been used in project 1 before or it is disabled.",
                "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason,
                    "domain": "googleapis.com", "metadata": {"service": service, "consumer": "projects/1"}}]}});
            let error = GoogleError::parse(body.to_string().as_bytes());
            let outcome = Outcome::Refused { status: 403, error };
            judge(&facts(Kind::Grounded, "m"), &outcome, NOW)
        };
        assert_eq!(
            judged("generativelanguage.googleapis.com").meaning,
            Meaning::KeyDead
        );
        let verdict = judged("places.googleapis.com");
        assert_eq!(verdict.meaning, Meaning::Denied);
        // Nor from what does not want that service.
        let effect = verdict.effect.unwrap();
        assert!(effect.kinds.contains(Kind::Grounded) && !effect.kinds.contains(Kind::Generate));
        assert_eq!(effect.model.as_deref(), Some("m"));
    }
}

#[test]
fn a_refusal_of_what_has_no_model_keeps_a_key_from_nothing_else() {
    let asked = Facts {
        model: None,
        ..facts(Kind::Other, "m")
    };
    let body = br#"{"error":{"code":403,"message":"The caller does not have permission","status":"PERMISSION_DENIED"}}"#;
    let outcome = Outcome::Refused {
        status: 403,
        error: GoogleError::parse(body),
    };
    let effect = judge(&asked, &outcome, NOW).effect.unwrap();
    assert!(effect.kinds.contains(Kind::Other) && !effect.kinds.contains(Kind::Generate));
}
