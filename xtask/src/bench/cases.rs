//! What is measured against the clock: every case at every server, in turns.
//!
//! A round of a case measures it at the upstream, at nginx and at the relay, one window right after the
//! other; so what is compared was measured within seconds. One case is done before the next begins: both
//! cores busy to the last for a while slow many a machine down for the next while, and one connection, which
//! comes first, is to be measured on a machine that is rested.

use super::Built;
use super::proxies::{self, Cores, Server};
use super::report::{Case, Found, Turn};
use super::scratch::Scratch;
use super::window::{self, Limit};
use crate::say::say;

/// Measures all cases so many times.
pub(crate) fn measure(
    built: &Built,
    scratch: &Scratch,
    rounds: usize,
    found: &mut Found,
) -> Result<(), String> {
    let cores = Cores::choose();
    found.pinned = cores.proxy.is_some();
    let upstream = proxies::upstream(built, scratch, cores)?;
    let nginx = proxies::nginx(scratch, upstream.address, cores, None)?;
    let relay = proxies::relay(built, scratch, upstream.address, cores.proxy, None)?;
    let servers = [&upstream, &nginx, &relay];
    found.idle = (nginx.running.memory().0, relay.running.memory().0);
    found.cases = Vec::from(CASES);
    for case in &mut found.cases {
        say!("{}, {} connections", case.name, case.connections);
        // To warm up.
        turn(built, servers, case, Limit::Seconds(WARMING), cores)?;
        for _ in 0..rounds {
            let turn = turn(built, servers, case, Limit::Seconds(SECONDS), cores)?;
            case.turns.push(turn);
        }
    }
    found.peak = (nginx.running.memory().1, relay.running.memory().1);
    relay.running.stop()
}

fn turn(
    built: &Built,
    [upstream, nginx, relay]: [&Server; 3],
    case: &Case,
    limit: Limit,
    cores: Cores,
) -> Result<Turn, String> {
    let window = |server| window::measure(built, server, case.kind, case.connections, limit, cores);
    Ok(Turn {
        direct: window(upstream)?,
        nginx: window(nginx)?,
        relay: window(relay)?,
    })
}

const CASES: [Case; 6] = [
    Case::new("2 KB", "2k", 1),
    Case::new("2 KB", "2k", 32),
    Case::new("2 KB", "2k", 128),
    Case::new("20 events", "stream", 32),
    Case::new("1 MB JSON", "json-1m", 4),
    Case::new("1 MB streamed", "opaque-1m", 4),
];

/// Thousands of answers, even with large bodies.
const SECONDS: f64 = 1.0;
const WARMING: f64 = 0.3;
