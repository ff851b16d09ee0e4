//! WebSockets: a key is put in, and from then on bytes go both ways untouched.

use super::client::Ask;
use super::scripted::{Peer, Scripted};
use super::stand::{Native, bare_keys, soon};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PATH: &str = "//ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent";

#[tokio::test]
async fn bytes_go_both_ways_after_the_upgrade() {
    let upstream = Scripted::start().await;
    let relay = Native::start(
        &upstream.url(),
        &bare_keys(1),
        &[("TOKENS", "a-long-token-of-a-client")],
    );
    let (mut client, mut google) = upgraded(&relay, &upstream).await;
    for word in [
        "setup",
        "a frame that is longer than the first",
        "\0\u{1}\u{2}",
    ] {
        client.write_all(word.as_bytes()).await.unwrap();
        assert_eq!(google.exactly(word.len()).await, word.as_bytes());
        google.write(word.to_uppercase()).await;
        let mut back = vec![0; word.len()];
        soon(client.read_exact(&mut back)).await.unwrap();
        assert_eq!(back, word.to_uppercase().as_bytes());
    }
    drop(client);
    google.closed(Duration::from_secs(1)).await;
}

#[tokio::test]
async fn when_google_closes_the_client_is_closed() {
    let upstream = Scripted::start().await;
    let relay = Native::start(
        &upstream.url(),
        &bare_keys(1),
        &[("TOKENS", "a-long-token-of-a-client")],
    );
    let (mut client, mut google) = upgraded(&relay, &upstream).await;
    google.write("the last words").await;
    drop(google);
    let mut rest = Vec::new();
    soon(client.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest, b"the last words");
}

#[tokio::test]
async fn a_key_that_google_quotes_in_a_frame_is_covered() {
    let upstream = Scripted::start().await;
    let keys = bare_keys(1);
    let relay = Native::start(
        &upstream.url(),
        &keys,
        &[("TOKENS", "a-long-token-of-a-client")],
    );
    let (mut client, mut google) = upgraded(&relay, &upstream).await;
    let key = keys[0].text.expose();
    let said =
        |key: &str| format!("Permission denied: Consumer 'api_key:{key}' has been suspended.");
    let frame = frame(&said(key));
    let (first, second) = frame.split_at(frame.len() / 2);
    google.write(first).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    google.write(second).await;
    drop(google);
    let mut rest = Vec::new();
    soon(client.read_to_end(&mut rest)).await.unwrap();
    let covered = said(&"*".repeat(key.len()));
    assert_eq!(rest[2..], *covered.as_bytes());
}

/// What may be a key's first letters is the whole of a frame, behind which Google says nothing for long.
#[tokio::test]
async fn a_frame_is_not_kept_back_until_the_next() {
    let upstream = Scripted::start().await;
    let relay = Native::start(
        &upstream.url(),
        &bare_keys(1),
        &[("TOKENS", "a-long-token-of-a-client")],
    );
    let (mut client, mut google) = upgraded(&relay, &upstream).await;
    for word in ["made-up-ke", "m", "a backslash \\"] {
        let frame = frame(word);
        google.write(&frame).await;
        let mut back = vec![0; frame.len()];
        soon(client.read_exact(&mut back)).await.unwrap();
        assert_eq!(back, frame);
    }
}

/// A text as a server sends it.
fn frame(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81, u8::try_from(text.len()).unwrap()];
    assert!(text.len() < 126, "longer ones say their length otherwise");
    frame.extend(text.as_bytes());
    frame
}

#[tokio::test]
async fn a_websocket_keeps_its_connections_place_until_it_ends() {
    let upstream = Scripted::start().await;
    let relay = Native::start(
        &upstream.url(),
        &bare_keys(1),
        &[
            ("TOKENS", "a-long-token-of-a-client"),
            ("MAX_CONNECTIONS", "1"),
        ],
    );
    let ends = upgraded(&relay, &upstream).await;
    let base = relay.base.clone();
    let mut next = tokio::spawn(async move { Ask::get("/-/healthy").whole(&base).await });
    let early = tokio::time::timeout(Duration::from_millis(300), &mut next).await;
    assert!(early.is_err(), "it waits for a place");
    assert_eq!(relay.shared().metrics.connections.get(), 1);
    drop(ends);
    soon(next).await.unwrap().is(200);
}

#[tokio::test]
async fn an_upgrade_that_nobody_asked_for_is_no_answer() {
    let upstream = Scripted::start().await;
    let relay = Native::start(&upstream.url(), &bare_keys(1), &[]);
    let google = async {
        loop {
            let mut peer = upstream.accept().await;
            peer.request().await;
            peer.write(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
            )
            .await;
        }
    };
    tokio::select! {
        answer = Ask::generate("hello").whole(&relay.base) => drop(answer.is(502)),
        () = google => unreachable!("it goes on for ever"),
    }
}

/// A WebSocket as Google's JavaScript client opens one: a doubled slash, and the token in the URL.
async fn upgraded(relay: &Native, upstream: &Scripted) -> (TcpStream, Peer) {
    let mut client = TcpStream::connect(relay.running.bound[0]).await.unwrap();
    let ask = format!(
        "GET {PATH}?key=a-long-token-of-a-client HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
         Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    );
    client.write_all(ask.as_bytes()).await.unwrap();
    let mut google = upstream.accept().await;
    let head = google.head().await;
    let lower = head.to_ascii_lowercase();
    assert!(
        head.starts_with(&format!("GET {} HTTP/1.1\r\n", &PATH[1..])),
        "{head}"
    );
    assert!(
        lower.contains("connection: upgrade") && lower.contains("upgrade: websocket"),
        "{head}"
    );
    assert!(lower.contains("sec-websocket-key: aaaa"), "{head}");
    // What is compressed cannot be looked at.
    assert!(!lower.contains("permessage-deflate"), "{head}");
    assert_eq!(head.matches("made-up-key").count(), 1, "{head}");
    assert!(!head.contains("a-long-token"), "{head}");
    google
        .write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n")
        .await;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(soon(client.read_u8()).await.unwrap());
    }
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    assert!(
        answer
            .to_ascii_lowercase()
            .contains("sec-websocket-accept: x"),
        "{answer}"
    );
    assert!(!answer.contains("made-up-key"), "{answer}");
    (client, google)
}
