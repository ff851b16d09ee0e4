//! Answers that go wrong: before the first byte another key is asked, after it nothing is unsaid.

use super::{RunsOn, Target};
use crate::relay::tests::client::{Ask, KEY_WORDS};
use crate::relay::tests::stand::key;
use gemini_emulator::{Fault, Outcome, ResetPoint};
use serde_json::json;

fn in_stream(name: &str, after_chunks: usize) -> Fault {
    Fault::InStreamError {
        name: name.into(),
        after_chunks,
    }
}

pub(super) async fn an_error_at_the_beginning_of_a_stream_is_tried_again(target: &Target) {
    for (name, ask) in [
        ("quota_minute", Ask::events("hello")),
        ("overloaded", Ask::events("hello")),
    ] {
        target.fault(1, in_stream(name, 0));
        let answer = ask.whole(&target.base_url).await.is(200);
        assert_eq!(answer.header("x-gemini-relay-attempts"), "2", "{name}");
        assert!(answer.text().contains("finishReason") && !answer.text().contains("\"error\""));
    }
}

pub(super) async fn an_error_inside_a_stream_is_passed_on_and_not_repeated(target: &Target) {
    target.fault(1, in_stream("overloaded", 1));
    let answer = Ask::events("hello").whole(&target.base_url).await.is(200);
    let text = answer.text();
    assert_eq!(text.matches("data: ").count(), 1, "{text}");
    assert!(text.contains("\"UNAVAILABLE\""), "{text}");
    assert_eq!(target.received(), 1);
}

/// Nothing of it was passed on, so it is asked for again; what comes then is passed on, head and all, and cut.
pub(super) async fn a_short_stream_without_an_end_is_asked_for_once_more(target: &Target) {
    let short = Fault::Answer {
        status: 200,
        body: Some("data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"x\"}]}}]}".into()),
        headers: [("content-type".to_owned(), "text/event-stream".to_owned())].into(),
        gzip: false,
    };
    target.fault(1, short.clone());
    let answer = Ask::events("hello").whole(&target.base_url).await.is(200);
    assert_eq!(answer.header("x-gemini-relay-attempts"), "2");
    target.fault(2, short);
    let (answer, ended) = Ask::events("hello").to(&target.base_url).await.all().await;
    assert!(!ended || target.runs_on == RunsOn::Workerd);
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains("\"x\""), "{}", answer.text());
}

pub(super) async fn no_other_pages_may_read_an_answer_than_the_relays(target: &Target) {
    let open = Fault::Answer {
        status: 200,
        body: Some("{}".into()),
        headers: [("access-control-allow-origin".to_owned(), "*".to_owned())].into(),
        gzip: false,
    };
    target.fault(1, open);
    let answer = Ask::generate("hello").whole(&target.base_url).await.is(200);
    assert_eq!(answer.header("access-control-allow-origin"), "");
}

pub(super) async fn a_suspension_inside_a_stream_quotes_no_key(target: &Target) {
    target.fault(1, in_stream("key_suspended", 1));
    let answer = Ask::events("hello").whole(&target.base_url).await.is(200);
    assert!(answer.text().contains("suspended"), "{}", answer.text());
    assert!(!answer.text().contains(KEY_WORDS));
}

pub(super) async fn a_header_of_a_good_answer_quotes_no_key(target: &Target) {
    for status in [200, 302] {
        let quoting = format!("https://example.test/upload?key={}", key(0));
        target.fault(
            1,
            Fault::Answer {
                status,
                body: Some("fine".into()),
                headers: [("x-goog-upload-url".to_owned(), quoting)].into(),
                gzip: false,
            },
        );
        // The client itself fails the test if any header quotes a key.
        let answer = Ask::generate("hello")
            .whole(&target.base_url)
            .await
            .is(status);
        assert_eq!(answer.header("x-goog-upload-url"), "");
    }
}

pub(super) async fn a_suspension_at_the_beginning_of_the_only_keys_stream_quotes_no_key(
    target: &Target,
) {
    target.fault(1, in_stream("key_suspended", 0));
    Ask::events("hello").whole(&target.base_url).await.is(503);
}

pub(super) async fn a_stream_that_stops_short_is_cut(target: &Target) {
    target.fault(1, Fault::Truncate(2));
    let (answer, ended) = Ask::events("hello").to(&target.base_url).await.all().await;
    assert!(
        !ended || target.runs_on == RunsOn::Workerd,
        "{}",
        answer.text()
    );
    assert!(!answer.text().contains("finishReason"));
    assert_eq!(answer.text().matches("data: ").count(), 2);
    assert_eq!(target.received(), 1);
}

pub(super) async fn a_reset_before_the_answer_is_tried_again(target: &Target) {
    for fault in [
        Fault::Reset(ResetPoint::BeforeAnswer),
        Fault::CloseWithoutAnswer,
        Fault::Reset(ResetPoint::AfterHeaders),
    ] {
        target.fault(1, fault.clone());
        let answer = Ask::events("hello").whole(&target.base_url).await.is(200);
        assert_eq!(answer.header("x-gemini-relay-attempts"), "2", "{fault:?}");
    }
}

pub(super) async fn a_reset_after_an_unknown_post_is_not(target: &Target) {
    target.fault(1, Fault::Reset(ResetPoint::BeforeAnswer));
    let answer = Ask::post("/v1beta/webhooks", &json!({"uri": "https://app.example"}))
        .whole(&target.base_url)
        .await
        .is(502);
    assert!(answer.message().contains("broke"), "{}", answer.message());
    assert_eq!(target.received(), 1);
}

pub(super) async fn a_reset_inside_a_stream_cuts_the_client(target: &Target) {
    target.fault(1, Fault::Reset(ResetPoint::AfterChunks(2)));
    let (answer, ended) = Ask::events("hello").to(&target.base_url).await.all().await;
    assert!(
        !ended || target.runs_on == RunsOn::Workerd,
        "{}",
        answer.text()
    );
    assert!(!answer.text().contains("finishReason"));
    assert_eq!(target.received(), 1);
}

pub(super) async fn an_empty_answer_is_asked_for_once_more(target: &Target) {
    target.fault(1, Fault::Empty);
    let answer = Ask::events("hello").whole(&target.base_url).await.is(200);
    assert_eq!(answer.header("x-gemini-relay-attempts"), "2");
    assert!(answer.text().contains("finishReason"));
    target.emulator.clear_requests();
    target.fault(5, Fault::Empty);
    let answer = Ask::generate("hello").whole(&target.base_url).await.is(200);
    assert_eq!(answer.body, b"");
    assert_eq!(target.received(), 2);
    target.emulator.clear_faults();
    for at in 0..2 {
        let used = target.used(&key(at));
        Ask::generate("hello").whole(&target.base_url).await.is(200);
        Ask::generate("hello").whole(&target.base_url).await.is(200);
        assert_eq!(
            target.used(&key(at)),
            used + 1,
            "nothing is held against a key"
        );
    }
}

pub(super) async fn an_overloaded_model_is_not_walked_through_the_pool(target: &Target) {
    target.fault(1000, Fault::Error("overloaded".into()));
    let answer = Ask::generate("hello").whole(&target.base_url).await.is(503);
    assert!(target.received() <= 3, "{} of 8 keys", target.received());
    assert!(answer.message().contains("overloaded"));
    target.emulator.clear_faults();
    let answer = Ask::generate("hello").whole(&target.base_url).await.is(200);
    assert_eq!(answer.header("x-gemini-relay-attempts"), "1");
}

pub(super) async fn an_egress_ban_costs_no_key_and_no_walk(target: &Target) {
    target.fault(1, Fault::Error("robot_page".into()));
    // The pool is quiet for a while, and says why.
    for _ in 0..2 {
        let answer = Ask::generate("hello").whole(&target.base_url).await.is(503);
        let message = answer.message();
        assert!(message.contains("automated queries"), "{message}");
    }
    assert_eq!(target.received(), 1);
    assert_eq!(target.emulator.requests()[0].outcome, Outcome::Fault);
}
