//! The log of a running relay, where whoever reads it reads too slowly, or is a program.

#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "this whole file is a test"
)]

mod support;

use gemini_emulator::{Fault, KeyState, Match};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};
use support::{PATIENCE, Process, ask, emulator, events, generate, one_project_each, until};

/// Twice what is kept, in as long lines as a client can cause: each of these is six letters in JSON.
const REQUESTS: usize = 4500;
const MODEL: &str = "%01";

/// An upstream that has every model, and says little of it.
fn upstream() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            std::thread::spawn(move || {
                let mut line = String::new();
                while stream.read_line(&mut line).is_ok_and(|count| count > 0) {
                    if line == "\r\n" {
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
                        stream.get_mut().write_all(answer).unwrap();
                    }
                    line.clear();
                }
            });
        }
    });
    url
}

/// A relay whose log is read only when a test does so.
struct Unread {
    child: Child,
    log: BufReader<ChildStderr>,
    address: String,
}

impl Unread {
    fn start(upstream: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_gemini-relay"))
            .env_clear()
            .env("GEMINI_API_KEYS", "made-up-1")
            .args(["--listen", "127.0.0.1:0", "--proxy", "none"])
            .args(["--upstream", upstream, "--log-format", "json"])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0);
        }
        let port = line.split("://127.0.0.1:").nth(1).unwrap();
        let port: String = port.chars().take_while(char::is_ascii_digit).collect();
        Self {
            child,
            log,
            address: format!("127.0.0.1:{port}"),
        }
    }

    /// More lines than the pipe, the relay's buffer and what it is writing can hold.
    fn overflow(&self) {
        let line = format!("GET /v1beta/models/{}", MODEL.repeat(200));
        for _ in 0..REQUESTS {
            let answer = ask(&self.address, &line, &[], "").rest();
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
    }

    fn terminate(&self) {
        let sent = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        assert!(sent.unwrap().success());
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_log_that_nobody_reads_holds_up_no_request_and_later_says_what_is_missing() {
    let mut relay = Unread::start(&upstream());
    relay.overflow();
    relay.terminate();
    let mut log = String::new();
    relay.log.read_to_string(&mut log).unwrap();
    let mut requests = 0;
    let mut missing = 0;
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        if line["message"] == "request" {
            requests += 1;
            assert_eq!(missing, 0, "what is missing was the last");
        }
        missing += line["lines"].as_u64().unwrap_or_default() as usize;
    }
    assert!(requests > 100 && missing > 0, "{requests} {missing}");
    // The last words, of stopping, may be among them.
    assert!(
        (REQUESTS..=REQUESTS + 2).contains(&(requests + missing)),
        "{requests} {missing}"
    );
}

#[test]
fn a_log_that_nobody_reads_does_not_keep_the_relay_from_ending() {
    let mut relay = Unread::start(&upstream());
    relay.overflow();
    relay.terminate();
    let began = Instant::now();
    until(PATIENCE, "it ends", || {
        relay.child.try_wait().unwrap().is_some()
    });
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_requests_line_for_machines_has_every_field() {
    let folder = tempfile::tempdir().unwrap();
    let google = emulator(one_project_each(&["made-up-1"]));
    let mut relay = Process::start(
        folder.path(),
        &[
            ("GEMINI_API_KEYS", "made-up-1"),
            ("GEMINI_RELAY_TOKENS", "alice=short"),
        ],
        &["--upstream", &google.url(), "--log-format", "json"],
    );
    let (line, body) = generate("hello");
    let answer = ask(&relay.address, &line, &["x-goog-api-key: short"], &body).rest();
    relay.signal("TERM");
    assert!(relay.ended(PATIENCE).success());
    let log = relay.log();
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let line = lines
        .iter()
        .find(|line| line["message"] == "request")
        .unwrap();
    let insecure = lines.iter().find(|line| {
        let message = line["message"].as_str().unwrap_or_default();
        message == "insecure: the client token alice is short and can be guessed"
    });
    assert_eq!(insecure.unwrap()["level"], "WARN");
    let id = line["id"].as_str().unwrap();
    assert!(
        answer.contains(&format!("x-gemini-relay-request-id: {id}\r\n")),
        "{answer}"
    );
    for (name, value) in [
        ("level", "INFO"),
        ("target", "gemini_relay::request"),
        ("client", "alice"),
        ("surface", "gemini"),
        ("kind", "generate"),
        ("model", "gemini-2.5-flash"),
        ("key", "key_0"),
    ] {
        assert_eq!(line[name], value, "{line}");
    }
    assert!(line["timestamp"].as_str().unwrap().ends_with('Z'), "{line}");
    assert_eq!(line["status"], 200);
    assert_eq!(line["attempts"], 1);
    assert!(line["verdicts"].is_string(), "{line}");
    for name in ["received", "sent", "tokens", "first_byte_ms", "ms"] {
        assert!(line[name].is_u64(), "{name} of {line}");
    }
    assert!(
        lines.last().unwrap()["message"]
            .as_str()
            .unwrap()
            .starts_with("stopped")
    );
}

#[test]
fn a_key_that_requests_pass_over_is_said_once() {
    let folder = tempfile::tempdir().unwrap();
    let keys = ["made-up-1", "made-up-2"];
    let google = emulator(one_project_each(&keys));
    let mut relay = Process::start(
        folder.path(),
        &[("GEMINI_API_KEYS", &keys.join(","))],
        &["--upstream", &google.url(), "--log-format", "json"],
    );
    google
        .set_key(keys[0], "project-0", KeyState::TokenTypeUnsupported)
        .unwrap();
    for _ in 0..4 {
        let (line, body) = generate("hello");
        let answer = ask(&relay.address, &line, &[], &body).rest();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    relay.signal("TERM");
    assert!(relay.ended(PATIENCE).success());
    let log = relay.log();
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &Value| line["message"].as_str().unwrap().starts_with("passed over"))
        .collect();
    let [line] = &lines[..] else {
        panic!("{log}");
    };
    for (name, value) in [
        ("level", "WARN"),
        ("label", "key_0"),
        ("reason", "carrier"),
        ("surface", "gemini"),
        ("kind", "generate"),
        ("model", "gemini-2.5-flash"),
    ] {
        assert_eq!(line[name], value, "{line}");
    }
}

#[test]
fn a_head_that_is_too_large_has_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let keys = [("GEMINI_API_KEYS", "made-up-1")];
    let relay = Process::start(folder.path(), &keys, &["--upstream", &upstream()]);
    let headers: Vec<String> = (0..100).map(|n| format!("x-{n}: a")).collect();
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    let answer = ask(&relay.address, "GET /-/healthy", &headers[..98], "").rest();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let answer = ask(&relay.address, "GET /-/healthy", &headers, "").rest();
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    relay.says("refused at the door: message head is too large");
    let long = format!("GET /-/healthy?{}", "made-up".repeat(10_000));
    let answer = ask(&relay.address, &long, &[], "").rest();
    assert!(answer.starts_with("HTTP/1.1 414"), "{answer}");
    let log = relay.says("refused at the door: URI too long");
    assert!(!log.contains("made-up"), "{log}");
}

#[test]
fn whoever_is_refused_at_the_door_has_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let keys = [("GEMINI_API_KEYS", "made-up-1")];
    let relay = Process::start(folder.path(), &keys, &["--upstream", &upstream()]);
    let asks = [
        "origin: https://page.example",
        "access-control-request-method: POST",
    ];
    let answer = ask(
        &relay.address,
        "OPTIONS /v1beta/models/m:generateContent",
        &asks,
        "",
    )
    .rest();
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    let answer = ask(
        &relay.address,
        "GET /-/metrics",
        &["sec-fetch-site: cross-site"],
        "",
    )
    .rest();
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    let answer = ask(&relay.address, "GET /-/nothing", &[], "").rest();
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    let log = relay.says("status=404");
    let lines = log
        .lines()
        .filter(|line| line.contains("refused at the door peer=127.0.0.1"));
    assert_eq!(lines.count(), 3, "{log}");
}

#[test]
fn an_error_in_the_middle_of_a_stream_is_in_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let google = emulator(one_project_each(&["made-up-1"]));
    let overloaded = Fault::InStreamError {
        name: "overloaded".into(),
        after_chunks: 2,
    };
    google.fault(Match::default(), 1, overloaded).unwrap();
    let mut relay = Process::start(
        folder.path(),
        &[("GEMINI_API_KEYS", "made-up-1")],
        &["--upstream", &google.url()],
    );
    let (line, body) = events("[[chunks:6]] hello");
    let answer = ask(&relay.address, &line, &[], &body).rest();
    assert!(answer.contains("UNAVAILABLE"), "{answer}");
    relay.signal("TERM");
    assert!(relay.ended(PATIENCE).success());
    let log = relay.log();
    assert!(log.contains("reason=error-in-stream"), "{log}");
}
