//! Known secrets go in at every place where a person or Google may put them, and come out nowhere but
//! at the upstream: not in an answer, not in the log at its most talkative, not in what the program says
//! about itself, not in a panic of the running program.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "this whole file is a test"
)]

mod support;

use gemini_emulator::{Emulator, Fault, KeyState, Match, ResetPoint};
use gemini_relay_core::relay::{Relay, Step};
use gemini_relay_core::verdict::Outcome;
use gemini_relay_core::{
    ClientId, Facts, KeySpec, KeyText, Kind, Repeat, Settings, Surface, Time, keylist,
};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use support::{Process, ask, contents, emulator, events, generate, one_project_each};

/// In every key, every token and every password here, and in nothing else.
const CANARY: &str = "kw7Tq";
const KEYS: [&str; 4] = [
    "kw7Tq-made-up-key-of-the-first-project-0001",
    "kw7Tq-made-up-key-of-the-second-project-002",
    "AQ.kw7Tq_made_up_key_of_the_third_project_3",
    "kw7Tq/made+up=key:of~the.fourth_project-0004",
];
const TOKEN: &str = "kw7Tq-made-up-token-of-a-client";

#[track_caller]
fn clean(what: &str, text: &str) {
    if let Some(at) = text.find(CANARY) {
        let from = text[..at].rfind('\n').map_or(0, |at| at + 1);
        let line = text[from..].lines().next().unwrap_or_default();
        panic!("a secret is in {what}: {line}");
    }
}

/// Everything that can happen to a request, in short. Every answer is looked through.
fn traffic(relay: &Process, google: &Emulator) {
    let token = format!("x-goog-api-key: {TOKEN}");
    let good = |line: &str, body: &str| {
        let answer = ask(&relay.address, line, &[&token], body).rest();
        clean(line, &answer);
        answer
    };
    let fault = |fault: Fault| google.fault(Match::default(), 1, fault).map(drop).unwrap();
    let (unary, body) = generate("hello");
    let (stream, _) = events("hello");
    // Somebody mixed them up, and is told his own words.
    for name in [
        KEYS[0].to_owned(),
        format!("gemini-{}-latest", KEYS[1]),
        KEYS[2].replace('k', "%6b"),
    ] {
        let named = format!("POST /v1beta/models/{name}:generateContent");
        let answer = ask(&relay.address, &named, &[&token], &body).rest();
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
        // What is learned of it is said too.
        fault(Fault::Error("quota_malformed".into()));
        ask(&relay.address, &named, &[&token], &body).rest();
    }
    for name in [KEYS[3].to_owned(), KEYS[0].replace('k', r"\u006b")] {
        let named = format!(r#"{{"model":"{name}","messages":[]}}"#);
        ask(
            &relay.address,
            "POST /v1/chat/completions",
            &[&token],
            &named,
        )
        .rest();
    }
    let chat = r#"{"model":"gemini-2.5-flash","messages":[{"role":"user","content":"hello"}]}"#;
    for _ in 0..KEYS.len() {
        assert!(good(&unary, &body).starts_with("HTTP/1.1 200"));
        assert!(good(&stream, &body).contains("STOP"));
        assert!(good("POST /v1/chat/completions", chat).contains("choices"));
    }
    for name in ERRORS {
        if !name.contains("key") && !name.contains("credential") && !name.contains("oauth") {
            // The others would end a key, which comes last.
            fault(Fault::Error(name.into()));
            good(&unary, &body);
        }
        fault(Fault::InStreamError {
            name: name.into(),
            after_chunks: 1,
        });
        good(&stream, &body);
    }
    for one in [
        Fault::InStreamError {
            name: "key_suspended".into(),
            after_chunks: 0,
        },
        Fault::Reset(ResetPoint::BeforeAnswer),
        Fault::Reset(ResetPoint::AfterChunks(1)),
        Fault::Truncate(1),
        Fault::Empty,
        Fault::CloseWithoutAnswer,
    ] {
        fault(one);
        good(&stream, &body);
    }
    for (line, headers) in [
        (unary.clone(), format!("x-goog-api-key: {TOKEN}-wrong")),
        (
            unary.clone(),
            format!("authorization: Bearer {TOKEN}-wrong"),
        ),
        (format!("{unary}?key={TOKEN}-wrong"), "accept: */*".into()),
        (format!("{unary}?key={TOKEN}"), "accept: */*".into()),
        (format!("{unary}?key={}", KEYS[0]), "accept: */*".into()),
        ("GET /-/metrics".into(), token.clone()),
        ("GET /-/nothing".into(), token.clone()),
        (
            "GET /v1beta/models".into(),
            format!("{token}\r\ncookie: session={CANARY}"),
        ),
        (
            "OPTIONS /v1beta/models".into(),
            "origin: https://evil.example\r\naccess-control-request-method: POST".into(),
        ),
        (
            "GET /ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
                .into(),
            format!(
                "{token}\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA=="
            ),
        ),
    ] {
        let body = if line.starts_with("POST") {
            contents("hello")
        } else {
            String::new()
        };
        let answer = ask(&relay.address, &line, &[&headers], &body).rest();
        clean(&line, &answer);
    }
    // Google's page repeats the path that its own client asked for; the log does not.
    ask(
        &relay.address,
        &format!("GET /{CANARY}-as-a-path"),
        &[&token],
        "",
    )
    .rest();
    // A body with a secret in it that Google refuses, and one that is no JSON at all.
    good(&unary, &format!(r#"{{"contents":[],"note":"{CANARY}"}}"#));
    good(&unary, &format!("{CANARY} is no JSON"));
    // Keys that die for good, one after another, until none is left.
    let states = [
        KeyState::Suspended,
        KeyState::Leaked,
        KeyState::Suspended,
        KeyState::TokenTypeUnsupported,
    ];
    for (at, (key, state)) in KEYS.iter().zip(states).enumerate() {
        google
            .set_key(key, &format!("project-{at}"), state)
            .unwrap();
        for _ in 0..KEYS.len() {
            good(&unary, &body);
        }
        good(&stream, &body);
        good("POST /v1/chat/completions", chat);
    }
    let metrics = good("GET /-/metrics", "");
    assert!(metrics.contains("gemini_relay_requests_total"));
}

#[test]
fn a_relay_at_its_most_talkative_shows_no_secret() {
    for format in ["pretty", "json"] {
        let folder = tempfile::tempdir().unwrap();
        let google = emulator(one_project_each(&KEYS));
        let file = folder.path().join("keys.json");
        std::fs::write(&file, serde_json::to_string(&KEYS).unwrap()).unwrap();
        let mut relay = start(folder.path(), &google, format);
        traffic(&relay, &google);
        // A bad list while it runs, and a good one again.
        for text in [
            format!("[\"{}\", {CANARY}", KEYS[0]),
            serde_json::to_string(&KEYS[..2]).unwrap(),
        ] {
            std::fs::write(&file, text).unwrap();
            #[cfg(unix)]
            relay.signal("HUP");
        }
        relay.says("keys were read again");
        stop(&mut relay);
        let log = relay.log();
        assert!(log.lines().count() > 100, "{log}");
        assert!(log.contains("attempt"), "the log is at its most talkative");
        clean("the log", &log);
        for key in KEYS {
            assert!(
                google.stats().by_key.contains_key(key),
                "the upstream has seen it"
            );
        }
        assert!(
            !google.stats().by_key.contains_key(TOKEN),
            "a client's token went upstream"
        );
        for request in google.requests() {
            let shown = format!("{:?}", request.headers);
            assert!(!shown.contains("session="), "{shown}");
            assert!(!request.query.contains(CANARY), "{}", request.query);
        }
    }
}

/// A panic in the middle of a request, with all that the program knows in its message, and a backtrace.
/// Only a program made for tests can be told to.
#[cfg(debug_assertions)]
#[test]
fn a_panic_of_the_running_relay_shows_no_secret_and_ends_only_its_connection() {
    let folder = tempfile::tempdir().unwrap();
    let google = emulator(one_project_each(&KEYS));
    let file = folder.path().join("keys.json");
    std::fs::write(&file, serde_json::to_string(&KEYS).unwrap()).unwrap();
    let mut relay = start(folder.path(), &google, "pretty");
    let token = format!("x-goog-api-key: {TOKEN}");
    let (line, body) = generate("hello");
    let served = || {
        let answer = ask(&relay.address, &line, &[&token], &body).rest();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    };
    // So that something is known of keys and conversations.
    google
        .set_key(KEYS[0], "project-0", KeyState::Suspended)
        .unwrap();
    for _ in 0..KEYS.len() {
        served();
    }
    // One for each worker and more: each may meet a lock that another's panic has poisoned.
    for _ in 0..6 {
        let answer = ask(&relay.address, "GET /-/panic", &[&token], "").rest();
        assert_eq!(answer, "", "the connection ends");
        served();
    }
    let said = relay.says("asked to: ");
    assert!(said.contains("panicked at"), "{said}");
    assert!(said.contains("stack backtrace"), "{said}");
    let metrics = ask(&relay.address, "GET /-/metrics", &[&token], "").rest();
    assert!(metrics.contains("gemini_relay_connections"), "{metrics}");
    stop(&mut relay);
    let said = relay.log();
    assert_eq!(said.matches("asked to: ").count(), 6);
    assert!(said.contains("key_0"), "what is known is in it");
    clean("a panic of the running relay", &said);
}

fn start(folder: &Path, google: &Arc<Emulator>, format: &str) -> Process {
    Process::start(
        folder,
        &[
            ("GEMINI_RELAY_TOKENS", &format!("alice={TOKEN}")),
            ("RELAY_TEST_PANICS", "yes"),
        ],
        &[
            "--upstream",
            &google.url(),
            "--keys",
            "keys.json",
            "--log-level",
            "trace",
            "--log-format",
            format,
            "--max-wait",
            "200ms",
            "--workers",
            "2",
        ],
    )
}

fn stop(relay: &mut Process) {
    #[cfg(unix)]
    {
        relay.signal("TERM");
        relay.ended(support::PATIENCE);
    }
    #[cfg(not(unix))]
    relay.says("request");
}

#[test]
fn what_it_says_of_itself_and_of_mistakes_shows_no_secret() {
    let keys = KEYS[..3].join(",");
    let token = format!("alice={TOKEN}");
    let proxy = format!("http://someone:{CANARY}@127.0.0.1:1");
    let all = [
        ("GEMINI_API_KEYS", &*keys),
        ("GEMINI_RELAY_TOKENS", &token),
        ("GEMINI_RELAY_PROXY", &proxy),
    ];
    let said = run(&all, &["config"]);
    assert!(said.contains("max-wait"), "{said}");
    run(&all, &["config", "--json"]);
    let one = [("GEMINI_API_KEYS", KEYS[0])];
    for (variables, arguments) in [
        (&one[..], vec!["--max-wiat", "5s"]),
        (&one[..], vec!["--tokens", TOKEN]),
        (&one[..], vec![KEYS[0]]),
        (&one[..], vec!["--key", KEYS[0]]),
        (
            &one[..],
            vec!["--upstream", "http://127.0.0.1:9/?key=kw7Tq-made-up-key"],
        ),
        (
            &one[..],
            vec!["--upstream", "http://kw7Tq-made-up-key@127.0.0.1:9"],
        ),
        (&one[..], vec!["--proxy", "ftp://someone:kw7Tq@127.0.0.1:9"]),
        (
            &[("GEMINI_API_KEY", TOKEN), ("GEMINI_RELAY_TOKENS", TOKEN)][..],
            vec![],
        ),
        (&[("GEMINI_API_KEYS", "[\"kw7Tq-made-up\",]")][..], vec![]),
        (&[("GEMINI_API_KEYS", "{\"kw7Tq-made-up\": 1}")][..], vec![]),
        (
            &[("GEMINI_API_KEYS", "kw7Tq made\u{7}up \u{2014}kw7Tq")][..],
            vec![],
        ),
        (
            &[
                ("GEMINI_API_KEYS", KEYS[0]),
                ("GEMINI_RELAY_TOKENS", "alice=kw7Tq\u{e9}"),
            ][..],
            vec![],
        ),
    ] {
        run(variables, &arguments);
    }
}

/// Runs it to its end; what would serve is stopped by an address that cannot be listened on.
fn run(variables: &[(&str, &str)], arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_gemini-relay"))
        .current_dir(folder.path())
        .env_clear()
        .env("GEMINI_RELAY_LISTEN", "192.0.2.1:1")
        .env("GEMINI_RELAY_LOG_LEVEL", "trace")
        .env(
            "GEMINI_RELAY_ALLOW_ANONYMOUS",
            if variables.iter().any(|(name, _)| name.contains("TOKENS")) {
                "off"
            } else {
                "on"
            },
        )
        .envs(variables.iter().copied())
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    clean(&format!("what it says of {arguments:?}"), &said);
    said
}

/// The same of what the policy hands out: steps, outcomes and events, which are gone when a request is over.
#[test]
fn a_panic_with_all_of_the_policy_in_it_shows_no_secret() {
    let specs: Vec<KeySpec> = KEYS
        .iter()
        .map(|key| KeySpec::bare(KeyText::new(key).unwrap()))
        .collect();
    let mut relay = Relay::new(&specs, Settings::default(), 1, 1, 1);
    let facts = Facts {
        surface: Surface::Gemini,
        kind: Kind::Generate,
        method: 0,
        model: Some("gemini-2.5-flash".into()),
        streams: false,
        repeat: Repeat::Freely,
        replayable: true,
        client: ClientId::ANONYMOUS,
        conversation: None,
        items: 1,
        bytes: 0,
        deadline: None,
    };
    let now = Time::from_millis(1_000_000);
    let id = relay.admit(facts, now);
    let step = relay.poll(id, now);
    assert!(matches!(step, Step::Send(_)));
    let suspended = format!(
        r#"{{"error":{{"code":403,"message":"Consumer 'api_key:{}' has been suspended.","status":"PERMISSION_DENIED"}}}}"#,
        KEYS[0]
    );
    let error = gemini_relay_core::google_error::GoogleError::parse(suspended.as_bytes());
    let done = relay.attempt_done(id, &Outcome::Refused { status: 403, error }, true, now);
    let events = relay.take_events();
    let census = relay.census(now);
    let panicked = std::panic::catch_unwind(|| {
        panic!("{specs:?} {relay:?} {step:?} {done:?} {events:?} {census:?}")
    });
    let panicked = panicked.unwrap_err();
    let message = panicked.downcast_ref::<String>().unwrap();
    assert!(message.contains("key_0") && message.len() > 1000);
    clean("a panic", message);
}

#[test]
fn a_key_list_that_cannot_be_read_shows_no_secret() {
    for text in [
        r#"["kw7Tq-made-up", 7]"#,
        r#"[{"value": "kw7Tq made up"}]"#,
        r#"{"keys": ["kw7Tq-made-up"], "kw7Tq": 1}"#,
        r#"[{"value": "kw7Tq-made-up", "weight": "kw7Tq"}]"#,
        "kw7Tq-made-up kw7Tq-made-up",
        "name=kw7Tq-made-up",
        "\u{feff}[\"kw7Tq-made-up\"",
    ] {
        let read = keylist::parse(text.as_bytes());
        clean(text, &format!("{read:?}"));
        if let Err(error) = read {
            clean(text, &error.to_string());
        }
    }
}

/// What Google says, by the emulator's names, where it may quote a credential or mean one.
const ERRORS: [&str; 12] = [
    "overloaded",
    "quota_minute",
    "internal",
    "invalid_argument",
    "caller_no_permission",
    "quota_malformed",
    "bad_gateway",
    "multiple_credentials",
    "expected_oauth",
    "missing_key",
    "key_suspended",
    "key_invalid",
];
