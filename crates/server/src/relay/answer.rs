//! Answers on their way to the client.
//!
//! Pieces go through as they come; nothing is added, joined or held. A [`Ticket`] goes with the body:
//! when it is dropped, for whatever reason, the policy learns that the request is over and the log gets
//! its line. So a client that hangs up, which drops the body, ends everything that was done for it.
//!
//! A stream that breaks, goes silent past the limit, or stops without having said that it was at its
//! end, is broken for the client too: the body ends in an error, and hyper cuts the connection. So a length
//! that was declared for such a stream is not passed on: after that many bytes nobody would ask for its end.

use super::alarm::Alarm;
use super::coming::Coming;
use super::exchange::Good;
use super::record::{Ending, Record};
use super::shared::Shared;
use super::upstream::Lease;
use super::worker::Seat;
use bytes::Bytes;
use gemini_relay_core::relay::RequestId;
use gemini_relay_core::veil::Veil;
use gemini_relay_core::watch::Watch;
use http_body::{Body, Frame, SizeHint};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// The relay's end of a request, from the moment it was let in until nothing more is done for it.
pub(crate) struct Ticket {
    shared: Arc<Shared>,
    /// Of the policy, until it was told that the request is over.
    pub(crate) id: Option<RequestId>,
    pub(crate) record: Record,
    /// Of a client to whom the end of the connection is the end of the answer.
    seat: Option<Arc<Seat>>,
}

impl Ticket {
    pub(crate) fn new(shared: &Arc<Shared>, record: Record) -> Self {
        shared.busy.fetch_add(1, Ordering::Relaxed);
        Self {
            shared: Arc::clone(shared),
            id: None,
            record,
            seat: None,
        }
    }

    /// The client speaks HTTP/1.0: unless its answer ends as it should, its connection does not either.
    pub(crate) fn ends_with(&mut self, seat: &Arc<Seat>) {
        seat.cut.store(true, Ordering::Relaxed);
        self.seat = Some(Arc::clone(seat));
    }

    /// All of the answer was given.
    fn whole(&mut self) {
        self.record.ending = Ending::Whole;
        if let Some(seat) = &self.seat {
            seat.cut.store(false, Ordering::Relaxed);
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let cancelled = self.record.ending == Ending::Cancelled;
        if cancelled && self.shared.cutting.load(Ordering::Relaxed) {
            self.record.ending = Ending::Stopped;
        }
        let now = self.shared.clock.now();
        let id = self.id.take();
        let model = self.record.model.as_deref().unwrap_or("-");
        let tokens = self.record.usage.map(|usage| usage.prompt);
        let model = self.shared.policy(|policy| {
            if let Some(id) = id {
                if !policy.sleepers.is_empty() {
                    policy.sleepers.remove(&id);
                }
                if cancelled {
                    policy.relay.cancel(id, now)
                } else {
                    policy.relay.finish(id, tokens, now)
                }
            }
            policy.relay.pool().said_model(model)
        });
        self.record.write(&self.shared, &model, now);
        self.shared.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of an answer.
pub(crate) enum Answer {
    /// The relay's own, or one that was read whole.
    Whole {
        body: Option<Bytes>,
        ticket: Option<Box<Ticket>>,
    },
    /// The beginning of an error, of which there is no more.
    Part {
        body: Option<Bytes>,
        /// Whether what was given is on its way to the client: hyper sends nothing of what it has yet to write
        /// when a body breaks.
        paused: bool,
        ticket: Box<Ticket>,
    },
    /// Google's, as it comes.
    Passing(Box<Passing>),
}

/// An answer that passes through.
pub(crate) struct Passing {
    /// What was looked at before it was passed on.
    held: smallvec::IntoIter<[Bytes; 1]>,
    coming: Coming,
    /// Until the answer was read to its end.
    lease: Option<Lease>,
    size: SizeHint,
    watch: Option<Watch>,
    /// Whether it must say that it is at its end.
    must_end: bool,
    /// Why it is to be cut, once what was given is on its way to the client: hyper sends nothing of what it has
    /// yet to write when a body breaks, be it the head.
    breaks: Option<&'static str>,
    idle: Duration,
    /// When the last piece came.
    last: Instant,
    /// Set when the answer first pauses.
    alarm: Option<Alarm>,
    veil: Option<Veil>,
    ticket: Ticket,
}

impl Answer {
    pub(crate) fn whole(body: impl Into<Bytes>, ticket: Option<Ticket>) -> Self {
        let body = body.into();
        let mut answer = Self::Whole {
            body: (!body.is_empty()).then_some(body),
            ticket: ticket.map(Box::new),
        };
        if let Self::Whole {
            body,
            ticket: Some(ticket),
        } = &mut answer
        {
            ticket.record.sent = body.as_ref().map_or(0, |body| body.len() as u64);
            ticket.record.first_byte = Some(Instant::now());
            ticket.whole();
        }
        answer
    }

    /// An error that broke off upstream.
    pub(crate) fn part(body: Bytes, mut ticket: Ticket) -> Self {
        let record = &mut ticket.record;
        record.sent = body.len() as u64;
        record.first_byte = Some(Instant::now());
        record.ending = Ending::Cut;
        record.reason = Some(PART);
        Self::Part {
            body: (!body.is_empty()).then_some(body),
            paused: false,
            ticket: Box::new(ticket),
        }
    }

    /// The ticket of an answer whose body is not wanted.
    pub(crate) fn into_ticket(self) -> Option<Ticket> {
        match self {
            Self::Whole { ticket, .. } => ticket.map(|ticket| *ticket),
            Self::Part { ticket, .. } => Some(*ticket),
            Self::Passing(passing) => Some(passing.ticket),
        }
    }

    /// Passes a good answer on, and gives back the head that goes with it.
    pub(crate) fn passing(
        good: Good,
        must_end: bool,
        watched: bool,
        idle: Duration,
        ticket: Ticket,
    ) -> (http::response::Parts, Self) {
        let held: u64 = good.held.iter().map(|piece| piece.len() as u64).sum();
        let size = good.coming.size_hint().exact().filter(|_| !must_end);
        let mut passing = Box::new(Passing {
            held: good.held.into_iter(),
            coming: good.coming,
            lease: Some(good.lease),
            size: size.map_or_else(SizeHint::default, |rest| SizeHint::with_exact(rest + held)),
            watch: if must_end {
                Some(Watch::stream())
            } else {
                watched.then(Watch::default)
            },
            must_end,
            breaks: None,
            idle,
            last: Instant::now(),
            alarm: None,
            veil: ticket.record.key.clone().map(Veil::new),
            ticket,
        });
        if passing.size.exact() == Some(0) {
            // Nothing will be asked for.
            passing.whole();
        }
        (good.parts, Self::Passing(passing))
    }
}

impl Passing {
    /// A piece from upstream; `None` if nothing of it may be passed on yet.
    fn pass(&mut self, piece: Bytes) -> Option<Frame<Bytes>> {
        let shown = self.veil.as_mut().and_then(|veil| veil.over(&piece));
        let piece = shown.map_or(piece, Bytes::from);
        (!piece.is_empty()).then(|| self.send(piece))
    }

    fn send(&mut self, piece: Bytes) -> Frame<Bytes> {
        let record = &mut self.ticket.record;
        record.first_byte.get_or_insert(self.last);
        record.sent += piece.len() as u64;
        let whole = self.size.exact() == Some(record.sent);
        if let Some(watch) = &mut self.watch {
            watch.see(&piece);
        }
        if whole {
            // A body of known length is not asked for its end.
            self.whole();
        }
        Frame::data(piece)
    }

    fn cut(
        &mut self,
        why: &'static str,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.note_usage();
        self.ticket.record.ending = Ending::Cut;
        self.ticket.record.reason = Some(why);
        if self.breaks.replace(why).is_some() {
            return Poll::Ready(Some(Err(Broken(why))));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn ended(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let ended = self.watch.as_ref().is_none_or(Watch::ended);
        if self.must_end && !ended {
            return self.cut("truncated", cx);
        }
        self.whole();
        Poll::Ready(None)
    }

    fn whole(&mut self) {
        self.note_usage();
        self.ticket.whole();
        if let Some(lease) = self.lease.take() {
            lease.give_back();
        }
    }

    fn note_usage(&mut self) {
        if let Some(watch) = &self.watch {
            self.ticket.record.usage = watch.usage();
            if watch.failed() {
                self.ticket.record.reason = Some("error-in-stream");
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Some(why) = self.breaks {
            return self.cut(why, cx);
        }
        while let Some(piece) = self.held.next() {
            if let Some(frame) = self.pass(piece) {
                return Poll::Ready(Some(Ok(frame)));
            }
        }
        loop {
            match Pin::new(&mut self.coming).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.last = Instant::now();
                    // Trailers, which Google does not send, could say anything: they end here.
                    if let Ok(piece) = frame.into_data()
                        && let Some(frame) = self.pass(piece)
                    {
                        return Poll::Ready(Some(Ok(frame)));
                    }
                }
                Poll::Ready(Some(Err(why))) => return self.cut(why.0, cx),
                Poll::Ready(None) => {
                    return match self.veil.as_mut().and_then(Veil::rest) {
                        Some(rest) => Poll::Ready(Some(Ok(self.send(rest.into())))),
                        None => self.ended(cx),
                    };
                }
                Poll::Pending => {
                    let due = self.last + self.idle;
                    let alarm = self.alarm.get_or_insert_with(|| Alarm::at(due));
                    alarm.put_off(due);
                    ready!(alarm.poll(cx));
                    return self.cut("idle", cx);
                }
            }
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match &mut *self {
            Self::Whole { body, .. } => Poll::Ready(body.take().map(|body| Ok(Frame::data(body)))),
            Self::Part { body, paused, .. } => match body.take() {
                Some(body) => Poll::Ready(Some(Ok(Frame::data(body)))),
                None if *paused => Poll::Ready(Some(Err(Broken(PART)))),
                None => {
                    *paused = true;
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
            },
            Self::Passing(passing) => passing.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole { body, .. } => body.is_none(),
            // Its end must be seen, to be judged.
            Self::Part { .. } | Self::Passing(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole { body, .. } => {
                SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64))
            }
            Self::Part { .. } => SizeHint::default(),
            Self::Passing(passing) => passing.size,
        }
    }
}

/// Of an error whose rest did not come.
const PART: &str = "truncated";

/// Why an answer broke.
#[derive(Debug)]
pub(crate) struct Broken(pub(crate) &'static str);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the answer from upstream was {}", self.0)
    }
}

impl std::error::Error for Broken {}
