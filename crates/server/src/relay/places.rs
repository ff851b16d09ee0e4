//! How many connections of clients there may be.
//!
//! Each costs a file descriptor, and often a second one towards Google. Where they run out, nothing works any
//! more: not answering, not the log, not reading the keys. So there is a limit below that. A connection beyond
//! it is accepted and waits, and while it does its listener accepts no others: they wait with the system.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The places that all listeners give away.
pub(crate) struct Places {
    free: Arc<Semaphore>,
    full: AtomicBool,
}

/// One connection's, until it is dropped.
pub(crate) type Place = Option<OwnedSemaphorePermit>;

impl Places {
    pub(crate) fn new(count: NonZeroUsize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(count.get())),
            full: AtomicBool::new(false),
        }
    }

    /// The next free place, in order of arrival.
    pub(crate) async fn take(&self) -> Place {
        if let Ok(place) = Arc::clone(&self.free).try_acquire_owned() {
            self.full.store(false, Ordering::Relaxed);
            return Some(place);
        }
        // Once, until there was room again.
        if !self.full.swap(true, Ordering::Relaxed) {
            tracing::warn!("as many connections as may be (max-connections): further ones wait");
        }
        // It is never closed.
        Arc::clone(&self.free).acquire_owned().await.ok()
    }
}

/// As many of the `wanted` connections as this process may have files open for, once that limit is raised
/// as far as it needs to be and can be.
pub(crate) fn fitting(wanted: NonZeroUsize, workers: NonZeroUsize) -> NonZeroUsize {
    let besides = BESIDES + workers.get() * EACH_WORKER;
    let needed = besides.saturating_add(wanted.get().saturating_mul(EACH_CONNECTION));
    let Some(allowed) = open_files(needed) else {
        return wanted;
    };
    let fit = fit(wanted, allowed, besides);
    // A little less than was asked for is nobody's concern.
    if fit.get() < wanted.get() / 2 {
        tracing::warn!(
            "this process may have {allowed} files open, so {fit} connections are served at once and not {wanted}: raise that limit (ulimit -n, LimitNOFILE), or lower max-connections"
        );
    }
    fit
}

fn fit(wanted: NonZeroUsize, allowed: usize, besides: usize) -> NonZeroUsize {
    // Where next to nothing is allowed, the idle connections that are reckoned with are not all there either.
    let room = allowed.saturating_sub(besides).max(allowed / 4);
    NonZeroUsize::new(room / EACH_CONNECTION).map_or(NonZeroUsize::MIN, |fit| fit.min(wanted))
}

/// How many files may be open; up to `needed` if that can be had.
#[cfg(unix)]
fn open_files(needed: usize) -> Option<usize> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let current = limit.current?;
    let needed = u64::try_from(needed).unwrap_or(u64::MAX);
    let highest = limit.maximum.map_or(needed, |most| most.min(needed));
    // macOS says "unlimited" and then takes no more than its own number.
    for wanted in [highest, highest.min(MACOS)] {
        let raised = Rlimit {
            current: Some(wanted),
            maximum: limit.maximum,
        };
        if wanted <= current || setrlimit(Resource::Nofile, raised).is_ok() {
            break;
        }
    }
    let now = getrlimit(Resource::Nofile).current?;
    Some(usize::try_from(now).unwrap_or(usize::MAX))
}

/// Windows has no such limit to speak of.
#[cfg(not(unix))]
fn open_files(_: usize) -> Option<usize> {
    None
}

/// The client's, and one to Google.
const EACH_CONNECTION: usize = 2;

/// Listeners, the runtime's own, and idle connections to Google.
const EACH_WORKER: usize = 8 + super::upstream::MAX_IDLE;

/// The log, the watched folders, the files that are read, name resolution.
const BESIDES: usize = 64;

/// `OPEN_MAX` there.
#[cfg(unix)]
const MACOS: u64 = 10_240;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_connections_are_served_than_files_may_be_open() {
        let count = |n| NonZeroUsize::new(n).unwrap();
        for (wanted, allowed, served) in [
            (10_000, 1_048_576, 10_000),
            (10_000, 10_240, 4_956),
            (10_000, 256, 32),
            (100, 4_096, 100),
            (5, 0, 1),
        ] {
            assert_eq!(fit(count(wanted), allowed, 328), count(served), "{allowed}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn the_limit_on_open_files_is_raised_as_far_as_it_may_be() {
        use rustix::process::{Resource, getrlimit};
        let before = getrlimit(Resource::Nofile);
        let wanted = usize::try_from(before.current.unwrap()).unwrap() + 1;
        let may = before.maximum.is_none_or(|most| most > wanted as u64);
        let now = open_files(wanted).unwrap();
        assert!(now >= wanted || !may, "{before:?} {now}");
    }
}
