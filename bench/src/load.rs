//! Keeps a number of connections busy: each sends, reads the answer to its end, and sends again.
//!
//! An answer counts as failed unless it is a 200 of exactly the bytes that the upstream sent: what
//! is fast because it is short must not look fast. Everything is bounded: by time or by number, and
//! one answer by [`PATIENCE`]. A failure ends its connection; one is enough to void the window.

use crate::payload::{self, Kind};
use crate::times::Times;
use crate::{Failure, USAGE, say};
use bytes::Bytes;
use http::{HeaderValue, Request, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

/// Runs one window and says its figures as one line of JSON.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let [address, kind, connections, limit @ ..] = arguments else {
        return Err(USAGE.into());
    };
    let kind = Kind::named(kind).ok_or(USAGE)?;
    let connections: usize = connections.parse()?;
    let (span, requests) = match limit {
        [requests, unit] if unit == "requests" => (LONGEST, requests.parse()?),
        [seconds] => (Duration::from_secs_f64(seconds.parse()?).min(LONGEST), MOST),
        _ => return Err(USAGE.into()),
    };
    let window = Window {
        address: address.parse()?,
        kind,
        host: HeaderValue::from_str(address)?,
        token: HeaderValue::from_str(
            &std::env::var("BENCH_TOKEN").unwrap_or_else(|_| "none".into()),
        )?,
        tail: kind.tail(),
        expected: kind.answer_bytes(),
        left: Cell::new(requests),
        ends: Instant::now() + span,
        number: Cell::new(std::process::id().wrapping_mul(65_537)),
        failed: Cell::new(0),
        times: RefCell::new(Times::with_room(requests.min(ROOM))),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let began = Instant::now();
    let window = LocalSet::new().block_on(&runtime, keep_busy(Rc::new(window), connections))?;
    let seconds = began.elapsed().as_secs_f64();
    let mut times = window.times.borrow_mut();
    say(&format!(
        r#"{{"answers":{},"failed":{},"seconds":{seconds:.6},"p50":{},"p99":{}}}"#,
        times.count(),
        window.failed.get(),
        times.permille(500),
        times.permille(990),
    ))
}

struct Window {
    address: SocketAddr,
    kind: Kind,
    host: HeaderValue,
    token: HeaderValue,
    tail: Bytes,
    expected: usize,
    left: Cell<usize>,
    ends: Instant,
    number: Cell<u32>,
    failed: Cell<usize>,
    times: RefCell<Times>,
}

async fn keep_busy(window: Rc<Window>, connections: usize) -> Result<Rc<Window>, Failure> {
    let mut tasks = Vec::with_capacity(connections);
    for _ in 0..connections {
        let window = Rc::clone(&window);
        tasks.push(tokio::task::spawn_local(async move {
            if connection(&window).await.is_err() {
                window.failed.set(window.failed.get() + 1);
            }
        }));
    }
    for task in tasks {
        task.await?;
    }
    Ok(window)
}

async fn connection(window: &Window) -> Result<(), Failure> {
    let stream = TcpStream::connect(window.address).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::task::spawn_local(connection);
    while let Some(request) = window.next() {
        let began = Instant::now();
        tokio::time::timeout(PATIENCE, window.exchange(&mut sender, request)).await??;
        window.times.borrow_mut().add(began.elapsed());
    }
    drop(sender);
    // It has served; how the connection ends is of no interest.
    let _ = driver.await;
    Ok(())
}

impl Window {
    fn next(&self) -> Option<Request<Numbered>> {
        let left = self.left.get().checked_sub(1)?;
        self.left.set(left);
        if Instant::now() >= self.ends {
            return None;
        }
        let number = self.number.get().wrapping_add(1);
        self.number.set(number);
        let body = Numbered {
            head: Some(payload::head(number)),
            tail: Some(self.tail.clone()),
        };
        let mut request = Request::new(body);
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = http::Uri::from_static(self.kind.path());
        let headers = request.headers_mut();
        headers.insert(header::HOST, self.host.clone());
        headers.insert("x-goog-api-key", self.token.clone());
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(self.kind.content_type()),
        );
        headers.insert(header::USER_AGENT, HeaderValue::from_static(AGENT));
        headers.insert("x-goog-api-client", HeaderValue::from_static(AGENT));
        headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        Some(request)
    }

    async fn exchange(
        &self,
        sender: &mut SendRequest<Numbered>,
        request: Request<Numbered>,
    ) -> Result<(), Failure> {
        sender.ready().await?;
        let mut response = sender.send_request(request).await?;
        let mut length = 0;
        while let Some(frame) = response.body_mut().frame().await {
            length += frame?.data_ref().map_or(0, Bytes::len);
        }
        if response.status() != http::StatusCode::OK || length != self.expected {
            return Err(format!("{} and {length} bytes", response.status()).into());
        }
        Ok(())
    }
}

/// A body of two pieces: the one that differs, and the one that all share.
struct Numbered {
    head: Option<Bytes>,
    tail: Option<Bytes>,
}

impl Body for Numbered {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let piece = self.head.take().or_else(|| self.tail.take());
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        let length = |piece: &Option<Bytes>| piece.as_ref().map_or(0, |piece| piece.len() as u64);
        SizeHint::with_exact(length(&self.head) + length(&self.tail))
    }
}

/// As Google's own library for Node introduces itself, in both headers.
const AGENT: &str = "google-genai-sdk/3.1.0 gl-node/v20.20.2";

/// On loopback an answer takes microseconds, under valgrind milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// No window is longer, whatever was asked for.
const LONGEST: Duration = Duration::from_secs(60);
const MOST: usize = 4_000_000;

/// Answers for which memory is taken beforehand: more than any window of a second or two gets.
const ROOM: usize = 500_000;
