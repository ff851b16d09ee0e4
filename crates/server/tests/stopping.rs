//! Being told to stop, as a load balancer and the clients behind it see it.

#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "this whole file is a test"
)]

mod support;

use gemini_emulator::{Emulator, Fault, Match};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{PATIENCE, Process, ask, emulator, events, generate, one_project_each, until};

fn start(folder: &Path, options: &[&str]) -> (Process, Arc<Emulator>) {
    let google = emulator(one_project_each(&["made-up-1", "made-up-2"]));
    let url = google.url();
    let mut arguments = vec!["--upstream", &url];
    arguments.extend(options);
    let keys = [("GEMINI_API_KEYS", "made-up-1,made-up-2")];
    (Process::start(folder, &keys, &arguments), google)
}

fn status(relay: &Process, page: &str) -> String {
    let answer = ask(&relay.address, &format!("GET /-/{page}"), &[], "").rest();
    answer.split(' ').nth(1).unwrap_or_default().to_owned()
}

#[test]
fn ready_says_no_first_then_the_door_closes_then_streams_finish() {
    let folder = tempfile::tempdir().unwrap();
    let (mut relay, _google) = start(folder.path(), &["--drain-delay", "1s"]);
    let (line, body) = events("[[chunks:15]] [[delay:200ms]] slowly");
    let mut open = ask(&relay.address, &line, &[], &body);
    open.until("data: ");
    assert_eq!(status(&relay, "ready"), "200");
    relay.signal("TERM");
    until(PATIENCE, "ready says 503", || {
        status(&relay, "ready") == "503"
    });
    assert_eq!(status(&relay, "healthy"), "200");
    let (line, body) = generate("still let in");
    assert!(
        ask(&relay.address, &line, &[], &body)
            .rest()
            .starts_with("HTTP/1.1 200")
    );
    until(PATIENCE, "the door closes", || {
        TcpStream::connect(&relay.address).is_err()
    });
    let rest = open.rest();
    assert!(
        rest.contains("\"STOP\"") && rest.ends_with("0\r\n\r\n"),
        "{rest}"
    );
    assert!(relay.ended(PATIENCE).success());
    assert!(
        relay.log().contains("all requests finished"),
        "{}",
        relay.log()
    );
}

#[test]
fn a_second_signal_stops_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (mut relay, google) = start(folder.path(), &["--drain-limit", "1h"]);
    let (line, body) = events("[[chunks:600]] [[delay:100ms]] slowly");
    let mut open = ask(&relay.address, &line, &[], &body);
    open.until("data: ");
    relay.signal("TERM");
    relay.says("a second signal stops at once");
    // A signal to a process and to its group comes twice, and is one.
    relay.signal("TERM");
    let signalled = Instant::now();
    until(PATIENCE, "a moment later", || {
        signalled.elapsed() > Duration::from_millis(400)
    });
    assert!(!relay.log().contains("stopped at once"), "{}", relay.log());
    relay.signal("TERM");
    assert!(relay.ended(Duration::from_secs(2)).success());
    assert!(!open.rest().ends_with("0\r\n\r\n"));
    until(Duration::from_secs(1), "upstream is let go", || {
        google.stats().cancelled == 1
    });
    let log = relay.log();
    assert!(log.contains("stopped at once"), "{log}");
    assert_one_line_was_cut(&log);
}

#[test]
fn whoever_waits_for_longer_than_the_relay_is_there_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let (mut relay, google) = start(folder.path(), &["--drain-limit", "4s"]);
    let dry = Fault::Answer {
        status: 429,
        body: Some(
            serde_json::json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED",
            "message": "You exceeded your current quota. Please retry in 12s."}}),
        ),
        headers: Default::default(),
        gzip: false,
    };
    google.fault(Match::default(), 2, dry).unwrap();
    let (line, body) = generate("waits");
    let waits = ask(&relay.address, &line, &[], &body);
    until(PATIENCE, "both keys were asked", || {
        google.stats().faults == 2
    });
    relay.signal("TERM");
    let signalled = Instant::now();
    let answer = waits.rest();
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(
        answer.contains("x-gemini-relay-reason: stopping"),
        "{answer}"
    );
    assert!(relay.ended(PATIENCE).success());
    assert!(signalled.elapsed() < Duration::from_secs(3));
    assert!(
        relay.log().contains("all requests finished"),
        "{}",
        relay.log()
    );
}

#[test]
fn the_drain_limit_ends_what_does_not_end() {
    let folder = tempfile::tempdir().unwrap();
    let (mut relay, _google) = start(folder.path(), &["--drain-limit", "500ms"]);
    let (line, body) = events("[[chunks:600]] [[delay:100ms]] slowly");
    let mut open = ask(&relay.address, &line, &[], &body);
    open.until("data: ");
    relay.signal("INT");
    let began = Instant::now();
    relay.ended(Duration::from_secs(5));
    assert!(began.elapsed() >= Duration::from_millis(400));
    assert!(!open.rest().ends_with("0\r\n\r\n"));
    let log = relay.log();
    assert!(log.contains("the drain limit is over"), "{log}");
    assert!(!log.contains("all requests finished"), "{log}");
    assert_one_line_was_cut(&log);
}

/// A request that is cut has its line like any other.
#[track_caller]
fn assert_one_line_was_cut(log: &str) {
    assert!(
        log.contains("stopped: open requests were cut open=1"),
        "{log}"
    );
    let lines: Vec<_> = log
        .lines()
        .filter(|line| line.contains("ending=stopped"))
        .collect();
    assert_eq!(lines.len(), 1, "{log}");
    assert!(
        lines[0].contains("attempts=1 ") && !lines[0].contains("key=-"),
        "{log}"
    );
}

#[test]
fn a_connection_on_which_nobody_asks_anything_holds_up_no_stop() {
    let folder = tempfile::tempdir().unwrap();
    let (mut relay, _google) = start(folder.path(), &["--drain-limit", "1h"]);
    let mut half = TcpStream::connect(&relay.address).unwrap();
    half.write_all(b"POST /v1beta/models/m:generateContent HTTP/1.1\r\nhost: lo")
        .unwrap();
    let mut silent = TcpStream::connect(&relay.address).unwrap();
    silent
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .unwrap();
    relay.signal("TERM");
    assert!(relay.ended(PATIENCE).success());
    let log = relay.log();
    assert!(log.contains("all requests finished"), "{log}");
}

#[test]
fn a_client_that_says_one_letter_and_goes_takes_up_no_place() {
    let folder = tempfile::tempdir().unwrap();
    let (relay, _google) = start(folder.path(), &["--max-connections", "2"]);
    for _ in 0..2 {
        let mut client = TcpStream::connect(&relay.address).unwrap();
        client.write_all(b"P").unwrap();
    }
    until(PATIENCE, "there is room again", || {
        status(&relay, "healthy") == "200"
    });
}

#[test]
fn connections_that_are_idle_do_not_hold_it_up() {
    let folder = tempfile::tempdir().unwrap();
    let (mut relay, _google) = start(folder.path(), &[]);
    let (line, body) = generate("hello");
    let mut kept = ask(&relay.address, &line, &["connection: keep-alive"], &body);
    kept.until("usageMetadata");
    let mut silent = TcpStream::connect(&relay.address).unwrap();
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    relay.signal("TERM");
    assert!(relay.ended(Duration::from_secs(3)).success());
    assert_eq!(silent.read(&mut [0]).unwrap_or(0), 0);
}
