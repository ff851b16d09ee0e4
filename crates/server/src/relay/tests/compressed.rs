//! Answers that come compressed though plain text was asked for: to everything that looks at them, and to
//! the client, they are as if they had come plain.

use super::client::{Ask, MODEL, Reply, Whole};
use super::scripted::{GOOD, Peer, QUOTA, Scripted};
use super::stand::{Native, bare_keys, key, soon};
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use http::Method;
use std::io::Write;
use std::time::Duration;

/// A kilobyte of an answer that quotes the key it was asked for with, and says what it cost.
fn quoting() -> String {
    let key = key(0);
    format!(
        r#"{{"candidates":[{{"content":{{"parts":[{{"text":"{key}, {} and {key}"}}]}},"finishReason":"STOP"}}],"usageMetadata":{{"promptTokenCount":30,"candidatesTokenCount":12,"totalTokenCount":42}}}}"#,
        "words ".repeat(150)
    )
}

fn masked(text: &str) -> String {
    text.replace(&key(0), &"*".repeat(key(0).len()))
}

fn gzip(text: &str) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::default());
    packer.write_all(text.as_bytes()).unwrap();
    packer.finish().unwrap()
}

fn zlib(text: &str) -> Vec<u8> {
    let mut packer = ZlibEncoder::new(Vec::new(), Compression::default());
    packer.write_all(text.as_bytes()).unwrap();
    packer.finish().unwrap()
}

/// Answers with this body in this coding.
async fn answer(google: &mut Peer, status: &str, coding: &str, body: &[u8]) {
    let length = body.len();
    google
        .write(format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-encoding: {coding}\r\ncontent-length: {length}\r\n\r\n"
        ))
        .await;
    google.write(body).await;
}

async fn begin(google: &mut Peer) {
    google.write("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n").await;
}

async fn chunk(google: &mut Peer, bytes: &[u8]) {
    let mut text = format!("{:x}\r\n", bytes.len()).into_bytes();
    text.extend_from_slice(bytes);
    text.extend_from_slice(b"\r\n");
    google.write(text).await;
}

/// What one question gets when it is answered so, by one key's pool.
async fn asked(ask: Ask, status: &str, coding: &str, body: &[u8]) -> (Whole, bool, Native) {
    let upstream = Scripted::start().await;
    let relay = Native::start(&upstream.url(), &bare_keys(1), &[]);
    let (answered, _google) =
        tokio::join!(async { ask.to(&relay.base).await.all().await }, async {
            let mut google = upstream.accept().await;
            google.request().await;
            answer(&mut google, status, coding, body).await;
            google
        });
    (answered.0, answered.1, relay)
}

async fn metrics(relay: &Native) -> String {
    Ask::get("/-/metrics").whole(&relay.base).await.text()
}

#[tokio::test]
async fn an_answer_is_masked_and_counted_and_passed_on_plain() {
    let text = quoting();
    for (coding, body) in [
        ("gzip", gzip(&text)),
        ("x-gzip", gzip(&text)),
        ("Deflate", zlib(&text)),
    ] {
        let (answer, ended, relay) = asked(Ask::generate("hello"), "200 OK", coding, &body).await;
        assert!(ended);
        assert_eq!(answer.header("content-encoding"), "", "{coding}");
        assert_eq!(answer.header("content-length"), "");
        assert_eq!(answer.text(), masked(&text));
        let page = metrics(&relay).await;
        assert!(
            page.contains("gemini_relay_tokens_total{direction=\"prompt\"} 30\n"),
            "{page}"
        );
        assert!(page.contains("gemini_relay_cut_streams_total 0\n"));
    }
}

#[tokio::test]
async fn an_answer_that_is_no_model_s_is_masked_too() {
    let text = quoting();
    for status in ["200 OK", "201 Created", "302 Found"] {
        let (answer, ended, _) =
            asked(Ask::get("/v1beta/webhooks"), status, "gzip", &gzip(&text)).await;
        assert!(ended);
        assert_eq!(answer.text(), masked(&text));
    }
}

/// A stream in one piece of gzip, flushed after each event; the peer is at its beginning.
async fn streaming(relay: &Native, upstream: &Scripted) -> (Reply, Peer, GzEncoder<Vec<u8>>) {
    let mut packer = GzEncoder::new(Vec::new(), Compression::default());
    let (reply, google) = tokio::join!(Ask::events("hello").to(&relay.base), async {
        let mut google = upstream.accept().await;
        google.request().await;
        begin(&mut google).await;
        let first = flushed(&mut packer, "data: {\"candidates\":[]}\r\n\r\n");
        chunk(&mut google, &first).await;
        google
    });
    (reply, google, packer)
}

fn flushed(packer: &mut GzEncoder<Vec<u8>>, text: &str) -> Vec<u8> {
    packer.write_all(text.as_bytes()).unwrap();
    packer.flush().unwrap();
    std::mem::take(packer.get_mut())
}

#[tokio::test]
async fn each_event_of_a_stream_is_at_the_client_before_the_next_is_sent() {
    let upstream = Scripted::start().await;
    let relay = Native::start(&upstream.url(), &bare_keys(1), &[]);
    let (mut reply, mut google, mut packer) = streaming(&relay, &upstream).await;
    reply.next().await.unwrap().unwrap();
    for at in 0..20 {
        let event = format!("data: {{\"at\":{at},\"text\":\"{}\"}}\r\n\r\n", key(0));
        chunk(&mut google, &flushed(&mut packer, &event)).await;
        let piece = reply.next().await.unwrap().unwrap();
        assert_eq!(piece, masked(&event));
    }
    let last = format!("data: {}\r\n\r\n", quoting());
    packer.write_all(last.as_bytes()).unwrap();
    // The rest byte by byte.
    for byte in packer.finish().unwrap() {
        chunk(&mut google, &[byte]).await;
    }
    google.end_events().await;
    let rest = reply.whole().await;
    assert_eq!(rest.text(), masked(&last));
    let page = metrics(&relay).await;
    assert!(
        page.contains("gemini_relay_tokens_total{direction=\"output\"} 12\n"),
        "{page}"
    );
    // The connection is as good as any other.
    let (next, ()) = tokio::join!(Ask::generate("hello").whole(&relay.base), async {
        google.request().await;
        google.answer("200 OK", GOOD).await;
    });
    next.is(200);
}

#[tokio::test]
async fn an_error_at_the_beginning_of_a_stream_is_tried_again() {
    let upstream = Scripted::start().await;
    let relay = Native::start(&upstream.url(), &bare_keys(2), &[]);
    let (answer, ()) = tokio::join!(Ask::events("hello").whole(&relay.base), async {
        let mut google = upstream.accept().await;
        google.request().await;
        begin(&mut google).await;
        chunk(&mut google, &gzip(&format!("data: {QUOTA}\r\n\r\n"))).await;
        google.end_events().await;
        let mut google = upstream.accept().await;
        google.request().await;
        google.begin_events().await;
        google.event(GOOD).await;
        google.end_events().await;
    });
    let answer = answer.is(200);
    assert_eq!(answer.header("x-gemini-relay-attempts"), "2");
    assert!(answer.text().contains("STOP"), "{}", answer.text());
}

#[tokio::test]
async fn nothing_at_all_is_asked_for_once_more() {
    let upstream = Scripted::start().await;
    let relay = Native::start(&upstream.url(), &bare_keys(2), &[]);
    let (reply, ()) = tokio::join!(Ask::generate("hello").whole(&relay.base), async {
        for body in [gzip(""), gzip(GOOD)] {
            let mut google = upstream.accept().await;
            google.request().await;
            begin(&mut google).await;
            chunk(&mut google, &body).await;
            // The first connection is kept, but may not be back yet.
            google.write("0\r\nconnection: close\r\n\r\n").await;
        }
    });
    let reply = reply.is(200);
    assert_eq!(reply.header("x-gemini-relay-attempts"), "2");
    assert_eq!(reply.text(), GOOD);
}

#[tokio::test]
async fn one_that_stops_short_or_is_broken_is_cut() {
    let upstream = Scripted::start().await;
    let relay = Native::start(&upstream.url(), &bare_keys(1), &[]);
    for (number, sum) in [None, Some(1)].into_iter().enumerate() {
        let mut packer = GzEncoder::new(Vec::new(), Compression::default());
        let half = flushed(&mut packer, &quoting());
        // Without its sum, or with a wrong one.
        let mut rest = packer.finish().unwrap();
        match sum {
            None => rest.truncate(rest.len() - 8),
            Some(bit) => rest.iter_mut().rev().take(8).for_each(|byte| *byte ^= bit),
        }
        let (mut reply, mut google) = tokio::join!(Ask::generate("hello").to(&relay.base), async {
            let mut google = upstream.accept().await;
            google.request().await;
            begin(&mut google).await;
            chunk(&mut google, &half).await;
            google
        });
        let first = reply.next().await.unwrap().unwrap();
        assert_eq!(first, masked(&quoting()));
        chunk(&mut google, &rest).await;
        google.end_events().await;
        let (_, ended) = reply.all().await;
        assert!(!ended);
        let cut = format!("gemini_relay_cut_streams_total {}\n", number + 1);
        assert!(metrics(&relay).await.contains(&cut), "{cut}");
    }
}

#[tokio::test]
async fn a_stream_whose_end_does_not_come_is_cut() {
    let upstream = Scripted::start().await;
    let relay = Native::start(&upstream.url(), &bare_keys(1), &[]);
    // First gzip's own end is missing, then only the stream's.
    for whole in [false, true] {
        let (reply, mut google, packer) = streaming(&relay, &upstream).await;
        if whole {
            chunk(&mut google, &packer.finish().unwrap()).await;
        }
        google.end_events().await;
        let (answer, ended) = reply.all().await;
        assert!(!ended && answer.text().starts_with("data: "));
    }
}

#[tokio::test]
async fn a_coding_that_cannot_be_decoded_is_not_passed_on() {
    let upstream = Scripted::start().await;
    let relay = Native::start(&upstream.url(), &bare_keys(2), &[]);
    let text = quoting();
    // What may be repeated is asked for again, ...
    let (reply, ()) = tokio::join!(Ask::generate("hello").whole(&relay.base), async {
        let mut google = upstream.accept().await;
        google.request().await;
        answer(&mut google, "200 OK", "br", text.as_bytes()).await;
        let mut google = upstream.accept().await;
        google.request().await;
        google.answer("200 OK", GOOD).await;
    });
    assert_eq!(reply.is(200).header("x-gemini-relay-attempts"), "2");
    // ... anything else is not, ...
    for coding in ["br", "zstd", "gzip, gzip"] {
        let ask = Ask::post("/v1beta/webhooks", &serde_json::json!({}));
        let (reply, ended, _) = asked(ask, "200 OK", coding, text.as_bytes()).await;
        assert!(ended);
        let reply = reply.is(502);
        assert!(reply.message().contains("broke"), "{}", reply.text());
    }
    // ... and of an error there is its status.
    let ask = Ask::post("/v1beta/webhooks", &serde_json::json!({}));
    let (reply, ended, _) = asked(ask, "422 Unprocessable Entity", "br", text.as_bytes()).await;
    assert!(ended);
    assert_eq!(reply.is(422).text(), "");
}

#[tokio::test]
async fn heads_and_parts_are_as_they_came() {
    let part = &gzip(GOOD)[5..];
    let (reply, ended, _) = asked(
        Ask::get("/v1beta/files/one:download").header("range", "bytes=5-"),
        "206 Partial Content",
        "gzip",
        part,
    )
    .await;
    assert!(ended);
    assert_eq!(reply.header("content-encoding"), "gzip");
    assert_eq!(reply.header("content-length"), part.len().to_string());
    assert_eq!(reply.body, part);
    for (method, status) in [
        (Method::HEAD, "200 OK"),
        (Method::GET, "204 No Content"),
        (Method::GET, "304 Not Modified"),
    ] {
        let upstream = Scripted::start().await;
        let relay = Native::start(&upstream.url(), &bare_keys(1), &[]);
        let path = format!("/v1beta/models/{MODEL}");
        let ask = Ask::new(method, path, super::client::whole_body("".into()));
        let (reply, ()) = tokio::join!(ask.whole(&relay.base), async {
            let mut google = upstream.accept().await;
            google.request().await;
            google
                .write(format!(
                    "HTTP/1.1 {status}\r\ncontent-encoding: br\r\netag: \"made-up\"\r\n\r\n"
                ))
                .await;
        });
        assert_eq!(reply.header("content-encoding"), "br", "{status}");
        assert_eq!(reply.header("etag"), "\"made-up\"");
        assert_eq!(reply.body, b"");
    }
}

#[tokio::test]
async fn what_unpacks_to_more_than_the_client_reads_waits_for_it() {
    let upstream = Scripted::start().await;
    let relay = Native::start(&upstream.url(), &bare_keys(1), &[]);
    // A quarter of a gigabyte in a quarter of a megabyte, sent at once.
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    let zeros = vec![0; 1 << 20];
    for _ in 0..256 {
        packer.write_all(&zeros).unwrap();
    }
    let body = packer.finish().unwrap();
    let (mut reply, mut google) = tokio::join!(Ask::get("/v1beta/bomb").to(&relay.base), async {
        let mut google = upstream.accept().await;
        google.request().await;
        answer(&mut google, "200 OK", "gzip", &body).await;
        google
    });
    assert_eq!(reply.status, 200);
    reply.next().await.unwrap().unwrap();
    // What is sent and not read stays in the sockets: the relay does not go on by itself.
    drop(reply);
    google.closed(Duration::from_secs(2)).await;
    let sent = soon(async {
        loop {
            let page = metrics(&relay).await;
            if page.contains("gemini_relay_cancelled_total 1\n") {
                break page;
            }
        }
    })
    .await;
    let line = sent
        .lines()
        .find(|line| line.starts_with("gemini_relay_body_bytes_total{direction=\"answer\"}"));
    let bytes: u64 = line.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    assert!(bytes < 64 << 20, "{bytes}");
}
