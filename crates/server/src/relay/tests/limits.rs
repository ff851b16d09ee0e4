//! Clients that stop in the middle of what they say, and more of them than there are places for.

use super::client::{Ask, MODEL, contents, piecewise, whole_body};
use super::protocols::{connected, http2};
use super::scripted::{GOOD, Scripted};
use super::stand::{Native, Stand, bare_keys, projects, soon, until};
use bytes::Bytes;
use gemini_emulator::{Fault, Match};
use http::Method;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
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
        assert_eq!(answer.header("x-gemini-relay-reason"), "body-timeout");
        assert_eq!(answer.header("x-gemini-relay-request-id").len(), 16);
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

/// A connection that ends while a client is still sending may take the answer along: Python's http.client reported a
/// broken pipe, and curl an error in HTTP/2's framing, instead of 401.
#[tokio::test]
async fn who_is_refused_may_send_the_whole_body_first() {
    let token = [("TOKENS", "made-up-client-token")];
    let stand = Stand::start(projects(1), &token).await;
    let path = "/v1beta/models/m:generateContent";
    let piece = vec![b' '; 64 * 1024];
    for (named, shown) in [("a\r\nhost: b", "400"), ("127.0.0.1", "401")] {
        let mut stream = TcpStream::connect(stand.relay.running.bound[0])
            .await
            .unwrap();
        let length = PIECES * piece.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {named}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        for _ in 0..PIECES {
            soon(stream.write_all(&piece)).await.unwrap();
        }
        let mut answer = vec![0; 64];
        let read = soon(stream.read(&mut answer)).await.unwrap();
        let answer = String::from_utf8_lossy(&answer[..read]);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {shown} ")),
            "{answer}"
        );
    }

    let mut sender = connected(&stand).await;
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&taken);
    let pieces = futures_util::stream::iter((0..PIECES).map(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(Frame::data(Bytes::from(piece.clone())))
    }));
    let body = BodyExt::boxed_unsync(StreamBody::new(pieces));
    let ask = Ask::new(Method::POST, path, body).header("content-type", "application/json");
    let ask = http2("http", stand.base(), ask);
    let answer = soon(sender.send_request(ask)).await.unwrap();
    assert_eq!(answer.status(), 401);
    assert_eq!(taken.load(Ordering::Relaxed), PIECES);
}

#[tokio::test]
async fn who_asks_first_or_waits_for_its_refusal_gets_it_at_once() {
    let token = [("TOKENS", "made-up-client-token")];
    let stand = Stand::start(projects(1), &token).await;
    for (expects, most) in [("expect: 100-continue\r\n", 400), ("", 2000)] {
        let mut stream = TcpStream::connect(stand.relay.running.bound[0])
            .await
            .unwrap();
        let head = format!(
            "POST /v1beta/models/m:generateContent HTTP/1.1\r\nhost: 127.0.0.1\r\n{expects}content-length: 1000\r\n\r\n"
        );
        let began = Instant::now();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = vec![0; 64];
        let read = soon(stream.read(&mut answer)).await.unwrap();
        assert!(answer[..read].starts_with(b"HTTP/1.1 401 "));
        assert!(began.elapsed() < Duration::from_millis(most));
    }
}

#[tokio::test]
async fn who_asks_first_is_not_invited_to_send_what_no_key_can_take() {
    let stand = Stand::start(projects(1), &[]).await;
    let refused = Fault::Error("key_invalid".into());
    stand
        .emulator()
        .fault(Match::default(), 1, refused)
        .unwrap();
    Ask::generate("hello").whole(stand.base()).await.is(503);
    let mut stream = TcpStream::connect(stand.relay.running.bound[0])
        .await
        .unwrap();
    let head = "POST /upload/v1beta/files HTTP/1.1\r\nhost: 127.0.0.1\r\nexpect: 100-continue\r\ncontent-type: application/octet-stream\r\ncontent-length: 1000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 64];
    let read = soon(stream.read(&mut answer)).await.unwrap();
    assert!(answer[..read].starts_with(b"HTTP/1.1 503 "));
}

#[tokio::test]
async fn who_asked_first_and_was_invited_is_heard_out() {
    let upstream = Scripted::start().await;
    let relay = Native::start(&upstream.url(), &bare_keys(1), &[]);
    let mut client = TcpStream::connect(relay.running.bound[0]).await.unwrap();
    let head = "POST /upload/v1beta/files HTTP/1.1\r\nhost: 127.0.0.1\r\nexpect: 100-continue\r\ncontent-type: application/octet-stream\r\ncontent-length: 5\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    let mut google = upstream.accept().await;
    google.head().await;
    let mut answer = vec![0; 25];
    soon(client.read_exact(&mut answer)).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 100 Continue\r\n\r\n");
    google.answer("400 Bad Request", "{}").await;
    let early = tokio::time::timeout(Duration::from_millis(200), client.read_u8()).await;
    assert!(early.is_err(), "{early:?}");
    client.write_all(b"hello").await.unwrap();
    let mut answer = vec![0; 12];
    soon(client.read_exact(&mut answer)).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 400");
}

/// What the system keeps on its way is less.
const PIECES: usize = 512;
