//! The relay's own pages, under `/-/`.

use super::answer::Answer;
use super::shared::Shared;
use gemini_relay_core::letin::Door;
use gemini_relay_core::refusal::Refusal;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use std::net::SocketAddr;
use std::sync::atomic::Ordering;

/// Answers a request for `page`.
///
/// # Errors
/// Why it is not shown, or that there is no such page.
pub(crate) fn answer(
    shared: &Shared,
    page: &str,
    peer: SocketAddr,
    head: &Parts,
) -> Result<Response<Answer>, Refusal> {
    if head.method != Method::GET && head.method != Method::HEAD {
        return Err(Refusal::NotFound);
    }
    Ok(match page {
        // What probes ask must need nothing and tell nothing.
        "healthy" => text(StatusCode::OK, PLAIN, "healthy\n"),
        "ready" if shared.stopping.load(Ordering::Relaxed) => {
            text(StatusCode::SERVICE_UNAVAILABLE, PLAIN, "stopping\n")
        }
        "ready" => text(StatusCode::OK, PLAIN, "ready\n"),
        _ => {
            if let Some(refusal) = kept_out(shared, peer, head) {
                return Err(refusal);
            }
            match page {
                "metrics" => metrics(shared),
                #[cfg(debug_assertions)]
                "panic" if std::env::var_os(PANICS).is_some() => panic_with_all(shared, head),
                _ => return Err(Refusal::NotFound),
            }
        }
    })
}

/// Who may not see the relay's own pages: off loopback a token is needed even where requests need none.
fn kept_out(shared: &Shared, peer: SocketAddr, head: &Parts) -> Option<Refusal> {
    let listens_here = shared
        .config
        .listen
        .iter()
        .all(|l| l.address.ip().is_loopback());
    let local = listens_here && Door::is_local(peer.ip(), &head.headers);
    match (local, shared.door.has_tokens()) {
        (true, true) => None,
        (false, false) => Some(Refusal::Forbidden(
            "its own pages are shown to others only with a client token, and it has none: see GEMINI_RELAY_TOKENS.",
        )),
        _ => {
            let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
            shared.door.admit(path, &head.headers).err()
        }
    }
}

fn metrics(shared: &Shared) -> Response<Answer> {
    let now = shared.clock.now();
    let (census, in_progress) =
        shared.policy(|policy| (policy.relay.census(now), policy.relay.in_progress()));
    let body = shared.metrics.encode(&census, in_progress, &shared.budget);
    text(
        StatusCode::OK,
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
        body,
    )
}

/// What the worst of mistakes could put into a panic, while the lock is held. Not in a release: there is no
/// way to make the program panic from outside, and so none to see what a panic shows.
#[cfg(debug_assertions)]
#[expect(clippy::panic, reason = "it is what is tested")]
fn panic_with_all(shared: &Shared, head: &Parts) -> Response<Answer> {
    shared.policy(|policy| {
        panic!(
            "asked to: {:?} {:?} {:?}",
            policy.relay,
            (&shared.config, &shared.door),
            head.uri.path()
        )
    })
}

fn text(status: StatusCode, kind: &'static str, body: impl Into<bytes::Bytes>) -> Response<Answer> {
    let mut response = Response::new(Answer::whole(body, None));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// Set by the test alone.
#[cfg(debug_assertions)]
const PANICS: &str = "RELAY_TEST_PANICS";

const PLAIN: &str = "text/plain; charset=utf-8";
