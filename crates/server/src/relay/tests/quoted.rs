//! A good answer that has the key in it, anywhere: none of it reaches the client.

use super::client::Ask;
use super::protocols::http2;
use super::scripted::{GOOD, Scripted};
use super::stand::{Native, bare_keys, key};
use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn trailers_stay_behind_and_nothing_that_came_before_them_is_lost() {
    let upstream = Scripted::start().await;
    let relay = Native::start(&upstream.url(), &bare_keys(1), &[]);
    let stream = TcpStream::connect(relay.running.bound[0]).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    // Its end may be the beginning of the key, and is kept back until it is clear that it is not.
    let body = format!("{GOOD}{}", &key(0)[..5]);
    let ask = http2("http", &relay.base, Ask::get("/v1beta/models"));
    let (answer, ()) = tokio::join!(
        async {
            let response = sender.send_request(ask).await.unwrap();
            response.into_body().collect().await.unwrap()
        },
        async {
            let mut google = upstream.accept().await;
            google.request().await;
            google
                .write("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\ntrailer: x-t\r\n\r\n")
                .await;
            google
                .write(format!(
                    "{:x}\r\n{body}\r\n0\r\nx-t: {}\r\n\r\n",
                    body.len(),
                    key(0)
                ))
                .await;
        }
    );
    assert_eq!(answer.trailers(), None);
    assert_eq!(answer.to_bytes(), body);
}

#[tokio::test]
async fn a_key_in_escapes_is_covered_and_a_header_with_it_encoded_is_dropped() {
    let upstream = Scripted::start().await;
    let relay = Native::start(&upstream.url(), &bare_keys(1), &[]);
    let escaped: String = key(0).bytes().map(|b| format!("\\u{b:04x}")).collect();
    let encoded: String = key(0).bytes().map(|b| format!("%{b:02x}")).collect();
    let body = format!(r#"{{"models":[],"note":"\n{escaped}\n"}}"#);
    let (answer, ()) = tokio::join!(Ask::get("/v1beta/models").whole(&relay.base), async {
        let mut google = upstream.accept().await;
        google.request().await;
        let length = body.len();
        google
            .write(format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-next: /?k={encoded}\r\nx-other: a%20b\r\ncontent-length: {length}\r\n\r\n"))
            .await;
        // The first piece ends within an escape.
        let (first, second) = body.split_at(length / 2);
        google.write(first).await;
        google.write(second).await;
    });
    let answer = answer.is(200);
    assert_eq!(
        (answer.header("x-next"), answer.header("x-other")),
        ("", "a%20b")
    );
    assert_eq!(
        answer.text(),
        body.replace(&escaped, &"*".repeat(escaped.len()))
    );
}

#[tokio::test]
async fn a_key_behind_the_status_stays_here() {
    let upstream = Scripted::start().await;
    let relay = Native::start(&upstream.url(), &bare_keys(1), &[]);
    for status in ["200", "400", "302"] {
        let mut client = TcpStream::connect(relay.running.bound[0]).await.unwrap();
        let ask = "GET /v1beta/models HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n";
        client.write_all(ask.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let (read, ()) = tokio::join!(client.read_to_string(&mut answer), async {
            let mut google = upstream.accept().await;
            google.request().await;
            let head = format!("HTTP/1.1 {status} No {}\r\n", key(0));
            google
                .write(format!(
                    "{head}content-length: 0\r\nconnection: close\r\n\r\n"
                ))
                .await;
        });
        read.unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{answer}"
        );
        assert!(!answer.contains(&key(0)), "{answer}");
    }
}
