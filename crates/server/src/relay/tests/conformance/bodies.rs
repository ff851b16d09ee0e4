//! Requests of every kind arrive whole.

use super::Target;
use crate::relay::tests::client::{Ask, MODEL, contents, piecewise};
use crate::relay::tests::stand::key;
use bytes::Bytes;
use gemini_emulator::Fault;
use http::Method;
use serde_json::json;

pub(super) async fn embeddings_counts_and_lists_go_through(target: &Target) {
    let base = &target.base_url;
    let counted = Ask::post(
        format!("/v1beta/models/{MODEL}:countTokens"),
        &contents("one two"),
    );
    assert!(counted.whole(base).await.is(200).json()["totalTokens"].is_u64());
    let embed = json!({"content": {"parts": [{"text": "x"}]}});
    let embedded = Ask::post("/v1beta/models/gemini-embedding-001:embedContent", &embed);
    assert!(embedded.whole(base).await.is(200).json()["embedding"]["values"].is_array());
    let body = json!({"model": "gemini-embedding-001", "input": ["x", "y"]});
    let embedded = Ask::post("/v1/embeddings", &body).header("authorization", "Bearer t");
    assert_eq!(
        embedded.whole(base).await.is(200).json()["data"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let models = Ask::get("/v1beta/models?pageSize=2")
        .whole(base)
        .await
        .is(200);
    assert!(models.json()["models"].is_array());
    let models = Ask::get("/v1/models").header("authorization", "Bearer t");
    assert_eq!(models.whole(base).await.is(200).json()["object"], "list");
    let models = Ask::get("/v1/models").header("x-goog-api-key", "t");
    assert!(models.whole(base).await.is(200).json()["models"].is_array());
}

pub(super) async fn a_path_nobody_knows_is_passed_on(target: &Target) {
    let path = "/v1alpha/dreams/7:interpret";
    let ask = Ask::post(format!("{path}?alt=json"), &json!({"depth": 3}));
    ask.whole(&target.base_url).await.is(404);
    let got = &target.emulator.requests()[0];
    assert_eq!(
        (got.method.as_str(), got.path.as_str(), got.query.as_str()),
        ("POST", path, "alt=json")
    );
    assert_eq!(got.body, r#"{"depth":3}"#);
}

pub(super) async fn a_body_without_a_length_is_sent_again_whole(target: &Target) {
    let text = "a word and another ".repeat(3000);
    let body = contents(&text).to_string();
    target.fault(1, Fault::Error("quota_minute".into()));
    let (pieces, outgoing) = piecewise();
    let path = format!("/v1beta/models/{MODEL}:generateContent");
    let ask = Ask::new(Method::POST, path, outgoing).header("content-type", "application/json");
    for piece in body.as_bytes().chunks(1777) {
        pieces.send(Bytes::copy_from_slice(piece)).unwrap();
    }
    drop(pieces);
    ask.whole(&target.base_url).await.is(200);
    let got = target.emulator.requests();
    assert_eq!(got.len(), 2);
    for request in got {
        assert_eq!(request.body, body);
    }
    assert_eq!(target.used(&key(0)) + target.used(&key(1)), 2);
}
