//! Bodies: what is held of them, how much in all, and how much is read.

use super::*;

const BODIES: &str = r#","GEMINI_RELAY_REPLAY_TOTAL":"10MB","GEMINI_RELAY_REPLAY_LIMIT":"8MB""#;

/// A request of `client` with a body that says this of itself, and the most that is kept of it.
#[track_caller]
fn begin(engine: &mut Engine, client: &str, length: &str) -> (usize, u32) {
    let head = format!(
        "POST\nhttps://relay.example{PATH}\ncontent-type:application/json\nx-goog-api-key:{client}\n{length}"
    );
    match engine.begin(&head, NOW) {
        Said::Gather { limit, handle, .. } => (limit, handle),
        said => panic!("{said:?}"),
    }
}

/// How much of a body is held in the end, of which as much came as there was room for.
#[track_caller]
fn come(engine: &mut Engine, client: &str, length: &str) -> (usize, u32) {
    let (_, handle) = begin(engine, client, length);
    let mut held = 4096;
    while engine.room(handle, held + 4096) {
        held += 4096;
    }
    (held, handle)
}

#[test]
fn what_came_of_bodies_has_a_limit_in_all_which_is_given_back() {
    let engine = &mut Stand::new(BODIES).engine;
    let (first, handle) = come(engine, "x", "content-length:9000000\n");
    assert!((7_990_000..=8_000_000).contains(&first), "{first}");
    let (second, other) = come(engine, "x", "");
    let all = engine.kept.all();
    assert!((8_740_000..=8_750_000).contains(&all), "{first} {second}");
    engine.gone(handle, NOW);
    engine.body(other, b"", 100, true, NOW);
    assert_eq!(engine.kept.all(), 100);
    engine.gone(other, NOW);
    assert_eq!(engine.kept.all(), 0);
}

#[test]
fn bodies_that_begin_and_never_come_take_no_retry_from_others() {
    let engine = &mut Stand::new("").engine;
    for at in 0..500 {
        let length = ["", "content-length:5100000\n", "content-length:60000\n"][at % 3];
        begin(engine, "x", length);
    }
    for length in ["", "content-length:8000000\n"] {
        let (limit, handle) = begin(engine, "x", length);
        assert_eq!(limit, 16_000_000);
        assert!(engine.room(handle, 8_000_000), "{length}");
    }
}

#[test]
fn one_clients_bodies_leave_room_for_anothers() {
    let tokens = format!(
        r#"{BODIES},"GEMINI_RELAY_TOKENS":"alice=made-up-and-long-1, bob=made-up-and-long-2""#
    );
    let engine = &mut Stand::new(&tokens).engine;
    for _ in 0..200 {
        come(engine, "made-up-and-long-1", "");
    }
    let (limit, handle) = begin(engine, "made-up-and-long-2", "content-length:1000000\n");
    assert_eq!(limit, 8_000_000);
    assert!(engine.room(handle, 1_000_000));
}

#[test]
fn large_bodies_leave_room_for_small_ones() {
    let engine = &mut Stand::new(BODIES).engine;
    for _ in 0..2 {
        come(engine, "x", "content-length:8000000\n");
    }
    let (limit, large) = begin(engine, "x", "content-length:100000\n");
    assert_eq!((limit, engine.room(large, 8192)), (0, false));
    for length in ["content-length:64000\n", ""] {
        let (_, handle) = begin(engine, "x", length);
        assert!(engine.room(handle, 64_000), "{length}");
    }
    let (unsaid, _) = come(engine, "x", "");
    assert_eq!(unsaid, 64 * 1024, "it is small for so long");
}

#[test]
fn a_body_that_stops_is_a_408_with_a_line_and_is_given_back() {
    let mut stand = Stand::new(BODIES);
    let (_, handle) = begin(&mut stand.engine, "x", "");
    let (status, headers, _) = answer(stand.engine.stalled(handle, NOW));
    assert_eq!(status.as_u16(), 408);
    assert_eq!(headers["x-gemini-relay-reason"], "body-timeout");
    assert_eq!(stand.engine.kept.all(), 0);
    // On its way through.
    let (_, handle) = begin(&mut stand.engine, "x", "content-length:9000000\n");
    stand.engine.body(handle, b"", 3_000_000, false, NOW);
    stand.engine.planned(handle, "", NOW);
    stand.engine.taken(handle, 3_000_000);
    let (status, headers, _) = answer(stand.engine.stalled(handle, NOW));
    assert_eq!(status.as_u16(), 408);
    assert_eq!(headers["x-gemini-relay-reason"], "body-timeout");
    assert_eq!(stand.lines().matches("reason=body-timeout").count(), 2);
    let (_, said) = stand.sent(PATH);
    key_of(&said);
}

#[test]
fn what_is_held_of_a_passing_body_is_let_go_as_its_attempt_takes_it() {
    let mut stand = Stand::new(BODIES);
    let engine = &mut stand.engine;
    let (_, handle) = begin(engine, "x", "content-length:9000000\n");
    let said = engine.body(handle, b"", 3_000_000, false, NOW);
    assert_eq!(engine.kept.all(), 3_000_000);
    assert!(matches!(said, Said::Ask(_)));
    engine.planned(handle, "", NOW);
    engine.taken(handle, 2_000_000);
    assert_eq!(engine.kept.all(), 1_000_000);
    engine.taken(handle, 1_000_000);
    engine.taken(handle, 6_000_000);
    assert_eq!(engine.kept.all(), 0, "Google may think for minutes now");
    engine.gone(handle, NOW);
    let lines = stand.lines();
    assert!(lines.contains("received=9000000"), "{lines}");
}

#[test]
fn a_body_is_let_go_once_its_answer_passes() {
    let mut stand = Stand::new("");
    let (handle, _) = stand.sent(PATH);
    let before = stand.engine.kept.all();
    assert!(before > 0);
    stand
        .engine
        .answered(handle, 200, "content-type:text/event-stream\n", NOW);
    let event = br#"{"candidates":[{"content":{"parts":[{"text":"x"}]}}]}"#;
    let said = stand.engine.piece(handle, event, false, false, NOW);
    assert!(matches!(said, Said::Pass { .. }), "{said:?}");
    assert_eq!(stand.engine.kept.all(), 0);
}

#[test]
fn little_is_kept_of_an_exchange_whose_answer_passes() {
    let mut stand = Stand::new("");
    let head = format!(
        "POST\nhttps://relay.example{STREAM}&x={0}\ncontent-type:application/json\nx-pad:{0}\n",
        "p".repeat(10_000)
    );
    let Said::Gather { handle, .. } = stand.engine.begin(&head, NOW) else {
        panic!()
    };
    stand.engine.body(handle, b"{}", 2, true, NOW);
    stand.engine.planned(handle, "", NOW);
    stand.engine.answered(handle, 200, "", NOW);
    let event = format!(
        "data: {{\"candidates\":[{{\"text\":\"{}\"}}]}}\n\n",
        "x".repeat(5000)
    );
    let said = stand
        .engine
        .piece(handle, event.as_bytes(), false, false, NOW);
    assert!(matches!(said, Said::Pass { .. }), "{said:?}");
    let held = format!("{:?}", stand.engine.exchanges[&handle]).len();
    assert!(held < 5000, "{held}");
}

#[test]
fn what_is_held_of_a_passing_body_is_counted_until_it_is_taken_though_its_answer_passes() {
    let mut stand = Stand::new(BODIES);
    let (_, handle) = begin(&mut stand.engine, "x", "content-length:9000000\n");
    stand.engine.body(handle, b"", 3_000_000, false, NOW);
    stand.engine.planned(handle, "", NOW);
    stand.engine.answered(handle, 200, "", NOW);
    let said = stand.engine.piece(handle, b"{", false, false, NOW);
    assert!(matches!(said, Said::Pass { .. }), "{said:?}");
    assert_eq!(stand.engine.kept.all(), 3_000_000);
    stand.engine.taken(handle, 3_000_000);
    assert_eq!(stand.engine.kept.all(), 0);
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
