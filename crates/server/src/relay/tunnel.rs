//! WebSockets, as they are: a key is chosen, the upgrade is asked for, and bytes go both ways, the key covered
//! where Google quotes it.

use super::answer::{Answer, Ticket};
use super::exchange::Exchange;
use super::record::Ending;
use super::upstream::Upstream;
use super::worker::Seat;
use gemini_relay_core::frames::Frames;
use gemini_relay_core::veil::Veil;
use http::{HeaderMap, Response, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

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
    let ends = body.into_ticket().map(Ends::new);
    tokio::spawn(async move {
        if let (Some(mut ends), Ok(client), Ok(google)) = (ends, client.await, google.await) {
            ends.join(TokioIo::new(client), TokioIo::new(google)).await;
        }
        drop(seat);
    });
    Response::from_parts(parts, Answer::whole("", None))
}

/// The two ends of a tunnel, and what went through it, which is told however it ends.
struct Ends {
    ticket: Ticket,
    received: AtomicU64,
    sent: AtomicU64,
}

impl Ends {
    fn new(mut ticket: Ticket) -> Self {
        // The answer to the upgrade was whole; what it began is not.
        ticket.record.ending = Ending::Cancelled;
        Self {
            ticket,
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        }
    }

    async fn join<C, G>(&mut self, client: C, google: G)
    where
        C: AsyncRead + AsyncWrite,
        G: AsyncRead + AsyncWrite,
    {
        let (client_reads, client_writes) = tokio::io::split(client);
        let (google_reads, google_writes) = tokio::io::split(google);
        // What Google says is not masked, and may quote the key: at the close of a session, for one.
        let key = self.ticket.record.key.clone();
        let veil = key.map(|key| Frames::new(Veil::new(key)));
        let both = tokio::try_join!(
            carry(client_reads, google_writes, None, &self.received),
            carry(google_reads, client_writes, veil, &self.sent),
        );
        if both.is_ok() {
            self.ticket.record.ending = Ending::Whole;
        }
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.ticket.record.received = *self.received.get_mut();
        self.ticket.record.sent = *self.sent.get_mut();
    }
}

/// Carries bytes one way, until there are no more.
async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut veil: Option<Frames>,
    count: &AtomicU64,
) -> std::io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let read = from.read(&mut piece).await?;
        let bytes = piece.get(..read).unwrap_or_default();
        let shown = match &mut veil {
            Some(veil) if read == 0 => Some(veil.rest()),
            Some(veil) => Some(veil.over(bytes)),
            None => None,
        };
        let bytes = shown.as_deref().unwrap_or(bytes);
        to.write_all(bytes).await?;
        count.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if read == 0 {
            return to.shutdown().await;
        }
        to.flush().await?;
    }
}

/// As much as is read at once.
const PIECE: usize = 8 * 1024;
