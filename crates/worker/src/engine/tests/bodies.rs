//! Bodies: what is held of them, how much in all, and how much is read.

use super::*;

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
