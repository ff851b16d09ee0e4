//! The way to Google: connections, kept and thrown away.
//!
//! HTTP/1.1, one connection a request in flight: an HTTP/2 connection's stream limit fills with long
//! streams and everybody queues behind it. Straight, through an HTTP proxy's `CONNECT`, or through
//! SOCKS; always to one host, so the way is decided once.
//!
//! **A laptop that slept.** Idle connections look alive after a sleep or a change of network and are
//! not; a request sent on one would hang for minutes. So keep-alive probes are short, unacknowledged
//! data gives a connection up, and when the wall clock jumps the whole idle pool is thrown away by
//! replacing the client ([`Upstream::renew`]).

use super::body::Replay;
use crate::config::Config;
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tower_service::Service;

/// One worker's connections to Google.
pub(crate) struct Upstream {
    connector: Within,
    client: Mutex<(u64, Client<Within, Replay>)>,
}

impl Upstream {
    /// Nothing is connected yet.
    pub(crate) fn new(config: &Config, tls: ClientConfig) -> Self {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(Way::of(config));
        let connector = Within {
            connector,
            limit: config.connect_timeout,
        };
        let client = Mutex::new((0, client(connector.clone())));
        Self { connector, client }
    }

    /// Sends a request; the error says whether anything was sent.
    pub(crate) async fn send(&self, request: Request<Replay>) -> Result<Response<Incoming>, Error> {
        let client = self.lock().1.clone();
        client.request(request).await
    }

    /// Throws idle connections away, once for each `generation`.
    pub(crate) fn renew(&self, generation: u64) {
        let mut current = self.lock();
        if current.0 != generation {
            *current = (generation, client(self.connector.clone()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, (u64, Client<Within, Replay>)> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn client(connector: Within) -> Client<Within, Replay> {
    Client::builder(TokioExecutor::new())
        .pool_idle_timeout(IDLE)
        .pool_timer(TokioTimer::new())
        .pool_max_idle_per_host(MAX_IDLE)
        .retry_canceled_requests(true)
        .build(connector)
}

/// A connection, with its TLS handshake and its proxy's greeting, within the connect limit.
#[derive(Clone)]
struct Within {
    connector: HttpsConnector<Way>,
    limit: Duration,
}

impl Service<Uri> for Within {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.connector.poll_ready(cx)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let connecting = self.connector.call(to);
        let limit = self.limit;
        Box::pin(async move { tokio::time::timeout(limit, connecting).await? })
    }
}

/// How a connection is made.
#[derive(Clone)]
enum Way {
    Direct(HttpConnector),
    Tunnel(Tunnel<HttpConnector>),
    Socks(SocksV5<HttpConnector>),
}

impl Way {
    fn of(config: &Config) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(config.connect_timeout));
        tcp.set_keepalive(Some(KEEPALIVE));
        tcp.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
        tcp.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
        #[cfg(any(target_os = "linux", target_os = "android"))]
        tcp.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
        let upstream = &config.upstream;
        let destination = Uri::builder()
            .scheme(upstream.scheme.clone())
            .authority(upstream.authority.clone())
            .path_and_query("/")
            .build();
        let Some(proxy) = destination
            .ok()
            .and_then(|to| config.proxy.matcher().intercept(&to))
        else {
            return Self::Direct(tcp);
        };
        if proxy
            .uri()
            .scheme_str()
            .is_some_and(|scheme| scheme.starts_with("socks"))
        {
            let mut socks = SocksV5::new(proxy.uri().clone(), tcp);
            if let Some((user, password)) = proxy.raw_auth() {
                socks = socks.with_auth(user.to_owned(), password.to_owned());
            }
            return Self::Socks(socks);
        }
        let mut tunnel = Tunnel::new(proxy.uri().clone(), tcp);
        if let Some(auth) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(auth.clone());
        }
        Self::Tunnel(tunnel)
    }
}

impl Service<Uri> for Way {
    type Response = TokioIo<TcpStream>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        match self {
            Self::Direct(way) => {
                let made = way.call(to);
                Box::pin(async move { Ok(made.await?) })
            }
            Self::Tunnel(way) => {
                let made = way.call(to);
                Box::pin(async move { Ok(made.await?) })
            }
            Self::Socks(way) => {
                let made = way.call(to);
                Box::pin(async move { Ok(made.await?) })
            }
        }
    }
}

/// Google's front ends keep an idle connection for four minutes; well before that it is not worth
/// the risk of sending into one that is just being closed.
const IDLE: Duration = Duration::from_secs(60);

/// Idle connections a worker: as many as a burst leaves behind.
const MAX_IDLE: usize = 256;

/// A peer that is gone is noticed after 15 + 3 × 5 seconds, in the middle of a silent answer too.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;

/// A request that nobody acknowledges for this long is on a dead connection.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);
