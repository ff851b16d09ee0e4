//! One window: a load for a moment, what the clients saw, and what the proxy used meanwhile.

use super::Built;
use super::children::on_core;
use super::proxies::{Cores, Server, TOKEN};
use crate::say::say;
use std::net::SocketAddr;

/// What a window showed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// Processor time of the proxy for one answer, in microseconds.
    pub(crate) cpu: f64,
    /// Answers a second.
    pub(crate) rate: f64,
    /// Half the answers took no longer, in microseconds.
    pub(crate) p50: f64,
    /// Of a hundred answers one took longer.
    pub(crate) p99: f64,
}

/// How much is asked, and for how long.
#[derive(Clone, Copy)]
pub(crate) enum Limit {
    Seconds(f64),
    Requests(usize),
}

/// Measures one window. One that holds a failure is void: it is measured once more, and then fails.
pub(crate) fn measure(
    built: &Built,
    server: &Server,
    kind: &str,
    connections: usize,
    limit: Limit,
    cores: Cores,
) -> Result<Window, String> {
    for _ in 0..2 {
        let before = server.running.cpu();
        let said = load(built, server.address, kind, connections, limit, cores)?;
        let used = server.running.cpu().saturating_sub(before);
        let figure = |name: &str| {
            said.get(name)
                .and_then(serde_json::Value::as_f64)
                .unwrap_or(0.0)
        };
        let answers = figure("answers");
        if figure("failed") == 0.0 && answers > 0.0 {
            return Ok(Window {
                cpu: used.as_secs_f64() * 1e6 / answers,
                rate: answers / figure("seconds"),
                p50: figure("p50") / 1000.0,
                p99: figure("p99") / 1000.0,
            });
        }
        say!("void window: {kind}, {connections} connections: {said}");
    }
    Err(format!(
        "requests failed twice: {kind}, {connections} connections"
    ))
}

fn load(
    built: &Built,
    address: SocketAddr,
    kind: &str,
    connections: usize,
    limit: Limit,
    cores: Cores,
) -> Result<serde_json::Value, String> {
    let mut command = on_core(cores.rest, &built.tools);
    command
        .arg("load")
        .arg(address.to_string())
        .args([kind, &connections.to_string()])
        .env("BENCH_TOKEN", TOKEN);
    match limit {
        Limit::Seconds(seconds) => command.arg(seconds.to_string()),
        Limit::Requests(requests) => command.args([&requests.to_string(), "requests"]),
    };
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    serde_json::from_slice(&output.stdout).map_err(|error| {
        format!(
            "{command:?}: {error}: {}",
            String::from_utf8_lossy(&output.stderr)
        )
    })
}
