//! A client that goes away ends what was done for it, within a second.

use super::{RunsOn, Target};
use crate::relay::tests::client::Ask;
use crate::relay::tests::stand::{until, within};
use gemini_emulator::{Fault, Outcome};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(1);

pub(super) async fn a_client_that_leaves_a_stream_ends_it_upstream(target: &Target) {
    let mut reply = Ask::events("[[chunks:100]] [[delay:200ms]] slowly")
        .to(&target.base_url)
        .await;
    reply.next().await.unwrap().unwrap();
    drop(reply);
    cancelled(target).await;
}

pub(super) async fn a_client_that_leaves_in_silence_ends_it_upstream(target: &Target) {
    target.fault(1, Fault::Delay(60_000));
    let base = target.base_url.clone();
    let asking = tokio::spawn(async move { Ask::generate("hello").to(&base).await.status });
    until("the request is there", || target.received() == 1).await;
    asking.abort();
    if target.runs_on == RunsOn::Native {
        cancelled(target).await;
    }
}

pub(super) async fn a_client_that_leaves_the_queue_is_never_sent(target: &Target) {
    Ask::generate("hello").whole(&target.base_url).await.is(200);
    let base = target.base_url.clone();
    let asking = tokio::spawn(async move { Ask::generate("hello").to(&base).await.status });
    until("it was refused for quota", || target.received() == 2).await;
    asking.abort();
    if target.runs_on == RunsOn::Workerd {
        return;
    }
    let metrics = async || Ask::get("/-/metrics").whole(&target.base_url).await.text();
    let began = std::time::Instant::now();
    while !metrics().await.contains("gemini_relay_in_flight 0\n") {
        assert!(began.elapsed() < SOON);
    }
    assert!(metrics().await.contains("gemini_relay_cancelled_total 1\n"));
    target.emulator.advance(Duration::from_secs(61));
    assert_eq!(target.received(), 2);
}

async fn cancelled(target: &Target) {
    within(SOON, "the emulator sees it", || {
        target.emulator.requests()[0].outcome == Outcome::Cancelled
    })
    .await;
}
