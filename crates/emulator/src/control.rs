//! The control API: how a test in another process or another language steers the emulator.
//!
//! It says in JSON what the methods of [`crate::Emulator`] say in Rust, and nothing more.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::config::{Config, KeyState};
use crate::connection::{Disturbance, Link};
use crate::emulator::Shared;
use crate::fault::{Fault, Match};
use crate::script::Script;

/// Where the control API is.
pub(crate) const PREFIX: &str = "/_emulator/";

pub(crate) async fn serve(
    shared: &Shared,
    link: &Arc<Link>,
    request: Request<Incoming>,
) -> Response<Script> {
    let (head, body) = request.into_parts();
    let call = head.uri.path().strip_prefix(PREFIX).unwrap_or_default();
    let answer = match Limited::new(body, MOST_BODY).collect().await {
        Ok(body) => act(shared, link, head.method.as_str(), call, &body.to_bytes()),
        Err(error) => Err(Problem::Bad(format!("the body cannot be read: {error}"))),
    };
    let (status, json) = match answer {
        Ok(json) => (StatusCode::OK, json),
        Err(Problem::Bad(why)) => (StatusCode::BAD_REQUEST, json!({"error": why})),
        Err(Problem::NoSuchCall) => (
            StatusCode::NOT_FOUND,
            json!({"error": format!("there is no {} {PREFIX}{call}; there are {CALLS}", head.method)}),
        ),
    };
    let mut response = Response::new(Script::plain(Bytes::from(json.to_string() + "\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

enum Problem {
    Bad(String),
    NoSuchCall,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetKey {
    value: String,
    project: Option<String>,
    #[serde(default)]
    state: KeyState,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MoveClock {
    advance_ms: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Disturb {
    r#do: Disturbance,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AddFault {
    #[serde(default)]
    r#match: Match,
    #[serde(default = "once")]
    count: u64,
    fault: Fault,
}

fn act(
    shared: &Shared,
    link: &Arc<Link>,
    method: &str,
    call: &str,
    body: &[u8],
) -> Result<Value, Problem> {
    let mut world = shared.world();
    match (method, call) {
        ("GET", "state") => Ok(world.state()),
        ("PUT", "config") => {
            let text =
                std::str::from_utf8(body).map_err(|error| Problem::Bad(error.to_string()))?;
            // No TOML document begins with a brace, and every JSON one does.
            let config = if text.trim_start().starts_with('{') {
                Config::from_json(text)
            } else {
                Config::from_toml(text)
            };
            let config = config.map_err(|error| Problem::Bad(error.to_string()))?;
            world
                .configure(config)
                .map_err(|error| Problem::Bad(error.to_string()))?;
            Ok(json!({}))
        }
        ("POST", "keys") => {
            let set: SetKey = read(body)?;
            world
                .set_key(&set.value, set.project.as_deref(), set.state)
                .map_err(Problem::Bad)?;
            Ok(json!({}))
        }
        ("POST", "clock") => {
            let MoveClock { advance_ms } = read(body)?;
            world.advance(Duration::from_millis(advance_ms));
            Ok(json!({"clock_ms": world.now()}))
        }
        ("POST", "faults") => {
            let add: AddFault = read(body)?;
            add.fault.check().map_err(Problem::Bad)?;
            Ok(json!({"id": world.faults.add(add.r#match, add.count, add.fault)}))
        }
        ("POST", "connections") => {
            let Disturb { r#do } = read(body)?;
            // Whoever asks is to have an answer.
            Ok(json!({"connections": shared.disturb(r#do, Some(link))}))
        }
        ("DELETE", "faults") => {
            world.faults.clear();
            Ok(json!({}))
        }
        ("GET", "requests") => {
            let (requests, dropped) = (world.journal.all(), world.journal.dropped);
            // Writing ten thousand requests takes a while: not under the lock.
            drop(world);
            Ok(json!({"requests": requests, "dropped": dropped}))
        }
        ("DELETE", "requests") => {
            world.journal.clear();
            Ok(json!({}))
        }
        ("GET", "stats") => Ok(json!(world.journal.stats)),
        _ => Err(Problem::NoSuchCall),
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| Problem::Bad(error.to_string()))
}

fn once() -> u64 {
    1
}

const CALLS: &str = "GET state, PUT config, POST keys, POST clock, POST and DELETE faults, POST connections, GET and DELETE requests, GET stats";

/// A configuration with a hundred thousand keys fits.
const MOST_BODY: usize = 32 << 20;
