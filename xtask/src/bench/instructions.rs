//! Instructions, counted by callgrind: the figures that repeat, on a busy machine too.
//!
//! A program is run twice with different amounts of work and the counts are subtracted: what remains
//! is the work, without starting and stopping. Only instructions of the program count, not the
//! kernel's, which every proxy has to pay alike.

use super::Built;
use super::children::Running;
use super::proxies::{self, Cores, Server};
use super::report::Found;
use super::scratch::Scratch;
use super::window::{self, Limit};
use crate::say::say;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

/// Of the relay, for one request of a kilobyte each way.
pub(crate) fn relay(built: &Built, scratch: &Scratch, found: &mut Found) -> Result<(), String> {
    let start = |upstream, out: &Path| {
        proxies::relay(built, scratch, upstream, None, Some(&mut callgrind(out)))
    };
    found.relay_instructions = Some(of_a_request("the relay", built, scratch, start)?);
    Ok(())
}

/// The same of nginx: what passing a request on takes.
pub(crate) fn nginx(built: &Built, scratch: &Scratch, found: &mut Found) -> Result<(), String> {
    let start =
        |upstream, out: &Path| proxies::nginx(scratch, upstream, NOWHERE, Some(&|| callgrind(out)));
    found.nginx_instructions = Some(of_a_request("nginx", built, scratch, start)?);
    Ok(())
}

fn of_a_request(
    name: &str,
    built: &Built,
    scratch: &Scratch,
    start: impl Fn(SocketAddr, &Path) -> Result<Server, String>,
) -> Result<f64, String> {
    let upstream = proxies::upstream(built, scratch, NOWHERE)?;
    let mut counted = [0; 2];
    for (requests, count) in REQUESTS.into_iter().zip(&mut counted) {
        say!("counting the instructions of {name}: {requests} requests");
        let out = scratch.path(&format!("proxy-{requests}.callgrind"));
        let server = start(upstream.address, &out)?;
        window::measure(built, &server, "1k", 1, Limit::Requests(requests), NOWHERE)?;
        server.running.stop()?;
        *count = total(&out)?;
    }
    Ok(each(counted, REQUESTS))
}

/// Of the policy, for one request, with few keys and with many that cool.
pub(crate) fn choosing(built: &Built, scratch: &Scratch, found: &mut Found) -> Result<(), String> {
    let count = |keys: usize, cooling: usize| {
        say!("counting the policy's instructions: {keys} keys, {cooling} of them cooling");
        let mut counted = [0; 2];
        for (rounds, count) in ROUNDS.into_iter().zip(&mut counted) {
            let out = scratch.path("choosing.callgrind");
            let log = scratch.path("choosing.log");
            let mut command = callgrind(&out);
            command.arg(&built.tools).arg("choosing").args([
                keys.to_string(),
                cooling.to_string(),
                rounds.to_string(),
            ]);
            let mut running = Running::start(&mut command, &log)?;
            running.ends().map_err(|error| {
                format!("{error}: {}", fs::read_to_string(&log).unwrap_or_default())
            })?;
            *count = total(&out)?;
        }
        Ok::<f64, String>(each(counted, ROUNDS))
    };
    found.choosing_instructions = Some((count(10, 0)?, count(10_000, 9_900)?));
    Ok(())
}

fn callgrind(out: &Path) -> Command {
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--callgrind-out-file={}", out.display()));
    command
}

/// What one unit of the work took.
fn each(counted: [u64; 2], amounts: [usize; 2]) -> f64 {
    counted[1].saturating_sub(counted[0]) as f64 / (amounts[1] - amounts[0]) as f64
}

/// The total that callgrind wrote.
fn total(out: &Path) -> Result<u64, String> {
    let text = fs::read_to_string(out).map_err(|error| format!("{}: {error}", out.display()))?;
    read_total(&text).ok_or(format!("{}: callgrind wrote no total", out.display()))
}

fn read_total(text: &str) -> Option<u64> {
    text.lines()
        .rev()
        .find_map(|line| line.strip_prefix("totals:")?.trim().parse().ok())
}

const NOWHERE: Cores = Cores {
    proxy: None,
    rest: None,
};

/// The first covers what happens once: connections, the first growth of buffers and tables.
const REQUESTS: [usize; 2] = [300, 1800];
const ROUNDS: [usize; 2] = [1_000, 21_000];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_the_last_of_the_file() {
        assert_eq!(
            read_total("events: Ir\nfn=(1) x\n1 2\ntotals: 48210\n"),
            Some(48210)
        );
        assert_eq!(read_total("events: Ir\n"), None);
    }

    #[test]
    fn starting_cancels_out() {
        assert_eq!(each([1_100, 1_600], [10, 20]), 50.0);
    }
}
