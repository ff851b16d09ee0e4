//! Answers on their way to the client.

use super::*;

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
