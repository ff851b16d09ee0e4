//! The data path: sockets in, sockets out, and the policy asked in between.
//!
//! One worker thread a core, each with a runtime of its own, its own listeners and its own connections
//! to Google, so that the way of a request never leaves its core. What they share is in
//! [`shared`]. The main thread watches the time and the signals.

mod alarm;
mod answer;
mod body;
mod clock;
mod coming;
mod control;
mod driver;
mod exchange;
mod listen;
mod metrics;
mod places;
mod record;
mod service;
mod shared;
pub(crate) mod stop;
#[cfg(test)]
mod tests;
mod tunnel;
mod unpack;
mod upstream;
mod worker;

use crate::config::Config;
use crate::keys::{self, KeyPool, Sources};
use crate::{banner, tls};
use clock::Clock;
use gemini_relay_core::KeySpec;
use shared::Shared;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use tokio::sync::watch;
use worker::{Given, Phase};

/// Serves until told to stop.
///
/// # Errors
/// When it cannot begin: an address in use, a certificate that cannot be read.
pub(crate) fn run(config: Config, keys: Vec<KeySpec>, sources: Sources) -> Result<(), RunError> {
    let running = Running::start(config, &keys, Clock::default())?;
    let shared = Arc::clone(&running.shared);
    let watcher = {
        let shared = Arc::clone(&shared);
        keys::watch(sources.clone(), move |changed: Result<KeyPool, _>| {
            if let Ok(pool) = changed {
                shared.reload(&pool.keys);
            }
        })
        .map_err(|error| RunError::Failed(format!("cannot watch the key files: {error}")))?
    };
    let runtime = runtime()?;
    runtime.block_on(async {
        let mut asked = stop::Asked::new();
        banner::announce(&shared.config, &keys, &sources, &running.bound);
        asked.next().await;
        tracing::info!(
            "stopping: not ready any more, requests finish; a second signal stops at once"
        );
        shared.stopping.store(true, Ordering::Relaxed);
        shared.stop();
        let cut = tokio::select! {
            finished = drain(&running) => (!finished).then_some("the drain limit is over"),
            () = asked_again(&mut asked) => Some("stopped at once"),
        };
        match cut {
            None => tracing::info!("stopped: all requests finished"),
            Some(why) => {
                let (open, _) = shared.policy(|policy| policy.relay.in_progress());
                tracing::warn!(open, "{why}: open requests are cut");
                running.cut().await;
                tracing::info!(open, "stopped: open requests were cut");
            }
        }
    });
    drop(watcher);
    // Whatever still runs ends with the process.
    runtime.shutdown_background();
    Ok(())
}

/// No new connections after the delay; then until the requests are done, or the limit. Says whether they were.
async fn drain(running: &Running) -> bool {
    let config = &running.shared.config;
    tokio::time::sleep(config.drain_delay).await;
    running.phase.send_replace(Phase::Draining);
    let finished = async {
        tokio::select! {
            () = running.ended() => {}
            () = running.idle() => {}
        }
    };
    tokio::time::timeout(config.drain_limit, finished)
        .await
        .is_ok()
}

/// Asked a second time: a supervisor may signal a process and its group at once.
async fn asked_again(asked: &mut stop::Asked) {
    let first = tokio::time::Instant::now();
    while first.elapsed() < SAME {
        asked.next().await;
    }
}

/// A relay at work.
pub(crate) struct Running {
    pub(crate) shared: Arc<Shared>,
    pub(crate) bound: Vec<SocketAddr>,
    phase: watch::Sender<Phase>,
    workers: Vec<JoinHandle<()>>,
}

impl Running {
    /// Binds, and starts the workers.
    ///
    /// # Errors
    /// See [`run`].
    pub(crate) fn start(
        mut config: Config,
        keys: &[KeySpec],
        clock: Clock,
    ) -> Result<Self, RunError> {
        let count = config.workers.get();
        let told = |error: tls::TlsError| RunError::Told(error.to_string());
        let server = tls::server_config(&config).map_err(told)?;
        let client = tls::client_config(&config.ca).map_err(told)?;
        let (listeners, bound) = listen::bind(&config.listen, count).map_err(RunError::Failed)?;
        if config.upstream.comes_back_to(&bound) {
            return Err(RunError::Told(format!(
                "the upstream {} is this relay itself: requests would go in a circle; name Google's address with --upstream, or leave it out",
                config.upstream.authority
            )));
        }
        config.max_connections = places::fitting(config.max_connections, config.workers);
        let shared = Shared::new(config, keys, clock);
        let (phase, watched) = watch::channel(Phase::Open);
        let mut workers = Vec::new();
        for (at, listeners) in listeners.into_iter().enumerate() {
            let given = Given {
                shared: Arc::clone(&shared),
                listeners,
                tls: server.clone(),
                client: client.clone(),
                phase: watched.clone(),
            };
            let runtime = runtime()?;
            workers.push(thread(format!("worker-{at}"), runtime, worker::run(given))?);
        }
        thread(
            "driver".into(),
            runtime()?,
            driver::run(Arc::clone(&shared), watched),
        )?;
        Ok(Self {
            shared,
            bound,
            phase,
            workers,
        })
    }
}

impl Running {
    /// Lets open requests go, each with its line in the log.
    async fn cut(&self) {
        self.shared.cutting.store(true, Ordering::Relaxed);
        self.phase.send_replace(Phase::Cut);
        // Nothing is waited for in there; were a worker stuck, it would end with the process.
        let _ = tokio::time::timeout(CUT, self.ended()).await;
    }

    /// Until no request is in progress, and what was said is on its way: a connection on which nobody asks
    /// anything is not waited for.
    async fn idle(&self) {
        let mut since = tokio::time::Instant::now();
        while since.elapsed() < FLUSHED {
            tokio::time::sleep(LOOK).await;
            if self.shared.busy.load(Ordering::Relaxed) > 0 {
                since = tokio::time::Instant::now();
            }
        }
    }

    /// Until all workers are.
    async fn ended(&self) {
        while !self.workers.iter().all(JoinHandle::is_finished) {
            tokio::time::sleep(LOOK).await;
        }
    }
}

fn thread(
    name: String,
    runtime: tokio::runtime::Runtime,
    work: impl Future<Output = ()> + Send + 'static,
) -> Result<JoinHandle<()>, RunError> {
    std::thread::Builder::new()
        .name(name)
        .spawn(move || {
            runtime.block_on(work);
            runtime.shutdown_background();
        })
        .map_err(|error| RunError::Failed(format!("cannot start a thread: {error}")))
}

fn runtime() -> Result<tokio::runtime::Runtime, RunError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| RunError::Failed(format!("cannot start the runtime: {error}")))
}

/// Why the relay could not begin.
#[derive(Debug)]
pub(crate) enum RunError {
    /// What it was told cannot be done.
    Told(String),
    /// What it was told could be, elsewhere or later.
    Failed(String),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Told(what) | Self::Failed(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for RunError {}

/// How often the end of the workers is looked for.
const LOOK: std::time::Duration = std::time::Duration::from_millis(20);

/// The last bytes of an answer are in the system's hands by then, or the client does not take them.
const FLUSHED: std::time::Duration = std::time::Duration::from_secs(5);

/// Two signals within this are one.
const SAME: std::time::Duration = std::time::Duration::from_millis(300);

/// How long cutting may take.
const CUT: std::time::Duration = std::time::Duration::from_secs(1);
