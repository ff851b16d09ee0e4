//! Connections: reused, counted, given up, of either version of HTTP.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gemini_emulator::{Disturbance, Emulator, Fault, Match, Outcome};
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{ALPHA, Ask, FLASH, STREAM, last_outcome, prompt, start, two_projects, until};

/// Sends a request by hand and returns the socket, its answer unread.
async fn begin(emulator: &Emulator, ask: Ask) -> TcpStream {
    let mut socket = TcpStream::connect(emulator.addr()).await.unwrap();
    socket.write_all(&ask.raw()).await.unwrap();
    socket
}

async fn cancelled_within_a_second(emulator: &Emulator) {
    let begun = Instant::now();
    assert_eq!(last_outcome(emulator).await, Outcome::Cancelled);
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
    let stats = emulator.stats();
    assert_eq!(
        (stats.cancelled, stats.open_requests, stats.served),
        (1, 0, 0)
    );
}

#[tokio::test]
async fn a_client_that_hangs_up_before_the_headers_is_noticed() {
    let emulator = start(two_projects()).await;
    emulator
        .fault(Match::default(), 1, Fault::Delay(600_000))
        .unwrap();
    let socket = begin(&emulator, Ask::say(STREAM, "hi").key(ALPHA)).await;
    until("the request", || emulator.stats().open_requests == 1).await;
    drop(socket);
    cancelled_within_a_second(&emulator).await;
}

#[tokio::test]
async fn a_client_that_hangs_up_in_a_silence_is_noticed() {
    let emulator = start(two_projects()).await;
    emulator
        .fault(
            Match::default(),
            1,
            Fault::Stall {
                millis: 600_000,
                after_chunks: 1,
            },
        )
        .unwrap();
    let mut socket = begin(&emulator, Ask::say(STREAM, "hi").key(ALPHA)).await;
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("data: ") {
        let mut buffer = [0; 4_096];
        let count = socket.read(&mut buffer).await.unwrap();
        seen.extend_from_slice(&buffer[..count]);
    }
    drop(socket);
    cancelled_within_a_second(&emulator).await;
}

#[tokio::test]
async fn a_client_that_hangs_up_while_it_is_told_a_lot_is_noticed() {
    let emulator = start(two_projects()).await;
    let socket = begin(&emulator, Ask::say(FLASH, "[[image:40MB]]").key(ALPHA)).await;
    until("the answer's beginning", || {
        emulator
            .requests()
            .iter()
            .any(|request| request.status == Some(200))
    })
    .await;
    drop(socket);
    cancelled_within_a_second(&emulator).await;
}

#[tokio::test]
async fn a_connection_is_kept_and_counted_once() {
    let emulator = start(two_projects()).await;
    let stream = TcpStream::connect(emulator.addr()).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    for _ in 0..3 {
        let request = Request::post(FLASH)
            .header("host", "x")
            .header("x-goog-api-key", ALPHA);
        let response = sender.send_request(
            request
                .body(Full::<bytes::Bytes>::from(prompt("hi").to_string()))
                .unwrap(),
        );
        let response = response.await.unwrap();
        assert_eq!(response.status(), 200);
        response.into_body().collect().await.unwrap();
        sender.ready().await.unwrap();
    }
    // Asking for the count is no use of the API.
    Ask::new("GET", "/_emulator/stats")
        .send(&emulator)
        .await
        .assert_ok();
    let stats = emulator.stats();
    assert_eq!((stats.connections, stats.served), (1, 3));
}

#[tokio::test]
async fn http2_is_spoken_to_those_who_begin_it() {
    let emulator = start(two_projects()).await;
    emulator
        .fault(
            Match::default(),
            1,
            Fault::Stall {
                millis: 600_000,
                after_chunks: 1,
            },
        )
        .unwrap();
    let stream = TcpStream::connect(emulator.addr()).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let mut send = || {
        let request =
            Request::post(format!("http://emulator{STREAM}")).header("x-goog-api-key", ALPHA);
        sender.send_request(
            request
                .body(Full::<bytes::Bytes>::from(prompt("hi").to_string()))
                .unwrap(),
        )
    };
    // One stream that is silent, given up; the other is none the worse for it.
    let mut silent = send().await.unwrap().into_body();
    assert!(
        silent
            .frame()
            .await
            .unwrap()
            .unwrap()
            .into_data()
            .unwrap()
            .starts_with(b"data: ")
    );
    drop(silent);
    until("the cancelled stream", || emulator.stats().cancelled == 1).await;
    let response = send().await.unwrap();
    assert_eq!(response.version(), http::Version::HTTP_2);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(String::from_utf8_lossy(&body).matches("data: ").count(), 5);
    until("the end", || emulator.stats().served == 1).await;
    assert_eq!(emulator.stats().connections, 1);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_a_cancelled_request() {
    let emulator = start(two_projects()).await;
    let mut raw = Ask::say(FLASH, "a prompt of some length").key(ALPHA).raw();
    raw.truncate(raw.len() - 10);
    let mut socket = TcpStream::connect(emulator.addr()).await.unwrap();
    socket.write_all(&raw).await.unwrap();
    until("the request", || emulator.stats().open_requests == 1).await;
    drop(socket);
    cancelled_within_a_second(&emulator).await;
}

#[tokio::test]
async fn an_emulator_that_is_shut_down_frees_its_port() {
    let emulator = start(two_projects()).await;
    let addr = emulator.addr();
    Ask::say(FLASH, "hi")
        .key(ALPHA)
        .send(&emulator)
        .await
        .assert_ok();
    emulator.shutdown().await;
    let again = Emulator::start(two_projects(), addr).await.unwrap();
    Ask::say(FLASH, "hi")
        .key(ALPHA)
        .send(&again)
        .await
        .assert_ok();
}

#[tokio::test]
async fn many_requests_at_once_are_all_served() {
    let emulator = Arc::new(start(two_projects()).await);
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let emulator = Arc::clone(&emulator);
        clients.spawn(async move {
            Ask::say(STREAM, "[[delay:5ms]]")
                .key(ALPHA)
                .send(&emulator)
                .await
        });
    }
    while let Some(answer) = clients.join_next().await {
        assert_eq!(answer.unwrap().events().len(), 5);
    }
    until("the last one's end", || emulator.stats().served == 64).await;
    assert_eq!(emulator.stats().open_requests, 0);
}

async fn end_of_idle(how: Disturbance) -> std::io::Result<usize> {
    let emulator = start(two_projects()).await;
    let mut socket = begin(
        &emulator,
        Ask::new("GET", "/v1beta/models/gemini-2.5-flash").key(ALPHA),
    )
    .await;
    until("the answer", || emulator.stats().served == 1).await;
    let mut buffer = [0; 65_536];
    assert!(socket.read(&mut buffer).await.unwrap() > 0);
    assert_eq!(emulator.disturb(how), 1);
    let end = socket.read(&mut buffer).await;
    // Whoever comes next is served.
    Ask::say(FLASH, "hi")
        .key(ALPHA)
        .send(&emulator)
        .await
        .assert_ok();
    end
}

#[tokio::test]
async fn idle_connections_can_be_closed_or_reset() {
    assert_eq!(end_of_idle(Disturbance::Close).await.unwrap(), 0);
    let reset = end_of_idle(Disturbance::Reset).await.unwrap_err();
    assert_eq!(reset.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_frozen_connection_takes_requests_and_never_answers() {
    let emulator = start(two_projects()).await;
    let ask = || Ask::say(FLASH, "hi").key(ALPHA);
    let mut socket = begin(&emulator, ask()).await;
    let mut buffer = [0; 65_536];
    assert!(socket.read(&mut buffer).await.unwrap() > 0);
    let freeze =
        Ask::new("POST", "/_emulator/connections").json(&serde_json::json!({"do": "freeze"}));
    let answer = freeze.send(&emulator).await;
    assert_eq!(answer.json(), serde_json::json!({"connections": 1}));
    socket.write_all(&ask().raw()).await.unwrap();
    let silence = tokio::time::timeout(Duration::from_millis(100), socket.read(&mut buffer)).await;
    assert!(silence.is_err(), "{silence:?}");
    ask().send(&emulator).await.assert_ok();
    assert_eq!(emulator.requests().len(), 2);
}
