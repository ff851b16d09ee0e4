//! Sockets to listen on.
//!
//! One listener a worker on the same port spreads connections over cores without a lock. But
//! `SO_REUSEPORT` would also let a second relay share the port silently, so each address is bound
//! without it first: "address in use" stays an error. Where the system has no such option, or another
//! meaning for it, workers share one listener.

use crate::options::value::Listen;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};

/// One worker's listeners.
pub(crate) type Listeners = Vec<TcpListener>;

/// Binds every address for every worker, and says what the addresses became.
///
/// # Errors
/// The address and why, if one that must be there cannot be bound.
pub(crate) fn bind(
    addresses: &[Listen],
    workers: usize,
) -> Result<(Vec<Listeners>, Vec<SocketAddr>), String> {
    let mut all: Vec<Listeners> = (0..workers).map(|_| Vec::new()).collect();
    let mut bound = Vec::new();
    let mut port = None;
    for listen in addresses {
        let mut address = listen.address;
        // The second of a pair of loopback addresses gets the port that the first was given.
        if address.port() == 0
            && listen.optional
            && let Some(port) = port
        {
            address.set_port(port);
        }
        match bind_one(address, workers) {
            Ok(sockets) => {
                let actual = sockets
                    .first()
                    .and_then(|socket| socket.local_addr().ok())
                    .unwrap_or(address);
                port = Some(actual.port());
                bound.push(actual);
                for (listeners, socket) in all.iter_mut().zip(sockets) {
                    listeners.push(socket);
                }
            }
            Err(error) if listen.optional && error.kind() != io::ErrorKind::AddrInUse => {
                tracing::debug!(%address, %error, "not listening there");
            }
            Err(error) => return Err(explain(address, &error)),
        }
    }
    if bound.is_empty() {
        return Err("there is no address to listen on: give one with --listen".into());
    }
    Ok((all, bound))
}

fn explain(address: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!(
                "{address} is in use: another program, or another gemini-relay, listens there. Stop it, or choose another with --listen"
            )
        }
        io::ErrorKind::PermissionDenied => {
            format!(
                "{address} may not be listened on by this user: ports below 1024 need privileges; choose another with --listen"
            )
        }
        _ => format!("cannot listen on {address}: {error}"),
    }
}

fn bind_one(address: SocketAddr, workers: usize) -> io::Result<Vec<TcpListener>> {
    let first = open(address, false)?;
    let actual = first.local_addr()?;
    if workers <= 1 {
        return Ok(vec![first]);
    }
    if cfg!(any(target_os = "linux", target_os = "android")) {
        drop(first);
        let shared: io::Result<Vec<TcpListener>> =
            (0..workers).map(|_| open(actual, true)).collect();
        if let Ok(shared) = shared {
            return Ok(shared);
        }
        let first = open(actual, false)?;
        return copies(first, workers);
    }
    copies(first, workers)
}

fn copies(first: TcpListener, workers: usize) -> io::Result<Vec<TcpListener>> {
    let mut sockets: Vec<TcpListener> = (1..workers)
        .map(|_| first.try_clone())
        .collect::<io::Result<_>>()?;
    sockets.push(first);
    Ok(sockets)
}

fn open(address: SocketAddr, share_port: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // On Windows this would let two programs listen on one port.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if share_port {
        socket.set_reuse_port(true)?;
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = share_port;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Connections that may wait to be accepted; the system's own limit is usually lower.
const BACKLOG: i32 = 4096;
