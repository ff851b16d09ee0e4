//! Quotas: what is counted, when it comes back, and what the refusal says of it.

use std::time::Duration;

use gemini_emulator::{Config, Emulator, Kind, Metric, Project, Quota, RetryStyle, Tier, Window};
use serde_json::{Value, json};

use crate::support::{ALPHA, Ask, BETA, FLASH, prompt, start};

async fn with(quotas: &[Quota]) -> Emulator {
    let mut alpha = Project::new("alpha", [ALPHA, "made-up-alpha-2"]);
    alpha.quotas = quotas.to_vec();
    start(Config {
        projects: vec![alpha, Project::new("beta", [BETA])],
        ..Config::default()
    })
    .await
}

fn per_minute(limit: u64) -> Quota {
    Quota::new("*", Metric::RequestsPerMinute, limit)
}

async fn status(emulator: &Emulator, text: &str) -> u16 {
    Ask::say(FLASH, text).key(ALPHA).send(emulator).await.status
}

/// How many of ten requests are served.
async fn served(emulator: &Emulator) -> usize {
    let mut served = 0;
    for _ in 0..10 {
        served += usize::from(status(emulator, "hi").await == 200);
    }
    served
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test]
async fn a_quota_is_the_projects_and_the_models_not_the_keys() {
    let emulator = with(&[per_minute(2)]).await;
    let say = |model: &str, key: &str| {
        Ask::say(&format!("/v1beta/models/{model}:generateContent"), "hi").key(key)
    };
    say("gemini-2.5-flash", ALPHA)
        .send(&emulator)
        .await
        .assert_ok();
    say("gemini-2.5-flash", "made-up-alpha-2")
        .send(&emulator)
        .await
        .assert_ok();
    assert_eq!(
        say("gemini-2.5-flash", ALPHA).send(&emulator).await.status,
        429
    );
    assert_eq!(
        say("gemini-2.5-flash", "made-up-alpha-2")
            .send(&emulator)
            .await
            .status,
        429
    );
    say("gemini-2.5-pro", ALPHA)
        .send(&emulator)
        .await
        .assert_ok();
    say("gemini-2.5-flash", BETA)
        .send(&emulator)
        .await
        .assert_ok();
}

#[tokio::test]
async fn a_fixed_window_comes_back_all_at_once() {
    let emulator = with(&[per_minute(3)]).await;
    assert_eq!(served(&emulator).await, 3);
    emulator.advance(seconds(40));
    assert_eq!(served(&emulator).await, 0);
    emulator.advance(seconds(20));
    assert_eq!(served(&emulator).await, 3);
}

#[tokio::test]
async fn a_fixed_window_has_a_phase() {
    let emulator = with(&[Quota {
        phase_ms: 45_000,
        ..per_minute(3)
    }])
    .await;
    assert_eq!(served(&emulator).await, 3);
    emulator.advance(seconds(15));
    assert_eq!(served(&emulator).await, 3);
    emulator.advance(seconds(15));
    assert_eq!(served(&emulator).await, 0);
}

#[tokio::test]
async fn a_sliding_window_comes_back_request_by_request() {
    let emulator = with(&[Quota {
        window: Window::Sliding,
        ..per_minute(2)
    }])
    .await;
    assert_eq!(status(&emulator, "hi").await, 200);
    emulator.advance(seconds(30));
    assert_eq!(served(&emulator).await, 1);
    emulator.advance(seconds(30));
    assert_eq!(served(&emulator).await, 1);
    emulator.advance(seconds(30));
    assert_eq!(served(&emulator).await, 1);
}

#[tokio::test]
async fn a_bucket_comes_back_little_by_little() {
    let emulator = with(&[Quota {
        window: Window::Bucket,
        ..per_minute(4)
    }])
    .await;
    assert_eq!(served(&emulator).await, 4);
    emulator.advance(seconds(15));
    assert_eq!(served(&emulator).await, 1);
    emulator.advance(seconds(600));
    assert_eq!(served(&emulator).await, 4);
}

#[tokio::test]
async fn a_day_ends_at_midnight_in_los_angeles() {
    let mut config = Config {
        projects: vec![Project::new("alpha", [ALPHA]).quota(Quota::new(
            "*",
            Metric::RequestsPerDay,
            2,
        ))],
        // Two hours before the midnight that begins a day of 23 hours.
        clock_start: Some("2026-03-08T06:00:00Z".to_owned()),
        ..Config::default()
    };
    let emulator = start(config.clone()).await;
    assert_eq!(served(&emulator).await, 2);
    let refusal = Ask::say(FLASH, "hi")
        .key(ALPHA)
        .send(&emulator)
        .await
        .json();
    let message = refusal["error"]["message"].as_str().unwrap();
    assert!(message.contains("Please retry in 1h59m5"), "{message}");
    emulator.advance(seconds(2 * 3_600));
    assert_eq!(served(&emulator).await, 2);
    emulator.advance(seconds(23 * 3_600 - 60));
    assert_eq!(served(&emulator).await, 0);
    emulator.advance(seconds(60));
    assert_eq!(served(&emulator).await, 2);

    // A day that a test has shortened.
    config.day_seconds = 100.0;
    emulator.configure(config).unwrap();
    assert_eq!(served(&emulator).await, 2);
    emulator.advance(seconds(100));
    assert_eq!(served(&emulator).await, 2);
}

#[tokio::test]
async fn the_refusal_says_what_is_used_up_and_when_it_is_back() {
    let emulator = with(&[per_minute(1)]).await;
    assert_eq!(served(&emulator).await, 1);
    emulator.advance(seconds(10));
    let answer = Ask::say(FLASH, "hi").key(ALPHA).send(&emulator).await;
    let error = &answer.json()["error"];
    assert_eq!(
        (error["code"].as_u64(), error["status"].as_str()),
        (Some(429), Some("RESOURCE_EXHAUSTED"))
    );
    let kinds: Vec<_> = error["details"]
        .as_array()
        .unwrap()
        .iter()
        .map(|detail| detail["@type"].as_str().unwrap())
        .collect();
    let google = |name: &str| format!("type.googleapis.com/google.rpc.{name}");
    assert_eq!(
        kinds,
        [google("Help"), google("QuotaFailure"), google("RetryInfo")]
    );
    assert_eq!(
        error["details"][1]["violations"],
        json!([{
            "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
            "quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier",
            "quotaDimensions": {"location": "global", "model": "gemini-2.5-flash"},
            "quotaValue": "1",
        }])
    );
    let message = error["message"].as_str().unwrap();
    assert!(
        message
            .contains("free_tier_requests, limit: 1, model: gemini-2.5-flash\nPlease retry in 4"),
        "{message}"
    );
    assert!(message.ends_with("s."), "{message}");
    // As long as the message says, and the window is there again.
    let told: f64 = message
        .rsplit_once("retry in ")
        .unwrap()
        .1
        .trim_end_matches("s.")
        .parse()
        .unwrap();
    emulator.advance(Duration::from_secs_f64(told));
    assert_eq!(status(&emulator, "hi").await, 200);
}

#[tokio::test]
async fn a_limit_of_zero_is_told_as_three_quotas_without_a_value() {
    let emulator = with(&[per_minute(0)]).await;
    let error = Ask::say(FLASH, "hi")
        .key(ALPHA)
        .send(&emulator)
        .await
        .json();
    let violations = error["error"]["details"][1]["violations"]
        .as_array()
        .unwrap();
    assert_eq!(violations.len(), 3);
    assert!(
        violations
            .iter()
            .all(|violation| violation.get("quotaValue").is_none())
    );
    emulator.advance(seconds(90_000));
    assert_eq!(status(&emulator, "hi").await, 429);
}

async fn message(quota: Quota) -> Value {
    let emulator = with(&[quota]).await;
    assert_eq!(served(&emulator).await, 1);
    Ask::say(FLASH, "hi")
        .key(ALPHA)
        .send(&emulator)
        .await
        .json()["error"]
        .clone()
}

#[tokio::test]
async fn refusals_are_as_honest_as_they_are_told_to_be() {
    let day = Quota::new("*", Metric::RequestsPerDay, 1);
    let short = message(Quota {
        retry_info: RetryStyle::Short,
        ..day.clone()
    })
    .await;
    assert_eq!(short["details"][2]["retryDelay"], "51s");
    assert!(
        short["message"]
            .as_str()
            .unwrap()
            .ends_with("Please retry in 51.606482386s.")
    );
    let none = message(Quota {
        retry_info: RetryStyle::None,
        ..day.clone()
    })
    .await;
    assert_eq!(none.get("details"), None);
    assert!(!none["message"].as_str().unwrap().contains("retry in"));
    let paid = message(Quota {
        tier: Tier::Paid,
        ..day
    })
    .await;
    assert_eq!(
        paid["details"][1]["violations"][0]["quotaId"],
        "GenerateRequestsPerDayPerProjectPerModel"
    );
    assert!(
        paid["message"]
            .as_str()
            .unwrap()
            .contains("Go to https://aistudio.google.com/apikey")
    );
}

#[tokio::test]
async fn tokens_are_counted_as_the_prompt_says() {
    let emulator = with(&[Quota::new("*", Metric::TokensPerMinute, 1_000)]).await;
    assert_eq!(status(&emulator, "[[tokens:600]]").await, 200);
    assert_eq!(status(&emulator, "[[tokens:600]]").await, 429);
    assert_eq!(status(&emulator, "[[tokens:400]]").await, 200);
    emulator.advance(seconds(60));
    // About four letters a token.
    assert_eq!(status(&emulator, &"abcd".repeat(900)).await, 200);
    assert_eq!(status(&emulator, &"abcd".repeat(200)).await, 429);
}

#[tokio::test]
async fn a_refused_request_does_not_count_unless_it_was_too_long() {
    let emulator = with(&[
        per_minute(2),
        Quota::new("gemini-2.5-flash", Metric::RequestsPerDay, 3),
    ])
    .await;
    assert_eq!(served(&emulator).await, 2);
    emulator.advance(seconds(60));
    // Eight were refused by the minute and none of them is on the day's count.
    assert_eq!(served(&emulator).await, 1);

    let emulator = with(&[per_minute(2)]).await;
    assert_eq!(status(&emulator, "[[tokens:2000000]]").await, 400);
    assert_eq!(served(&emulator).await, 1);
}

#[tokio::test]
async fn every_item_of_a_batch_embedding_counts() {
    let emulator = with(&[per_minute(5)]).await;
    let embed = |items: usize| {
        let requests = vec![
            json!({"model": "models/gemini-embedding-001", "content": {"parts": [{"text": "x"}]}});
            items
        ];
        Ask::new(
            "POST",
            "/v1beta/models/gemini-embedding-001:batchEmbedContents",
        )
        .json(&json!({"requests": requests}))
        .key(ALPHA)
    };
    let answer = embed(4).send(&emulator).await;
    assert_eq!(answer.json()["embeddings"].as_array().unwrap().len(), 4);
    assert_eq!(embed(2).send(&emulator).await.status, 429);
    embed(1).send(&emulator).await.assert_ok();
}

#[tokio::test]
async fn a_quota_on_grounding_leaves_plain_prompts_alone() {
    let emulator = with(&[Quota {
        kind: Some(Kind::Grounded),
        ..per_minute(0)
    }])
    .await;
    for tool in [
        "googleSearch",
        "google_search",
        "googleMaps",
        "google_search_retrieval",
    ] {
        let mut body = prompt("hi");
        body["tools"] = json!([{tool: {}}]);
        let answer = Ask::new("POST", FLASH)
            .json(&body)
            .key(ALPHA)
            .send(&emulator)
            .await;
        answer.assert_error(429, "You exceeded your current quota");
        assert_eq!(answer.json()["error"].get("details"), None);
    }
    assert_eq!(status(&emulator, "hi").await, 200);
}

#[tokio::test]
async fn kinds_are_counted_apart() {
    let emulator = with(&[Quota {
        kind: Some(Kind::Count),
        ..per_minute(1)
    }])
    .await;
    let count = || Ask::say("/v1beta/models/gemini-2.5-flash:countTokens", "12345678").key(ALPHA);
    assert_eq!(count().send(&emulator).await.json()["totalTokens"], 2);
    assert_eq!(count().send(&emulator).await.status, 429);
    assert_eq!(served(&emulator).await, 10);
}

#[tokio::test]
async fn several_limits_at_once_are_all_named_and_the_longest_wait_is_told() {
    let emulator = with(&[per_minute(1), Quota::new("*", Metric::RequestsPerDay, 1)]).await;
    assert_eq!(served(&emulator).await, 1);
    let error = Ask::say(FLASH, "hi")
        .key(ALPHA)
        .send(&emulator)
        .await
        .json()["error"]
        .clone();
    assert_eq!(
        error["details"][1]["violations"].as_array().unwrap().len(),
        2
    );
    assert_eq!(
        error["message"]
            .as_str()
            .unwrap()
            .matches("* Quota exceeded")
            .count(),
        2
    );
}
