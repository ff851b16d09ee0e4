//! Answers arrive as Google sent them, byte by byte and when they were sent.

use super::Target;
use crate::relay::tests::client::{Ask, Whole};
use crate::relay::tests::stand::key;
use gemini_emulator::Outcome;

pub(super) async fn events_are_the_bytes_that_google_sent(target: &Target) {
    let ask = || Ask::events("[[chunks:20]] tell me a story of some length");
    let answer = same(target, ask, "x-goog-api-key", &key(0)).await;
    assert!(answer.text().starts_with("data: {"));
    assert!(
        answer
            .header("content-type")
            .starts_with("text/event-stream")
    );
}

pub(super) async fn an_array_is_the_bytes_that_google_sent(target: &Target) {
    let ask = || Ask::array("[[chunks:20]] tell me a story of some length");
    let answer = same(target, ask, "x-goog-api-key", &key(0)).await;
    assert!(answer.text().starts_with('['));
}

pub(super) async fn an_openai_stream_is_the_bytes_that_google_sent(target: &Target) {
    let ask = || Ask::chat("[[chunks:20]] tell me a story of some length", true);
    let answer = same(target, ask, "authorization", &format!("Bearer {}", key(0))).await;
    assert!(answer.text().trim_end().ends_with("data: [DONE]"));
}

pub(super) async fn an_answer_is_the_bytes_that_google_sent(target: &Target) {
    let ask = || Ask::generate("[[text:100KB]] tell me");
    same(target, ask, "x-goog-api-key", &key(0)).await;
    let ask = || Ask::chat("tell me", false);
    same(target, ask, "authorization", &format!("Bearer {}", key(0))).await;
}

pub(super) async fn an_event_arrives_while_google_still_speaks(target: &Target) {
    let mut reply = Ask::events("[[chunks:4]] [[delay:400ms]] slowly")
        .to(&target.base_url)
        .await;
    let first = reply.next().await.unwrap().unwrap();
    assert!(first.starts_with(b"data: "));
    assert_eq!(target.emulator.requests()[0].outcome, Outcome::Open);
    let second = reply.next().await.unwrap().unwrap();
    assert!(second.starts_with(b"data: "));
    assert_eq!(target.emulator.requests()[0].outcome, Outcome::Open);
    reply.whole().await;
}

pub(super) async fn a_picture_of_forty_megabytes_goes_through(target: &Target) {
    let answer = Ask::events("[[image:40MB]]")
        .whole(&target.base_url)
        .await
        .is(200);
    assert!(answer.body.len() > 40 << 20, "{}", answer.body.len());
    let tail = String::from_utf8_lossy(&answer.body[answer.body.len() - 2000..]).into_owned();
    assert!(tail.contains("finishReason") && tail.contains("usageMetadata"));
}

/// The same request to the emulator itself and through the relay. What differs is what the emulator
/// makes anew for each answer.
async fn same(target: &Target, ask: impl Fn() -> Ask, header: &'static str, key: &str) -> Whole {
    let direct = target.directly(ask().header(header, key)).await.is(200);
    let through = ask().whole(&target.base_url).await.is(200);
    assert_eq!(unlike(&through.text()), unlike(&direct.text()));
    assert_eq!(through.body.len(), direct.body.len());
    assert_eq!(
        through.header("content-type"),
        direct.header("content-type")
    );
    assert_eq!(through.header("alt-svc"), "");
    through
}

/// Without the identity and the time of one answer.
fn unlike(text: &str) -> String {
    let mut out = text.to_owned();
    for name in ["\"responseId\"", "\"id\"", "\"created\""] {
        let mut rest = out.as_str();
        let mut without = String::new();
        while let Some(at) = rest.find(name) {
            let (head, tail) = rest.split_at(at + name.len());
            without.push_str(head);
            rest = &tail[tail.find([',', '}', '\n']).unwrap_or(tail.len())..];
        }
        without.push_str(rest);
        out = without;
    }
    out
}
