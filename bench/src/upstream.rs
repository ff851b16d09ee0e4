//! A server that answers with the same bytes every time.
//!
//! It reads a request to its end before it answers, as Google does, and lets a stream's events go
//! one by one: after each it gives way once, so that hyper writes what it has instead of gathering
//! all twenty into one write that no real stream would ever be.

use crate::payload;
use crate::{Failure, say};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use tokio::net::TcpListener;
use tokio::task::LocalSet;

/// Serves until it is killed; says first where it listens.
pub(crate) fn run(_: &[String]) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    LocalSet::new().block_on(&runtime, serve())
}

async fn serve() -> Result<(), Failure> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    say(&listener.local_addr()?.to_string())?;
    let answers = Rc::new(Answers {
        small: payload::answer(1024),
        usual: payload::answer(2048),
        events: payload::events().into(),
    });
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let answers = Rc::clone(&answers);
        tokio::task::spawn_local(async move {
            let service = service_fn(move |request| answer(Rc::clone(&answers), request));
            // A client that left is how every measurement ends.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

struct Answers {
    small: Bytes,
    usual: Bytes,
    events: Rc<[Bytes]>,
}

async fn answer(
    answers: Rc<Answers>,
    mut request: Request<Incoming>,
) -> Result<Response<Answer>, hyper::Error> {
    while let Some(frame) = request.body_mut().frame().await {
        frame?;
    }
    let path = request.uri().path();
    let (kind, body) = if path.ends_with(":streamGenerateContent") {
        let events = Rc::clone(&answers.events);
        (
            "text/event-stream",
            Answer::Events {
                events,
                next: 0,
                gave_way: true,
            },
        )
    } else if path.contains("answer-1k") {
        (JSON, Answer::Whole(Some(answers.small.clone())))
    } else {
        (JSON, Answer::Whole(Some(answers.usual.clone())))
    };
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}

enum Answer {
    Whole(Option<Bytes>),
    Events {
        events: Rc<[Bytes]>,
        next: usize,
        gave_way: bool,
    },
}

impl Body for Answer {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let chunk = match &mut *self {
            Self::Whole(whole) => whole.take(),
            Self::Events {
                events,
                next,
                gave_way,
            } => {
                *gave_way = !*gave_way;
                if *gave_way {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                let event = events.get(*next).cloned();
                *next += 1;
                event
            }
        };
        Poll::Ready(chunk.map(|chunk| Ok(Frame::data(chunk))))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(whole) => {
                SizeHint::with_exact(whole.as_ref().map_or(0, |whole| whole.len() as u64))
            }
            Self::Events { .. } => SizeHint::default(),
        }
    }
}

const JSON: &str = "application/json; charset=UTF-8";
