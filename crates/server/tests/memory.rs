//! How much the program holds, seen from outside: what passes through it stays nowhere.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "this whole file is a test"
)]

mod support;

use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use support::{PATIENCE, Process, ask, events, until};

const MEGABYTE: usize = 1 << 20;

/// What a worker's answers may add, however many and large they are: a few pieces, and what the allocator
/// keeps of them.
const ROOM: usize = 12 * MEGABYTE;

/// An upstream that answers every request with one event of so many bytes. Counts what it wrote.
fn upstream(size: usize) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let written = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&written);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, count) = (stream.unwrap(), Arc::clone(&count));
            std::thread::spawn(move || {
                let mut head = [0; 65536];
                let _ = stream.read(&mut head);
                let start = r#"data: {"candidates":[{"content":{"parts":[{"inlineData":{"mimeType":"image/png","data":""#;
                let end = "\"}}]},\"finishReason\":\"STOP\"}]}\r\n\r\n";
                let all = start.len() + size + end.len();
                let _ = write!(
                    stream,
                    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {all}\r\n\r\n{start}"
                );
                let piece = [b'A'; 65536];
                for _ in 0..size / piece.len() {
                    if stream.write_all(&piece).is_err() {
                        return;
                    }
                    count.fetch_add(piece.len(), Ordering::Relaxed);
                }
                let _ = stream.write_all(end.as_bytes());
            });
        }
    });
    (url, written)
}

/// The most memory that a process ever had resident.
fn peak(relay: &Process) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", relay.id())).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<usize>()
        .unwrap()
        * 1024
}

#[test]
fn a_picture_of_forty_megabytes_in_one_event_stays_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let (url, _) = upstream(40 * MEGABYTE);
    let relay = Process::start(
        folder.path(),
        &[("GEMINI_API_KEYS", "made-up-1")],
        &["--upstream", &url, "--workers", "1"],
    );
    let (line, body) = events("a picture");
    let before = peak(&relay);
    for _ in 0..2 {
        let answer = ask(&relay.address, &line, &[], &body).rest();
        assert!(answer.len() > 40 * MEGABYTE && answer.contains("\"STOP\"}]}\r\n\r\n"));
        assert!(answer.ends_with("\r\n0\r\n\r\n"), "whole");
    }
    let grown = peak(&relay) - before;
    assert!(grown < ROOM, "{} KB more", grown / 1024);
}

#[test]
fn a_client_that_does_not_read_stops_google_and_fills_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (url, written) = upstream(200 * MEGABYTE);
    let relay = Process::start(
        folder.path(),
        &[("GEMINI_API_KEYS", "made-up-1")],
        &["--upstream", &url, "--workers", "1"],
    );
    let (line, body) = events("a picture");
    let before = peak(&relay);
    let asked = ask(&relay.address, &line, &[], &body);
    // Until the sockets between are full and nothing moves.
    let mut last = 0;
    let mut still = 0;
    until(PATIENCE, "it comes to rest", || {
        let now = written.load(Ordering::Relaxed);
        still = if now == last && now > 0 { still + 1 } else { 0 };
        last = now;
        still > 30
    });
    assert!(
        last < 100 * MEGABYTE,
        "{} MB were taken in",
        last / MEGABYTE
    );
    let grown = peak(&relay) - before;
    assert!(grown < ROOM, "{} KB more", grown / 1024);
    drop(asked);
    until(Duration::from_secs(2), "upstream is let go", || {
        let page = ask(&relay.address, "GET /-/metrics", &[], "").rest();
        page.contains("gemini_relay_cancelled_total 1\n")
    });
}

/// An upstream that answers every request with this body, compressed. Counts what it wrote.
fn compressed(body: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 65536];
            let _ = stream.read(&mut head);
            let length = body.len();
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {length}\r\n\r\n"
            );
            let _ = stream.write_all(&body);
        }
    });
    url
}

#[test]
fn what_unpacks_to_a_thousand_times_its_size_is_never_all_there() {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    for _ in 0..64 {
        packer.write_all(&vec![0; MEGABYTE]).unwrap();
    }
    let url = compressed(packer.finish().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let relay = Process::start(
        folder.path(),
        &[("GEMINI_API_KEYS", "made-up-1")],
        &["--upstream", &url, "--workers", "1"],
    );
    let (line, body) = events("a picture");
    let before = peak(&relay);
    let mut asked = ask(&relay.address, &line, &[], &body);
    asked.until("200 OK");
    // Nobody reads, and the relay comes to rest; then all of it is read.
    let mut still = (0, 0);
    until(PATIENCE, "it comes to rest", || {
        let now = peak(&relay);
        still = if now == still.0 {
            (now, still.1 + 1)
        } else {
            (now, 0)
        };
        still.1 > 30
    });
    let mut count = 0;
    let mut piece = [0; 65536];
    // A stream that never says that it is at its end is cut.
    while let Ok(more @ 1..) = asked.0.read(&mut piece) {
        count += more;
    }
    assert!(count >= 63 * MEGABYTE, "{count}");
    let grown = peak(&relay) - before;
    assert!(grown < ROOM, "{} KB more", grown / 1024);
}
