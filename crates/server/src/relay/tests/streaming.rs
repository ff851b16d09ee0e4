//! Nothing is held back: what one side sends, the other has before more is sent.

use super::client::{Ask, contents, piecewise};
use super::scripted::{GOOD, Scripted};
use super::stand::{Native, bare_keys, soon, until};
use bytes::Bytes;
use http::Method;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinHandle;

/// Enough for the system to stop acknowledging at once, as it does when a connection is fresh.
const EVENTS: usize = 100;

/// What a side without `TCP_NODELAY` costs an event on this system.
const DELAYED: Duration = Duration::from_millis(40);

#[tokio::test]
async fn each_event_is_at_the_client_before_the_next_is_sent_and_none_is_delayed() {
    let upstream = Scripted::start().await;
    let relay = Native::start(&upstream.url(), &bare_keys(1), &[]);
    let (mut reply, mut google) = tokio::join!(Ask::events("hello").to(&relay.base), async {
        let mut google = upstream.accept().await;
        google.request().await;
        google.begin_events().await;
        google.event(r#"{"candidates":[]}"#).await;
        google
    });
    reply.next().await.unwrap().unwrap();
    let mut times = Vec::new();
    for at in 0..EVENTS {
        let event = format!(r#"{{"candidates":[{{"index":{at}}}]}}"#);
        let sent = Instant::now();
        google.event(&event).await;
        let piece = reply.next().await.unwrap().unwrap();
        times.push(sent.elapsed());
        assert_eq!(piece, format!("data: {event}\r\n\r\n"));
    }
    times.sort();
    assert!(times[EVENTS / 2] < DELAYED / 2, "{times:?}");
    assert!(times[EVENTS * 9 / 10] < DELAYED, "{times:?}");
    google.event(GOOD).await;
    google.end_events().await;
    assert!(reply.whole().await.text().contains("STOP"));
}

#[tokio::test]
async fn each_piece_of_an_upload_is_at_google_before_the_next_is_sent() {
    let upstream = Scripted::start().await;
    let relay = Native::start(&upstream.url(), &bare_keys(1), &[]);
    let (pieces, outgoing) = piecewise();
    let ask = Ask::new(Method::POST, "/upload/v1beta/files", outgoing)
        .header("content-type", "video/mp4");
    let (answer, ()) = tokio::join!(ask.whole(&relay.base), async {
        let mut google = upstream.accept().await;
        google.head().await;
        let mut times = Vec::new();
        for at in 0..EVENTS {
            let sent = Instant::now();
            pieces.send(Bytes::from(format!("piece {at}"))).unwrap();
            assert_eq!(google.chunk().await, format!("piece {at}").into_bytes());
            times.push(sent.elapsed());
        }
        drop(pieces);
        assert_eq!(google.chunk().await, b"");
        times.sort();
        assert!(times[EVENTS / 2] < DELAYED / 2, "{times:?}");
        google.answer("200 OK", "{}").await;
    });
    answer.is(200);
}

#[tokio::test]
async fn a_client_that_leaves_takes_the_upstream_connection_with_it() {
    let upstream = Scripted::start().await;
    let relay = Native::start(&upstream.url(), &bare_keys(1), &[]);
    let (reply, mut google) = tokio::join!(Ask::events("hello").to(&relay.base), async {
        let mut google = upstream.accept().await;
        google.request().await;
        google.begin_events().await;
        google.event(r#"{"candidates":[]}"#).await;
        google
    });
    drop(reply);
    google.closed(Duration::from_secs(1)).await;
    assert_eq!(relay.in_progress(), (0, 0));
}

#[tokio::test]
async fn what_google_says_in_pieces_of_a_byte_is_said_to_the_client() {
    let upstream = Scripted::start().await;
    let relay = Native::start(&upstream.url(), &bare_keys(1), &[]);
    let event = format!("data: {GOOD}\r\n\r\n");
    let (answer, ()) = tokio::join!(Ask::events("hello").whole(&relay.base), async {
        let mut google = upstream.accept().await;
        google.request().await;
        google.begin_events().await;
        for byte in event.bytes() {
            google.write([b'1', b'\r', b'\n', byte, b'\r', b'\n']).await;
        }
        google.end_events().await;
    });
    assert_eq!(answer.is(200).text(), event);
}

#[tokio::test]
async fn a_stream_of_declared_length_is_whole_only_if_it_says_so() {
    for (event, whole) in [(GOOD, true), (r#"{"candidates":[{"index":0}]}"#, false)] {
        let upstream = Scripted::start().await;
        let relay = Native::start(&upstream.url(), &bare_keys(1), &[]);
        let first = "data: {\"candidates\":[]}\r\n\r\n";
        let event = format!("data: {event}\r\n\r\n");
        let (reply, mut google) = tokio::join!(Ask::events("hello").to(&relay.base), async {
            let mut google = upstream.accept().await;
            google.request().await;
            let length = first.len() + event.len();
            google
                .write(format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {length}\r\n\r\n{first}"))
                .await;
            google
        });
        // The client has the head by now, so that a cut is one of the body.
        google.write(&event).await;
        let (answer, ended) = reply.all().await;
        assert!(answer.text().starts_with(first));
        assert_eq!(ended, whole);
        assert_eq!(answer.header("content-length"), "");
    }
}

/// To a client that speaks HTTP/1.0 the end of the connection is the end of the answer.
#[tokio::test]
async fn a_stream_that_breaks_is_broken_over_http_1_0_too() {
    let upstream = Scripted::start().await;
    let relay = Native::start(&upstream.url(), &bare_keys(1), &[]);
    let question = contents("hello").to_string();
    let ask = format!(
        "POST /v1beta/models/m:streamGenerateContent?alt=sse HTTP/1.0\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{question}",
        question.len()
    );
    for (finish, is_whole) in [("", false), (r#","finishReason":"STOP""#, true)] {
        let mut client = TcpStream::connect(relay.running.bound[0]).await.unwrap();
        client.write_all(ask.as_bytes()).await.unwrap();
        let mut google = upstream.accept().await;
        google.request().await;
        google.begin_events().await;
        let event = format!(r#"{{"candidates":[{{"index":0{finish}}}]}}"#);
        google.event(&event).await;
        let mut answer = Vec::new();
        while !String::from_utf8_lossy(&answer).contains(&event) {
            answer.push(soon(client.read_u8()).await.unwrap());
        }
        google.end_events().await;
        drop(google);
        let end = soon(client.read_to_end(&mut answer)).await;
        assert_eq!(end.is_ok(), is_whole, "{end:?}");
    }
}

#[tokio::test]
async fn a_stream_of_which_a_part_was_asked_for_is_whole_without_saying_so() {
    let upstream = Scripted::start().await;
    let relay = Native::start(&upstream.url(), &bare_keys(2), &[]);
    let event = r#"{"candidates":[{"content":{"parts":[{"text":"all of it"}]}}]}"#;
    let path = "/v1beta/models/m:streamGenerateContent?alt=sse&fields=candidates(content)";
    let ask = Ask::post(path, &contents("hello"));
    let (reply, ()) = tokio::join!(ask.to(&relay.base), async {
        let mut google = upstream.accept().await;
        google.request().await;
        google.begin_events().await;
        google.event(event).await;
        google.end_events().await;
    });
    let (answer, ended) = reply.all().await;
    assert!(ended && answer.text().contains("all of it"));
    assert_eq!(answer.header("x-gemini-relay-attempts"), "1");
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_an_upload_is_not_finished_for_it() {
    let upstream = Scripted::start().await;
    let relay = Native::start(&upstream.url(), &bare_keys(1), &[]);
    let (pieces, asking) = upload(&relay);
    let mut google = upstream.accept().await;
    google.head().await;
    pieces.send(Bytes::from_static(b"the first half")).unwrap();
    assert_eq!(google.chunk().await, b"the first half");
    asking.abort();
    google.closed(Duration::from_secs(1)).await;
    until("nothing is left of it", || relay.in_progress() == (0, 0)).await;
}

#[tokio::test]
async fn a_refusal_in_the_middle_of_an_upload_reaches_the_client() {
    let upstream = Scripted::start().await;
    let relay = Native::start(&upstream.url(), &bare_keys(1), &[]);
    let (pieces, asking) = upload(&relay);
    let mut google = upstream.accept().await;
    google.head().await;
    pieces.send(Bytes::from_static(b"the first half")).unwrap();
    assert_eq!(google.chunk().await, b"the first half");
    let refusal = r#"{"error":{"code":413,"message":"too large","status":"INVALID_ARGUMENT"}}"#;
    google.answer("413 Request Entity Too Large", refusal).await;
    assert_eq!(asking.await.unwrap(), 413);
    drop(pieces);
}

/// A request whose body is sent as a test says, on its way.
fn upload(relay: &Native) -> (UnboundedSender<Bytes>, JoinHandle<u16>) {
    let (pieces, outgoing) = piecewise();
    let ask = Ask::new(Method::POST, "/upload/v1beta/files", outgoing)
        .header("content-type", "video/mp4");
    let base = relay.base.clone();
    let asking = tokio::spawn(async move { ask.whole(&base).await.status });
    (pieces, asking)
}

#[tokio::test]
async fn an_error_that_breaks_off_breaks_off_for_the_client() {
    let upstream = Scripted::start().await;
    let relay = Native::start(&upstream.url(), &bare_keys(1), &[]);
    let google = async {
        let mut peer = upstream.accept().await;
        peer.request().await;
        peer.write(
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 500\r\n\r\n{\"error\": {\"code\": 400",
        )
        .await;
        // Drops the connection.
    };
    let asking = async { Ask::generate("x").to(&relay.base).await.all().await };
    let ((answer, ended), ()) = tokio::join!(asking, google);
    assert_eq!(answer.status, 400);
    assert_eq!(answer.text(), "{\"error\": {\"code\": 400");
    assert!(!ended, "it is not ended as if that were all of it");
}

#[tokio::test]
async fn of_an_error_without_end_the_client_gets_the_beginning() {
    let upstream = Scripted::start().await;
    let relay = Native::start(&upstream.url(), &bare_keys(1), &[]);
    let google = async {
        let mut peer = upstream.accept().await;
        peer.request().await;
        peer.answer("400 Bad Request", &"x".repeat(1 << 20 | 1))
            .await;
    };
    let asking = async { Ask::generate("x").to(&relay.base).await.all().await };
    let ((answer, ended), ()) = tokio::join!(asking, google);
    assert_eq!(answer.status, 400);
    assert!(!ended, "{}", answer.body.len());
}
