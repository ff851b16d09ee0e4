//! A client as plain as can be: one connection a request, so that dropping an answer is hanging up.

use super::stand::soon;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::convert::Infallible;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

pub(super) type Outgoing = UnsyncBoxBody<Bytes, Infallible>;

/// What every key of these tests begins with.
pub(super) const KEY_WORDS: &str = "made-up-key";

/// The model that is asked for where it does not matter which.
pub(super) const MODEL: &str = "gemini-2.5-flash";

/// A request to be sent.
pub(super) struct Ask {
    path: String,
    request: Request<Outgoing>,
}

impl Ask {
    pub(super) fn new(method: Method, path: impl Into<String>, body: Outgoing) -> Self {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        Self {
            path: path.into(),
            request,
        }
    }

    pub(super) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path, whole_body(Bytes::new()))
    }

    pub(super) fn trace(path: impl Into<String>) -> Self {
        Self::new(Method::TRACE, path, whole_body(Bytes::new()))
    }

    pub(super) fn post(path: impl Into<String>, body: &Value) -> Self {
        let body = whole_body(body.to_string().into());
        Self::new(Method::POST, path, body).header("content-type", "application/json")
    }

    /// An answer at once.
    pub(super) fn generate(text: &str) -> Self {
        Self::post(
            format!("/v1beta/models/{MODEL}:generateContent"),
            &contents(text),
        )
    }

    /// A stream of events.
    pub(super) fn events(text: &str) -> Self {
        Self::post(
            format!("/v1beta/models/{MODEL}:streamGenerateContent?alt=sse"),
            &contents(text),
        )
    }

    /// A stream as a JSON array.
    pub(super) fn array(text: &str) -> Self {
        Self::post(
            format!("/v1beta/models/{MODEL}:streamGenerateContent"),
            &contents(text),
        )
    }

    /// The OpenAI surface.
    pub(super) fn chat(text: &str, stream: bool) -> Self {
        let body = json!({"model": MODEL, "stream": stream, "messages": [{"role": "user", "content": text}]});
        Self::post("/v1beta/openai/chat/completions", &body)
    }

    pub(super) fn header(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_str(value).unwrap();
        self.request.headers_mut().append(name, value);
        self
    }

    /// Sends it, and waits for the answer's head.
    pub(super) async fn to(self, base: &str) -> Reply {
        let base: Uri = base.parse().unwrap();
        let stream = TcpStream::connect(base.authority().unwrap().as_str())
            .await
            .unwrap();
        stream.set_nodelay(true).unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        let connection = Connection(tokio::spawn(async move {
            let _ = connection.await;
        }));
        let request = self.finished(&base);
        let (parts, body) = soon(sender.send_request(request))
            .await
            .unwrap()
            .into_parts();
        no_key_in(&parts.headers);
        Reply {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
            _connection: connection,
        }
    }

    /// Sends it and reads the answer to its end.
    pub(super) async fn whole(self, base: &str) -> Whole {
        self.to(base).await.whole().await
    }

    /// The request for this base URL, with a `Host`.
    pub(super) fn finished(mut self, base: &Uri) -> Request<Outgoing> {
        let path = format!("{}{}", base.path().trim_end_matches('/'), self.path);
        *self.request.uri_mut() = path.parse().unwrap();
        let host = HeaderValue::from_str(base.authority().unwrap().as_str()).unwrap();
        self.request.headers_mut().entry("host").or_insert(host);
        self.request
    }
}

/// An answer whose body may still be coming.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    body: Incoming,
    _connection: Connection,
}

impl Reply {
    /// The next piece; `None` at the end, an error where the connection was cut.
    pub(super) async fn next(&mut self) -> Option<Result<Bytes, hyper::Error>> {
        loop {
            match soon(self.body.frame()).await? {
                Ok(frame) => {
                    if let Ok(piece) = frame.into_data() {
                        return Some(Ok(piece));
                    }
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// All that came, and whether it ended as it should.
    pub(super) async fn all(mut self) -> (Whole, bool) {
        let mut body = Vec::new();
        let mut ended = true;
        while let Some(piece) = self.next().await {
            match piece {
                Ok(piece) => body.extend_from_slice(&piece),
                Err(_) => {
                    ended = false;
                    break;
                }
            }
        }
        let whole = Whole {
            status: self.status,
            headers: self.headers,
            body,
        };
        assert!(!whole.text().contains(KEY_WORDS), "{}", whole.text());
        (whole, ended)
    }

    pub(super) async fn whole(self) -> Whole {
        let (whole, ended) = self.all().await;
        assert!(ended, "the connection was cut after {}", whole.text());
        whole
    }
}

/// An answer, read.
pub(super) struct Whole {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Whole {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The body as JSON; of an array its first element.
    #[track_caller]
    pub(super) fn json(&self) -> Value {
        let value: Value = serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()));
        match value {
            Value::Array(mut list) if !list.is_empty() => list.remove(0),
            value => value,
        }
    }

    #[track_caller]
    pub(super) fn message(&self) -> String {
        let message = &self.json()["error"]["message"];
        message.as_str().unwrap_or_default().to_owned()
    }

    #[track_caller]
    pub(super) fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{:?}\n{}", self.headers, self.text());
        self
    }
}

/// A connection that goes when this is dropped.
struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(super) fn contents(text: &str) -> Value {
    json!({"contents": [{"role": "user", "parts": [{"text": text}]}]})
}

pub(super) fn whole_body(body: Bytes) -> Outgoing {
    Full::new(body).boxed_unsync()
}

/// A body without a length, sent piece by piece as the other end says.
pub(super) fn piecewise() -> (mpsc::UnboundedSender<Bytes>, Outgoing) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let pieces = stream::unfold(receiver, |mut receiver| async move {
        let piece: Bytes = receiver.recv().await?;
        Some((Ok(Frame::data(piece)), receiver))
    });
    (sender, BodyExt::boxed_unsync(StreamBody::new(pieces)))
}

fn no_key_in(headers: &HeaderMap) {
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        assert!(!value.contains(KEY_WORDS), "{name}: {value}");
    }
}
