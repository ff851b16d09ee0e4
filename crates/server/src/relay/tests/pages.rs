//! The relay's own pages: healthy, ready, metrics.

use super::client::Ask;
use super::stand::{Stand, key, keys_of, projects};
use gemini_emulator::{Fault, KeyState, Match, Outcome};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

const TOKEN: &str = "a-long-token-of-a-client";

#[tokio::test]
async fn healthy_is_always_and_ready_until_stopping_begins() {
    let stand = Stand::start(projects(1), &[("TOKENS", TOKEN)]).await;
    Ask::get("/-/healthy").whole(stand.base()).await.is(200);
    Ask::get("/-/ready").whole(stand.base()).await.is(200);
    stand.relay.shared().stopping.store(true, Ordering::Relaxed);
    Ask::get("/-/ready").whole(stand.base()).await.is(503);
    Ask::get("/-/healthy").whole(stand.base()).await.is(200);
    let last = Ask::generate("x").header("x-goog-api-key", TOKEN);
    last.whole(stand.base()).await.is(200);
}

#[tokio::test]
async fn a_pool_that_is_dry_or_dead_is_still_ready() {
    let stand = Stand::start(projects(1), &[]).await;
    stand
        .emulator()
        .set_key(&key(0), "project-0", KeyState::Leaked)
        .unwrap();
    Ask::generate("x").whole(stand.base()).await.is(503);
    Ask::get("/-/ready").whole(stand.base()).await.is(200);
}

#[tokio::test]
async fn metrics_are_for_this_machine_and_for_tokens() {
    let stand = Stand::start(projects(1), &[("TOKENS", TOKEN)]).await;
    Ask::get("/-/metrics").whole(stand.base()).await.is(200);
    // A proxy on this machine brings requests of others.
    let passed_on = || Ask::get("/-/metrics").header("x-forwarded-for", "198.51.100.7");
    passed_on().whole(stand.base()).await.is(401);
    passed_on()
        .header("authorization", &format!("Bearer {TOKEN}"))
        .whole(stand.base())
        .await
        .is(200);
    for path in ["/-/", "/-/nothing", "/-"] {
        Ask::get(path).whole(stand.base()).await.is(404);
    }

    let open = Stand::start(
        projects(1),
        &[("LISTEN", "0.0.0.0:0"), ("ALLOW_ANONYMOUS", "on")],
    )
    .await;
    Ask::get("/-/metrics").whole(open.base()).await.is(403);
    Ask::get("/-/ready").whole(open.base()).await.is(200);

    let wide = Stand::start(projects(1), &[("LISTEN", "0.0.0.0:0"), ("TOKENS", TOKEN)]).await;
    Ask::get("/-/metrics").whole(wide.base()).await.is(401);
    Ask::get("/-/healthy").whole(wide.base()).await.is(200);
    Ask::get("/-/metrics")
        .header("x-goog-api-key", TOKEN)
        .whole(wide.base())
        .await
        .is(200);
}

#[tokio::test]
async fn every_metric_is_seen_after_traffic() {
    let stand = Stand::start(projects(4), &[]).await;
    let base = stand.base();
    // A block, a wait, a stream that is cut, a client that leaves, a refusal, and tokens.
    stand
        .emulator()
        .set_key(&key(1), "project-1", KeyState::Expired)
        .unwrap();
    stand
        .emulator()
        .fault(Match::default(), 1, Fault::Error("overloaded".into()))
        .unwrap();
    for _ in 0..4 {
        Ask::generate("hello").whole(base).await.is(200);
    }
    stand.target.fault(1, Fault::Truncate(1));
    assert!(!Ask::events("hello").to(base).await.all().await.1);
    let mut reply = Ask::events("[[chunks:50]] [[delay:100ms]] hello")
        .to(base)
        .await;
    reply.next().await.unwrap().unwrap();
    drop(reply);
    stand.target.ended(Outcome::Cancelled).await;
    Ask::generate("x")
        .header("origin", "https://evil.example")
        .whole(base)
        .await
        .is(403);
    let page = Ask::get("/-/metrics").whole(base).await.is(200);
    assert!(
        page.header("content-type")
            .starts_with("application/openmetrics-text")
    );
    let values = values(&page.text());
    for (name, at_least) in METRICS {
        let sum: f64 = values
            .iter()
            .filter(|(line, _)| line.split('{').next() == Some(*name))
            .map(|(_, value)| value)
            .sum();
        assert!(
            values
                .keys()
                .any(|line| line.split('{').next() == Some(*name))
                && sum >= *at_least,
            "{name} is {sum}\n{}",
            page.text()
        );
    }
    let told: Vec<&str> = values
        .keys()
        .map(|line| line.split('{').next().unwrap())
        .collect();
    for line in page
        .text()
        .lines()
        .filter(|line| line.starts_with("# TYPE "))
    {
        let name = line.split(' ').nth(2).unwrap();
        assert!(
            told.iter().any(|told| told.starts_with(name)),
            "{name} has no value"
        );
        assert!(
            METRICS.iter().any(|(known, _)| known.starts_with(name)),
            "{name} is not looked for"
        );
    }
    assert_eq!(values["gemini_relay_keys{state=\"usable\"}"], 3.0);
    assert_eq!(values["gemini_relay_keys{state=\"expired\"}"], 1.0);
    assert_eq!(values["gemini_relay_blocks_total{reason=\"expired\"}"], 1.0);
    assert_eq!(keys_of(&projects(4)).len(), 4);
}

fn values(page: &str) -> BTreeMap<String, f64> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

/// Every name, and the least that it comes to after that traffic.
const METRICS: &[(&str, f64)] = &[
    ("gemini_relay_requests_total", 6.0),
    ("gemini_relay_attempts_total", 8.0),
    ("gemini_relay_refusals_total", 1.0),
    ("gemini_relay_blocks_total", 1.0),
    ("gemini_relay_tokens_total", 10.0),
    ("gemini_relay_body_bytes_total", 1000.0),
    ("gemini_relay_first_byte_seconds_count", 5.0),
    ("gemini_relay_request_seconds_count", 6.0),
    ("gemini_relay_waits_total", 1.0),
    ("gemini_relay_cut_streams_total", 1.0),
    ("gemini_relay_cancelled_total", 1.0),
    ("gemini_relay_stopped_total", 0.0),
    ("gemini_relay_connections", 1.0),
    ("gemini_relay_in_flight", 0.0),
    ("gemini_relay_waiting", 0.0),
    ("gemini_relay_replay_bytes", 0.0),
    ("gemini_relay_keys", 4.0),
    ("gemini_relay_build_info", 1.0),
];
