//! `gemini-relay config`: the values that hold, who gave each, which keys are found, and no secret.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "this whole file is a test"
)]

use std::path::Path;
use std::process::Command;

/// What `config` prints in a folder with this environment.
#[track_caller]
fn shown(folder: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_gemini-relay"))
        .current_dir(folder)
        .env_clear()
        .envs(variables.iter().copied())
        .arg("config")
        .args(arguments)
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert!(output.status.success(), "{err}");
    assert!(!out.contains("made-up") && err.is_empty(), "{out}{err}");
    out
}

#[track_caller]
fn has(shown: &str, name: &str, value: &str, origin: &str) {
    let line = shown
        .lines()
        .find(|l| l.split_whitespace().next() == Some(name))
        .unwrap();
    assert!(line.contains(value) && line.ends_with(origin), "{line}");
}

#[test]
fn every_value_is_shown_with_who_gave_it() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("gemini-relay.toml"),
        "listen = [\"127.0.0.1:9000\", 9001]\nmax-wait = \"1m\"\n\naffinity = false\nmax-waiting = 7\n",
    )
    .unwrap();
    let shown = shown(
        folder.path(),
        &[
            ("GEMINI_RELAY_MAX_WAIT", "2m"),
            ("GEMINI_RELAY_STRATEGY", "fill-first"),
            ("GEMINI_RELAY_LOG_LEVEL", ""),
        ],
        &["--strategy", "least-loaded"],
    );
    has(
        &shown,
        "listen",
        "127.0.0.1:9000, 127.0.0.1:9001, [::1]:9001",
        "gemini-relay.toml:1",
    );
    has(&shown, "max-wait", "2m", "GEMINI_RELAY_MAX_WAIT");
    has(&shown, "strategy", "least-loaded", "--strategy");
    has(&shown, "affinity", "off", "gemini-relay.toml:4");
    has(&shown, "max-waiting", "7", "gemini-relay.toml:5");
    has(&shown, "log-level", "info", "default");
    has(
        &shown,
        "upstream",
        "https://generativelanguage.googleapis.com",
        "default",
    );
}

#[test]
fn secrets_are_counted_and_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("tokens.txt"),
        "bob=made-up-token-4 # laptop\n\n# none\nmade-up-token-5\n",
    )
    .unwrap();
    let shown = shown(
        folder.path(),
        &[
            (
                "GEMINI_RELAY_TOKENS",
                "alice=made-up-token-1,made-up-token-2 made-up-token-3",
            ),
            ("GEMINI_API_KEYS", "made-up-key-1,made-up-key-2"),
            ("GEMINI_RELAY_PROXY", "http://me:made-up@proxy.example:3128"),
        ],
        &["--tokens-file", "tokens.txt"],
    );
    has(&shown, "tokens", "3 tokens", "GEMINI_RELAY_TOKENS");
    has(&shown, "tokens-file", "tokens.txt", "--tokens-file");
    has(
        &shown,
        "proxy",
        "http://***@proxy.example:3128",
        "GEMINI_RELAY_PROXY",
    );
    assert!(shown.contains("GEMINI_API_KEYS: 2 keys"), "{shown}");
}

#[test]
fn programs_get_the_same_as_json() {
    let folder = tempfile::tempdir().unwrap();
    let shown = shown(
        folder.path(),
        &[("GEMINI_API_KEYS", "made-up-key-1")],
        &["--json", "--drain-delay=5s"],
    );
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let drain = shown["options"]
        .as_array()
        .unwrap()
        .iter()
        .find(|o| o["name"] == "drain-delay")
        .unwrap();
    assert_eq!(
        (drain["value"].as_str(), drain["origin"].as_str()),
        (Some("5s"), Some("--drain-delay"))
    );
    assert!(
        shown["keys"]
            .as_array()
            .unwrap()
            .iter()
            .any(|k| k["source"] == "GEMINI_API_KEYS" && k["found"] == "1 key")
    );
}

#[test]
fn keys_are_found_in_every_place_and_encoding() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    let utf16: Vec<u8> = "\u{feff}made-up-1\r\nmade-up-2\r\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    write("gemini.keys", &utf16);
    write(
        "gemini-keys.json",
        br#"[{"key": "key_0", "value": "made-up-3"}]"#,
    );
    write(
        "more.json",
        br#"{"keys": ["made-up-4", "made-up-5", "made-up-6"]}"#,
    );
    write("bad.json", br#"["made-up-4",]"#);
    let both = std::env::join_paths(["more.json", "bad.json"]).unwrap();
    let shown = shown(
        folder.path(),
        &[
            ("GEMINI_RELAY_KEYS_FILE", both.to_str().unwrap()),
            (
                "GEMINI_API_KEYS",
                "made-up-1 made-up-8\nmade-up-9,made-up-10",
            ),
        ],
        &[],
    );
    for words in [
        "more.json: 3 keys",
        "bad.json: line 1, column 14: nothing follows the last comma",
        "GEMINI_API_KEYS: 4 keys",
        "gemini-keys.json: 1 key\n",
        "gemini.keys: 2 keys",
    ] {
        assert!(shown.contains(words), "{shown}");
    }
}
