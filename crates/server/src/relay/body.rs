//! Request bodies: gathered or streamed, and kept to be sent again.
//!
//! A body is the list of pieces it arrived in, never joined. What reads it is the [`Source`]; what
//! sends it is a [`Replay`], one for each attempt: it gives the pieces that are kept and then goes on
//! reading. So a body that was gathered before the first attempt and one that streams through are the
//! same thing, and a second attempt may start while the client is still sending.
//!
//! Keeping has a limit for each request and one for all of them. A body that passes either is streamed
//! once: its pieces are let go as they are sent, and it cannot be sent again.
//!
//! A client that stops in the middle would keep what it sent in memory for ever. So the silence between
//! two pieces has a limit too, after which the body is broken; only the time is counted in which somebody
//! waits for the client, not the time in which Google takes nothing.

use super::alarm::Alarm;
use bytes::Bytes;
use gemini_relay_core::scan::Scanner;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// What all bodies together may keep.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: usize,
    used: AtomicUsize,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            used: AtomicUsize::new(0),
        }
    }

    /// Bytes kept now.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        if self
            .used
            .fetch_add(bytes, Ordering::Relaxed)
            .saturating_add(bytes)
            > self.limit
        {
            self.give_back(bytes);
            return false;
        }
        true
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// A client's body.
#[derive(Clone)]
pub(crate) struct Source(Arc<Mutex<State>>);

struct State {
    incoming: Option<Incoming>,
    pieces: VecDeque<Bytes>,
    kept: usize,
    limit: usize,
    budget: Arc<Budget>,
    /// It passed a limit: pieces are let go as they are sent.
    passing: bool,
    /// Some of it was let go.
    gone: bool,
    /// It ended as it should.
    whole: bool,
    /// The client broke off, or stopped.
    broken: bool,
    stalled: bool,
    /// The longest that the client may be waited for.
    idle: Duration,
    /// While it is.
    waiting: Option<Alarm>,
    /// When Google last took a piece; not noted of the first, if it was here already.
    taken: Option<Instant>,
    total: u64,
    declared: Option<u64>,
    /// How many attempts were made with it.
    attempts: u32,
    /// Whether the last of them was given all of it.
    given: bool,
}

impl Source {
    /// A body that may pause for `idle`, and of which up to `limit` bytes are kept.
    pub(crate) fn new(
        incoming: Incoming,
        limit: usize,
        idle: Duration,
        budget: &Arc<Budget>,
    ) -> Self {
        let whole = incoming.is_end_stream();
        let declared = incoming.size_hint().exact();
        Self(Arc::new(Mutex::new(State {
            incoming: (!whole).then_some(incoming),
            pieces: VecDeque::new(),
            kept: 0,
            limit,
            budget: Arc::clone(budget),
            passing: false,
            gone: false,
            whole,
            broken: false,
            stalled: false,
            idle,
            waiting: None,
            taken: None,
            total: 0,
            declared,
            attempts: 0,
            given: false,
        })))
    }

    /// Reads until the end or a limit, showing each piece to `scanner`.
    ///
    /// # Errors
    /// When the client breaks off or stops.
    pub(crate) async fn gather(&self, scanner: &mut Scanner) -> Result<(), BodyError> {
        std::future::poll_fn(|cx| {
            let mut state = self.lock();
            loop {
                if state.whole || state.passing {
                    return Poll::Ready(Ok(()));
                }
                match ready!(state.read(cx)) {
                    Some(Ok(piece)) => {
                        scanner.feed(&piece);
                        state.keep(piece);
                    }
                    Some(Err(error)) => return Poll::Ready(Err(error)),
                    None => return Poll::Ready(Ok(())),
                }
            }
        })
        .await
    }

    /// Reads what is left of it and lets it go, within bounds: a client that is still sending when its answer comes,
    /// and with it the end of its connection, may never see it.
    pub(crate) async fn let_by(&self) {
        let (began, mut passed) = (Instant::now(), 0);
        while passed < MOST_LET_BY && began.elapsed() < LONGEST_LET_BY {
            let read = std::future::poll_fn(|cx| self.lock().read(cx));
            match tokio::time::timeout(PAUSE, read).await {
                Ok(Some(Ok(piece))) => passed += piece.len(),
                Ok(Some(Err(_)) | None) | Err(_) => return,
            }
        }
    }

    /// The body for one more attempt.
    pub(crate) fn replay(&self) -> Replay {
        let mut state = self.lock();
        state.attempts += 1;
        state.given = state.whole && state.pieces.is_empty();
        Replay {
            source: self.clone(),
            attempt: state.attempts,
            next: 0,
            done: false,
        }
    }

    /// Whether no attempt was made with it.
    pub(crate) fn is_untouched(&self) -> bool {
        self.lock().attempts == 0
    }

    /// Whether the last attempt was given all of it.
    pub(crate) fn is_given(&self) -> bool {
        self.lock().given
    }

    /// Whether all that was read of it is still there.
    pub(crate) fn can_repeat(&self) -> bool {
        let state = self.lock();
        !state.gone && !state.broken
    }

    /// Whether it is sure to stay repeatable: it is here whole.
    pub(crate) fn is_kept(&self) -> bool {
        let state = self.lock();
        state.whole && !state.gone
    }

    /// Whether the client stopped in the middle of it.
    pub(crate) fn has_stalled(&self) -> bool {
        self.lock().stalled
    }

    /// Until when Google cannot have begun to be silent, as far as its body tells: it took a piece then, or it
    /// is still the client who is waited for, which has a limit of its own.
    pub(crate) fn busy(&self) -> Option<Instant> {
        let state = self.lock();
        let now = Instant::now();
        // One that has rung, or should have, is an earlier attempt's.
        let waits = state
            .waiting
            .as_ref()
            .is_some_and(|waiting| waiting.due() > now);
        if waits { Some(now) } else { state.taken }
    }

    /// Whether it passed a limit.
    pub(crate) fn is_passing(&self) -> bool {
        self.lock().passing
    }

    /// Bytes read so far.
    pub(crate) fn total(&self) -> u64 {
        self.lock().total
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn read(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            let Some(incoming) = self.incoming.as_mut().filter(|_| !self.whole) else {
                return Poll::Ready(None);
            };
            let Poll::Ready(read) = Pin::new(&mut *incoming).poll_frame(cx) else {
                ready!(self.poll_stalled(cx));
                self.broken = true;
                self.stalled = true;
                self.incoming = None;
                return Poll::Ready(Some(Err(BodyError::Stalled)));
            };
            self.waiting = None;
            match read {
                Some(Ok(frame)) => {
                    // Trailers mean nothing to Google.
                    if let Ok(piece) = frame.into_data()
                        && !piece.is_empty()
                    {
                        self.total += piece.len() as u64;
                        // Of a body of known length nobody need be asked whether that was all. (It is not let
                        // go yet: that would wake its connection for nothing.)
                        self.whole = incoming.is_end_stream();
                        return Poll::Ready(Some(Ok(piece)));
                    }
                }
                Some(Err(error)) => {
                    self.broken = true;
                    self.incoming = None;
                    return Poll::Ready(Some(Err(BodyError::Broken(error))));
                }
                None => {
                    self.whole = true;
                    self.incoming = None;
                    return Poll::Ready(None);
                }
            }
        }
    }

    /// Ready when the client was waited for too long.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let idle = self.idle;
        self.waiting
            .get_or_insert_with(|| Alarm::at(Instant::now() + idle))
            .poll(cx)
    }

    /// Keeps a piece that was just read, and notices when a limit is passed.
    fn keep(&mut self, piece: Bytes) {
        let size = piece.len();
        if !self.passing && (self.kept + size > self.limit || !self.budget.take(size)) {
            self.passing = true;
        } else if !self.passing {
            self.kept += size;
        }
        self.pieces.push_back(piece);
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.budget.give_back(self.kept);
    }
}

/// A body on its way to Google.
pub(crate) struct Replay {
    source: Source,
    /// The how-manieth.
    attempt: u32,
    next: usize,
    done: bool,
}

impl Replay {
    fn next_piece(
        &mut self,
        state: &mut State,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, BodyError>>> {
        if state.passing {
            // Only one attempt is sent of a body that passes through.
            if let Some(piece) = state.pieces.pop_front() {
                state.gone = true;
                state.taken = Some(Instant::now());
                let size = piece.len().min(state.kept);
                state.kept -= size;
                state.budget.give_back(size);
                return Poll::Ready(Some(Ok(piece)));
            }
        } else if let Some(piece) = state.pieces.get(self.next) {
            let piece = piece.clone();
            if self.next > 0 {
                state.taken = Some(Instant::now());
            }
            self.next += 1;
            return Poll::Ready(Some(Ok(piece)));
        }
        let read = ready!(state.read(cx));
        state.taken = Some(Instant::now());
        match read {
            Some(Ok(piece)) => {
                if state.passing {
                    state.gone = true;
                } else {
                    state.keep(piece.clone());
                    self.next += 1;
                    if state.passing {
                        // What was sent before is of no use without this.
                        state.pieces.clear();
                        state.gone = true;
                        let kept = std::mem::take(&mut state.kept);
                        state.budget.give_back(kept);
                    }
                }
                Poll::Ready(Some(Ok(piece)))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            None => {
                self.done = true;
                Poll::Ready(None)
            }
        }
    }

    fn is_at_end(&self, state: &State) -> bool {
        let rest = if state.passing {
            state.pieces.is_empty()
        } else {
            self.next >= state.pieces.len()
        };
        self.done || state.whole && rest
    }
}

impl Body for Replay {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let source = self.source.clone();
        let mut state = source.lock();
        let read = ready!(self.next_piece(&mut state, cx));
        if state.attempts == self.attempt {
            state.given = self.is_at_end(&state);
        }
        Poll::Ready(read.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.is_at_end(&self.source.lock())
    }

    fn size_hint(&self) -> SizeHint {
        let state = self.source.lock();
        if let Some(declared) = state.declared {
            return SizeHint::with_exact(declared);
        }
        if state.whole && !state.gone {
            SizeHint::with_exact(state.total)
        } else {
            SizeHint::default()
        }
    }
}

/// More than any request but an upload has.
const MOST_LET_BY: usize = 128 * 1024 * 1024;

/// As long as a refusal may be held back by a client that is still sending.
const LONGEST_LET_BY: Duration = Duration::from_secs(10);

/// A client that sends nothing for so long may be waiting for its answer.
const PAUSE: Duration = Duration::from_millis(500);

/// Why a body has no end.
#[derive(Debug)]
pub(crate) enum BodyError {
    /// The client broke off.
    Broken(hyper::Error),
    /// It sent nothing for too long.
    Stalled,
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Broken(_) => "the client broke off in its body",
            Self::Stalled => "the client stopped in its body",
        })
    }
}

impl std::error::Error for BodyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Broken(error) => Some(error),
            Self::Stalled => None,
        }
    }
}
