//! Whole conversations with the engine, without a runtime.

mod refusals;

use super::{End, Engine, Failure, Shown};
use crate::said::{Body, Said};
use crate::{PoolObject, wire};
use gemini_relay_core::Time;
use http::{HeaderMap, StatusCode};
use serde_json::json;
use std::time::Duration;

const NOW: Time = Time::from_millis(1_795_348_800_000);
const SOON: Time = Time::from_millis(1_795_348_800_050);
const PATH: &str = "/v1beta/models/gemini-2.5-flash:generateContent";
const STREAM: &str = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse";
const HELLO: &str = r#"{"contents":[{"role":"user","parts":[{"text":"hello"}]}]}"#;

struct Stand {
    engine: Engine,
    object: PoolObject,
}

impl Stand {
    fn new(more: &str) -> Self {
        let variables = format!(r#"{{"GEMINI_RELAY_ALLOW_ANONYMOUS":"on"{more}}}"#);
        let keys = json!({"config": r#"["made-up-key-0","made-up-key-1","made-up-key-2"]"#});
        let mut engine = Engine::new(&variables, 7, NOW);
        engine.keys(&keys.to_string(), NOW);
        let mut object = PoolObject::new(&variables, 9, NOW);
        object.keys(&keys.to_string(), NOW);
        Self { engine, object }
    }

    fn begin(&mut self, path: &str) -> u32 {
        let head = format!(
            "POST\nhttps://relay.example{path}\ncontent-type:application/json\nx-goog-api-key:of-the-client\n"
        );
        match self.engine.begin(&head, NOW) {
            Said::Gather { handle, .. } => handle,
            said => panic!("{said:?}"),
        }
    }

    /// A request as far as its first attempt.
    fn sent(&mut self, path: &str) -> (u32, Said) {
        let handle = self.begin(path);
        let said = self
            .engine
            .body(handle, HELLO.as_bytes(), HELLO.len(), true, NOW);
        let Said::Ask(ask) = said else {
            panic!("{said:?}")
        };
        let reply = self.object.plan(&ask, NOW);
        (handle, self.engine.planned(handle, &reply, NOW))
    }

    fn lines(&mut self) -> String {
        self.engine.take_lines().join("\n")
    }
}

#[track_caller]
fn key_of(said: &Said) -> String {
    match said {
        Said::Send { headers, .. } => headers["x-goog-api-key"].to_str().unwrap().to_owned(),
        said => panic!("{said:?}"),
    }
}

#[track_caller]
fn answer(said: Said) -> (StatusCode, HeaderMap, Body) {
    match said {
        Said::Answer {
            status,
            headers,
            body,
        } => (status, headers, body),
        said => panic!("{said:?}"),
    }
}

const QUOTA: &str = r#"{"error":{"code":429,"message":"You exceeded your current quota.\nPlease retry in 60s.","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaId":"GenerateRequestsPerMinutePerProjectPerModel-FreeTier"}]},{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"60s"}]}}"#;

#[test]
fn a_key_for_a_models_name_is_not_in_the_log() {
    let mut stand = Stand::new("");
    let (handle, _) = stand.sent("/v1beta/models/made-up-key-1:countTokens");
    stand
        .engine
        .answered(handle, 200, "content-length:2\n", NOW);
    answer(stand.engine.whole(handle, b"{}".to_vec(), SOON));
    let lines = stand.lines();
    assert!(lines.contains("status=200"), "{lines}");
    assert!(!lines.contains("made-up-key"), "{lines}");
    // Nor in what is learned of it, and no line is made by it.
    for name in [
        "made-up-key-1",
        "x%0A2026-11-22T12:00:00.000Z%20ERROR%20forged",
    ] {
        let (handle, _) = stand.sent(&format!("/v1beta/models/{name}:countTokens"));
        stand.engine.answered(handle, 429, "", NOW);
        stand.engine.error(handle, QUOTA.into(), true, NOW);
        let lines = stand.lines();
        assert!(lines.contains("cools: project"), "{lines}");
        assert!(!lines.contains("made-up-key"), "{lines}");
        assert_eq!(lines.lines().count(), 1, "{lines}");
    }
}

#[test]
fn a_small_answer_is_read_whole_and_passed_on_as_it_is() {
    let mut stand = Stand::new("");
    let (handle, said) = stand.sent(PATH);
    assert_eq!(key_of(&said), "made-up-key-0");
    let Said::Send { url, headers, .. } = said else {
        unreachable!()
    };
    assert_eq!(
        url,
        format!("https://generativelanguage.googleapis.com{PATH}")
    );
    assert_eq!(headers.get_all("x-goog-api-key").iter().count(), 1);
    let said = stand
        .engine
        .answered(handle, 200, "content-length:20\nalt-svc:h3\n", NOW);
    assert_eq!(said, Said::ReadWhole);
    let body = br#"{"usageMetadata":{"totalTokenCount":7}}"#.to_vec();
    let (status, headers, body) = answer(stand.engine.whole(handle, body, SOON));
    assert_eq!((status.as_u16(), body), (200, Body::AsRead));
    assert_eq!(headers["x-gemini-relay-key"], "key_0");
    assert!(!headers.contains_key("alt-svc"));
    let lines = stand.lines();
    assert!(
        lines.contains("tokens=7") && lines.contains("verdicts=served") && lines.contains("ms=50"),
        "{lines}"
    );
}

#[test]
fn that_a_key_is_served_is_told_once_in_a_while() {
    let mut stand = Stand::new("");
    let mut told = 0;
    for _ in 0..12 {
        let (handle, _) = stand.sent(PATH);
        let length = "content-length:20\n";
        stand.engine.answered(handle, 200, length, SOON);
        stand.engine.whole(handle, b"{}".to_vec(), SOON);
        // It goes with the next request's question.
        told += stand.engine.waiting(SOON);
    }
    assert_eq!(told, 3, "of each key once");
}

#[test]
fn a_refused_key_is_walked_past_and_the_object_told_with_the_next_ask() {
    let mut stand = Stand::new("");
    let (handle, _) = stand.sent(PATH);
    assert_eq!(stand.engine.answered(handle, 429, "", NOW), Said::ReadError);
    let said = stand.engine.error(handle, QUOTA.into(), true, NOW);
    assert_eq!(key_of(&said), "made-up-key-1");
    assert_eq!(stand.engine.waiting(SOON), 1);
    let other = stand.begin(PATH);
    let Said::Ask(ask) = stand.engine.body(other, b"", 0, true, NOW) else {
        panic!()
    };
    assert_eq!(wire::read_ask(&ask).unwrap().2.events.len(), 1);
    assert_eq!(stand.engine.waiting(SOON), 0);
    // The object did not answer: it is told again.
    key_of(&stand.engine.planned(other, "", NOW));
    assert_eq!(stand.engine.waiting(SOON), 1);
}

#[test]
fn an_object_that_is_out_is_told_nothing_until_it_is_asked_again() {
    let mut stand = Stand::new("");
    let (handle, _) = stand.sent(PATH);
    stand.engine.answered(handle, 429, "", NOW);
    stand.engine.error(handle, QUOTA.into(), true, NOW);
    for _ in 0..2 {
        let other = stand.begin(PATH);
        let said = stand.engine.body(other, b"", 0, true, NOW);
        assert!(matches!(said, Said::Ask(_)), "{said:?}");
        stand.engine.planned(other, "", NOW);
    }
    // A report that does not arrive is a call that was not answered, too.
    let report = stand.engine.report(NOW);
    assert!(!report.is_empty());
    stand.engine.unreported(&report, NOW);
    let other = stand.begin(PATH);
    key_of(&stand.engine.body(other, b"", 0, true, SOON));
    assert_eq!(stand.engine.waiting(SOON), 0);
    assert_eq!(stand.engine.report(SOON), "");
    let later = NOW + Duration::from_secs(11);
    assert_eq!(stand.engine.waiting(later), 1, "nothing is lost");
    let other = stand.begin(PATH);
    let Said::Ask(ask) = stand.engine.body(other, b"", 0, true, later) else {
        panic!()
    };
    assert_eq!(wire::read_ask(&ask).unwrap().2.events.len(), 1);
}

#[test]
fn a_request_whose_client_leaves_before_the_plan_gives_back_what_it_carried() {
    let mut stand = Stand::new("");
    let (handle, _) = stand.sent(PATH);
    stand.engine.answered(handle, 429, "", NOW);
    stand.engine.error(handle, QUOTA.into(), true, NOW);
    let other = stand.begin(PATH);
    stand.engine.body(other, b"", 0, true, NOW);
    stand.engine.gone(other, NOW);
    assert_eq!(stand.engine.waiting(SOON), 1);
    assert!(stand.lines().contains("ending=cancelled"));
    assert_eq!(stand.engine.planned(other, "", NOW), Said::Gone);
}

#[test]
fn a_stream_is_looked_at_watched_and_ended() {
    let mut stand = Stand::new("");
    let (handle, _) = stand.sent(STREAM);
    assert_eq!(stand.engine.answered(handle, 200, "", NOW), Said::Look);
    assert_eq!(
        stand.engine.piece(handle, b"data: ", false, false, NOW),
        Said::Look
    );
    let event =
        br#"{"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"totalTokenCount":9}}"#;
    assert!(matches!(
        stand.engine.piece(handle, event, false, false, NOW),
        Said::Pass { .. }
    ));
    for piece in [&b"data: "[..], event] {
        assert_eq!(stand.engine.see(handle, piece, SOON), Shown::AsItIs);
    }
    assert_eq!(
        stand.engine.ended(handle, false, SOON),
        End::Whole(Vec::new())
    );
    assert!(stand.lines().contains("tokens=9"));
}

#[test]
fn a_stream_that_stops_short_is_cut_and_one_that_begins_with_an_error_is_tried_again() {
    let mut stand = Stand::new("");
    let (handle, _) = stand.sent(STREAM);
    stand.engine.answered(handle, 200, "", NOW);
    let said = stand
        .engine
        .piece(handle, QUOTA.as_bytes(), false, false, NOW);
    assert_eq!(key_of(&said), "made-up-key-1");
    stand.engine.answered(handle, 200, "", NOW);
    let event = br#"data: {"candidates":[]}"#;
    assert!(matches!(
        stand.engine.piece(handle, event, false, false, NOW),
        Said::Pass { .. }
    ));
    stand.engine.see(handle, event, NOW);
    assert_eq!(stand.engine.ended(handle, false, NOW), End::Cut);
    assert!(stand.lines().contains("ending=cut"));
}

#[test]
fn a_key_quoted_on_the_way_is_covered_whatever_pieces_it_comes_in() {
    let mut stand = Stand::new("");
    let (handle, _) = stand.sent(STREAM);
    stand.engine.answered(handle, 200, "", NOW);
    stand
        .engine
        .piece(handle, b"data: {\"candidates\":1", false, false, NOW);
    let text = "data: {\"error\": \"made-up-key-0 is suspended\"} made-up-key";
    let mut out = Vec::new();
    for piece in text.as_bytes().chunks(9) {
        match stand.engine.see(handle, piece, NOW) {
            Shown::AsItIs => out.extend_from_slice(piece),
            Shown::Instead(bytes) => out.extend(bytes),
        }
    }
    if let End::Whole(rest) = stand.engine.ended(handle, false, NOW) {
        out.extend(rest);
    }
    let covered = text.replace("made-up-key-0", "*************");
    assert_eq!(String::from_utf8(out).unwrap(), covered);
}

#[test]
fn a_pool_that_is_dry_is_waited_for_and_then_refused_with_the_true_time() {
    let mut stand = Stand::new(r#","GEMINI_RELAY_MAX_WAIT":"90s""#);
    let (handle, mut said) = stand.sent(PATH);
    for _ in 0..3 {
        key_of(&said);
        stand.engine.answered(handle, 429, "", NOW);
        said = stand.engine.error(handle, QUOTA.into(), true, NOW);
    }
    assert_eq!(said, Said::Wait(1000));
    let mut now = NOW;
    while let Said::Wait(millis) = said {
        now = now + Duration::from_millis(millis.into());
        said = stand.engine.turn(handle, now);
    }
    key_of(&said);
    assert!(now.since(NOW) >= Duration::from_secs(60) && now.since(NOW) < Duration::from_secs(62));
    let mut stand = Stand::new(r#","GEMINI_RELAY_MAX_WAIT":"0""#);
    let (handle, mut said) = stand.sent(PATH);
    for _ in 0..3 {
        stand.engine.answered(handle, 429, "", NOW);
        said = stand.engine.error(handle, QUOTA.into(), true, NOW);
    }
    let (status, headers, _) = answer(said);
    assert_eq!(
        (status.as_u16(), &headers["retry-after"]),
        (429, &"60".parse().unwrap())
    );
}

#[test]
fn what_may_create_something_is_not_sent_again_after_a_broken_connection() {
    let mut stand = Stand::new("");
    let (handle, _) = stand.sent("/v1beta/webhooks");
    let (status, ..) = answer(stand.engine.failed(handle, Failure::Broken, NOW));
    assert_eq!(status.as_u16(), 502);
    let (handle, said) = stand.sent(PATH);
    let first = key_of(&said);
    let said = stand.engine.failed(handle, Failure::Broken, NOW);
    assert!(matches!(said, Said::Wait(_)), "{said:?} after {first}");
}

#[test]
fn an_answer_in_a_coding_that_cannot_be_undone_is_not_passed_on() {
    let mut stand = Stand::new("");
    let (handle, _) = stand.sent(PATH);
    let said = stand
        .engine
        .answered(handle, 200, "content-encoding:zstd\n", NOW);
    assert!(matches!(said, Said::Wait(_)), "{said:?}");
    let (handle, _) = stand.sent(PATH);
    let said = stand.engine.answered(
        handle,
        200,
        "content-encoding:gzip\ncontent-length:5\n",
        NOW,
    );
    assert_eq!(said, Said::Look);
}

const NOWHERE: &str = r#"{"error":{"code":400,"message":"User location is not supported for the API use.","status":"FAILED_PRECONDITION"}}"#;

#[test]
fn another_region_is_tried_before_a_key_and_each_only_once() {
    let mut stand = Stand::new(r#","GEMINI_RELAY_EGRESS_REGION":"wnam weur""#);
    let (handle, mut said) = stand.sent(PATH);
    let mut went = Vec::new();
    while let Said::Send {
        region, headers, ..
    } = &said
    {
        went.push((
            region.clone().unwrap_or_default(),
            headers["x-goog-api-key"].to_str().unwrap().to_owned(),
        ));
        stand.engine.answered(handle, 400, "", NOW);
        said = stand.engine.error(handle, NOWHERE.into(), true, NOW);
    }
    let regions: Vec<&str> = went.iter().map(|(region, _)| &**region).collect();
    assert_eq!(regions, ["", "wnam", "weur"]);
    assert!(went.iter().all(|(_, key)| key == "made-up-key-0"));
    assert_eq!(answer(said).0.as_u16(), 400);
    assert_eq!(
        stand.engine.waiting(SOON),
        0,
        "nothing is held against a key"
    );
}

const BODIES: &str = r#","GEMINI_RELAY_REPLAY_TOTAL":"10MB","GEMINI_RELAY_REPLAY_LIMIT":"8MB""#;

/// How much is kept of a body that says this of itself.
#[track_caller]
fn limit(engine: &mut Engine, length: &str) -> (usize, u32) {
    let head =
        format!("POST\nhttps://relay.example{PATH}\ncontent-type:application/json\n{length}");
    match engine.begin(&head, NOW) {
        Said::Gather { limit, handle, .. } => (limit, handle),
        said => panic!("{said:?}"),
    }
}

#[test]
fn bodies_have_a_limit_in_all_which_is_given_back() {
    let engine = &mut Stand::new(BODIES).engine;
    let (first, handle) = limit(engine, "content-length:6000000\n");
    let (second, other) = limit(engine, "content-length:2000000\n");
    assert_eq!(
        (first, second),
        (8_000_000, 2_750_000),
        "reserved before it came"
    );
    engine.body(handle, b"", 6_000_000, true, NOW);
    engine.gone(handle, NOW);
    engine.gone(other, NOW);
    let (unsaid, handle) = limit(engine, "");
    assert_eq!(
        unsaid, 4_375_000,
        "one that does not say its length leaves half"
    );
    engine.body(handle, b"", 100, true, NOW);
    assert_eq!(limit(engine, "content-length:9000000\n").0, 8_000_000);
}

#[test]
fn a_body_of_unsaid_length_is_counted_while_it_comes_whatever_the_method() {
    let engine = &mut Stand::new(BODIES).engine;
    for method in ["POST", "GET", "DELETE", "OPTIONS"] {
        let head = format!("{method}\nhttps://relay.example{PATH}\n");
        let Said::Gather { handle, limit, .. } = engine.begin(&head, NOW) else {
            panic!("{method}")
        };
        assert_eq!(engine.kept, limit, "{method}");
        // As a rule there is none.
        engine.body(handle, b"", 0, true, NOW);
        assert_eq!(engine.kept, 0, "{method}");
    }
}

#[test]
fn large_bodies_leave_room_for_small_ones() {
    let engine = &mut Stand::new(BODIES).engine;
    for length in [8_000_000, 700_000] {
        limit(engine, &format!("content-length:{length}\n"));
    }
    assert_eq!(limit(engine, "content-length:100000\n").0, 50_000);
    let (small, _) = limit(engine, "content-length:1000\n");
    let (unsaid, _) = limit(engine, "");
    assert!(small >= 1000 && unsaid == 64 * 1024, "{small} {unsaid}");
}

#[test]
fn what_is_held_of_a_passing_body_is_let_go_as_its_attempt_takes_it() {
    let mut stand = Stand::new(BODIES);
    let engine = &mut stand.engine;
    let (_, handle) = limit(engine, "content-length:9000000\n");
    let said = engine.body(handle, b"", 3_000_000, false, NOW);
    assert_eq!(engine.kept, 3_000_000);
    assert!(matches!(said, Said::Ask(_)));
    engine.planned(handle, "", NOW);
    engine.taken(handle, 2_000_000);
    assert_eq!(engine.kept, 1_000_000);
    engine.taken(handle, 1_000_000);
    engine.taken(handle, 6_000_000);
    assert_eq!(engine.kept, 0, "Google may think for minutes now");
    engine.gone(handle, NOW);
    let lines = stand.lines();
    assert!(lines.contains("received=9000000"), "{lines}");
}

#[test]
fn a_body_is_let_go_once_its_answer_passes() {
    let mut stand = Stand::new("");
    let (handle, _) = stand.sent(PATH);
    let before = stand.engine.kept;
    assert!(before > 0);
    stand
        .engine
        .answered(handle, 200, "content-type:text/event-stream\n", NOW);
    let event = br#"{"candidates":[{"content":{"parts":[{"text":"x"}]}}]}"#;
    let said = stand.engine.piece(handle, event, false, false, NOW);
    assert!(matches!(said, Said::Pass { .. }), "{said:?}");
    assert_eq!(stand.engine.kept, 0);
}

#[test]
fn what_is_held_of_a_passing_body_is_counted_until_it_is_taken_though_its_answer_passes() {
    let mut stand = Stand::new(BODIES);
    let (_, handle) = limit(&mut stand.engine, "content-length:9000000\n");
    stand.engine.body(handle, b"", 3_000_000, false, NOW);
    stand.engine.planned(handle, "", NOW);
    stand.engine.answered(handle, 200, "", NOW);
    let said = stand.engine.piece(handle, b"{", false, false, NOW);
    assert!(matches!(said, Said::Pass { .. }), "{said:?}");
    assert_eq!(stand.engine.kept, 3_000_000);
    stand.engine.taken(handle, 3_000_000);
    assert_eq!(stand.engine.kept, 0);
    stand.engine.ended(handle, false, NOW);
    let lines = stand.lines();
    assert!(lines.contains("received=3000000"), "{lines}");
}

#[test]
fn a_status_that_is_none_is_a_broken_connection() {
    for status in [101, 150, 600, 999] {
        let mut stand = Stand::new("");
        let (handle, _) = stand.sent(PATH);
        let mut said = stand.engine.answered(handle, status, "", NOW);
        for _ in 0..20 {
            said = match said {
                Said::Wait(_) => stand.engine.turn(handle, NOW + Duration::from_secs(60)),
                Said::Send { .. } => stand.engine.answered(handle, status, "", NOW),
                said => {
                    assert_eq!(answer(said).0.as_u16(), 502, "{status}");
                    break;
                }
            };
        }
        assert!(stand.engine.exchanges.is_empty(), "{status}");
    }
}

#[test]
fn a_region_that_another_request_found_is_tried_before_giving_up() {
    let mut stand = Stand::new(r#","GEMINI_RELAY_EGRESS_REGION":"wnam weur""#);
    let handles: Vec<u32> = (0..5).map(|_| stand.sent(PATH).0).collect();
    let region = |said: &Said| match said {
        Said::Send { region, .. } => region.clone(),
        said => panic!("{said:?}"),
    };
    // All were sent from here and all are refused; only the first region serves.
    for handle in handles {
        stand.engine.answered(handle, 400, "", NOW);
        let said = stand.engine.error(handle, NOWHERE.into(), true, NOW);
        assert_eq!(region(&said).as_deref(), Some("wnam"));
    }
}

#[test]
fn of_a_large_body_only_so_much_is_read_as_it_may_cost() {
    let mut stand = Stand::new("");
    let mut ask = |parts: &str| {
        let handle = stand.begin("/v1beta/interactions");
        let body = format!(r#"{{"input":[{parts}],"model":"gemini-2.5-pro"}}"#);
        match stand.engine.body(handle, body.as_bytes(), 0, true, NOW) {
            Said::Ask(ask) => wire::read_ask(&ask).unwrap().0.model,
            said => panic!("{said:?}"),
        }
    };
    let picture = format!("\"{}\"", "A".repeat(4_500_000));
    assert_eq!(ask(&picture).as_deref(), Some("gemini-2.5-pro"));
    let text = format!("\"{}\"", "\\n\\n".repeat(1_000_000));
    assert_eq!(ask(&text), None);
}

#[test]
fn a_request_whose_glue_was_lost_is_closed_after_hours() {
    let mut stand = Stand::new("");
    stand.sent(PATH);
    let later = NOW + Duration::from_secs(3 * 3600);
    stand
        .engine
        .begin("GET\nhttps://relay.example/-/ready\n", later);
    assert_eq!((stand.engine.kept, stand.engine.exchanges.len()), (0, 0));
    assert!(stand.lines().contains("ending=cancelled"));
}

#[test]
fn requests_that_are_over_leave_nothing_behind() {
    let mut stand = Stand::new("");
    for at in 0..100 {
        let (handle, _) = stand.sent(PATH);
        match at % 3 {
            0 => stand.engine.gone(handle, NOW),
            1 => {
                stand.engine.answered(handle, 404, "", NOW);
                stand.engine.error(handle, b"not found".to_vec(), true, NOW);
                stand.engine.gone(handle, NOW);
            }
            _ => {
                stand
                    .engine
                    .answered(handle, 200, "content-length:2\n", NOW);
                stand.engine.whole(handle, b"{}".to_vec(), NOW);
            }
        }
    }
    assert!(stand.engine.exchanges.len() <= 1);
    assert_eq!(
        (stand.engine.kept, stand.engine.relay.in_progress()),
        (0, (0, 0))
    );
}

#[test]
fn an_error_that_was_cut_is_cut_for_the_client_too() {
    let mut stand = Stand::new("");
    let (handle, _) = stand.sent(PATH);
    stand
        .engine
        .answered(handle, 400, "content-length:500\n", NOW);
    let beginning = br#"{"error":{"code":400,"#.to_vec();
    let (status, headers, body) = answer(stand.engine.error(handle, beginning, false, NOW));
    assert_eq!(status.as_u16(), 400);
    assert!(!headers.contains_key("content-length"));
    assert_eq!(body, Body::Cut(br#"{"error":{"code":400,"#.to_vec()));
    assert!(stand.lines().contains("ending=cut"));
}

#[test]
fn a_stream_is_told_no_length_so_that_its_end_counts() {
    let mut stand = Stand::new("");
    let (handle, _) = stand.sent("/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse");
    let came = "content-length:40\ncontent-type:text/event-stream\n";
    assert_eq!(stand.engine.answered(handle, 200, came, NOW), Said::Look);
    let piece = b"data: {\"candidates\":[{\"index\":0}]}\r\n\r\n";
    let said = stand.engine.piece(handle, piece, false, false, NOW);
    let Said::Pass { headers, .. } = said else {
        panic!("{said:?}")
    };
    assert!(!headers.contains_key("content-length"));
    stand.engine.see(handle, piece, NOW);
    assert_eq!(stand.engine.ended(handle, false, NOW), End::Cut);
}

#[test]
fn whoever_is_refused_at_the_door_leaves_a_line() {
    for (variables, path, line) in [
        (
            "\"GEMINI_RELAY_TOKENS\":\"a=made-up-token-of-a\"",
            PATH,
            "status=401 reason=unauthorized",
        ),
        ("", PATH, "status=503 reason=no-client-tokens"),
        (
            "\"GEMINI_RELAY_BASE_PATH\":\"/deeper\"",
            PATH,
            "status=404 reason=not-found",
        ),
        ("", "/-/metrics", "status=404 reason=not-found"),
        ("", "/v1beta/../x", "status=400 reason=bad-request"),
    ] {
        let mut engine = Engine::new(&format!("{{{variables}}}"), 7, NOW);
        let head = format!(
            "GET\nhttps://relay.example{path}\nx-goog-api-key:made-up-wrong\ncf-connecting-ip:192.0.2.7\n"
        );
        answer(engine.begin(&head, NOW));
        let lines = engine.take_lines();
        assert_eq!(
            lines,
            [format!(
                "2026-11-22T12:00:00.000Z  INFO refused at the door peer=192.0.2.7 {line}"
            )],
            "{path}"
        );
    }
    let quiet = r#"{"GEMINI_RELAY_LOG_LEVEL":"warn"}"#;
    let mut engine = Engine::new(quiet, 7, NOW);
    answer(engine.begin(&format!("GET\nhttps://relay.example{PATH}\n"), NOW));
    assert_eq!(engine.take_lines(), [""; 0]);
}

#[test]
fn a_request_that_comes_back_is_refused_whatever_joined_its_marks_and_said_once_a_minute() {
    let mut stand = Stand::new(r#","GEMINI_RELAY_UPSTREAM":"https://other.example""#);
    let (_, said) = stand.sent(PATH);
    let Said::Send { headers, .. } = said else {
        panic!("{said:?}")
    };
    let own = headers["x-gemini-relay-hop"].to_str().unwrap();
    for marks in [
        own.to_owned(),
        format!("{own}, 1234"),
        format!("1234,{own}"),
    ] {
        let head = format!("POST\nhttps://relay.example{PATH}\nx-gemini-relay-hop:{marks}\n");
        let (status, ..) = answer(stand.engine.begin(&head, NOW));
        assert_eq!(status.as_u16(), 508, "{marks}");
    }
    let lines = stand.lines();
    assert_eq!(lines.matches("ERROR").count(), 1, "{lines}");
    assert_eq!(lines.matches("reason=loop").count(), 3, "{lines}");
}

#[test]
fn a_request_that_comes_back_is_known_though_a_key_stands_in_its_tokens_place() {
    let tokens = r#","GEMINI_RELAY_TOKENS":"alice=made-up-and-long-1","GEMINI_RELAY_UPSTREAM":"https://other.example""#;
    let mut stand = Stand::new(tokens);
    let head = format!("POST\nhttps://relay.example{PATH}\nx-goog-api-key:made-up-and-long-1\n");
    let Said::Gather { handle, .. } = stand.engine.begin(&head, NOW) else {
        panic!()
    };
    stand.engine.body(handle, b"", 0, true, NOW);
    let Said::Send { headers, .. } = stand.engine.planned(handle, "", NOW) else {
        panic!()
    };
    let sent: String = headers
        .iter()
        .map(|(name, value)| format!("{name}:{}\n", value.to_str().unwrap()))
        .collect();
    assert!(sent.contains("x-goog-api-key:made-up-key-"), "{sent}");
    let head = format!("POST\nhttps://relay.example{PATH}\n{sent}");
    assert_eq!(answer(stand.engine.begin(&head, NOW)).0.as_u16(), 508);
}

#[test]
fn a_long_name_of_an_entry_is_cut_in_the_log() {
    let name = "n".repeat(400);
    let found = json!({"entries": [[name, r#"{"theme": "dark"}"#]], "secret": "made-up-key-0"});
    let mut engine = Engine::new("{}", 7, NOW);
    engine.keys(&found.to_string(), NOW);
    let lines = engine.take_lines().join("\n");
    assert!(
        lines.contains(&format!("\"{}\"", "n".repeat(100))),
        "{lines}"
    );
}

#[test]
fn a_token_that_can_be_guessed_is_said() {
    let variables = r#"{"GEMINI_RELAY_TOKENS":"alice=made-up, bob=made-up-and-long-enough"}"#;
    let lines = Engine::new(variables, 7, NOW).take_lines();
    assert_eq!(
        lines,
        [
            "2026-11-22T12:00:00.000Z  WARN insecure: the client token alice is short and can be guessed"
        ]
    );
}

#[test]
fn of_an_answer_that_is_no_text_only_the_key_is_changed() {
    let quoting = [&b"\xff\xfe\0"[..], b"made-up-key-0", b"\xff"].concat();
    let mut stand = Stand::new("");
    let (handle, _) = stand.sent(PATH);
    stand
        .engine
        .answered(handle, 200, "content-length:17\n", NOW);
    let (.., body) = answer(stand.engine.whole(handle, quoting.clone(), NOW));
    let covered = [&b"\xff\xfe\0"[..], b"*************", b"\xff"].concat();
    assert_eq!(body, Body::Bytes(covered));
    let mut stand = Stand::new("");
    let (handle, _) = stand.sent(PATH);
    stand.engine.answered(handle, 404, "", NOW);
    let (.., body) = answer(stand.engine.error(handle, quoting, true, NOW));
    let masked = [&b"\xff\xfe\0"[..], b"[key]", b"\xff"].concat();
    assert_eq!(body, Body::Bytes(masked));
}

#[test]
fn a_small_answer_that_ends_as_a_key_begins_is_whole() {
    let mut stand = Stand::new("");
    let (handle, _) = stand.sent(PATH);
    let text = r#"{"a":"made-up-key-0"} made-up-key"#;
    let length = format!("content-length:{}\n", text.len());
    stand.engine.answered(handle, 200, &length, NOW);
    let (.., body) = answer(stand.engine.whole(handle, text.into(), NOW));
    let covered = text.replace("made-up-key-0", "*************");
    assert_eq!(body, Body::Bytes(covered.into()));
}

#[test]
fn regions_of_which_none_is_served_are_named_once_and_left_alone_for_a_minute() {
    let mut stand = Stand::new(r#","GEMINI_RELAY_EGRESS_REGION":"wnam weur""#);
    let mut asked = |now: Time| {
        let (handle, mut said) = stand.sent(PATH);
        // The stand's clock does not move; the answers' does.
        let mut regions = Vec::new();
        while let Said::Send { region, .. } = &said {
            regions.push(region.clone().unwrap_or_default());
            stand.engine.answered(handle, 400, "", now);
            said = stand.engine.error(handle, NOWHERE.into(), true, now);
        }
        (regions, stand.lines())
    };
    let (regions, lines) = asked(NOW);
    assert_eq!(regions, ["", "wnam", "weur"]);
    assert!(lines.contains("nor wnam, weur,"), "{lines}");
    let (regions, lines) = asked(SOON);
    assert_eq!(regions, [""]);
    assert!(
        !lines.contains("ERROR") && !lines.contains("go out from"),
        "{lines}"
    );
    let (regions, lines) = asked(NOW + Duration::from_secs(61));
    assert_eq!(regions, ["", "wnam", "weur"]);
    assert!(lines.contains("nor wnam, weur,"), "{lines}");
}

#[test]
fn a_body_that_can_be_sent_once_leaves_the_next_region_to_others() {
    let mut stand = Stand::new(r#","GEMINI_RELAY_EGRESS_REGION":"wnam""#);
    let handle = stand.begin(PATH);
    stand
        .engine
        .body(handle, HELLO.as_bytes(), HELLO.len(), false, NOW);
    stand.engine.planned(handle, "", NOW);
    stand.engine.answered(handle, 400, "", NOW);
    answer(stand.engine.error(handle, NOWHERE.into(), true, NOW));
    let lines = stand.lines();
    assert!(
        lines.contains("region=wnam") && !lines.contains("ERROR"),
        "{lines}"
    );
    let (_, said) = stand.sent(PATH);
    assert!(
        matches!(&said, Said::Send { region, .. } if region.as_deref() == Some("wnam")),
        "{said:?}"
    );
}
