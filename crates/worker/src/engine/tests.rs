//! Whole conversations with the engine, without a runtime.

mod answers;
mod bodies;
mod log;
mod refusals;
mod regions;

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
fn what_is_learned_is_told_by_itself_once_in_five_asks_and_else_with_the_next() {
    let mut stand = Stand::new("");
    let (mut reports, mut told) = (Vec::new(), 0);
    for second in 0..12 {
        // Longer than anybody waits for the next ask.
        let now = NOW + Duration::from_secs(100 * second);
        let handle = stand.begin(PATH);
        let said = stand.engine.body(handle, b"", 0, true, now);
        let Said::Ask(ask) = said else {
            panic!("{said:?}")
        };
        told += wire::read_ask(&ask).unwrap().2.events.len();
        let reply = stand.object.plan(&ask, now);
        key_of(&stand.engine.planned(handle, &reply, now));
        stand.engine.answered(handle, 429, "", now);
        stand.engine.error(handle, QUOTA.into(), true, now);
        stand.engine.gone(handle, now);
        let report = stand.engine.report(now);
        told += wire::read_report(&report).events.len();
        stand.object.report(&report, now);
        reports.push(!report.is_empty());
    }
    let by_itself: Vec<usize> = (0..12).filter(|at| reports[*at]).collect();
    assert_eq!((by_itself, told), (vec![0, 5, 10], 11));
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
    let other = stand.begin(PATH);
    let Said::Ask(ask) = stand.engine.body(other, b"", 0, true, later) else {
        panic!()
    };
    let told = wire::read_ask(&ask).unwrap().2.events.len();
    assert_eq!(told, 1, "nothing is lost");
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
fn a_request_whose_glue_was_lost_is_closed_after_hours() {
    let mut stand = Stand::new("");
    stand.sent(PATH);
    let later = NOW + Duration::from_secs(3 * 3600);
    stand
        .engine
        .begin("GET\nhttps://relay.example/-/ready\n", later);
    assert_eq!(
        (stand.engine.kept.all(), stand.engine.exchanges.len()),
        (0, 0)
    );
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
        (stand.engine.kept.all(), stand.engine.relay.in_progress()),
        (0, (0, 0))
    );
}
