//! The program: what it prints, what it exits with.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// Ends with the test, however the test ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gemini-emulator"));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn file(name: &str, text: &str) -> PathBuf {
    let path =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()));
    std::fs::write(&path, text).unwrap();
    path
}

#[track_caller]
fn check_failure(arguments: &[&str], part: &str) {
    let output = program().args(arguments).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains(part), "{said}");
}

#[test]
fn it_says_where_it_listens_and_serves_its_configuration() {
    let config = file(
        "good.toml",
        "[[projects]]\nname = \"alpha\"\nkeys = [\"made-up-file-key\"]\n",
    );
    let child = program()
        .args(["--listen", "127.0.0.1:0", "--config"])
        .arg(&config)
        .spawn()
        .unwrap();
    let mut running = Running(child);
    let mut line = String::new();
    BufReader::new(running.0.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let address = line
        .trim_end()
        .strip_prefix("listening on http://")
        .unwrap();
    let mut socket = TcpStream::connect(address).unwrap();
    let request =
        "GET /v1beta/models?key=made-up-file-key HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    std::fs::remove_file(config).unwrap();
}

#[test]
fn mistakes_are_told_and_end_in_failure() {
    let bad = file(
        "bad.toml",
        "[[projects]]\nname = \"alpha\"\nkey = [\"x\"]\n",
    );
    check_failure(&["--config", bad.to_str().unwrap()], "unknown field `key`");
    check_failure(&["--config", bad.to_str().unwrap()], "bad.toml");
    check_failure(
        &["--config", "/not/there.toml"],
        "cannot read /not/there.toml",
    );
    check_failure(&["--listen", "somewhere"], "--listen");
    std::fs::remove_file(bad).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    check_failure(
        &["--listen", &taken.local_addr().unwrap().to_string()],
        "choose another address",
    );
}
