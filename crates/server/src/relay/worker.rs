//! A worker: one thread, one runtime, its own listeners and its own connections to Google.

use super::listen::Listeners;
use super::service;
use super::shared::Shared;
use super::upstream::Upstream;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use rustls::{ClientConfig, ServerConfig};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// How far stopping has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Serving.
    Open,
    /// No new connections; requests finish.
    Draining,
}

/// What a worker is given.
pub(crate) struct Given {
    pub(crate) shared: Arc<Shared>,
    pub(crate) listeners: Listeners,
    pub(crate) tls: Option<Arc<ServerConfig>>,
    pub(crate) client: ClientConfig,
    pub(crate) phase: watch::Receiver<Phase>,
}

/// Serves until every connection is done after draining began.
pub(crate) async fn run(given: Given) {
    let upstream = Arc::new(Upstream::new(&given.shared.config, given.client));
    let graceful = Arc::new(GracefulShutdown::new());
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
            graceful: Arc::clone(&graceful),
        };
        accepting.push(tokio::spawn(door.run(listener, given.phase.clone())));
    }
    for task in accepting {
        let _ = task.await;
    }
    if let Some(graceful) = Arc::into_inner(graceful) {
        graceful.shutdown().await;
    }
}

struct Accept {
    shared: Arc<Shared>,
    upstream: Arc<Upstream>,
    tls: Option<TlsAcceptor>,
    graceful: Arc<GracefulShutdown>,
}

impl Accept {
    async fn run(self, listener: TcpListener, mut phase: watch::Receiver<Phase>) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = phase.wait_for(|phase| *phase == Phase::Draining) => return,
            };
            match accepted {
                Ok((stream, peer)) => self.serve(stream, peer),
                Err(error) => {
                    // Out of file descriptors, mostly: connections end, and then there are some again.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn serve(&self, stream: TcpStream, peer: SocketAddr) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
        let (shared, upstream, tls) = (
            Arc::clone(&self.shared),
            Arc::clone(&self.upstream),
            self.tls.clone(),
        );
        let watcher = self.graceful.watcher();
        tokio::spawn(async move {
            shared.metrics.connections.inc();
            let _open = Open(Arc::clone(&shared));
            let service = service_fn(move |request| {
                let (shared, upstream) = (Arc::clone(&shared), Arc::clone(&upstream));
                async move {
                    Ok::<_, Infallible>(service::answer(shared, upstream, peer, request).await)
                }
            });
            let builder = builder();
            // Errors here are clients that left or spoke nonsense, or streams that were cut on purpose.
            let ended = match tls {
                None => {
                    watcher
                        .watch(
                            builder.serve_connection_with_upgrades(TokioIo::new(stream), service),
                        )
                        .await
                }
                Some(tls) => match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
                    Ok(Ok(stream)) => {
                        watcher
                            .watch(
                                builder
                                    .serve_connection_with_upgrades(TokioIo::new(stream), service),
                            )
                            .await
                    }
                    Ok(Err(error)) => {
                        tracing::debug!(%peer, %error, "TLS handshake failed");
                        return;
                    }
                    Err(_) => return,
                },
            };
            if let Err(error) = ended {
                tracing::debug!(%peer, "connection ended: {error}");
            }
        });
    }
}

struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.metrics.connections.dec();
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(MAX_HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(PING))
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(2 * WINDOW);
    builder
}

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
