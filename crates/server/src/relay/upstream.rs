//! The way to Google: connections, kept and thrown away.
//!
//! HTTP/1.1, one connection a request in flight: an HTTP/2 connection's stream limit fills with long
//! streams and everybody queues behind it. Straight, through an HTTP proxy's `CONNECT`, or through
//! SOCKS; always to one host, so the way is decided once, and so the pool is a list: the connection
//! used last is used next. (hyper-util's client, made for many hosts and for HTTP/2, costs a request
//! five times the instructions of what is here.)
//!
//! A connection goes back to the list when an answer was read to its end, if its question had gone out whole
//! before the answer began; else it is closed: who refuses an upload may never read the rest of it. One that
//! Google closed meanwhile is noticed before anything is sent on it, and the next is taken.
//!
//! **A laptop that slept.** Idle connections look alive after a sleep or a change of network and are
//! not; a request sent on one would hang for minutes. So keep-alive probes are short, unacknowledged
//! data gives a connection up, and when the wall clock jumps all idle connections are thrown away
//! ([`Upstream::renew`]).

use super::body::Replay;
use crate::config::Config;
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tower_service::Service;

/// One worker's connections to Google.
pub(crate) struct Upstream {
    connector: Within,
    destination: Uri,
    idle: Arc<Mutex<Idle>>,
}

#[derive(Default)]
struct Idle {
    generation: u64,
    /// The one used last at the back.
    connections: VecDeque<(Instant, Connection)>,
}

/// A connection to Google.
struct Connection {
    sender: SendRequest<Replay>,
    /// What moves its bytes.
    task: AbortHandle,
}

/// A connection with an answer still to be read from it.
pub(crate) struct Lease {
    idle: Arc<Mutex<Idle>>,
    generation: u64,
    connection: Connection,
    /// Whether all of the question was on its way when the answer began.
    pub(crate) question_gone: bool,
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
        Self {
            connector,
            destination: config.upstream.destination(),
            idle: Arc::default(),
        }
    }

    /// Sends a request in origin form.
    ///
    /// # Errors
    /// The error says whether anything was sent.
    pub(crate) async fn send(
        &self,
        mut request: Request<Replay>,
    ) -> Result<(Response<Incoming>, Lease), SendError> {
        loop {
            let (generation, kept) = self.take();
            let (mut connection, fresh) = match kept {
                Some(kept) if kept.settled().await => (kept, false),
                Some(closed_or_stuck) => {
                    closed_or_stuck.let_go();
                    continue;
                }
                None => (self.connect().await?, true),
            };
            match connection.sender.try_send_request(request).await {
                Ok(response) => {
                    let lease = Lease {
                        idle: Arc::clone(&self.idle),
                        generation,
                        connection,
                        question_gone: true,
                    };
                    return Ok((response, lease));
                }
                Err(mut error) => match error.take_message() {
                    // Closed before anything was sent: as if it had not been there.
                    Some(unsent) if !fresh => request = unsent,
                    Some(_) => return Err(SendError::Unreachable(Box::new(error.into_error()))),
                    None => return Err(SendError::Broken(error.into_error())),
                },
            }
        }
    }

    /// Throws idle connections away, once for each `generation`.
    pub(crate) fn renew(&self, generation: u64) {
        let mut idle = lock(&self.idle);
        if idle.generation != generation {
            idle.generation = generation;
            idle.connections.clear();
        }
    }

    fn take(&self) -> (u64, Option<Connection>) {
        let mut idle = lock(&self.idle);
        let last = idle.connections.pop_back();
        let kept = last
            .filter(|(since, _)| since.elapsed() < IDLE)
            .map(|(_, kept)| kept);
        if kept.is_none() {
            // The last was the youngest.
            idle.connections.clear();
        }
        (idle.generation, kept)
    }

    async fn connect(&self) -> Result<Connection, SendError> {
        let connecting = self.connector.clone().call(self.destination.clone());
        let stream = connecting.await.map_err(SendError::Unreachable)?;
        let (sender, connection) = http1::handshake(stream)
            .await
            .map_err(|error| SendError::Unreachable(Box::new(error)))?;
        let task = tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!("a connection to upstream ended: {error}");
            }
        });
        Ok(Connection {
            sender,
            task: task.abort_handle(),
        })
    }
}

impl Connection {
    /// Whether it can take a question, be it after its task had its turn. It cannot while the last bytes of the
    /// one before do not get out, which may be for ever.
    async fn settled(&self) -> bool {
        if !self.sender.is_ready() {
            tokio::task::yield_now().await;
        }
        self.sender.is_ready()
    }

    /// Nothing is asked of it any more. What its last question still has to send may go out meanwhile: its answer,
    /// which came early, was a good one.
    fn let_go(self) {
        if !self.task.is_finished() {
            tokio::spawn(async move {
                tokio::time::sleep(LINGERS).await;
                self.task.abort();
            });
        }
    }
}

impl Lease {
    /// Nobody waits for more of the answer, nor is more of the question to be sent.
    pub(crate) fn close(self) {
        self.connection.task.abort();
    }

    /// The answer was read to its end: the connection may be used again, unless something of the question is
    /// still to be sent.
    pub(crate) fn give_back(self) {
        if !self.question_gone {
            return;
        }
        let mut idle = lock(&self.idle);
        if idle.generation != self.generation {
            return;
        }
        if idle.connections.len() >= MAX_IDLE {
            idle.connections.pop_front();
        }
        let now = Instant::now();
        idle.connections.push_back((now, self.connection));
        // The oldest at the front have waited too long.
        while idle
            .connections
            .front()
            .is_some_and(|(since, _)| now.duration_since(*since) >= IDLE)
        {
            idle.connections.pop_front();
        }
    }
}

fn lock(idle: &Mutex<Idle>) -> MutexGuard<'_, Idle> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum SendError {
    /// Nothing was sent.
    Unreachable(Box<dyn std::error::Error + Send + Sync>),
    /// Something was.
    Broken(hyper::Error),
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreachable(_) => "cannot connect",
            Self::Broken(_) => "the connection broke",
        })
    }
}

impl std::error::Error for SendError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreachable(error) => Some(&**error),
            Self::Broken(error) => Some(error),
        }
    }
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
        let to = config.upstream.destination();
        let Some(proxy) = config.proxy.as_ref().and_then(|proxy| proxy.way(&to)) else {
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

/// Somebody who takes none of it for so long never does.
const LINGERS: Duration = Duration::from_secs(60);

/// Idle connections a worker: as many as a burst leaves behind.
pub(crate) const MAX_IDLE: usize = 256;

/// A peer that is gone is noticed after 15 + 3 × 5 seconds, in the middle of a silent answer too.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;

/// A request that nobody acknowledges for this long is on a dead connection.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);
