//! One connection: HTTP/1.1 or HTTP/2 on a socket that can be reset.
//!
//! hyper ends a connection in order, and clients tell an orderly end from a reset. So the socket
//! is wrapped: once its [`Link`] says so, nothing more is written and closing it sends RST. A
//! frozen socket neither reads nor writes nor ends, as a peer looks from a laptop that slept.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::emulator::Shared;
use crate::serve;

/// What can be done to the connections that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disturbance {
    /// They stay, and are silent for ever: nothing is read, nothing is written.
    Freeze,
    /// They are reset.
    Reset,
    /// They are closed in order, whatever was under way.
    Close,
}

/// What the requests of a connection share with its socket.
#[derive(Debug, Default)]
pub(crate) struct Link {
    reset: AtomicBool,
    used: AtomicBool,
    frozen: AtomicBool,
    end: Notify,
}

impl Link {
    /// From now on the connection's end is a reset.
    pub(crate) fn reset(&self) {
        self.reset.store(true, Ordering::Release);
    }

    pub(crate) fn disturb(&self, how: Disturbance) {
        match how {
            Disturbance::Freeze => self.frozen.store(true, Ordering::Release),
            Disturbance::Reset => {
                self.reset();
                self.end.notify_one();
            }
            Disturbance::Close => self.end.notify_one(),
        }
    }

    /// Whether this is the connection's first request that is no control call.
    pub(crate) fn first_use(&self) -> bool {
        !self.used.swap(true, Ordering::Relaxed)
    }

    fn is_reset(&self) -> bool {
        self.reset.load(Ordering::Acquire)
    }
}

/// Serves a connection until it ends.
pub(crate) async fn run(stream: TcpStream, link: Arc<Link>, shared: Arc<Shared>) {
    // Without it small events wait for the acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    let ended = Arc::clone(&link);
    let socket = Socket {
        stream,
        link: Arc::clone(&link),
    };
    let service =
        service_fn(move |request| serve::serve(Arc::clone(&shared), Arc::clone(&link), request));
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http2().max_concurrent_streams(STREAMS);
    // How it ended is in the requests' records: an error here is a client's leaving or a fault.
    tokio::select! {
        _ = builder.serve_connection(TokioIo::new(socket), service) => {}
        () = ended.end.notified() => {}
    }
}

struct Socket {
    stream: TcpStream,
    link: Arc<Link>,
}

impl Socket {
    /// Whether bytes may pass now. A frozen socket is never ready, and nobody wakes it.
    fn open(&self) -> Poll<io::Result<()>> {
        if self.link.is_reset() {
            Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
        } else if self.link.frozen.load(Ordering::Acquire) {
            Poll::Pending
        } else {
            Poll::Ready(Ok(()))
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.link.is_reset() {
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.open())?;
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.open())?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.open())?;
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.open())?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // An orderly end would come before the reset and be all that the client sees.
        ready!(self.open())?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// What Google's front end allows on one HTTP/2 connection.
const STREAMS: u32 = 100;
