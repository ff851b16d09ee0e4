//! WebSockets, as they are: a key is chosen, the upgrade is asked for, and bytes go both ways.

use super::answer::{Answer, Ticket};
use super::exchange::Exchange;
use super::record::Ending;
use super::upstream::Upstream;
use super::worker::Seat;
use http::{HeaderMap, Response, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::sync::Arc;

/// Whether the client asks for a WebSocket.
pub(crate) fn asked(headers: &HeaderMap) -> bool {
    headers
        .get(header::UPGRADE)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Carries the request out and, if Google agrees, joins the two connections.
pub(crate) async fn run(
    exchange: Box<Exchange>,
    upstream: &Arc<Upstream>,
    client: OnUpgrade,
    seat: Arc<Seat>,
) -> Response<Answer> {
    let response = exchange.run(upstream).await;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    // What clean-up took off as belonging to the connection is what is being agreed on.
    parts.headers.insert(
        header::CONNECTION,
        header::HeaderValue::from_static("upgrade"),
    );
    parts.headers.insert(
        header::UPGRADE,
        header::HeaderValue::from_static("websocket"),
    );
    let mut upstream_response = Response::from_parts(parts.clone(), ());
    if let Some(on) = parts.extensions.remove::<OnUpgrade>() {
        upstream_response.extensions_mut().insert(on);
    }
    let google = hyper::upgrade::on(upstream_response);
    let ticket = body.into_ticket();
    tokio::spawn(async move {
        let mut ticket = ticket;
        if let (Ok(client), Ok(google)) = (client.await, google.await) {
            let mut client = TokioIo::new(client);
            let mut google = TokioIo::new(google);
            if let Ok((received, sent)) =
                tokio::io::copy_bidirectional(&mut client, &mut google).await
                && let Some(ticket) = &mut ticket
            {
                ticket.record.received = received;
                ticket.record.sent = sent;
                ticket.record.ending = Ending::Whole;
            }
        }
        drop::<Option<Ticket>>(ticket);
        drop(seat);
    });
    Response::from_parts(parts, Answer::whole("", None))
}
