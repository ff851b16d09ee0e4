//! The body of Google's answer, plain in whatever coding it comes.
//!
//! Everything that looks at a good answer, its head's judge, the veil and the watch, reads it from here.
//! One that broke stays broken: who reads it again is told so again, and not that it is at its end.

use super::answer::Broken;
use super::unpack::{Unpacked, Unpacker};
use bytes::Bytes;
use gemini_relay_core::coding::Coding;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A body as it comes.
pub(crate) struct Coming {
    incoming: Incoming,
    unpacker: Option<Box<Unpacker>>,
    broken: bool,
}

impl Coming {
    pub(crate) fn new(incoming: Incoming, coding: Coding) -> Self {
        Self {
            incoming,
            unpacker: Unpacker::new(coding).map(Box::new),
            broken: false,
        }
    }

    fn poll_packed(
        incoming: &mut Incoming,
        unpacker: &mut Unpacker,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        loop {
            match unpacker.next() {
                Unpacked::Piece(piece) => return Poll::Ready(Some(Ok(Frame::data(piece)))),
                Unpacked::End => return Poll::Ready(None),
                Unpacked::Corrupt => return Poll::Ready(Some(Err(Broken("corrupt")))),
                Unpacked::Hungry => {}
            }
            match ready!(Pin::new(&mut *incoming).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Ok(piece) = frame.into_data() {
                        unpacker.feed(piece);
                    }
                }
                Some(Err(_)) => return Poll::Ready(Some(Err(Broken("broken")))),
                None => unpacker.finish(),
            }
        }
    }
}

impl Body for Coming {
    type Data = Bytes;
    type Error = Broken;

    #[inline]
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = &mut *self;
        let why = match &mut this.unpacker {
            _ if this.broken => Broken("broken"),
            None => match ready!(Pin::new(&mut this.incoming).poll_frame(cx)) {
                Some(Err(_)) => Broken("broken"),
                Some(Ok(frame)) => return Poll::Ready(Some(Ok(frame))),
                None => return Poll::Ready(None),
            },
            Some(unpacker) => match ready!(Self::poll_packed(&mut this.incoming, unpacker, cx)) {
                Some(Err(why)) => why,
                frame => return Poll::Ready(frame),
            },
        };
        this.broken = true;
        Poll::Ready(Some(Err(why)))
    }

    fn size_hint(&self) -> SizeHint {
        match self.unpacker {
            Some(_) => SizeHint::default(),
            None => self.incoming.size_hint(),
        }
    }
}
