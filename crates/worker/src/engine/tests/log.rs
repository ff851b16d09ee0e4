//! What the log says, and what it must not.

use super::*;

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
fn what_a_fragment_says_is_not_asked() {
    let mut stand = Stand::new("");
    let (handle, _) = stand.sent("/v1beta/models/gemini-2.5-flash:countTokens#:other?x=y");
    stand
        .engine
        .answered(handle, 200, "content-length:2\n", NOW);
    answer(stand.engine.whole(handle, b"{}".to_vec(), SOON));
    let lines = stand.lines();
    assert!(
        lines.contains("kind=count model=gemini-2.5-flash"),
        "{lines}"
    );
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
    let variables = r#"{"GEMINI_RELAY_TOKENS":"alice=made-up"}"#;
    let lines = Engine::new(variables, 7, NOW).take_lines();
    assert_eq!(
        lines,
        [
            "2026-11-22T12:00:00.000Z  WARN insecure: the client token alice is short and can be guessed"
        ]
    );
}

#[test]
fn a_token_where_a_models_name_belongs_is_refused_and_said_nowhere() {
    let token = "made-up-and-long-1";
    let tokens = format!(r#","GEMINI_RELAY_TOKENS":"alice={token}""#);
    let mut stand = Stand::new(&tokens);
    let head = |path: &str| {
        format!(
            "POST\nhttps://relay.example{path}\ncontent-type:application/json\nx-goog-api-key:{token}\n"
        )
    };
    for path in [
        format!("/v1beta/models/{token}:generateContent"),
        "/v1beta/openai/chat/completions".to_owned(),
    ] {
        let body = json!({"model": token, "messages": []}).to_string();
        for leaves in [true, false] {
            let Said::Gather { handle, .. } = stand.engine.begin(&head(&path), NOW) else {
                panic!()
            };
            if leaves {
                stand.engine.gone(handle, NOW);
                continue;
            }
            let said = stand
                .engine
                .body(handle, body.as_bytes(), body.len(), true, NOW);
            assert_eq!(answer(said).0.as_u16(), 400);
        }
    }
    let lines = stand.lines();
    assert!(
        lines.contains("bad-request") && !lines.contains(token),
        "{lines}"
    );
}
