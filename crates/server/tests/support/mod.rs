//! The program as a process, an emulator beside it, and a client that sees bytes.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses a part of it"
)]

use gemini_emulator::{Config, Emulator, Project};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::channel;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A relay that runs.
pub struct Process {
    child: Child,
    said: Arc<Said>,
    reader: Option<JoinHandle<()>>,
    /// `127.0.0.1:PORT`.
    pub address: String,
}

/// What it wrote to standard error so far.
#[derive(Default)]
struct Said {
    text: Mutex<String>,
    more: Condvar,
}

impl Process {
    /// Starts it in `folder` with nothing in its environment but `variables`.
    pub fn start(folder: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_gemini-relay"))
            .current_dir(folder)
            .env_clear()
            .env("RUST_BACKTRACE", "1")
            .envs(variables.iter().copied())
            .args(["--listen", "127.0.0.1:0", "--proxy", "none"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut from = child.stderr.take().unwrap();
        let said = Arc::new(Said::default());
        let to = Arc::clone(&said);
        let reader = std::thread::spawn(move || {
            let mut piece = [0; 8192];
            while let Ok(count) = from.read(&mut piece) {
                if count == 0 {
                    return;
                }
                let text = String::from_utf8_lossy(&piece[..count]).into_owned();
                to.text.lock().unwrap().push_str(&text);
                to.more.notify_all();
            }
        });
        let mut process = Self {
            child,
            said,
            reader: Some(reader),
            address: String::new(),
        };
        let listening = process.says("://127.0.0.1:");
        let port = listening.split("://127.0.0.1:").nth(1).unwrap();
        let port: String = port.chars().take_while(char::is_ascii_digit).collect();
        process.address = format!("127.0.0.1:{port}");
        process
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has said this, with the end of the line, and returns all it said.
    #[track_caller]
    pub fn says(&self, words: &str) -> String {
        let until = Instant::now() + PATIENCE;
        let mut text = self.said.text.lock().unwrap();
        loop {
            if let Some(at) = text.find(words)
                && text[at..].contains('\n')
            {
                return text.clone();
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no {words:?} in:\n{text}");
            text = self.said.more.wait_timeout(text, left).unwrap().0;
        }
    }

    /// All it said; when it has ended, all it ever said.
    pub fn log(&mut self) -> String {
        if self.child.try_wait().unwrap().is_some()
            && let Some(reader) = self.reader.take()
        {
            reader.join().unwrap();
        }
        self.said.text.lock().unwrap().clone()
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    /// Waits until it has ended by itself.
    #[track_caller]
    pub fn ended(&mut self, limit: Duration) -> ExitStatus {
        let mut status = None;
        until(limit, "it ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An emulator on a thread of its own.
pub fn emulator(config: Config) -> Arc<Emulator> {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let emulator = Emulator::start(config, ([127, 0, 0, 1], 0).into())
                .await
                .unwrap();
            send.send(Arc::new(emulator)).unwrap();
            std::future::pending::<()>().await;
        });
    });
    receive.recv().unwrap()
}

/// A project for each key.
pub fn one_project_each(keys: &[&str]) -> Config {
    Config {
        projects: keys
            .iter()
            .enumerate()
            .map(|(at, key)| Project::new(&format!("project-{at}"), [*key]))
            .collect(),
        ..Config::default()
    }
}

/// A connection on which a request was sent.
pub struct Asked(pub TcpStream);

/// Sends a request with these header lines, to be answered and closed.
pub fn ask(address: &str, line: &str, headers: &[&str], body: &str) -> Asked {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut text = format!("{line} HTTP/1.1\r\n");
    if !headers.iter().any(|header| header.starts_with("host:")) {
        text.push_str(&format!("host: {address}\r\n"));
    }
    if !headers
        .iter()
        .any(|header| header.starts_with("connection:"))
    {
        text.push_str("connection: close\r\n");
    }
    for header in headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    if !body.is_empty() {
        text.push_str(&format!(
            "content-type: application/json\r\ncontent-length: {}\r\n",
            body.len()
        ));
    }
    text.push_str("\r\n");
    text.push_str(body);
    stream.write_all(text.as_bytes()).unwrap();
    Asked(stream)
}

impl Asked {
    /// Reads until these words came.
    #[track_caller]
    pub fn until(&mut self, words: &str) -> String {
        let mut text = Vec::new();
        let mut piece = [0; 8192];
        while !String::from_utf8_lossy(&text).contains(words) {
            let count = self.0.read(&mut piece).unwrap();
            assert!(count > 0, "{}", String::from_utf8_lossy(&text));
            text.extend_from_slice(&piece[..count]);
        }
        String::from_utf8(text).unwrap()
    }

    /// Reads to the end, however it comes.
    pub fn rest(mut self) -> String {
        let mut text = Vec::new();
        let mut piece = [0; 65536];
        while let Ok(count) = self.0.read(&mut piece) {
            if count == 0 {
                break;
            }
            text.extend_from_slice(&piece[..count]);
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

pub fn generate(text: &str) -> (String, String) {
    (
        "POST /v1beta/models/gemini-2.5-flash:generateContent".into(),
        contents(text),
    )
}

pub fn events(text: &str) -> (String, String) {
    (
        "POST /v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse".into(),
        contents(text),
    )
}

pub fn contents(text: &str) -> String {
    serde_json::json!({"contents": [{"role": "user", "parts": [{"text": text}]}]}).to_string()
}

/// Looks until it holds.
#[track_caller]
pub fn until(limit: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    let (lock, never) = (Mutex::new(()), Condvar::new());
    while !holds() {
        assert!(began.elapsed() < limit, "not within {limit:?}: {what}");
        let _ = never
            .wait_timeout(lock.lock().unwrap(), Duration::from_millis(10))
            .unwrap();
    }
}

pub const PATIENCE: Duration = Duration::from_secs(20);
