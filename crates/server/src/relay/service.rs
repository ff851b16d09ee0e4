//! A request's first steps: what it is, whether it may come in, what must be read of it.

use super::answer::{Answer, Ticket};
use super::body::{BodyError, Source};
use super::exchange::{Exchange, mark, refused};
use super::record::{Ending, Record};
use super::shared::Shared;
use super::upstream::Upstream;
use super::worker::Seat;
use super::{control, tunnel};
use gemini_relay_core::letin::{FOREIGN_ORIGIN, TOKEN_AS_NAME};
use gemini_relay_core::recognise::{Destination, Recognised, recognise};
use gemini_relay_core::refusal::Refusal;
use gemini_relay_core::scan::{Found, Scanner};
use gemini_relay_core::{ClientId, Surface};
use gemini_relay_core::{headers, host, reading};
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use smallvec::SmallVec;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Answers one request.
pub(crate) async fn answer(
    seat: &Arc<Seat>,
    upstream: &Arc<Upstream>,
    request: Request<Incoming>,
) -> Response<Answer> {
    let shared = &seat.shared;
    // A head is large; below it goes by reference.
    let (mut head, body) = request.into_parts();
    let settled = host::settle(&mut head.headers, head.uri.authority());
    let origin = shared
        .door
        .listed_origin(&head.headers)
        .and_then(|origin| HeaderValue::from_str(origin).ok())
        .filter(|_| settled.is_ok());
    let asks_first = is_preflight(&head);
    let let_in = match settled {
        Err(refusal) => Err(turned_away(seat, &refusal, None)),
        Ok(()) if asks_first => match &origin {
            Some(origin) => Err(Box::new(preflight(origin, &head.headers))),
            None => Err(turned_away(seat, &Refusal::Forbidden(FOREIGN_ORIGIN), None)),
        },
        Ok(()) => let_in(seat, &head),
    };
    let mut response = match let_in {
        Ok((found, client)) => exchange(seat, upstream, found, client, &mut head, body).await,
        Err(response) => {
            // Whoever asks first whether to send it does not send it now.
            if !body.is_end_stream() && !head.headers.contains_key(header::EXPECT) {
                let idle = shared.config.body_timeout;
                Source::new(body, 0, idle, &shared.budget).let_by().await;
            }
            *response
        }
    };
    if let Some(origin) = origin
        && !asks_first
    {
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static("*"),
        );
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
    response
}

fn is_preflight(head: &Parts) -> bool {
    let asked = header::ACCESS_CONTROL_REQUEST_METHOD;
    head.method == Method::OPTIONS && head.headers.contains_key(asked)
}

/// What the request is and who asks, if it is for Google and let in; else the relay's own answer.
fn let_in(seat: &Seat, head: &Parts) -> Result<(Recognised, ClientId), Box<Response<Answer>>> {
    let shared = &seat.shared;
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let base_path = &shared.config.base_path;
    let found = match recognise(&head.method, path, &head.headers, base_path) {
        Destination::Nowhere => return Err(turned_away(seat, &Refusal::NotFound, None)),
        Destination::Crooked(found) => {
            let refusal = Refusal::BadRequest("the path has . or .. for a segment.");
            return Err(turned_away(seat, &refusal, Some(&found)));
        }
        Destination::Relay(page) => {
            let answer = control::answer(shared, &page, seat.peer, head);
            return Err(match answer {
                Ok(answer) => Box::new(answer),
                Err(refusal) => turned_away(seat, &refusal, None),
            });
        }
        Destination::Upstream(found) => found,
    };
    let admitted = if matches!(head.method, Method::TRACE | Method::CONNECT) {
        // A server that answers TRACE sends the request's headers back, the key among them.
        Err(Refusal::BadRequest("TRACE and CONNECT are not passed on."))
    } else if shared.hop.is_back(&head.headers) {
        // Before tokens are looked at: a request that comes back has a key in their place.
        circled(shared);
        Err(Refusal::Loop)
    } else {
        shared.door.admit(path, &head.headers)
    };
    match admitted {
        Ok(client) => Ok((found, client)),
        Err(refusal) => Err(turned_away(seat, &refusal, Some(&found))),
    }
}

/// Says that requests come back, once a minute at most: anybody can send a mark.
fn circled(shared: &Shared) {
    let minute = shared.clock.now().as_millis() / 60_000;
    if shared.circled.swap(minute, Ordering::Relaxed) != minute {
        tracing::error!(
            upstream = shared.config.upstream.authority.as_str(),
            "the upstream leads back to this relay: requests are refused"
        );
    }
}

/// The relay's own answer to a request that is not let in, in the dialect of what was asked, and its line.
fn turned_away(
    seat: &Seat,
    refusal: &Refusal,
    found: Option<&Recognised>,
) -> Box<Response<Answer>> {
    let (status, reason) = (refusal.status().0, refusal.name());
    tracing::info!(peer = %seat.peer, status, reason, "refused at the door");
    let surface = found.map_or(Surface::Gemini, |found| found.surface);
    let array = found.is_some_and(|found| found.array && found.streams);
    Box::new(plain(&seat.shared, refusal, surface, array))
}

async fn exchange(
    seat: &Arc<Seat>,
    upstream: &Arc<Upstream>,
    mut found: Recognised,
    client: ClientId,
    head: &mut Parts,
    body: Incoming,
) -> Response<Answer> {
    let shared = &seat.shared;
    let upgrade = head
        .extensions
        .remove::<OnUpgrade>()
        .filter(|_| tunnel::asked(&head.headers));
    let (kept, idle) = (shared.config.replay_limit, shared.config.body_timeout);
    let length = body.size_hint().exact();
    let source = Source::new(body, kept, idle, &shared.budget);
    let mut ticket = Ticket::new(shared, record(shared, &found, client));
    if head.version < Version::HTTP_11 && head.method != Method::HEAD {
        ticket.ends_with(seat);
    }
    let body = if reading::is_json(&head.headers, &found) {
        let mut scanner = Scanner::default();
        if let Err(error) = source.gather(&mut scanner).await {
            ticket.record.received = source.total();
            return match error {
                BodyError::Stalled => refuse_body(shared, &Refusal::Stalled, &found, ticket),
                // Nobody reads an answer.
                BodyError::Broken(_) => {
                    let refusal = Refusal::BadRequest("the request's body broke off.");
                    plain(shared, &refusal, found.surface, false)
                }
            };
        }
        scanner.found()
    } else {
        Found::default()
    };
    let deadline = reading::deadline(&head.headers, || shared.clock.now());
    let mut headers = std::mem::take(&mut head.headers);
    shared.door.drop_tokens(&mut headers);
    if let Some(target) = shared.door.without_tokens(&found.target) {
        found.target = target;
    }
    let kept = source.is_kept();
    let asks_first = !kept && headers.contains_key(header::EXPECT);
    headers::for_google(&mut headers, length, upgrade.is_some());
    headers.insert(header::HOST, shared.upstream_host.clone());
    if length.unwrap_or_else(|| source.total()) == 0
        && kept
        && matches!(head.method, Method::POST | Method::PUT | Method::PATCH)
    {
        // HTTP/2 ends an empty body with its head; HTTP/1 must say that there is none.
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    shared.hop.mark(&mut headers);
    let bytes = length.unwrap_or_else(|| source.total());
    let facts = reading::facts(&found, &body, client, deadline, (bytes, kept));
    ticket.record.kind = facts.kind;
    if shared.door.is_named(&found, facts.model.as_deref()) {
        source.let_by().await;
        return refuse_body(shared, &TOKEN_AS_NAME, &found, ticket);
    }
    ticket.record.model.clone_from(&facts.model);
    let path = std::mem::take(&mut head.uri).into_parts().path_and_query;
    let rest = (!kept).then(|| source.clone());
    let exchange = Box::new(Exchange {
        method: std::mem::take(&mut head.method),
        path: path.unwrap_or(PathAndQuery::from_static("/")),
        found,
        headers,
        source,
        facts,
        ticket,
    });
    let response = match upgrade {
        Some(client) => Box::pin(tunnel::run(exchange, upstream, client, Arc::clone(seat))).await,
        None => Box::pin(exchange.run(upstream)).await,
    };
    if let Some(rest) = rest
        && response.status().as_u16() >= 400
        && !(asks_first && rest.is_untouched())
    {
        rest.let_by().await;
    }
    response
}

fn record(shared: &Shared, found: &Recognised, client: ClientId) -> Record {
    Record {
        id: shared.next_id(),
        client,
        surface: found.surface,
        kind: found.kind,
        // Until it is known that it is no token.
        model: None,
        key: None,
        attempts: 0,
        verdicts: SmallVec::new(),
        status: 499,
        reason: None,
        sent: 0,
        received: 0,
        usage: None,
        started: Instant::now(),
        first_byte: None,
        ending: Ending::Cancelled,
    }
}

/// The answer to a client that stopped in the middle of its body, or says in it what is not sent on.
fn refuse_body(
    shared: &Shared,
    refusal: &Refusal,
    found: &Recognised,
    mut ticket: Ticket,
) -> Response<Answer> {
    let array = found.array && found.streams;
    let (mut parts, body) = refused(shared, refusal, found.surface, array);
    ticket.record.reason = Some(refusal.name());
    mark(&mut ticket, &mut parts.headers, parts.status, 0, None);
    Response::from_parts(parts, Answer::whole(body, Some(ticket)))
}

/// The relay's own answer to a request that was not let in.
pub(crate) fn plain(
    shared: &Shared,
    refusal: &Refusal,
    surface: Surface,
    array: bool,
) -> Response<Answer> {
    let (parts, body) = refused(shared, refusal, surface, array);
    Response::from_parts(parts, Answer::whole(body, None))
}

fn preflight(origin: &HeaderValue, headers: &HeaderMap) -> Response<Answer> {
    let mut response = Response::new(Answer::whole("", None));
    *response.status_mut() = StatusCode::NO_CONTENT;
    let allowed = response.headers_mut();
    allowed.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    allowed.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE"),
    );
    if let Some(asked) = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        allowed.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
    }
    allowed.insert(
        header::ACCESS_CONTROL_MAX_AGE,
        HeaderValue::from_static("600"),
    );
    allowed.insert(header::VARY, HeaderValue::from_static("origin"));
    response
}
