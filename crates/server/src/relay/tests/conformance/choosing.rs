//! Which key gets a request, and what becomes of keys that cannot.

use super::Target;
use crate::relay::tests::client::{Ask, MODEL};
use crate::relay::tests::stand::key;
use gemini_emulator::KeyState;
use serde_json::json;

pub(super) async fn rotation_is_even_over_projects_and_then_over_their_keys(target: &Target) {
    for _ in 0..12 {
        Ask::generate("hello").whole(&target.base_url).await.is(200);
    }
    let used = ["a1", "a2", "b1", "c1"].map(|name| target.used(&format!("made-up-key-{name}")));
    assert_eq!(used, [2, 2, 4, 4]);
}

pub(super) async fn rotation_is_even_when_many_ask_at_once(target: &Target) {
    let asked = (0..30).map(|_| Ask::generate("hello").whole(&target.base_url));
    for answer in futures_util::future::join_all(asked).await {
        answer.is(200);
    }
    for at in 0..3 {
        let used = target.used(&key(at));
        assert!((9..=11).contains(&used), "key {at}: {used} of 30");
    }
}

pub(super) async fn a_conversation_stays_with_its_project(target: &Target) {
    let turn = |role: &str, text: &str| json!({"role": role, "parts": [{"text": text}]});
    let path = format!("/v1beta/models/{MODEL}:generateContent");
    let mut turns = vec![turn("user", "first")];
    let mut served_by = Vec::new();
    for at in 0..4 {
        let answer = Ask::post(&path, &json!({"contents": turns}))
            .whole(&target.base_url)
            .await
            .is(200);
        served_by.push(answer.header("x-gemini-relay-key").to_owned());
        // Others ask in between, so that rotation alone would move on.
        Ask::generate(&format!("stranger {at}"))
            .whole(&target.base_url)
            .await
            .is(200);
        let content = answer.json()["candidates"][0]["content"].clone();
        turns.push(content);
        turns.push(turn("user", "and then?"));
    }
    assert!(
        served_by.iter().all(|label| *label == served_by[0]),
        "{served_by:?}"
    );
}

pub(super) async fn a_suspended_key_is_found_out_once_and_never_quoted(target: &Target) {
    let dead = key(1);
    target
        .emulator
        .set_key(&dead, "project-1", KeyState::Suspended)
        .unwrap();
    let mut attempts = Vec::new();
    for ask in 0..6 {
        let ask = match ask % 3 {
            0 => Ask::generate("hello"),
            1 => Ask::events("hello"),
            _ => Ask::chat("hello", false),
        };
        // Reading an answer fails the test if a key is in it.
        let answer = ask.whole(&target.base_url).await.is(200);
        attempts.push(answer.header("x-gemini-relay-attempts").to_owned());
    }
    assert_eq!(target.used(&dead), 1);
    assert_eq!(attempts.iter().filter(|count| *count == "2").count(), 1);
}

pub(super) async fn every_kind_of_dead_key_is_walked_past(target: &Target) {
    Ask::generate("hello").whole(&target.base_url).await.is(200);
    Ask::generate("hello").whole(&target.base_url).await.is(200);
    for at in 0..10 {
        // One refuses the carrier, and is shown to Google both ways.
        assert!((1..=2).contains(&target.used(&key(at))), "key {at}");
    }
    assert_eq!(target.used(&key(10)), 2);
}

pub(super) async fn a_model_that_one_project_lacks_is_served_by_another(target: &Target) {
    for _ in 0..4 {
        Ask::generate("hello").whole(&target.base_url).await.is(200);
    }
    assert_eq!(target.used(&key(0)), 1, "it was asked once and remembered");
    let missing = Ask::post(
        "/v1beta/models/gemini-of-nowhere:generateContent",
        &crate::relay::tests::client::contents("hello"),
    );
    assert!(
        missing
            .whole(&target.base_url)
            .await
            .is(404)
            .message()
            .contains("gemini-of-nowhere")
    );
}

pub(super) async fn a_key_of_the_bearer_kind_is_served_and_its_carrier_remembered(target: &Target) {
    target
        .emulator
        .set_key(&key(0), "project-0", KeyState::BearerOnly)
        .unwrap();
    for _ in 0..3 {
        Ask::generate("hello").whole(&target.base_url).await.is(200);
    }
    let carriers: Vec<&str> = target
        .emulator
        .requests()
        .iter()
        .map(|request| {
            assert_eq!(request.credentials.len(), 1);
            request.credentials[0].carrier
        })
        .collect();
    assert_eq!(carriers, ["x-goog-api-key", "bearer", "bearer", "bearer"]);
}
