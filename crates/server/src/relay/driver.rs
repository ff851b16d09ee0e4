//! The one task that watches the time: it wakes requests whose turn has come, and notices sleep.

use super::shared::Shared;
use super::worker::Phase;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Runs until nobody holds the other end of `phase` any more.
pub(crate) async fn run(shared: Arc<Shared>, mut phase: watch::Receiver<Phase>) {
    loop {
        let now = shared.clock.now();
        shared.network(shared.clock.now(), Instant::now());
        let next = shared.policy(|policy| {
            for id in policy.relay.ready(now) {
                if let Some(sleeper) = policy.sleepers.remove(&id) {
                    // Its request may have gone meanwhile.
                    let _ = sleeper.send(());
                }
            }
            policy.relay.next_deadline()
        });
        let pause = next.map_or(LOOK, |at| at.since(now).clamp(SHORTEST, LOOK));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shared.kick.notified() => {}
            changed = phase.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

/// How often the clocks are compared.
const LOOK: Duration = Duration::from_secs(1);

/// A deadline that is due is looked at this soon again, should it still be due.
const SHORTEST: Duration = Duration::from_millis(1);
