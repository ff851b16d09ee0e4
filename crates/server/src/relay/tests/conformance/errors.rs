//! Quotas that run dry, keys that are all dead, and mistakes that are the client's own.

use super::Target;
use crate::relay::tests::client::{Ask, MODEL, Whole};
use crate::relay::tests::stand::key;
use gemini_emulator::{Fault, KeyState};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(super) async fn a_dry_minute_is_waited_for(target: &Target) {
    for _ in 0..3 {
        Ask::generate("hello").whole(&target.base_url).await.is(200);
    }
    assert!(target.emulator.stats().refused <= 1);
}

pub(super) async fn those_who_wait_are_all_served(target: &Target) {
    let asked = (0..6).map(|_| Ask::generate("hello").whole(&target.base_url));
    for answer in futures_util::future::join_all(asked).await {
        answer.is(200);
    }
}

pub(super) async fn a_dry_pool_says_when_it_is_back(target: &Target) {
    drain(target, 2).await;
    let answer = Ask::generate("hello").whole(&target.base_url).await.is(429);
    let seconds = says_when(&answer);
    assert!((1..=60).contains(&seconds), "{seconds}");
    let ids = violations(&answer.json());
    assert!(ids.iter().all(|id| id.contains("PerMinute")) && !ids.is_empty());
    assert_eq!(answer.header("x-gemini-relay-reason"), "quota");
}

pub(super) async fn a_dry_day_says_so_to_every_dialect(target: &Target) {
    drain(target, 2).await;
    let asks = [
        (Ask::generate("hello"), false),
        (Ask::events("hello"), false),
        (Ask::array("hello"), true),
        (Ask::chat("hello", false), true),
        (Ask::chat("hello", true), true),
    ];
    for (ask, array) in asks {
        let answer = ask.whole(&target.base_url).await.is(429);
        assert_eq!(answer.text().starts_with('['), array, "{}", answer.text());
        // A day of Los Angeles with an hour more or less.
        assert!((1..=25 * 3600).contains(&says_when(&answer)));
        assert!(
            violations(&answer.json())
                .iter()
                .any(|id| id.contains("PerDay"))
        );
    }
    assert_eq!(
        target.emulator.stats().refused,
        2,
        "each project was asked once"
    );
}

pub(super) async fn one_more_than_may_wait_is_told_at_once(target: &Target) {
    drain(target, 1).await;
    let asks = (0..3).map(|_| Ask::generate("hello").to(&target.base_url));
    let mut asking: Vec<_> = asks.map(Box::pin).collect();
    let first = asking.iter_mut().map(|ask| ask.as_mut());
    let (refused, _, _) = futures_util::future::select_all(first).await;
    let refused = refused.whole().await.is(429);
    assert_eq!(refused.header("x-gemini-relay-reason"), "too-many-waiting");
}

pub(super) async fn a_request_walks_no_further_than_it_may(target: &Target) {
    target.fault(5, Fault::Error("quota_minute".into()));
    let answer = Ask::generate("hello").whole(&target.base_url).await.is(429);
    assert_eq!(answer.header("x-gemini-relay-attempts"), "2");
    assert_eq!(answer.header("x-gemini-relay-reason"), "attempts");
    assert_eq!(answer.header("retry-after"), "1", "others are untried");
    assert_eq!(target.received(), 2);
}

pub(super) async fn a_pool_of_dead_keys_is_503_and_counts_them(target: &Target) {
    let states = [KeyState::Leaked, KeyState::Suspended, KeyState::Suspended];
    for (at, state) in states.into_iter().enumerate() {
        let project = format!("project-{at}");
        target.emulator.set_key(&key(at), &project, state).unwrap();
    }
    for ask in [Ask::generate("hello"), Ask::chat("hello", true)] {
        let message = ask.whole(&target.base_url).await.is(503).message();
        assert!(
            message.contains("1 reported as leaked") || message.contains("1 leaked"),
            "{message}"
        );
        assert!(message.contains("2 suspended"), "{message}");
    }
    assert_eq!(target.received(), 3);
}

pub(super) async fn a_model_nobody_has_a_tier_for_is_429_with_limit_zero(target: &Target) {
    let answer = Ask::generate("hello").whole(&target.base_url).await.is(429);
    assert!(
        answer.message().contains("limit: 0"),
        "{}",
        answer.message()
    );
    assert_eq!(target.received(), 2);
}

pub(super) async fn a_clients_own_mistake_comes_back_as_it_came_and_costs_no_key(target: &Target) {
    let path = format!("/v1beta/models/{MODEL}:generateContent");
    let wrong = || Ask::post(&path, &json!({"contents": []}));
    let direct = target
        .directly(wrong().header("x-goog-api-key", &key(0)))
        .await
        .is(400);
    for _ in 0..3 {
        let answer = wrong().whole(&target.base_url).await.is(400);
        assert_eq!(answer.json(), direct.json());
        assert_eq!(answer.header("x-gemini-relay-attempts"), "1");
    }
    for _ in 0..3 {
        Ask::generate("hello").whole(&target.base_url).await.is(200);
    }
    for at in 1..3 {
        assert_eq!(target.used(&key(at)), 2);
    }
}

/// A second opinion was asked for, and whoever was asked had none.
pub(super) async fn a_refusal_stands_if_whoever_is_asked_next_has_no_say(target: &Target) {
    let refusal = Fault::Answer {
        status: 403,
        body: Some(
            json!({"error": {"code": 403, "message": format!("private, says {}", key(0)), "status": "X"}}),
        ),
        headers: BTreeMap::from([("x-of-the".to_owned(), "refusal".to_owned())]),
        gzip: false,
    };
    target.fault(1, refusal);
    target.fault(1, Fault::Error("quota_day".into()));
    target.fault(1, Fault::Error("key_invalid".into()));
    let answer = Ask::generate("hello").whole(&target.base_url).await.is(403);
    assert!(answer.message().starts_with("private, says "));
    assert_eq!(answer.header("x-of-the"), "refusal");
    assert_eq!(answer.header("x-gemini-relay-attempts"), "3");
    assert_eq!(answer.header("x-gemini-relay-reason"), "");
    // That others had no say is held against none that had one.
    let named = answer.header("x-gemini-relay-key").to_owned();
    let next = Ask::generate("hello").whole(&target.base_url).await.is(200);
    assert_eq!(next.header("x-gemini-relay-key"), named);
}

pub(super) async fn a_refusal_at_the_beginning_of_a_stream_stands_too(target: &Target) {
    target.fault(
        1,
        Fault::InStreamError {
            name: "caller_no_permission".into(),
            after_chunks: 0,
        },
    );
    target.fault(1, Fault::Error("quota_day".into()));
    let answer = Ask::events("hello").whole(&target.base_url).await.is(200);
    assert!(
        answer.text().contains("PERMISSION_DENIED"),
        "{}",
        answer.text()
    );
    assert_eq!(answer.header("x-gemini-relay-attempts"), "2");
}

/// What Google's errors quote is the client's: a model that is called like a dead key harms none.
pub(super) async fn words_that_google_quotes_back_harm_no_key(target: &Target) {
    for words in ["API_KEY_INVALID", "CONSUMER_SUSPENDED", "spending%20cap"] {
        let asks = [
            Ask::post(
                format!("/v1beta/models/{words}:generateContent"),
                &json!({"contents": [{"parts": [{"text": "hello"}]}]}),
            ),
            Ask::post(
                "/v1beta/openai/chat/completions",
                &json!({"model": words, "messages": [{"role": "user", "content": "hello"}]}),
            ),
            Ask::post(
                format!("/v1beta/models/{MODEL}:generateContent?{words}=1"),
                &json!({"contents": [{"parts": [{"text": "hello"}]}]}),
            ),
        ];
        for ask in asks {
            let status = ask.whole(&target.base_url).await.status;
            assert!(matches!(status, 200 | 400 | 404), "{words}: {status}");
        }
    }
    Ask::generate("hello").whole(&target.base_url).await.is(200);
}

pub(super) async fn a_compressed_error_is_judged_and_passed_on_plain(target: &Target) {
    let compressed = |status, message: &str| Fault::Answer {
        status,
        body: Some(json!({"error": {"code": status, "message": message, "status": "X"}})),
        headers: BTreeMap::new(),
        gzip: true,
    };
    target.fault(
        1,
        compressed(
            403,
            "Your API key was reported as leaked. Please use another API key.",
        ),
    );
    let answer = Ask::generate("hello").whole(&target.base_url).await.is(200);
    assert_eq!(answer.header("x-gemini-relay-attempts"), "2");
    target.fault(1, compressed(422, "this is the client's own"));
    let answer = Ask::generate("hello")
        .header("accept-encoding", "gzip")
        .whole(&target.base_url)
        .await
        .is(422);
    assert_eq!(answer.header("content-encoding"), "");
    assert_eq!(answer.message(), "this is the client's own");
}

async fn drain(target: &Target, requests: usize) {
    for _ in 0..requests {
        Ask::generate("hello").whole(&target.base_url).await.is(200);
    }
}

/// The seconds after which to come back, which three places must say alike.
fn says_when(answer: &Whole) -> u64 {
    let seconds: u64 = answer.header("retry-after").parse().unwrap();
    let message = answer.message();
    assert!(
        message.ends_with(&format!("Please retry in {seconds}s.")),
        "{message}"
    );
    let json = answer.json();
    let details = json["error"]["details"].as_array().unwrap();
    let info = details
        .iter()
        .find(|detail| detail["@type"].as_str().unwrap().ends_with("RetryInfo"))
        .unwrap();
    assert_eq!(info["retryDelay"], format!("{seconds}s"));
    seconds
}

fn violations(error: &Value) -> Vec<String> {
    let details = error["error"]["details"].as_array().unwrap();
    details
        .iter()
        .filter_map(|detail| detail["violations"].as_array())
        .flatten()
        .map(|violation| violation["quotaId"].as_str().unwrap().to_owned())
        .collect()
}
