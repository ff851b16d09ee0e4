//! Keys that change while the relay runs.
//!
//! What is watched is the folder, not the file: editors and secret stores replace a file by
//! renaming another over it, and Kubernetes swaps the `..data` link beside it, so a watch on the
//! file would keep looking at the old one. Where notifications do not arrive (network file systems,
//! folders shared into a virtual machine) a look at the files' times every few seconds finds it too.
//!
//! One change makes a handful of notifications, and a half-written file is no change: the folder has
//! to be quiet for a moment first. A change that brings nothing new calls nobody; a bad one is
//! reported once and leaves what holds. `SIGHUP` asks for an answer, and so always gets one; sent right
//! after a change, as scripts do, it gets the one that the change makes. All of it
//! is logged here; the caller need only act on it.

use super::hangup::Hangup;
use super::{KeyPool, KeysError, Sources};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};

/// Watches as long as it is held.
pub(crate) struct Watcher {
    _held: oneshot::Sender<()>,
}

/// Watches the sources that were loaded before, and calls with what a change brings, on a thread of
/// its own.
///
/// # Errors
/// When there can be no such thread.
pub(crate) fn watch(
    sources: Sources,
    on_change: impl Fn(Result<KeyPool, KeysError>) + Send + 'static,
) -> std::io::Result<Watcher> {
    let (held, stop) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // Inside, so that a signal sent from here on no longer ends the process.
    let hangup = {
        let _inside = runtime.enter();
        Hangup::new()
    };
    std::thread::Builder::new()
        .name("keys".to_owned())
        .spawn(move || {
            runtime.block_on(run(sources, on_change, hangup, stop));
        })?;
    Ok(Watcher { _held: held })
}

async fn run(
    sources: Sources,
    on_change: impl Fn(Result<KeyPool, KeysError>),
    mut hangup: Hangup,
    mut stop: oneshot::Receiver<()>,
) {
    let (events, mut changed) = mpsc::channel(1);
    let mut folders = Folders::new(events, names(&sources));
    folders.watch(&sources);
    // None yet: what changed between the load at the start and the watch is found by the first look.
    let mut stamps = Vec::new();
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last_error = String::new();
    loop {
        let asked = tokio::select! {
            _ = &mut stop => return,
            () = hangup.next() => true,
            Some(()) = changed.recv() => false,
            _ = look.tick() => {
                if stamps == self::stamps(&sources) {
                    continue;
                }
                false
            }
        };
        let asked = quiet(&mut changed, &mut hangup).await || asked;
        stamps = self::stamps(&sources);
        folders.watch(&sources);
        let before = sources.fingerprint();
        match sources.load() {
            Ok(pool) => {
                last_error.clear();
                if asked || sources.fingerprint() != before {
                    for note in &pool.notes {
                        tracing::warn!("{note}");
                    }
                    tracing::info!(
                        keys = pool.keys.len(),
                        projects = super::projects(&pool.keys),
                        "keys were read again"
                    );
                    on_change(Ok(pool));
                }
            }
            Err(error) => {
                let said = match error.is_gone() {
                    true => format!("{error}; {STAY}"),
                    false => error.to_string(),
                };
                if asked || said != last_error {
                    tracing::error!("keys stay as they were: {said}");
                    last_error = said;
                    on_change(Err(error));
                }
            }
        }
    }
}

/// Returns when nothing came for a moment, or when it never ends; whether a signal came meanwhile.
async fn quiet(changed: &mut mpsc::Receiver<()>, hangup: &mut Hangup) -> bool {
    let latest = Instant::now() + QUIET_AT_MOST;
    let mut asked = false;
    while Instant::now() < latest {
        tokio::select! {
            () = hangup.next() => asked = true,
            Some(()) = changed.recv() => {}
            () = tokio::time::sleep(QUIET) => break,
        }
    }
    asked
}

/// The folders of the files, and those of what they link to.
struct Folders {
    watcher: Option<RecommendedWatcher>,
    watched: HashSet<PathBuf>,
}

impl Folders {
    fn new(events: mpsc::Sender<()>, names: HashSet<OsString>) -> Self {
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading a file is an event too; answering it would never end. And the folder may hold
            // files that are written all the time, this relay's own log among them.
            let concerns = match &event {
                Ok(event) => concerns(event, &names),
                Err(_) => true,
            };
            if concerns {
                let _ = events.try_send(());
            }
        });
        let watcher = watcher.inspect_err(|e| {
            tracing::warn!("keys files are looked at every few seconds only: {e}")
        });
        Self {
            watcher: watcher.ok(),
            watched: HashSet::new(),
        }
    }

    /// Folders come and go; a new one under a known name has to be watched anew.
    fn watch(&mut self, sources: &Sources) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        let folders: HashSet<PathBuf> = sources.files().flat_map(folders_of).collect();
        // A folder that was removed is watched no more, and saying so twice is a warning in the log.
        for gone in self.watched.difference(&folders).filter(|f| f.exists()) {
            let _ = watcher.unwatch(gone);
        }
        self.watched = folders
            .into_iter()
            .filter(|f| watcher.watch(f, RecursiveMode::NonRecursive).is_ok())
            .collect();
    }
}

/// Whether a notification may be about one of the files: by its name, or by one that begins with two
/// dots, as Kubernetes calls what it swaps.
fn concerns(event: &notify::Event, names: &HashSet<OsString>) -> bool {
    let read = matches!(event.kind, EventKind::Access(access) if !is_write(access));
    let named = event.paths.iter().any(|path| {
        path.file_name()
            .is_none_or(|name| names.contains(name) || name.as_encoded_bytes().starts_with(b".."))
    });
    !read && (named || event.paths.is_empty())
}

/// The names of the files, and of what they link to.
fn names(sources: &Sources) -> HashSet<OsString> {
    let name = |path: &Path| path.file_name().map(ToOwned::to_owned);
    sources
        .files()
        .flat_map(|file| {
            let linked = file.canonicalize().ok();
            [name(file), linked.as_deref().and_then(name)]
        })
        .flatten()
        .collect()
}

fn is_write(access: notify::event::AccessKind) -> bool {
    access == notify::event::AccessKind::Close(notify::event::AccessMode::Write)
}

fn folders_of(file: &Path) -> Vec<PathBuf> {
    let parent = |path: &Path| {
        path.parent().map(|p| {
            if p.as_os_str().is_empty() {
                PathBuf::from(".")
            } else {
                p.to_path_buf()
            }
        })
    };
    let linked = file.canonicalize().ok();
    let folders: HashSet<PathBuf> = [parent(file), linked.as_deref().and_then(parent)]
        .into_iter()
        .flatten()
        .collect();
    folders.into_iter().collect()
}

/// What changes with a file: when it was written, and how long it is.
type Stamp = Option<(Option<SystemTime>, u64)>;

fn stamps(sources: &Sources) -> Vec<Stamp> {
    sources
        .files()
        .map(|file| {
            std::fs::metadata(file)
                .ok()
                .map(|m| (m.modified().ok(), m.len()))
        })
        .collect()
}

/// A file that is gone may be one that is being replaced, so its keys are not taken away; who removed it because a key
/// has leaked would think that they were.
const STAY: &str = "its keys stay in use until it is back or the relay is started again; to take them away now, leave the file there without them";

/// An editor's save is over well within it, and nobody notices it.
const QUIET: Duration = Duration::from_millis(100);

/// A folder that something writes to all the time is never quiet.
const QUIET_AT_MOST: Duration = Duration::from_secs(2);

/// A handful of calls for a file's times, where notifications may not arrive.
const LOOK_EVERY: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind};

    #[cfg(unix)]
    #[tokio::test]
    async fn a_signal_while_a_change_settles_is_answered_together_with_it() {
        let mut hangup = Hangup::new();
        let (events, mut changed) = mpsc::channel(1);
        events.send(()).await.unwrap();
        assert!(!quiet(&mut changed, &mut hangup).await);
        let this = std::process::id().to_string();
        let mut kill = std::process::Command::new("kill");
        assert!(kill.args(["-HUP", &this]).status().unwrap().success());
        events.send(()).await.unwrap();
        assert!(quiet(&mut changed, &mut hangup).await);
    }

    #[test]
    fn only_the_files_own_names_and_swapped_folders_concern_the_keys() {
        let names = HashSet::from([OsString::from("gemini.keys")]);
        let event = |kind, path: &str| notify::Event::new(kind).add_path(path.into());
        let modify = EventKind::Modify(ModifyKind::Any);
        for (kind, path, wanted) in [
            (modify, "/x/gemini.keys", true),
            (modify, "/x/relay.log", false),
            (EventKind::Create(CreateKind::Any), "/x/..data", true),
            (
                EventKind::Access(AccessKind::Open(AccessMode::Any)),
                "/x/gemini.keys",
                false,
            ),
            (
                EventKind::Access(AccessKind::Close(AccessMode::Write)),
                "/x/gemini.keys",
                true,
            ),
        ] {
            assert_eq!(
                concerns(&event(kind, path), &names),
                wanted,
                "{kind:?} {path}"
            );
        }
    }
}
