//! Clients that stop in the middle of what they say, and more of them than there are places for.

use super::client::{Ask, MODEL, contents, piecewise, whole_body};
use super::scripted::{GOOD, Scripted};
use super::stand::{Native, Stand, bare_keys, projects, soon, until};
use bytes::Bytes;
use http::Method;
use std::time::Duration;
use tokio::net::TcpStream;

const FIRST_BYTE: (&str, &str) = ("FIRST_BYTE_TIMEOUT", "500ms");
const PAUSE: (&str, &str) = ("BODY_TIMEOUT", "200ms");

#[tokio::test]
async fn a_body_that_stops_is_answered_in_its_dialect_and_let_go() {
    let stand = Stand::start(projects(1), &[PAUSE]).await;
    for (path, array) in [
        ("/v1beta/models/m:generateContent", false),
        ("/v1beta/models/m:streamGenerateContent", true),
        ("/v1/chat/completions", true),
    ] {
        let (pieces, body) = piecewise();
        pieces.send(Bytes::from(vec![b' '; 32 * 1024])).unwrap();
        let ask = Ask::new(Method::POST, path, body).header("content-type", "application/json");
        let answer = ask.whole(stand.base()).await.is(408);
        assert_eq!(answer.header("connection"), "close");
        assert_eq!(answer.text().starts_with('['), array, "{}", answer.text());
        assert_eq!(answer.json()["error"]["status"], "DEADLINE_EXCEEDED");
        until("what was kept is let go", || {
            stand.relay.shared().budget.used() == 0
        })
        .await;
        drop(pieces);
    }
    assert_eq!(stand.emulator().requests().len(), 0);
}

#[tokio::test]
async fn a_body_that_stops_on_its_way_through_is_the_clients_doing() {
    let upstream = Scripted::start().await;
    let relay = Native::start(&upstream.url(), &bare_keys(2), &[PAUSE]);
    let (pieces, body) = piecewise();
    pieces.send(Bytes::from_static(b"some of a file")).unwrap();
    let ask = Ask::new(Method::POST, "/upload/v1beta/files", body);
    let asking = ask.whole(&relay.base);
    let google = async {
        let mut peer = upstream.accept().await;
        peer.head().await;
        assert_eq!(peer.chunk().await, b"some of a file");
        // Cut, and not ended as if that were all of it.
        peer.closed(Duration::from_secs(5)).await;
    };
    let (answer, ()) = tokio::join!(asking, google);
    let answer = answer.is(408);
    assert_eq!(answer.header("x-gemini-relay-reason"), "body-timeout");
    assert!(upstream.stays_alone().await, "no key is at fault");
    drop(pieces);
}

#[tokio::test]
async fn a_slow_client_and_a_slow_google_have_their_time() {
    let upstream = Scripted::start().await;
    let relay = Native::start(&upstream.url(), &bare_keys(1), &[PAUSE]);
    let text = contents("made of many pieces").to_string();
    let (pieces, body) = piecewise();
    let ask = Ask::new(
        Method::POST,
        format!("/v1beta/models/{MODEL}:generateContent"),
        body,
    )
    .header("content-type", "application/json");
    let client = async {
        let mut pace = tokio::time::interval(Duration::from_millis(70));
        for piece in text.as_bytes().chunks(text.len().div_ceil(6)) {
            pace.tick().await;
            pieces.send(Bytes::copy_from_slice(piece)).unwrap();
        }
        drop(pieces);
    };
    let google = async {
        let mut peer = upstream.accept().await;
        assert!(peer.request().await.body == text.as_bytes());
        peer.answer("200 OK", GOOD).await;
    };
    let (answer, (), ()) = tokio::join!(ask.whole(&relay.base), client, google);
    answer.is(200);

    // More than all buffers in between, and nobody who takes it for longer than a client may pause.
    let large = Bytes::from(vec![b'x'; 24 << 20]);
    let asking = Ask::new(
        Method::POST,
        "/upload/v1beta/files",
        whole_body(large.clone()),
    );
    let google = async {
        let mut peer = upstream.accept().await;
        peer.head().await;
        assert!(upstream.stays_alone().await);
        peer.exactly(large.len()).await;
        peer.answer("200 OK", GOOD).await;
    };
    let (answer, ()) = tokio::join!(asking.whole(&relay.base), google);
    answer.is(200);
}

#[tokio::test]
async fn others_are_served_while_stopped_bodies_hold_all_the_memory() {
    let stand = Stand::start(projects(1), &[("REPLAY_TOTAL", "64KB")]).await;
    let (pieces, body) = piecewise();
    pieces.send(Bytes::from(vec![b' '; 60_000])).unwrap();
    let path = format!("/v1beta/models/{MODEL}:generateContent");
    let stopped = Ask::new(Method::POST, path, body).header("content-type", "application/json");
    let base = stand.base().to_owned();
    let stopped = tokio::spawn(async move { stopped.whole(&base).await });
    until("it holds the memory", || {
        stand.relay.shared().budget.used() == 60_000
    })
    .await;
    let other = Ask::generate(&"x".repeat(20_000));
    other.whole(stand.base()).await.is(200);
    stopped.abort();
    until("it is let go", || stand.relay.shared().budget.used() == 0).await;
    drop(pieces);
}

#[tokio::test]
async fn one_connection_more_than_may_be_waits_for_another_to_end() {
    let stand = Stand::start(projects(1), &[("MAX_CONNECTIONS", "2")]).await;
    let address = stand.relay.running.bound[0];
    let first = TcpStream::connect(address).await.unwrap();
    let second = TcpStream::connect(address).await.unwrap();
    let open = || stand.relay.shared().metrics.connections.get();
    until("both are served", || open() == 2).await;
    let base = stand.base().to_owned();
    let mut third = tokio::spawn(async move { Ask::generate("x").whole(&base).await });
    let early = tokio::time::timeout(Duration::from_millis(300), &mut third).await;
    assert!(early.is_err() && open() == 2, "it waits");
    drop(first);
    soon(third).await.unwrap().is(200);
    drop(second);
}

#[tokio::test]
async fn google_has_its_whole_time_to_answer_from_when_it_has_the_whole_request() {
    let upstream = Scripted::start().await;
    let relay = Native::start(&upstream.url(), &bare_keys(2), &[FIRST_BYTE]);
    let (pieces, body) = piecewise();
    let ask = Ask::new(Method::POST, "/upload/v1beta/files", body);
    let client = async {
        // In all longer than Google may be silent for.
        let mut pace = tokio::time::interval(Duration::from_millis(150));
        for _ in 0..8 {
            pace.tick().await;
            pieces.send(Bytes::from_static(b"some of a file")).unwrap();
        }
        drop(pieces);
    };
    let google = async {
        let mut peer = upstream.accept().await;
        assert_eq!(peer.request().await.body.len(), 8 * 14);
        peer.answer("200 OK", GOOD).await;
    };
    let (answer, (), ()) = tokio::join!(ask.whole(&relay.base), client, google);
    answer.is(200);
}

#[tokio::test]
async fn a_google_that_stops_taking_a_request_is_not_waited_for() {
    let upstream = Scripted::start().await;
    let relay = Native::start(&upstream.url(), &bare_keys(1), &[FIRST_BYTE]);
    let large = Bytes::from(vec![b'x'; 24 << 20]);
    let ask = Ask::new(Method::POST, "/upload/v1beta/files", whole_body(large));
    let google = async {
        let mut peer = upstream.accept().await;
        peer.head().await;
        peer
    };
    let (reply, _peer) = tokio::join!(soon(ask.to(&relay.base)), google);
    assert_eq!(reply.status, 504);
}
