//! Lines on their way out: a bounded buffer, and the one thread that writes it.
//!
//! Waking a thread costs more than all that a line costs otherwise, so it is not woken for each: only
//! when it sleeps because there was nothing at all. It then waits a moment for more, which a person at a
//! terminal does not notice, and writes everything at once. Warnings and a buffer that fills end that
//! moment. When nothing is logged nothing wakes.
//!
//! When the buffer is full, because standard error takes nothing, lines are dropped: all of them until
//! there is room again, so that what is told of them, how many, stands where they are missing.

use std::io::{self, ErrorKind, Write};
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub(super) struct Queue {
    state: Mutex<State>,
    /// How long it is waited for more lines.
    moment: Duration,
    /// For the thread that writes.
    wake: Condvar,
    /// For whoever waits for the end.
    over: Condvar,
}

#[derive(Default)]
struct State {
    lines: Vec<u8>,
    dropped: u64,
    waits: Waits,
    /// One of the lines should be seen at once.
    urgent: bool,
    closing: bool,
    over: bool,
}

/// What the thread that writes would be woken for.
#[derive(Default, PartialEq, Eq)]
enum Waits {
    /// It is up, or has been woken.
    #[default]
    Not,
    Anything,
    /// It is up again soon in any case.
    Much,
}

impl Queue {
    /// Starts the thread that writes, and that waits a `moment` for more before it does. `note` says in
    /// a line that so many are missing.
    ///
    /// # Errors
    /// When there can be no such thread.
    pub(super) fn start(
        mut out: impl Write + Send + 'static,
        moment: Duration,
        note: impl Fn(u64, &mut Vec<u8>) + Send + 'static,
    ) -> io::Result<Arc<Self>> {
        let queue = Arc::new(Self {
            state: Mutex::default(),
            moment,
            wake: Condvar::new(),
            over: Condvar::new(),
        });
        let its = Arc::clone(&queue);
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || its.run(&mut out, &note))?;
        Ok(queue)
    }

    /// Leaves a line, or drops it. An urgent one is written at once.
    pub(super) fn push(&self, line: &[u8], urgent: bool) {
        let mut state = self.lock();
        if state.over {
            return;
        }
        if state.dropped > 0 || state.lines.len() + line.len() > BOUND {
            state.dropped += 1;
        } else {
            state.lines.extend_from_slice(line);
        }
        state.urgent |= urgent;
        let wake = match state.waits {
            Waits::Not => false,
            Waits::Anything => true,
            Waits::Much => urgent || state.lines.len() >= MUCH,
        };
        if wake {
            state.waits = Waits::Not;
            drop(state);
            self.wake.notify_one();
        }
    }

    /// Has what was left so far written, and ends. A writer that hangs is waited for so long.
    pub(super) fn finish(&self, limit: Duration) {
        let mut state = self.lock();
        state.closing = true;
        state.waits = Waits::Not;
        self.wake.notify_one();
        // Poisoned or late, there is nothing more to be done.
        drop(
            self.over
                .wait_timeout_while(state, limit, |state| !state.over),
        );
    }

    fn run(&self, out: &mut impl Write, note: &impl Fn(u64, &mut Vec<u8>)) {
        let mut lines = Vec::new();
        loop {
            let last = self.take(&mut lines, note);
            write(out, &lines);
            lines.clear();
            lines.shrink_to(KEPT);
            if last {
                self.lock().over = true;
                self.over.notify_all();
                return;
            }
        }
    }

    /// Waits for lines and swaps them for the empty buffer. Returns whether they are the last.
    fn take(&self, lines: &mut Vec<u8>, note: &impl Fn(u64, &mut Vec<u8>)) -> bool {
        let mut state = self.lock();
        if state.lines.is_empty() && state.dropped == 0 && !state.closing {
            state.waits = Waits::Anything;
            state = self
                .wake
                .wait_while(state, |state| state.waits == Waits::Anything)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if !state.urgent && !state.closing && state.lines.len() < MUCH {
            state.waits = Waits::Much;
            (state, _) = self
                .wake
                .wait_timeout_while(state, self.moment, |state| state.waits == Waits::Much)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.waits = Waits::Not;
        state.urgent = false;
        mem::swap(&mut state.lines, lines);
        let dropped = mem::take(&mut state.dropped);
        let closing = state.closing;
        drop(state);
        if dropped > 0 {
            note(dropped, lines);
        }
        closing
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes all of it, unless it cannot be written.
fn write(out: &mut impl Write, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => return,
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // A terminal that another program has told not to block: half a line would stay behind.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let until = Instant::now() + FULL;
                while let Some(left) = until.checked_duration_since(Instant::now())
                    && !left.is_zero()
                {
                    std::thread::park_timeout(left);
                }
            }
            Err(_) => return,
        }
    }
    let _ = out.flush();
}

/// Half a second of a busy relay's lines, at a few hundred bytes each. As much again may be on its way
/// into a standard error that takes nothing.
const BOUND: usize = 2 * 1024 * 1024;

/// What is written without waiting for more: by then waking the thread is nothing beside the lines.
const MUCH: usize = 128 * 1024;

/// What buffers keep when they are empty: what a busy relay fills again and again.
const KEPT: usize = 2 * MUCH;

/// How long until a standard error that does not block is tried again.
const FULL: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests;
