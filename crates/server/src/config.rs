//! The configuration, checked: what was given, made into values that cannot be wrong.
//!
//! Reading ([`crate::options::layers`]) knows names and places and no meaning; here is the meaning. What
//! is dangerous together is refused here too, before a socket is open: an address that others can
//! reach without a token, and an upstream that is the relay itself, which would call itself until
//! the machine has no sockets left.

mod check;
pub(crate) mod load;
mod report;
pub(crate) mod upstream;

pub(crate) use check::check;
pub(crate) use report::report;

use crate::options::value::Listen;
use crate::tokens::ClientToken;
use gemini_relay_core::{Settings, Strategy};
use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;
use tracing::level_filters::LevelFilter;
use upstream::Upstream;

/// Everything an operator can decide.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Never empty. IPv6 sockets among them are to be IPv6 only, since `:8787` stands for a pair.
    pub(crate) listen: Vec<Listen>,
    /// Empty, or `/` and a path without a slash at its end.
    pub(crate) base_path: String,
    pub(crate) tls: Tls,
    pub(crate) workers: NonZeroUsize,
    /// Empty: see `access`.
    pub(crate) tokens: Vec<ClientToken>,
    /// Files that tokens or a proxy's password are read from, for the warning about their mode.
    pub(crate) secret_files: BTreeSet<PathBuf>,
    pub(crate) access: Access,
    pub(crate) origins: Origins,
    /// Names besides loopback's that a `Host` header may hold while access is open on loopback;
    /// lower case, without a port.
    pub(crate) allow_host: Vec<String>,
    pub(crate) upstream: Upstream,
    /// None is straight.
    pub(crate) proxy: Option<Proxy>,
    pub(crate) ca: Vec<CaSource>,
    pub(crate) connect_timeout: Duration,
    pub(crate) first_byte_timeout: Duration,
    /// The longest pause inside a client's body.
    pub(crate) body_timeout: Duration,
    /// Of clients, over all workers.
    pub(crate) max_connections: NonZeroUsize,
    pub(crate) idle_timeout: Duration,
    pub(crate) strategy: Strategy,
    pub(crate) affinity: bool,
    pub(crate) max_wait: Duration,
    pub(crate) max_waiting: usize,
    pub(crate) attempts: Option<u32>,
    /// The most bytes of one request's body kept for another attempt.
    pub(crate) replay_limit: usize,
    /// The most bytes of all kept bodies.
    pub(crate) replay_total: usize,
    pub(crate) response_headers: bool,
    pub(crate) log: Log,
    pub(crate) drain_delay: Duration,
    pub(crate) drain_limit: Duration,
    /// Files of keys that were named; [`crate::keys`] adds the other sources.
    pub(crate) key_files: Vec<PathBuf>,
    /// What the banner says in place of how to point clients here (the demo has its own words).
    pub(crate) greeting: Option<String>,
}

impl Config {
    /// What of it concerns the policy.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            strategy: self.strategy,
            affinity: self.affinity,
            max_wait: self.max_wait,
            max_waiting: self.max_waiting,
            attempts: self.attempts,
        }
    }
}

/// Who is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Whoever shows a token.
    Tokens,
    /// Whoever is on this machine, within the rules for `Origin` and `Host`.
    OpenOnLoopback,
    /// Everybody: the operator said `allow-anonymous`, and listens beyond loopback.
    OpenToAll,
}

/// Which web pages may call, and get the CORS headers for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origins {
    Any,
    /// Lower case, as browsers send them.
    Listed(Vec<HeaderValue>),
}

/// Whether and how clients speak TLS to the relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tls {
    Off,
    Files { cert: PathBuf, key: PathBuf },
    SelfSigned { ca_file: PathBuf },
}

/// Whom else to trust towards Google.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CaSource {
    System,
    /// And what named it.
    File(PathBuf, &'static str),
}

/// A proxy on the way to Google. May hold a password, so it has no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Proxy {
    pub(crate) url: String,
    /// What of other programs' variables named it; nothing if the option did.
    pub(crate) variable: Option<&'static str>,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[proxy]")
    }
}

impl Proxy {
    /// Where connections go and what is shown there. Always something, of one that was checked.
    pub(crate) fn way(&self, to: &Uri) -> Option<Intercept> {
        Matcher::builder()
            .all(self.url.clone())
            .build()
            .intercept(to)
    }
}

/// What is logged and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Log {
    pub(crate) level: LevelFilter,
    pub(crate) format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Pretty,
    Json,
}
