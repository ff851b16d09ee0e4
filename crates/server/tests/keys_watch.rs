//! Keys that change under a running relay: each way a file is replaced, a bad change, a file that is
//! gone, and `SIGHUP`. Seen through the log, which says what a change brought.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "this whole file is a test"
)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// A relay that runs, and its log.
struct Relay {
    child: Child,
    log: Receiver<String>,
}

impl Relay {
    fn start(keys: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_gemini-relay"))
            .current_dir(keys.parent().unwrap())
            .env_clear()
            .args([
                "--listen",
                "127.0.0.1:0",
                "--upstream",
                "http://127.0.0.1:9",
                "--log-format",
                "json",
                "--workers",
                "1",
            ])
            .arg("--keys")
            .arg(keys)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (send, log) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = send.send(line);
            }
        });
        let mut relay = Self { child, log };
        relay.says("\"message\":\"listening\"");
        relay
    }

    /// Waits for a line with these words, and returns it.
    #[track_caller]
    fn says(&mut self, words: &str) -> String {
        self.lines_until(words).pop().unwrap()
    }

    /// All lines to the first with these words.
    #[track_caller]
    fn lines_until(&mut self, words: &str) -> Vec<String> {
        let until = Instant::now() + Duration::from_secs(20);
        let mut before = Vec::new();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(line) = self.log.recv_timeout(left) else {
                panic!("no {words:?} after:\n{before:#?}")
            };
            assert!(!line.contains("made-up"), "{line}");
            before.push(line);
            if before.iter().any(|line| line.contains(words)) {
                return before;
            }
        }
    }

    #[track_caller]
    fn has_keys(&mut self, count: usize) {
        let line = self.says("keys were read again");
        assert!(line.contains(&format!("\"keys\":{count},")), "{line}");
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("pool.json");
    std::fs::write(&keys, r#"["made-up-1"]"#).unwrap();
    (folder, keys)
}

#[test]
fn a_file_written_or_replaced_takes_effect_without_a_restart() {
    let (folder, keys) = folder();
    let mut relay = Relay::start(&keys);
    std::fs::write(&keys, r#"["made-up-1", "made-up-2"]"#).unwrap();
    relay.has_keys(2);
    let other = folder.path().join("pool.json.tmp");
    std::fs::write(
        &other,
        r#"["made-up-1", "made-up-2", {"value": "made-up-3", "project": "p"}]"#,
    )
    .unwrap();
    std::fs::rename(&other, &keys).unwrap();
    relay.has_keys(3);
    std::fs::remove_file(&keys).unwrap();
    std::fs::write(&keys, "made-up-1\nmade-up-4\n").unwrap();
    // The moment without a file may be seen or not.
    relay.has_keys(2);
}

#[test]
fn a_bad_change_is_reported_and_changes_nothing_until_it_is_mended() {
    let (_folder, keys) = folder();
    let mut relay = Relay::start(&keys);
    std::fs::write(&keys, "[\n\"made-up-1\",\n]").unwrap();
    let line = relay.says("keys stay as they were");
    assert!(
        line.contains("pool.json: line 3") && line.contains("remove it"),
        "{line}"
    );
    std::fs::write(&keys, "").unwrap();
    relay.says("keys stay as they were: No API keys");
    std::fs::remove_file(&keys).unwrap();
    let line = relay.says("keys stay as they were");
    assert!(line.contains("pool.json: it cannot be read"), "{line}");
    assert!(
        line.contains("its keys stay in use until it is back"),
        "{line}"
    );
    std::fs::write(&keys, r#"["made-up-1", "made-up-2", "made-up-1"]"#).unwrap();
    relay.says("key_0 is given twice and counts once");
    relay.has_keys(2);
}

#[test]
fn a_pool_whose_keys_are_all_disabled_is_warned_of() {
    let (_folder, keys) = folder();
    let disabled = r#"[{"value": "made-up-1", "enabled": false}]"#;
    let mut relay = Relay::start(&keys);
    std::fs::write(&keys, disabled).unwrap();
    let line = relay.says("all keys are disabled");
    assert!(line.contains("WARN"), "{line}");
    relay.has_keys(1);
    std::fs::write(&keys, disabled.replace("false", "true")).unwrap();
    let lines = relay.lines_until("keys were read again");
    assert!(
        !lines.iter().any(|line| line.contains("disabled")),
        "{lines:?}"
    );
}

#[test]
fn of_what_is_said_of_a_key_twice_it_is_told_what_does_not_hold() {
    let (_folder, keys) = folder();
    let mut relay = Relay::start(&keys);
    std::fs::write(
        &keys,
        r#"[{"value": "made-up-1", "label": "work", "project": "a"},
            {"value": "made-up-1", "project": "b", "weight": 5}]"#,
    )
    .unwrap();
    let line = relay.says("work is given twice and counts once");
    assert!(
        line.contains("pool.json, line 2, says something else of its project, which is ignored"),
        "{line}"
    );
    relay.has_keys(1);
}

#[test]
fn a_file_that_appears_in_the_usual_place_is_taken() {
    let (folder, keys) = folder();
    let mut relay = Relay::start(&keys);
    std::fs::write(
        folder.path().join("gemini.keys"),
        "made-up-7\nmade-up-8 # mine\n",
    )
    .unwrap();
    relay.has_keys(3);
    std::fs::remove_file(folder.path().join("gemini.keys")).unwrap();
    relay.says("gemini.keys: it cannot be read");
}

#[cfg(unix)]
#[test]
fn a_config_map_that_swaps_its_link_takes_effect() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    let generation = |name: &str, text: &str| {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        std::fs::write(folder.path().join(name).join("pool.json"), text).unwrap();
    };
    generation("..1", r#"["made-up-1"]"#);
    symlink("..1", folder.path().join("..data")).unwrap();
    symlink("..data/pool.json", folder.path().join("pool.json")).unwrap();
    let mut relay = Relay::start(&folder.path().join("pool.json"));
    for (name, before, text, count) in [
        ("..2", "..1", r#"["made-up-1", "made-up-2"]"#, 2),
        (
            "..3",
            "..2",
            r#"["made-up-1", "made-up-2", "made-up-3"]"#,
            3,
        ),
    ] {
        generation(name, text);
        symlink(name, folder.path().join("..data_tmp")).unwrap();
        std::fs::rename(
            folder.path().join("..data_tmp"),
            folder.path().join("..data"),
        )
        .unwrap();
        std::fs::remove_dir_all(folder.path().join(before)).unwrap();
        let lines = relay.lines_until("keys were read again");
        assert!(
            lines
                .last()
                .unwrap()
                .contains(&format!("\"keys\":{count},")),
            "{lines:?}"
        );
        // Nor of the folder that is gone.
        assert!(!lines.iter().any(|line| line.contains("WARN")), "{lines:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_hangup_always_gets_an_answer() {
    let (_folder, keys) = folder();
    let mut relay = Relay::start(&keys);
    for _ in 0..2 {
        let sent = Command::new("kill")
            .args(["-HUP", &relay.child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
        relay.has_keys(1);
    }
}

#[cfg(unix)]
#[test]
fn a_change_and_the_signal_for_it_are_one_answer() {
    let (_folder, keys) = folder();
    let mut relay = Relay::start(&keys);
    let hang_up = |relay: &Relay| {
        let sent = Command::new("kill")
            .args(["-HUP", &relay.child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
    };
    std::fs::remove_file(&keys).unwrap();
    hang_up(&relay);
    relay.says("keys stay as they were");
    std::fs::write(&keys, "made-up-1\nmade-up-2\n").unwrap();
    hang_up(&relay);
    let between = relay.lines_until("keys were read again");
    assert!(
        !between
            .iter()
            .any(|line| line.contains("stay as they were")),
        "{between:?}"
    );
    // An answer of its own, and nothing else before it.
    hang_up(&relay);
    let between = relay.lines_until("keys were read again");
    assert_eq!(between.len(), 1, "{between:?}");
}
