use super::*;
use serde_json::{Value, json};
use std::sync::Mutex;
use tracing::level_filters::LevelFilter;

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is written while this is done.
fn logged(format: LogFormat, level: LevelFilter, act: impl FnOnce()) -> String {
    let written = Written::default();
    let (lines, guard) = open(Log { level, format }, false, written.clone()).unwrap();
    tracing::subscriber::with_default(lines, act);
    drop(guard);
    let bytes = written.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

fn pretty(act: impl FnOnce()) -> String {
    logged(LogFormat::Pretty, LevelFilter::TRACE, act)
}

fn json(act: impl FnOnce()) -> Vec<Value> {
    logged(LogFormat::Json, LevelFilter::TRACE, act)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// What stands after the time.
fn rest(line: &str) -> &str {
    let time = "2026-11-22T12:00:00.123Z".len();
    let (time, rest) = line.split_at(time);
    assert!(time.starts_with("20") && time.ends_with('Z'), "{line}");
    rest
}

/// What a client might call a model.
const FORGED: &str = "m\n2026-11-22T12:00:00.123Z  INFO request id=forged \x1b[2J\u{2028}\"";

struct Loud(&'static str);

impl std::fmt::Debug for Loud {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        tracing::info!("in between");
        f.write_str(self.0)
    }
}

impl std::fmt::Display for Loud {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

#[test]
fn an_event_is_a_line_for_people() {
    let some = Some(7_u64);
    let none: Option<&str> = None;
    let text = pretty(|| {
        tracing::info!(
            word = "plain",
            text = "two words",
            empty = "",
            some,
            none,
            "it is so"
        );
        tracing::warn!(yes = true, less = -1, shown = ?Some("x"), said = %Loud("a b"), "{}", "why");
        tracing::error!(only = 1);
        tracing::debug!("debugged");
        tracing::trace!("traced");
    });
    let lines: Vec<&str> = text.lines().map(rest).collect();
    assert_eq!(
        lines,
        [
            r#"  INFO it is so word=plain text="two words" empty="" some=7"#,
            r#"  WARN why yes=true less=-1 shown="Some(\"x\")" said="a b""#,
            " ERROR only=1",
            " DEBUG debugged",
            " TRACE traced",
        ]
    );
}

#[test]
fn an_event_is_an_object_for_machines() {
    let some = Some(7_u64);
    let none: Option<&str> = None;
    let lines = json(|| {
        tracing::warn!(
            text = "two \"words\"\n", some, none, yes = true, less = -1, said = %Loud("a\tb"), "why"
        );
    });
    let [Value::Object(line)] = &lines[..] else {
        panic!("{lines:?}")
    };
    let mut line = line.clone();
    let time = line.remove("timestamp").unwrap();
    assert_eq!(
        time.as_str().unwrap().len(),
        "2026-11-22T12:00:00.123Z".len()
    );
    assert_eq!(
        Value::Object(line),
        json!({"level": "WARN", "message": "why", "target": "gemini_relay::logging::tests",
            "text": "two \"words\"\n", "some": 7, "yes": true, "less": -1, "said": "a\tb"})
    );
}

#[test]
fn a_request_has_the_same_line_whichever_way_it_takes() {
    let straight = || {
        request(super::stamp::now(), |fields| {
            fields.word("id", "0001");
            fields.text("model", FORGED);
            fields.words("verdicts", ["quota", "good"]);
            fields.words("none", []);
            fields.number("ms", u64::MAX);
        });
    };
    let event = || {
        tracing::info!(target: "gemini_relay::request", id = "0001", model = FORGED,
            verdicts = "quota,good", none = "", ms = u64::MAX, "request");
    };
    assert_eq!(rest(&pretty(straight)), rest(&pretty(event)));
    let (mut straight, mut event) = (json(straight), json(event));
    for line in [&mut straight[0], &mut event[0]] {
        line.as_object_mut().unwrap().remove("timestamp").unwrap();
    }
    assert_eq!(straight, event);
    assert_eq!(straight[0]["model"], FORGED);
}

#[test]
fn what_a_client_sent_forges_no_line_and_no_field() {
    let all = || {
        request(super::stamp::now(), |fields| fields.text("model", FORGED));
        tracing::info!(said = %FORGED, shown = ?FORGED, text = FORGED, "of {FORGED}");
    };
    let text = pretty(all);
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(
        !text
            .chars()
            .any(|letter| letter != '\n' && letter.is_control()),
        "{text:?}"
    );
    assert!(text.contains(r#" model="m\n2026-11-22"#), "{text}");
    assert!(text.contains(r#" said="m\n2026-11-22"#), "{text}");
    let lines = json(all);
    assert_eq!(lines[1]["said"], FORGED);
    assert_eq!(lines[1]["message"], format!("of {FORGED}"));
}

#[test]
fn the_level_holds_for_this_project_and_libraries_are_heard_of_warnings_at_most() {
    for (level, heard) in [
        (LevelFilter::TRACE, "request debug library-warn"),
        (LevelFilter::INFO, "request library-warn"),
        (LevelFilter::WARN, "library-warn"),
        (LevelFilter::ERROR, ""),
        (LevelFilter::OFF, ""),
    ] {
        let text = logged(LogFormat::Pretty, level, || {
            request(super::stamp::now(), |_| {});
            tracing::debug!("debug");
            tracing::info!(target: "hyper", "library-info");
            tracing::debug!(target: "h2::frame", "library-debug");
            tracing::warn!(target: "hyper", "library-warn");
        });
        let said: Vec<&str> = text.split_whitespace().collect();
        let said: Vec<&str> = said.chunks(3).map(|line| line[2]).collect();
        assert_eq!(said.join(" "), heard, "{level}");
    }
}

#[test]
fn what_logs_while_it_is_logged_harms_nothing() {
    let text = pretty(|| tracing::info!(loud = ?Loud("loud"), "outer"));
    assert!(
        text.lines().last().unwrap().ends_with("outer loud=loud"),
        "{text}"
    );
}

#[test]
fn a_panic_leaves_the_last_lines_behind() {
    let written = Written::default();
    let log = Log {
        level: LevelFilter::INFO,
        format: LogFormat::Pretty,
    };
    let (lines, guard) = open(log, false, written.clone()).unwrap();
    let panicked = std::thread::spawn(move || {
        let _guard = guard;
        tracing::subscriber::with_default(lines, || tracing::info!("the last words"));
        std::panic::resume_unwind(Box::new("a panic"));
    })
    .join();
    assert!(panicked.is_err());
    let bytes = written.0.lock().unwrap().clone();
    assert!(
        String::from_utf8(bytes)
            .unwrap()
            .ends_with("the last words\n")
    );
}
