//! An answer's body as a list of steps: bytes, pauses, and the ways it can break off.
//!
//! Whatever goes wrong inside a stream is decided before its first byte and written down here, so
//! that the body itself only plays. It is also what knows how an answer ended: hyper drops the
//! body of a request whose client went away, at once and also while the body is silent, and a
//! [`Script`] that is dropped before its last step was cancelled.

mod write;

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use crate::connection::Link;
use crate::journal::Outcome;
use crate::ticket::Ticket;
pub(crate) use write::{stream, whole};

/// One step of a body.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Data(Bytes),
    /// So many letters `A`.
    Fill(usize),
    Pause(Duration),
    /// The connection is reset.
    Reset,
}

/// What becomes of a body on its way.
#[derive(Debug, Clone, Default)]
pub(crate) enum Turn {
    /// It is sent to the end.
    #[default]
    None,
    Stall {
        after: usize,
        millis: u64,
    },
    Reset {
        after: usize,
    },
    /// It ends in order, with this for its last words.
    End {
        after: usize,
        words: Bytes,
    },
}

/// A body that plays its steps.
pub(crate) struct Script {
    steps: VecDeque<Step>,
    sleep: Option<Pin<Box<Sleep>>>,
    /// Whether its length is told in a header.
    sized: bool,
    ticket: Option<(Ticket, Outcome)>,
    link: Option<Arc<Link>>,
}

impl Script {
    /// A body that ends as `outcome`, on a connection that its steps may reset.
    pub(crate) fn new(
        steps: Vec<Step>,
        sized: bool,
        ticket: Ticket,
        outcome: Outcome,
        link: Arc<Link>,
    ) -> Script {
        let mut script = Script {
            steps: steps.into(),
            sleep: None,
            sized,
            ticket: Some((ticket, outcome)),
            link: Some(link),
        };
        if script.steps.is_empty() {
            script.close();
        }
        script
    }

    /// A body that nobody keeps a record of.
    pub(crate) fn plain(bytes: Bytes) -> Script {
        Script {
            steps: VecDeque::from([Step::Data(bytes)]),
            sleep: None,
            sized: true,
            ticket: None,
            link: None,
        }
    }

    fn close(&mut self) {
        if let Some((ticket, outcome)) = self.ticket.take() {
            ticket.close(outcome);
        }
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = &mut *self;
        loop {
            let bytes = match this.steps.front_mut() {
                None => return Poll::Ready(None),
                Some(Step::Data(bytes)) => {
                    let bytes = std::mem::take(bytes);
                    this.steps.pop_front();
                    bytes
                }
                Some(Step::Fill(left)) => {
                    let now = (*left).min(FILL.len());
                    *left -= now;
                    if *left == 0 {
                        this.steps.pop_front();
                    }
                    Bytes::from_static(&FILL[..now])
                }
                Some(Step::Pause(length)) => {
                    let sleep = this.sleep.get_or_insert_with(|| Box::pin(sleep(*length)));
                    if sleep.as_mut().poll(context).is_pending() {
                        return Poll::Pending;
                    }
                    this.sleep = None;
                    this.steps.pop_front();
                    if this.steps.is_empty() {
                        this.close();
                    }
                    continue;
                }
                Some(Step::Reset) => {
                    this.steps.clear();
                    this.close();
                    if let Some(link) = &this.link {
                        link.reset();
                    }
                    return Poll::Ready(Some(Err(io::Error::from(io::ErrorKind::ConnectionReset))));
                }
            };
            if this.steps.is_empty() {
                this.close();
            }
            if !bytes.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        if !self.sized {
            return SizeHint::default();
        }
        let length = |step: &Step| match step {
            Step::Data(bytes) => bytes.len() as u64,
            Step::Fill(count) => *count as u64,
            Step::Pause(_) | Step::Reset => 0,
        };
        SizeHint::with_exact(self.steps.iter().map(length).sum())
    }
}

static FILL: [u8; 64 << 10] = [b'A'; 64 << 10];
