//! A worker: one thread, one runtime, its own listeners and its own connections to Google.

use super::alarm::Alarms;
use super::answer::Answer;
use super::listen::Listeners;
use super::places::Place;
use super::service;
use super::shared::Shared;
use super::upstream::Upstream;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::{ClientConfig, ServerConfig};
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;

/// How far stopping has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(crate) enum Phase {
    /// Serving.
    Open,
    /// No new connections; requests finish.
    Draining,
    /// Requests are cut.
    Cut,
}

/// What a worker is given.
pub(crate) struct Given {
    pub(crate) shared: Arc<Shared>,
    pub(crate) listeners: Listeners,
    pub(crate) tls: Option<Arc<ServerConfig>>,
    pub(crate) client: ClientConfig,
    pub(crate) phase: watch::Receiver<Phase>,
}

/// Serves until every connection is done after draining began, or they are to be cut: they are when this
/// worker's runtime ends.
pub(crate) async fn run(given: Given) {
    let mut phase = given.phase.clone();
    let upstream = Arc::new(Upstream::new(&given.shared.config, given.client));
    // Every connection holds one end; when none is left the other says so.
    let (open, mut closed) = mpsc::channel(1);
    // A runtime whose next timer is far away is woken for every nearer one that is set, which is one a
    // request. One that ticks is not.
    let ticking = tokio::spawn(async {
        let mut tick = tokio::time::interval(TICK);
        loop {
            tick.tick().await;
        }
    });
    let mut accepting = Vec::new();
    for listener in given.listeners {
        let listener = match TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(%error, "a listener cannot be used");
                continue;
            }
        };
        let door = Accept {
            shared: Arc::clone(&given.shared),
            upstream: Arc::clone(&upstream),
            tls: given.tls.clone().map(TlsAcceptor::from),
            phase: given.phase.clone(),
            open: open.clone(),
        };
        accepting.push(tokio::spawn(door.run(listener, given.phase.clone())));
    }
    for task in accepting {
        let _ = task.await;
    }
    drop(open);
    tokio::select! {
        none = closed.recv() => debug_assert!(none.is_none(), "nothing is ever sent"),
        _ = phase.wait_for(|phase| *phase == Phase::Cut) => {}
    }
    ticking.abort();
}

struct Accept {
    shared: Arc<Shared>,
    upstream: Arc<Upstream>,
    tls: Option<TlsAcceptor>,
    phase: watch::Receiver<Phase>,
    open: mpsc::Sender<()>,
}

impl Accept {
    async fn run(self, listener: TcpListener, mut phase: watch::Receiver<Phase>) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = phase.wait_for(|phase| *phase >= Phase::Draining) => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let place = tokio::select! {
                        place = self.shared.places.take() => place,
                        _ = phase.wait_for(|phase| *phase >= Phase::Draining) => return,
                    };
                    self.serve(stream, peer, place);
                }
                Err(error) => {
                    // Out of file descriptors, mostly: connections end, and then there are some again.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn serve(&self, stream: TcpStream, peer: SocketAddr, place: Place) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
        let (shared, upstream, tls) = (
            Arc::clone(&self.shared),
            Arc::clone(&self.upstream),
            self.tls.clone(),
        );
        let mut phase = self.phase.clone();
        shared.metrics.connections.inc();
        let seat = Arc::new(Seat {
            peer,
            shared: Arc::clone(&shared),
            cut: AtomicBool::new(false),
            _place: place,
            _open: self.open.clone(),
        });
        let stream = Wire {
            stream,
            seat: Arc::clone(&seat),
        };
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let (seat, upstream) = (Arc::clone(&seat), Arc::clone(&upstream));
                async move { Ok::<_, Infallible>(service::answer(&seat, &upstream, request).await) }
            });
            // Errors here are clients that left or spoke nonsense, or streams that were cut on purpose.
            let ended = match tls {
                None => match begins_http2(&stream.stream, &mut phase).await {
                    Some(http2) => serve(stream, http2, service, phase).await,
                    None => return,
                },
                Some(tls) => match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
                    Ok(Ok(stream)) => {
                        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                        serve(stream, http2, service, phase).await
                    }
                    Ok(Err(error)) => {
                        tracing::debug!(%peer, %error, "TLS handshake failed");
                        return;
                    }
                    Err(_) => return,
                },
            };
            match ended {
                // hyper has answered with 431 or 414.
                Err(error) if error.is_parse_too_large() => {
                    tracing::info!(%peer, "refused at the door: {error}");
                }
                Err(error) => tracing::debug!(%peer, "connection ended: {error}"),
                Ok(()) => {}
            }
        });
    }
}

/// Serves one connection; when draining begins, the requests it has and no more.
async fn serve<I, S>(
    stream: I,
    http2: bool,
    service: S,
    mut phase: watch::Receiver<Phase>,
) -> Result<(), hyper::Error>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: HttpService<Incoming, ResBody = Answer> + Send,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let stream = TokioIo::new(stream);
    if http2 {
        let mut connection = pin!(http2_builder().serve_connection(stream, service));
        if let Some(ended) = before_draining(connection.as_mut(), &mut phase).await {
            return ended;
        }
        connection.as_mut().graceful_shutdown();
        return connection.await;
    }
    let connection = http1_builder().serve_connection(stream, service);
    let mut connection = pin!(connection.with_upgrades());
    if let Some(ended) = before_draining(connection.as_mut(), &mut phase).await {
        return ended;
    }
    connection.as_mut().graceful_shutdown();
    connection.await
}

/// How a connection ended; `None` if draining begins before.
async fn before_draining<C: Future>(
    mut connection: Pin<&mut C>,
    phase: &mut watch::Receiver<Phase>,
) -> Option<C::Output> {
    let seen = phase.clone();
    let mut draining = pin!(phase.wait_for(|phase| *phase >= Phase::Draining));
    let mut asked = false;
    std::future::poll_fn(|cx| {
        if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
            return Poll::Ready(Some(ended));
        }
        // Once asked it wakes this task: asking at each wake would cost every request.
        if asked && !seen.has_changed().unwrap_or(true) {
            return Poll::Pending;
        }
        asked = true;
        draining.as_mut().poll(cx).map(|_| None)
    })
    .await
}

/// Whether a client that speaks without TLS begins with HTTP/2 (prior knowledge); `None` if it goes, or
/// says nothing before draining begins.
async fn begins_http2(stream: &TcpStream, phase: &mut watch::Receiver<Phase>) -> Option<bool> {
    let look = async {
        let mut first = [0; PREFACE.len()];
        let mut began: Option<Instant> = None;
        loop {
            let seen = stream.peek(&mut first).await.ok()?;
            let begun = first.get(..seen)?;
            if seen == 0 {
                return None;
            }
            if !PREFACE.starts_with(begun) {
                return Some(false);
            }
            if seen == PREFACE.len() {
                return Some(true);
            }
            // What was seen is seen again at once, and that the client went is not seen behind it: so a preface
            // that comes letter by letter is not waited for long.
            let begun = *began.get_or_insert_with(Instant::now);
            if begun.elapsed() >= PREFACE_WAIT {
                return Some(false);
            }
            tokio::time::sleep(LETTER).await;
        }
    };
    tokio::select! {
        seen = tokio::time::timeout(HEAD, look) => seen.ok().flatten(),
        _ = phase.wait_for(|phase| *phase >= Phase::Draining) => None,
    }
}

/// What a connection takes up, until the last of it is gone: a WebSocket goes on after hyper is done with it.
pub(crate) struct Seat {
    pub(crate) peer: SocketAddr,
    pub(crate) shared: Arc<Shared>,
    /// Set while an answer is on its way that ends with the connection: it is reset if that happens before.
    pub(crate) cut: AtomicBool,
    _place: Place,
    _open: mpsc::Sender<()>,
}

/// A client's connection, which can end in a way that says that something is missing.
struct Wire {
    stream: TcpStream,
    seat: Arc<Seat>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.seat.cut.load(Ordering::Relaxed)
            && let Err(error) = self.stream.set_zero_linger()
        {
            tracing::debug!(%error, "a connection cannot be reset");
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.seat.cut.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.shared.metrics.connections.dec();
    }
}

fn http1_builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(Alarms)
        .header_read_timeout(HEAD)
        .max_buf_size(MAX_HEAD);
    builder
}

fn http2_builder() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(PING))
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(2 * WINDOW);
    builder
}

/// How HTTP/2's preface begins, and no method of HTTP/1.
const PREFACE: &[u8] = b"PRI ";

/// Between two looks at a preface that is not all there.
const LETTER: Duration = Duration::from_millis(20);

/// Its letters are in one packet, but for the most unlucky of networks.
const PREFACE_WAIT: Duration = Duration::from_secs(1);

/// Nearer than any limit that a request sets.
const TICK: Duration = Duration::from_secs(5);

/// A client has this long to send a request's head, and to come back with the next one.
const HEAD: Duration = Duration::from_secs(75);

/// A TLS handshake that takes longer is none.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The longest head of a request: ten times what any client sends.
const MAX_HEAD: usize = 128 * 1024;

/// HTTP/2: a client that is gone is noticed in about this time.
const PING: Duration = Duration::from_secs(30);

/// HTTP/2 streams a connection, so that one connection cannot hold all memory.
const MAX_STREAMS: u32 = 256;

/// HTTP/2 flow control: enough for an inline image at once.
const WINDOW: u32 = 1024 * 1024;

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
