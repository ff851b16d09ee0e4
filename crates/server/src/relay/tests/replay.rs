//! Bodies that are kept to be sent again, and those that are too large for it.

use super::client::{Ask, MODEL, Whole, contents, piecewise, whole_body};
use super::scripted::{GOOD, QUOTA, Scripted, Seen};
use super::stand::{Native, bare_keys, soon};
use bytes::Bytes;
use http::Method;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const MEGABYTE: usize = 1 << 20;

#[tokio::test]
async fn a_megabyte_sent_again_is_the_same_megabyte() {
    let body = contents(&"0123456789abcde\n".repeat(MEGABYTE / 17)).to_string();
    let (first, second, answer) = refused_once(&body, &[]).await;
    answer.is(200);
    let second = second.unwrap();
    assert!(first.body == body.as_bytes() && second.body == body.as_bytes());
    let key = |seen: &Seen| {
        let keys: Vec<String> = seen
            .head
            .lines()
            .filter(|l| l.contains("made-up-key"))
            .map(str::to_owned)
            .collect();
        assert_eq!(keys.len(), 1, "{}", seen.head);
        keys[0].clone()
    };
    assert_ne!(key(&first), key(&second));
}

#[tokio::test]
async fn a_body_past_the_limit_is_sent_once_and_its_refusal_says_why() {
    let body = contents(&"x".repeat(MEGABYTE)).to_string();
    let (first, second, answer) = refused_once(&body, &[("REPLAY_LIMIT", "64KB")]).await;
    assert!(first.body == body.as_bytes());
    assert!(second.is_none());
    let answer = answer.is(429);
    assert_eq!(
        answer.header("x-gemini-relay-reason"),
        "body-past-replay-limit"
    );
    assert!(
        answer.message().ends_with("Please retry in 1s."),
        "{}",
        answer.message()
    );
}

#[tokio::test]
async fn all_bodies_together_have_a_limit_too() {
    let body = contents(&"x".repeat(MEGABYTE)).to_string();
    let limits = [("REPLAY_TOTAL", "256KB")];
    let (first, second, answer) = refused_once(&body, &limits).await;
    assert!(first.body == body.as_bytes());
    assert!(second.is_none());
    answer.is(429);
    let small = contents("hello").to_string();
    let (_, second, answer) = refused_once(&small, &limits).await;
    answer.is(200);
    assert!(second.is_some());
}

#[tokio::test]
async fn bodies_in_memory_stay_below_the_limit_however_many_there_are() {
    let upstream = Scripted::start().await;
    let relay = Native::start(&upstream.url(), &bare_keys(1), &[("REPLAY_TOTAL", "4MB")]);
    let body = contents(&"x".repeat(MEGABYTE)).to_string();
    let mut open = Vec::new();
    for _ in 0..8 {
        let ask = generate(&body);
        let base = relay.base.clone();
        let asking = tokio::spawn(async move { ask.whole(&base).await });
        let mut peer = upstream.accept().await;
        assert!(peer.request().await.body == body.as_bytes());
        assert!(relay.shared().budget.used() <= 4 * MEGABYTE);
        open.push((asking, peer));
    }
    // The first three are kept; those after them passed through.
    assert!(relay.shared().budget.used() > 3 * MEGABYTE);
    for (asking, mut peer) in open {
        peer.answer("200 OK", GOOD).await;
        soon(asking).await.unwrap().is(200);
    }
    super::stand::until("all is given back", || relay.shared().budget.used() == 0).await;
}

fn generate(body: &str) -> Ask {
    let path = format!("/v1beta/models/{MODEL}:generateContent");
    Ask::new(
        Method::POST,
        path,
        whole_body(Bytes::copy_from_slice(body.as_bytes())),
    )
    .header("content-type", "application/json")
}

/// Sends `body` to a relay of two keys whose upstream has no quota the first time. What came there, and
/// what the client was answered.
async fn refused_once(body: &str, options: &[(&str, &str)]) -> (Seen, Option<Seen>, Whole) {
    let upstream = Scripted::start().await;
    let relay = Native::start(&upstream.url(), &bare_keys(2), options);
    let google = async {
        let mut peer = upstream.accept().await;
        let first = peer.request().await;
        peer.answer("429 Too Many Requests", QUOTA).await;
        (peer, first)
    };
    let asking = generate(body).whole(&relay.base);
    tokio::pin!(asking);
    let (mut peer, first) = tokio::select! {
        biased;
        served = google => served,
        answer = &mut asking => panic!("answered before it was sent: {}", answer.text()),
    };
    let second = async {
        let seen = peer.request().await;
        peer.answer("200 OK", GOOD).await;
        seen
    };
    tokio::pin!(second);
    tokio::select! {
        biased;
        seen = &mut second => (first, Some(seen), asking.await),
        answer = &mut asking => (first, None, answer),
    }
}

/// Who refuses an upload may never read the rest of it.
#[tokio::test]
async fn a_connection_with_an_unfinished_question_is_for_nobody_else() {
    let upstream = Scripted::start().await;
    let limits = [("WORKERS", "1"), ("REPLAY_LIMIT", "1MB")];
    let relay = Native::start(&upstream.url(), &bare_keys(1), &limits);
    let (pieces, body) = piecewise();
    let ask = Ask::new(Method::POST, "/upload/v1beta/files", body)
        .header("content-type", "application/octet-stream");
    let base = relay.base.clone();
    let asking = tokio::spawn(async move { ask.whole(&base).await });
    let mut refuses = upstream.accept().await;
    pieces.send(vec![0; 4 * MEGABYTE].into()).unwrap();
    refuses.head().await;
    refuses.answer("400 Bad Request", "{}").await;
    soon(asking).await.unwrap().is(400);
    refuses.closed(Duration::from_secs(1)).await;
    served_elsewhere(&relay, &upstream).await;
    drop(pieces);
}

/// Asks something else, for which a connection is made.
async fn served_elsewhere(relay: &Native, upstream: &Scripted) {
    let base = relay.base.clone();
    let asking = tokio::spawn(async move { Ask::generate("hello").whole(&base).await });
    let mut serves = upstream.accept().await;
    serves.request().await;
    serves.answer("200 OK", GOOD).await;
    soon(asking).await.unwrap().is(200);
}

#[tokio::test]
async fn a_question_refused_before_it_is_read_is_asked_of_another_on_another_connection() {
    let upstream = Scripted::start().await;
    let relay = Native::start(&upstream.url(), &bare_keys(2), &[("WORKERS", "1")]);
    let body = contents(&"x".repeat(12 * MEGABYTE)).to_string();
    let (ask, base) = (generate(&body), relay.base.clone());
    let asking = tokio::spawn(async move { ask.whole(&base).await });
    let mut refuses = upstream.accept().await;
    refuses.head().await;
    refuses.answer("429 Too Many Requests", QUOTA).await;
    let mut serves = upstream.accept().await;
    assert!(serves.request().await.body == body.as_bytes());
    serves.answer("200 OK", GOOD).await;
    soon(asking).await.unwrap().is(200);
}

#[tokio::test]
async fn a_connection_whose_question_went_out_whole_is_used_again_however_large_it_was() {
    let upstream = Scripted::start().await;
    let limits = [("WORKERS", "1"), ("REPLAY_LIMIT", "64KB")];
    let relay = Native::start(&upstream.url(), &bare_keys(1), &limits);
    let mut google = None;
    for size in [MEGABYTE, 0, 2 * MEGABYTE, 3] {
        let ask = Ask::new(
            Method::POST,
            "/upload/v1beta/files",
            whole_body(vec![b'x'; size].into()),
        )
        .header("content-type", "application/octet-stream");
        let base = relay.base.clone();
        let asking = tokio::spawn(async move { ask.whole(&base).await });
        let peer = match &mut google {
            Some(peer) => peer,
            none => none.insert(upstream.accept().await),
        };
        assert_eq!(peer.request().await.body.len(), size);
        peer.answer("200 OK", GOOD).await;
        soon(asking).await.unwrap().is(200);
    }
}

/// Not the usual order, but nobody's fault.
#[tokio::test]
async fn a_good_answer_that_comes_first_lets_the_question_go_on() {
    let upstream = Scripted::start().await;
    let limits = [("WORKERS", "1"), ("REPLAY_LIMIT", "64KB")];
    let relay = Native::start(&upstream.url(), &bare_keys(1), &limits);
    let mut client = TcpStream::connect(relay.running.bound[0]).await.unwrap();
    let begun = "POST /upload/v1beta/files HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/octet-stream\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n";
    client.write_all(begun.as_bytes()).await.unwrap();
    let mut google = upstream.accept().await;
    google.head().await;
    assert_eq!(google.chunk().await, b"first");
    google.answer("200 OK", GOOD).await;
    let mut answer = Vec::new();
    while !answer.ends_with(GOOD.as_bytes()) {
        answer.push(soon(client.read_u8()).await.unwrap());
    }
    client.write_all(b"6\r\nsecond\r\n0\r\n\r\n").await.unwrap();
    assert_eq!(google.chunk().await, b"second");
    assert_eq!(google.chunk().await, b"");
}
