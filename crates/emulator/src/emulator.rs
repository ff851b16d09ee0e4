//! A running emulator.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use crate::config::{Config, ConfigError, KeyState};
use crate::connection::{self, Disturbance, Link};
use crate::fault::{Fault, Match};
use crate::journal::{Received, Stats};
use crate::world::World;

/// A Gemini API on a socket of its own. It stops when this is dropped.
pub struct Emulator {
    shared: Arc<Shared>,
    addr: SocketAddr,
    task: JoinHandle<()>,
}

/// What every connection sees.
pub(crate) struct Shared {
    world: Mutex<World>,
    /// The connections; those that ended are swept out as new ones come.
    links: Mutex<Vec<Weak<Link>>>,
}

impl Shared {
    /// The world, to decide one thing; never held while waiting.
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        // A panic with the lock held leaves counts that are off by one, which is no reason for
        // every other test to fail too.
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does this to every connection but `spared`; says to how many.
    pub(crate) fn disturb(&self, how: Disturbance, spared: Option<&Arc<Link>>) -> usize {
        let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let others = links.iter().filter_map(Weak::upgrade);
        let others = others.filter(|link| spared.is_none_or(|spared| !Arc::ptr_eq(link, spared)));
        others.map(|link| link.disturb(how)).count()
    }

    fn new_link(&self) -> Arc<Link> {
        let link = Arc::new(Link::default());
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        // Only when the list would grow: the sweep costs as much as what was added since.
        if links.len() == links.capacity() {
            links.retain(|link| link.strong_count() > 0);
        }
        links.push(Arc::downgrade(&link));
        link
    }
}

impl Emulator {
    /// Listens on `addr` (port 0: any) and serves, on the runtime that this is called on.
    pub async fn start(config: Config, addr: SocketAddr) -> io::Result<Emulator> {
        let world = World::new(config)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared {
            world: Mutex::new(world),
            links: Mutex::default(),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Emulator { shared, addr, task })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The base URL, with no path and no slash at its end.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// What it received, oldest first.
    pub fn requests(&self) -> Vec<Received> {
        self.shared.world().journal.all()
    }

    /// Forgets what it received.
    pub fn clear_requests(&self) {
        self.shared.world().journal.clear();
    }

    /// The next `count` requests that match get this fault.
    ///
    /// # Errors
    /// When the fault names a refusal or a status that does not exist.
    pub fn fault(&self, matches: Match, count: u64, fault: Fault) -> Result<u64, String> {
        fault.check()?;
        Ok(self.shared.world().faults.add(matches, count, fault))
    }

    /// Forgets all faults.
    pub fn clear_faults(&self) {
        self.shared.world().faults.clear();
    }

    /// Moves its clock forward.
    pub fn advance(&self, by: Duration) {
        self.shared.world().advance(by);
    }

    /// What its clock shows, in milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        self.shared.world().now()
    }

    /// Adds a key to a project, moves it there, or changes its state.
    ///
    /// # Errors
    /// When there is no such project.
    pub fn set_key(&self, value: &str, project: &str, state: KeyState) -> Result<(), String> {
        self.shared.world().set_key(value, Some(project), state)
    }

    /// Freezes, resets or closes every connection there is; says how many. New ones are fine.
    pub fn disturb(&self, how: Disturbance) -> usize {
        self.shared.disturb(how, None)
    }

    /// Counts since the start.
    pub fn stats(&self) -> Stats {
        self.shared.world().journal.stats.clone()
    }

    /// Projects, keys and what is used of each quota, as `GET /_emulator/state` shows them.
    pub fn state(&self) -> Value {
        self.shared.world().state()
    }

    /// Replaces the configuration; use is forgotten, faults and the record of requests are not.
    ///
    /// # Errors
    /// When the configuration does not hold; then nothing changes.
    pub fn configure(&self, config: Config) -> Result<(), ConfigError> {
        self.shared.world().configure(config)
    }

    /// Cuts every connection and returns when the socket is free again.
    pub async fn shutdown(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Takes connections until it is aborted; they go with it.
async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let link = shared.new_link();
                    connections.spawn(connection::run(stream, link, Arc::clone(&shared)));
                }
                // Out of file descriptors: some will come back when connections end.
                Err(_) => tokio::time::sleep(AFTER_ERROR).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

const AFTER_ERROR: Duration = Duration::from_millis(50);
