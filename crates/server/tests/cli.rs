//! The program as a person meets it on the command line: what it says, with which status, and that
//! no key, token or password shows in any of it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "this whole file is a test"
)]

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

struct Said {
    status: i32,
    out: String,
    err: String,
}

/// Runs the program in a folder of its own with nothing in its environment but this.
fn run(folder: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> Said {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO_BIN_EXE_gemini-relay"))
        .current_dir(folder)
        .env_clear()
        .envs(variables.iter().copied())
        .args(arguments)
        .output()
        .unwrap();
    let said = Said {
        status: status.code().unwrap(),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
    };
    for secret in [SECRET, "kw7Tq"] {
        assert!(
            !said.out.contains(secret) && !said.err.contains(secret),
            "{}{}",
            said.out,
            said.err
        );
    }
    said
}

#[track_caller]
fn refuses(variables: &[(&str, &str)], arguments: &[&str], words: &str) {
    let folder = tempfile::tempdir().unwrap();
    refuses_in(folder.path(), variables, arguments, words);
}

#[track_caller]
fn refuses_in(folder: &Path, variables: &[(&str, &str)], arguments: &[&str], words: &str) {
    let said = run(folder, variables, arguments);
    assert_eq!(said.status, 2, "{}{}", said.out, said.err);
    assert!(said.err.contains(words), "{}", said.err);
}

/// Stands for a key: long, and unlike any word in a message.
const SECRET: &str = "kw7Tq-made-up-and-long-enough-to-be-a-key-Xy2";

#[test]
fn without_keys_it_says_in_three_lines_how_to_give_some() {
    let folder = tempfile::tempdir().unwrap();
    let said = run(folder.path(), &[], &[]);
    assert_eq!(
        (said.status, said.err.lines().count()),
        (2, 3),
        "{}",
        said.err
    );
    for words in [
        "GEMINI_API_KEYS=",
        "--keys FILE",
        "gemini-keys.json",
        "demo",
    ] {
        assert!(said.err.contains(words), "{}", said.err);
    }
}

#[test]
fn help_and_version_are_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let said = run(folder.path(), &[], &["--version"]);
    assert_eq!(
        (said.status, said.out.trim()),
        (0, concat!("gemini-relay ", env!("CARGO_PKG_VERSION")))
    );
    for ask in [&["--help"][..], &["help"], &["config", "--help"]] {
        let said = run(folder.path(), &[], ask);
        assert_eq!(said.status, 0);
        assert!(
            said.out.contains("--max-wait") && said.out.contains("GEMINI_RELAY_MAX_WAIT"),
            "{}",
            said.out
        );
        // A line that was broken twice leaves a word to itself.
        let alone = said.out.lines().find(|line| *line == "a");
        assert_eq!(alone, None, "{}", said.out);
    }
}

#[test]
fn an_unknown_name_is_an_error_that_suggests_the_near_one() {
    refuses(&[], &["--max-wiat", "5s"], "did you mean --max-wait?");
    refuses(&[], &["--port=9000"], "did you mean --listen?");
    refuses(&[], &["confg"], "did you mean `gemini-relay config`?");
    refuses(
        &[("GEMINI_RELAY_LISTN", "1")],
        &[],
        "GEMINI_RELAY_LISTN: there is no such option; did you mean GEMINI_RELAY_LISTEN?",
    );
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("gemini-relay.toml"),
        "listen = 9000\n\nstrategi = \"fill-first\"\n",
    )
    .unwrap();
    refuses_in(
        folder.path(),
        &[],
        &[],
        "gemini-relay.toml:3: there is no option \"strategi\"; did you mean strategy?",
    );
}

#[test]
fn a_bad_value_says_who_gave_it_what_is_allowed_and_what_to_write() {
    refuses(
        &[],
        &["--max-wait", "5"],
        "--max-wait: \"5\" cannot be used: write a time with its unit",
    );
    refuses(
        &[],
        &["--drain-limit", "-1s"],
        "--drain-limit: \"-1s\" cannot be used: write a time with its unit",
    );
    for path in ["/-/", "/-", "/gemini/-/x"] {
        refuses(
            &[],
            &["--base-path", path],
            "/-/ is where the relay's own pages are",
        );
    }
    refuses(
        &[],
        &["--max-connections", "0"],
        "write a number from 1 to 1000000",
    );
    refuses(
        &[("GEMINI_RELAY_ATTEMPTS", "0")],
        &[],
        "GEMINI_RELAY_ATTEMPTS: \"0\" cannot be used: write a number, 1 or more",
    );
    refuses(
        &[("GEMINI_RELAY_TLS", "on")],
        &[],
        "write off or self-signed",
    );
    refuses(
        &[],
        &["--allow-origin", "app.example"],
        "such as https://app.example",
    );
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("my.toml"),
        "# mine\nidle-timeout = \"0s\"\n",
    )
    .unwrap();
    refuses_in(
        folder.path(),
        &[],
        &["--config", "my.toml"],
        "my.toml:2: idle-timeout = \"0s\" cannot be used",
    );
    refuses(
        &[],
        &["--config", "my.toml"],
        "--config: \"my.toml\" cannot be read",
    );
}

#[test]
fn a_file_that_gives_no_keys_is_named_with_what_is_wrong_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    write("nothing", b"# soon\n\n");
    write("accounts", b"\nroot:x:0:0:root:/root:/bin/sh\n");
    write("hosts", b"127.0.0.1 localhost\n");
    write("program", b"\x7fELF\x02\x01\x01\0\xff\xfe\xff");
    for (name, words) in [
        ("missing", "missing: it cannot be read"),
        (
            "nothing",
            "No API keys: nothing is in nothing. Give them as",
        ),
        ("accounts", "accounts: line 2: this line is no key"),
        (
            "hosts",
            "hosts: line 1: this line has white space inside it",
        ),
        (
            "program",
            "program: line 1: it is neither UTF-8 nor UTF-16 text; is it the right file?",
        ),
    ] {
        refuses_in(folder.path(), &[], &["--keys", name], words);
    }
    let certificate = ["--tls-cert", "my-cert"];
    refuses_in(
        folder.path(),
        &[],
        &certificate,
        "--tls-cert: \"my-cert\" cannot be used",
    );
}

#[test]
fn a_secret_in_the_wrong_place_is_not_repeated() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("bad.toml"),
        format!("tokens = [\"{SECRET}\"\nlisten = 1\n"),
    )
    .unwrap();
    std::fs::write(
        folder.path().join("key.toml"),
        format!("\"{SECRET}\" = \"key_0\"\n"),
    )
    .unwrap();
    std::fs::write(
        folder.path().join("table.toml"),
        format!("[\"{SECRET}\"]\nx = 1\n"),
    )
    .unwrap();
    for arguments in [
        &[SECRET][..],
        &["serve", SECRET],
        &["--keys", SECRET],
        &["--listen", SECRET],
        &["--max-wait", SECRET],
        &["--upstream", SECRET],
        &["--config", SECRET],
        &["--tokens-file", SECRET],
        &["--tokens", SECRET],
        &["--strategy", SECRET],
        &[concat!("--", "kw7Tq-made-up")],
        &["--proxy", "ftp://user:kw7Tq@proxy.example"],
        &["--upstream", "https://kw7Tq:x@a.example"],
        &["--config", "bad.toml"],
        &["--config", "key.toml"],
        &["--config", "table.toml"],
    ] {
        let said = run(folder.path(), &[], arguments);
        assert_eq!(said.status, 2, "{}{}", said.out, said.err);
        assert!(
            said.err.starts_with("error: ") && said.err.trim().len() > 20,
            "{}",
            said.err
        );
    }
    for name in [
        "GEMINI_RELAY_KEYS",
        "GEMINI_RELAY_KEYS_FILE",
        "GEMINI_RELAY_WORKERS",
        "GEMINI_RELAY_CA",
    ] {
        // A certificate's file is read only when serving begins, so a key has to be there.
        let said = run(
            folder.path(),
            &[(name, SECRET), ("GEMINI_API_KEYS", "made-up")],
            &["--listen", "127.0.0.1:0"],
        );
        assert!(said.status != 0, "{}", said.err);
    }
}

#[test]
fn an_address_that_others_reach_needs_tokens_or_so_many_words() {
    refuses(
        &[("GEMINI_API_KEYS", SECRET)],
        &["--listen", "0.0.0.0:0"],
        "--allow-anonymous",
    );
    refuses(
        &[("GEMINI_API_KEYS", SECRET)],
        &["--listen", ":0"],
        "GEMINI_RELAY_TOKENS",
    );
    refuses(
        &[
            ("GEMINI_API_KEYS", SECRET),
            ("GEMINI_RELAY_TOKENS", "made-up-1"),
        ],
        &["--allow-anonymous"],
        "client tokens are set too",
    );
}

#[test]
fn a_key_that_is_a_client_token_is_refused() {
    for name in ["GEMINI_API_KEY", "GOOGLE_API_KEY", "GEMINI_API_KEYS"] {
        let tokens = format!("alice={SECRET}");
        refuses(
            &[(name, SECRET), ("GEMINI_RELAY_TOKENS", &tokens)],
            &[],
            "the client token alice",
        );
    }
}

/// Labels are in answers' headers, and names of tokens in the log.
#[test]
fn a_secret_where_a_name_belongs_is_refused_whichever_source_it_is_in() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.json");
    let other = "made-up-key-of-the-file-0001";
    let token = "made-up-token-of-a-client-0001";
    for (label, words) in [
        (SECRET, "keys.json: line 1: \"label\" (or \"key\") is a key"),
        (
            "the one of made-up-token-of-a-client-0001",
            "keys.json: line 1: \"label\" (or \"key\") is a key",
        ),
        (token, "keys.json: line 1: \"label\" (or \"key\") is a key"),
        (
            "AIzaMadeUpButLongEnoughToLookLikeOne",
            "keys.json: line 1: \"label\"",
        ),
    ] {
        let list = format!(r#"[{{"key": "{label}", "value": "{other}"}}]"#);
        std::fs::write(&file, list).unwrap();
        let tokens = format!("alice={token}");
        refuses(
            &[
                ("GEMINI_API_KEYS", SECRET),
                ("GEMINI_RELAY_TOKENS", &tokens),
            ],
            &["--keys", file.to_str().unwrap()],
            words,
        );
    }
    let tokens = format!("{SECRET}={token}");
    refuses(
        &[
            ("GEMINI_API_KEYS", SECRET),
            ("GEMINI_RELAY_TOKENS", &tokens),
        ],
        &[],
        "the name of a client token is one of the keys or tokens",
    );
}

#[test]
fn an_upstream_that_is_the_relay_itself_is_refused() {
    for upstream in [
        "http://localhost:8787",
        "http://127.0.0.1:8787/v1beta",
        "http://[::1]:8787",
    ] {
        refuses(
            &[("GEMINI_API_KEYS", SECRET)],
            &["--upstream", upstream],
            "this relay itself",
        );
    }
}

#[test]
fn a_keys_file_that_cannot_be_used_is_named_with_its_line_and_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gemini-keys.json");
    for (text, words) in [
        (
            format!("[\n  {{\"key\": \"key_0\", \"value\": \"{SECRET}\"}},\n]"),
            "gemini-keys.json: line 3, column 1: nothing follows the last comma",
        ),
        (
            format!("[\n  {{\"key\": \"key_0\", \"value\": \"{SECRET}\"}}\n  \"{SECRET}\"]"),
            "gemini-keys.json: line 3",
        ),
        (
            format!("[\n\n{{\"valeu\": \"{SECRET}\"}}]"),
            "gemini-keys.json: line 3: a field that is not known; perhaps \"value\" was meant",
        ),
        (
            format!("[{{\"value\": \"{SECRET}\", \"weight\": \"{SECRET}\"}}]"),
            "\"weight\" takes a whole number",
        ),
        (
            format!("# mine\nGEMINI_API_KEY={SECRET}"),
            "gemini-keys.json: line 2: this looks like NAME=KEY",
        ),
    ] {
        std::fs::write(&file, text).unwrap();
        refuses_in(folder.path(), &[], &[], words);
    }
    refuses(
        &[],
        &["--keys", "not-there.json"],
        "not-there.json: it cannot be read",
    );
    refuses(
        &[("GEMINI_API_KEYS", "[\"kw7Tq\",]")],
        &[],
        "GEMINI_API_KEYS: ",
    );
}

/// A process that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_demo_rotates_and_finds_out_the_dead_key_with_neither_keys_nor_network() {
    let folder = tempfile::tempdir().unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_gemini-relay"))
        .current_dir(folder.path())
        .env_clear()
        .args(["demo", "--listen", "127.0.0.1:0"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut demo = Running(child);
    let mut lines = BufReader::new(demo.0.stderr.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let first = lines.next().unwrap();
    let address = first
        .split_once("listening on http://")
        .unwrap()
        .1
        .to_owned();
    std::thread::spawn(move || lines.for_each(drop));
    let answers: Vec<String> = (0..4).map(|_| ask(&address)).collect();
    let header = |answer: &str, name: &str| {
        let line = answer
            .lines()
            .find_map(|l| l.strip_prefix(name)?.strip_prefix(": "))
            .unwrap();
        line.trim().to_owned()
    };
    assert!(
        answers.iter().all(|a| a.starts_with("HTTP/1.1 200")),
        "{answers:?}"
    );
    let keys: HashSet<String> = answers
        .iter()
        .map(|a| header(a, "x-gemini-relay-key"))
        .collect();
    assert!(keys.len() >= 3 && !keys.contains("blue-1"), "{keys:?}");
    let attempts: Vec<String> = answers
        .iter()
        .map(|a| header(a, "x-gemini-relay-attempts"))
        .collect();
    assert_eq!(
        attempts.iter().filter(|a| *a == "2").count(),
        1,
        "{attempts:?}"
    );
}

fn ask(address: &str) -> String {
    let body = r#"{"contents":[{"parts":[{"text":"Hello"}]}]}"#;
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "POST /v1beta/models/gemini-2.5-flash:generateContent HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Stands in for npx: notes what it was asked, and what it was to send.
#[cfg(unix)]
const NPX: &str = "#!/bin/sh\necho \"$@\" > asked\nwhile [ \"$1\" != --path ]; do shift; done\n/bin/cat \"$2\" > sent\n";

#[cfg(unix)]
#[test]
fn keys_are_pushed_to_the_worker_by_wrangler_and_shown_to_nobody() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let worker = folder.path().join("worker");
    let bin = folder.path().join("bin");
    for folder in [&worker, &bin] {
        std::fs::create_dir(folder).unwrap();
    }
    std::fs::write(bin.join("npx"), NPX).unwrap();
    std::fs::set_permissions(bin.join("npx"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let keys = format!("{SECRET},made-up-key-2");
    let variables = [
        ("GEMINI_API_KEYS", keys.as_str()),
        ("PATH", bin.to_str().unwrap()),
    ];
    let push = ["keys", "push", "--worker", "worker"];
    let said = run(folder.path(), &variables, &push);
    assert_eq!(said.status, 2, "{}", said.err);
    assert!(said.err.contains("wrangler.toml"), "{}", said.err);
    std::fs::write(worker.join("wrangler.toml"), "").unwrap();
    let said = run(folder.path(), &variables, &push);
    assert_eq!(said.status, 0, "{}", said.err);
    assert!(said.out.starts_with("2 keys"), "{}", said.out);
    let asked = std::fs::read_to_string(worker.join("asked")).unwrap();
    assert!(asked.contains("kv key put --binding KV GEMINI_API_KEYS_CONFIG"));
    assert!(!asked.contains(SECRET));
    assert!(
        std::fs::read_to_string(worker.join("sent"))
            .unwrap()
            .contains(SECRET)
    );
    let left = std::fs::read_dir(&worker).unwrap().count();
    assert_eq!(left, 3, "the file that was sent is gone");
}

#[test]
fn a_certificate_that_is_not_there_is_a_mistake_in_the_option_that_named_it() {
    let folder = tempfile::tempdir().unwrap();
    let keys = ("GEMINI_API_KEYS", "made-up-key");
    for (variable, arguments, option) in [
        (
            None,
            &["--tls-cert", "gone.pem", "--tls-key", "gone.pem"][..],
            "tls-cert:",
        ),
        (None, &["--ca", "gone.pem"][..], "ca:"),
        (
            Some(("SSL_CERT_FILE", "gone.pem")),
            &[][..],
            "SSL_CERT_FILE:",
        ),
    ] {
        let keys: Vec<_> = variable.into_iter().chain([keys]).collect();
        let listen = ["--listen", "127.0.0.1:0"];
        let said = run(folder.path(), &keys, &[&listen[..], arguments].concat());
        assert_eq!(said.status, 2, "{}", said.err);
        assert!(
            said.err.contains(option) && said.err.contains("name a file"),
            "{}",
            said.err
        );
    }
}

#[test]
fn keys_without_a_place_to_go_are_told_where() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&["keys"][..], &["keys", "push"]] {
        let said = run(folder.path(), &[], arguments);
        assert_eq!(said.status, 2);
        assert!(
            said.err.contains("keys push --worker FOLDER"),
            "{}",
            said.err
        );
    }
}

#[test]
fn a_proxy_that_cannot_be_spoken_to_is_an_error_that_names_its_variable() {
    let folder = tempfile::tempdir().unwrap();
    let keys = ("GEMINI_API_KEYS", SECRET);
    for proxy in [
        "https://me:kw7Tq@proxy.example:1",
        "socks4://me:kw7Tq@proxy.example:1",
        "http://me:kw7Tq/x@proxy.example:1",
        "http://",
        "http://proxy.example:port",
        "a proxy",
    ] {
        for variable in ["HTTPS_PROXY", "all_proxy"] {
            let said = run(folder.path(), &[keys, (variable, proxy)], &["config"]);
            assert_eq!(said.status, 2, "{proxy}: {}", said.out);
            assert!(
                said.err.contains(variable) && said.err.contains("socks5://HOST:PORT"),
                "{}",
                said.err
            );
            assert!(!said.err.contains("kw7Tq"), "{}", said.err);
            // What would not be used is nobody's trouble.
            for other in [("NO_PROXY", "*"), ("GEMINI_RELAY_PROXY", "none")] {
                let said = run(
                    folder.path(),
                    &[keys, (variable, proxy), other],
                    &["config"],
                );
                assert_eq!(said.status, 0, "{}", said.err);
            }
        }
    }
}

#[test]
fn config_says_what_other_programs_variables_do_here() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    let shown = |variables: &[(&str, &str)], arguments: &[&str], name: &str| {
        let mut all = vec![("GEMINI_API_KEYS", SECRET)];
        all.extend(variables);
        let said = run(folder.path(), &all, &[&["config"], arguments].concat());
        assert_eq!(said.status, 0, "{}", said.err);
        let line = said.out.lines().find(|line| line.starts_with(name));
        let words: Vec<&str> = line.unwrap().split_whitespace().collect();
        words.join(" ")
    };
    let proxy = ("HTTPS_PROXY", "http://me:kw7Tq@proxy.example:3128");
    assert_eq!(
        shown(&[proxy], &[], "proxy "),
        "proxy http://***@proxy.example:3128 HTTPS_PROXY"
    );
    let all = [
        ("HTTPS_PROXY", ""),
        ("ALL_PROXY", "socks5://proxy.example:1080"),
    ];
    assert_eq!(
        shown(&all, &[], "proxy "),
        "proxy socks5://proxy.example:1080 ALL_PROXY"
    );
    let bare = ("https_proxy", "proxy.example:3128");
    assert_eq!(
        shown(&[bare], &[], "proxy "),
        "proxy http://proxy.example:3128 https_proxy"
    );
    let not_here = ("NO_PROXY", "googleapis.com");
    assert!(shown(&[proxy, not_here], &[], "proxy ").ends_with("default"));
    assert_eq!(
        shown(&[proxy], &["--proxy", "none"], "proxy "),
        "proxy none --proxy"
    );
    let ca = ("SSL_CERT_FILE", ca.to_str().unwrap());
    assert_eq!(
        shown(&[ca], &["--ca", "system"], "ca "),
        format!("ca system, {} --ca, SSL_CERT_FILE", ca.1)
    );
}
