//! Refusals, and who is asked after them.

use super::*;

const PRIVATE: &[u8] =
    br#"{"error":{"code":403,"message":"private","status":"PERMISSION_DENIED"}}"#;
const DAY: &[u8] = br#"{"error":{"code":429,"message":"You exceeded your current quota.","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaId":"GenerateRequestsPerDayPerProjectPerModel-FreeTier","quotaValue":"20"}]}]}}"#;
const TYPE: &[u8] = br#"{"error":{"code":401,"message":"x","status":"UNAUTHENTICATED","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"ACCESS_TOKEN_TYPE_UNSUPPORTED"}]}}"#;

impl Stand {
    fn refused(&mut self, handle: u32, status: u16, headers: &str, body: &[u8]) -> Said {
        let said = self.engine.answered(handle, status, headers, NOW);
        assert_eq!(said, Said::ReadError);
        self.engine.error(handle, body.into(), true, NOW)
    }
}

#[test]
fn a_refusal_stands_if_whoever_is_asked_next_has_no_say() {
    let mut stand = Stand::new("");
    let (handle, said) = stand.sent(PATH);
    let first = key_of(&said);
    let said = stand.refused(handle, 403, "x-of-the:refusal\n", PRIVATE);
    assert_ne!(key_of(&said), first);
    key_of(&stand.refused(handle, 429, "", DAY));
    let (status, headers, body) = answer(stand.refused(handle, 429, "x-of-the:quota\n", DAY));
    assert_eq!(status.as_u16(), 403);
    assert_eq!(
        body,
        Body::Bytes(PRIVATE.into()),
        "what was read last is another's"
    );
    assert_eq!(headers["x-of-the"], "refusal");
    assert_eq!(headers["x-gemini-relay-attempts"], "3");
    assert_eq!(headers["x-gemini-relay-key"], "key_0");
    let lines = stand.lines();
    assert!(
        lines.contains("verdicts=denied,quota,quota status=403"),
        "{lines}"
    );
}

#[test]
fn a_refusal_at_the_beginning_of_a_stream_stands_too() {
    let mut stand = Stand::new("");
    let (handle, _) = stand.sent(STREAM);
    stand
        .engine
        .answered(handle, 200, "content-type:text/event-stream\n", NOW);
    let event = [b"data: ", PRIVATE, b"\n\n"].concat();
    key_of(&stand.engine.piece(handle, &event, false, false, NOW));
    key_of(&stand.refused(handle, 429, "", DAY));
    let (status, headers, body) = answer(stand.refused(handle, 429, "", DAY));
    assert_eq!(status.as_u16(), 200);
    assert_eq!(headers["content-type"], "text/event-stream");
    assert_eq!(body, Body::Bytes(event));
}

#[test]
fn a_key_that_requests_pass_over_is_said() {
    let mut stand = Stand::new("");
    let (handle, said) = stand.sent("/v1beta/models/made-up-key-1:countTokens");
    assert_eq!(key_of(&said), "made-up-key-0");
    let said = stand.refused(handle, 401, "", TYPE);
    assert!(
        matches!(said, Said::Send { .. }),
        "shown another way: {said:?}"
    );
    let said = stand.refused(handle, 401, "", TYPE);
    assert_eq!(key_of(&said), "made-up-key-1");
    stand
        .engine
        .answered(handle, 200, "content-length:2\n", NOW);
    answer(stand.engine.whole(handle, b"{}".to_vec(), SOON));
    let lines = stand.lines();
    let said: Vec<&str> = lines
        .lines()
        .filter(|line| line.contains("passed over"))
        .collect();
    assert_eq!(said.len(), 1, "{lines}");
    assert!(
        said[0].contains("WARN")
            && said[0].contains("key key_0 was refused with 401 what key_1 was served"),
        "{lines}"
    );
    assert!(
        said[0].contains("surface=gemini kind=count model=[key]"),
        "{lines}"
    );
}
