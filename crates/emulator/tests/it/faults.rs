//! Everything that can go wrong, when it is told to.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use gemini_emulator::{Emulator, Fault, Match, Outcome, ResetPoint};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{ALPHA, Ask, BETA, FLASH, STREAM, last_outcome, start, two_projects};

async fn broken(fault: Fault) -> Emulator {
    let emulator = start(two_projects()).await;
    emulator.fault(Match::default(), 1, fault).unwrap();
    emulator
}

fn stream() -> Ask {
    Ask::say(STREAM, "hi").key(ALPHA)
}

/// What a plain socket sees of the answer, and how the connection ended.
async fn raw(emulator: &Emulator, ask: Ask) -> (String, Result<(), ErrorKind>) {
    let mut socket = TcpStream::connect(emulator.addr()).await.unwrap();
    socket.write_all(&ask.raw()).await.unwrap();
    let mut seen = Vec::new();
    let mut buffer = [0; 4_096];
    loop {
        match socket.read(&mut buffer).await {
            Ok(0) => return (String::from_utf8(seen).unwrap(), Ok(())),
            Ok(count) => seen.extend_from_slice(&buffer[..count]),
            Err(error) => return (String::from_utf8(seen).unwrap(), Err(error.kind())),
        }
    }
}

#[tokio::test]
async fn a_fault_hits_the_next_matching_requests_and_no_more() {
    let emulator = start(two_projects()).await;
    let only = Match {
        project: Some("alpha".to_owned()),
        model: Some("gemini-2.5-flash".to_owned()),
        ..Match::default()
    };
    emulator
        .fault(only, 2, Fault::Error("overloaded".to_owned()))
        .unwrap();
    let say = |key: &str| Ask::say(FLASH, "hi").key(key);
    say(BETA).send(&emulator).await.assert_ok();
    say(ALPHA)
        .send(&emulator)
        .await
        .assert_error(503, "The model is overloaded. Please try again later.");
    assert_eq!(last_outcome(&emulator).await, Outcome::Fault);
    Ask::new("GET", "/v1beta/models")
        .key(ALPHA)
        .send(&emulator)
        .await
        .assert_ok();
    say(ALPHA)
        .send(&emulator)
        .await
        .assert_error(503, "The model is overloaded.");
    say(ALPHA).send(&emulator).await.assert_ok();
}

#[tokio::test]
async fn faults_match_by_key_path_kind_and_method() {
    let emulator = start(two_projects()).await;
    let matches = [
        Match {
            key: Some(BETA.to_owned()),
            ..Match::default()
        },
        Match {
            path: Some(":streamGenerate".to_owned()),
            ..Match::default()
        },
        Match {
            kind: Some(gemini_emulator::Kind::Count),
            ..Match::default()
        },
        Match {
            method: Some("GET".to_owned()),
            ..Match::default()
        },
        Match {
            method: Some("embedContent".to_owned()),
            ..Match::default()
        },
    ];
    for one in matches {
        emulator
            .fault(one, 1, Fault::Error("internal".to_owned()))
            .unwrap();
    }
    Ask::say(FLASH, "hi")
        .key(ALPHA)
        .send(&emulator)
        .await
        .assert_ok();
    for ask in [
        Ask::say(FLASH, "hi").key(BETA),
        stream(),
        Ask::say("/v1beta/models/gemini-2.5-flash:countTokens", "hi").key(ALPHA),
        Ask::new("GET", "/v1beta/models").key(ALPHA),
        Ask::new("POST", "/v1beta/models/gemini-embedding-001:embedContent")
            .json(&json!({"content": {}}))
            .key(ALPHA),
    ] {
        assert_eq!(ask.send(&emulator).await.status, 500);
    }
    emulator
        .fault(Match::default(), 5, Fault::Error("internal".to_owned()))
        .unwrap();
    emulator.clear_faults();
    stream().send(&emulator).await.assert_ok();
}

#[tokio::test]
async fn an_answer_can_be_spelt_out() {
    let fault =
        json!({"status": 418, "body": {"a": 1}, "headers": {"x-made-up": "yes"}, "gzip": true});
    let emulator = broken(serde_json::from_value(fault).unwrap()).await;
    let answer = stream().send(&emulator).await;
    assert_eq!(
        (
            answer.status,
            answer.header("x-made-up"),
            answer.header("content-encoding")
        ),
        (418, "yes", "gzip")
    );
    assert_eq!(answer.json(), json!({"a": 1}));
    let emulator =
        broken(serde_json::from_value(json!({"status": 502, "body": "<html>no</html>"})).unwrap())
            .await;
    let answer = stream().send(&emulator).await;
    assert_eq!(
        (answer.header("content-type"), answer.text().as_str()),
        ("text/html; charset=UTF-8", "<html>no</html>")
    );
}

#[tokio::test]
async fn errors_by_name_have_the_shape_of_the_surface() {
    let emulator = broken(Fault::Error("prepay_depleted".to_owned())).await;
    let answer = Ask::chat("hi", false).bearer(ALPHA).send(&emulator).await;
    assert!(answer.json().is_array());
    answer.assert_error(402, "AI Studio at    https://ai.studio/projects");
    let emulator = broken(Fault::Error("robot_page".to_owned())).await;
    let answer = stream().send(&emulator).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (403, "text/html; charset=UTF-8")
    );
    let emulator = broken(Fault::Error("file_permission".to_owned())).await;
    let answer = Ask::new("GET", "/v1beta/files/abc-123")
        .key(ALPHA)
        .send(&emulator)
        .await;
    answer.assert_error(
        403,
        "You do not have permission to access the File abc-123 or it may not exist.",
    );
}

#[tokio::test]
async fn an_error_in_a_stream_is_raw_as_google_sends_it() {
    for after_chunks in [0, 2] {
        let emulator = broken(Fault::InStreamError {
            name: "overloaded".to_owned(),
            after_chunks,
        })
        .await;
        let answer = stream().send(&emulator).await;
        assert_eq!((answer.status, answer.broken), (200, false));
        let text = answer.text();
        let (events, error) = text.split_at(text.find("{\n  \"error\"").unwrap());
        assert_eq!(events.matches("data: ").count(), after_chunks);
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(error).unwrap()["error"]["code"],
            503
        );
        assert_eq!(last_outcome(&emulator).await, Outcome::Fault);
    }
}

#[tokio::test]
async fn a_connection_can_be_reset_before_any_answer() {
    let emulator = broken(Fault::Reset(ResetPoint::BeforeAnswer)).await;
    assert_eq!(
        raw(&emulator, stream()).await,
        (String::new(), Err(ErrorKind::ConnectionReset))
    );
    assert_eq!(emulator.requests()[0].status, None);
}

#[tokio::test]
async fn a_connection_can_be_reset_after_the_headers() {
    let emulator = broken(Fault::Reset(ResetPoint::AfterHeaders)).await;
    let (seen, end) = raw(&emulator, stream()).await;
    assert!(
        seen.starts_with("HTTP/1.1 200 OK") && seen.ends_with("\r\n\r\n"),
        "{seen}"
    );
    assert_eq!(end, Err(ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn a_connection_can_be_reset_in_the_middle() {
    let emulator = broken(Fault::Reset(ResetPoint::AfterChunks(2))).await;
    let (seen, end) = raw(&emulator, stream()).await;
    assert_eq!(
        (seen.matches("data: ").count(), end),
        (2, Err(ErrorKind::ConnectionReset))
    );
    // A whole answer breaks off half-way.
    let emulator = broken(Fault::Reset(ResetPoint::AfterChunks(1))).await;
    let (seen, end) = raw(&emulator, Ask::say(FLASH, "hi").key(ALPHA)).await;
    assert!(
        seen.contains("\"candidates\"") && !seen.contains("finishReason")
            || !seen.contains("responseId"),
        "{seen}"
    );
    assert_eq!(end, Err(ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn a_connection_can_be_closed_in_order_without_an_answer() {
    let emulator = broken(Fault::CloseWithoutAnswer).await;
    assert_eq!(raw(&emulator, stream()).await, (String::new(), Ok(())));
}

#[tokio::test]
async fn a_stream_can_end_in_order_and_too_early() {
    let emulator = broken(Fault::Truncate(2)).await;
    let answer = stream().send(&emulator).await;
    assert!(!answer.broken);
    assert_eq!(answer.events().len(), 2);
    assert!(!answer.text().contains("finishReason"));
}

#[tokio::test]
async fn an_answer_can_be_empty() {
    let emulator = broken(Fault::Empty).await;
    let answer = stream().send(&emulator).await;
    assert_eq!(
        (answer.status, answer.bytes().len(), answer.broken),
        (200, 0, false)
    );
    assert_eq!(last_outcome(&emulator).await, Outcome::Fault);
}

#[tokio::test]
async fn silence_passes_and_the_answer_is_whole() {
    for fault in [
        Fault::Stall {
            millis: 60,
            after_chunks: 0,
        },
        Fault::Stall {
            millis: 60,
            after_chunks: 3,
        },
        Fault::Delay(60),
    ] {
        let emulator = broken(fault).await;
        let begun = Instant::now();
        let answer = stream().send(&emulator).await;
        assert!(begun.elapsed() >= Duration::from_millis(60));
        assert_eq!(answer.events().len(), 5);
        assert_eq!(last_outcome(&emulator).await, Outcome::Served);
    }
}

#[tokio::test]
async fn a_fault_that_makes_no_sense_is_turned_down() {
    let emulator = start(two_projects()).await;
    let why = emulator
        .fault(Match::default(), 1, Fault::Error("overlooded".to_owned()))
        .unwrap_err();
    assert!(
        why.contains("overlooded") && why.contains("overloaded"),
        "{why}"
    );
}
