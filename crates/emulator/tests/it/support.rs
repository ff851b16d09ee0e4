//! A client that sees everything: status, headers, and whether the body came to its end.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use flate2::read::GzDecoder;
use gemini_emulator::{Config, Emulator, Outcome, Project};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

pub(crate) const ALPHA: &str = "made-up-alpha-1";
pub(crate) const BETA: &str = "made-up-beta-1";
pub(crate) const FLASH: &str = "/v1beta/models/gemini-2.5-flash:generateContent";
pub(crate) const STREAM: &str = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse";
pub(crate) const CHAT: &str = "/v1beta/openai/chat/completions";

/// Two projects with a key each.
pub(crate) fn two_projects() -> Config {
    Config {
        projects: vec![Project::new("alpha", [ALPHA]), Project::new("beta", [BETA])],
        ..Config::default()
    }
}

pub(crate) async fn start(config: Config) -> Emulator {
    Emulator::start(config, SocketAddr::from(([127, 0, 0, 1], 0)))
        .await
        .unwrap()
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// As it came; a frame each.
    pub(crate) frames: Vec<Bytes>,
    /// Whether the body broke off.
    pub(crate) broken: bool,
}

impl Answer {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.frames.concat()
    }

    /// The body, decompressed if it was compressed.
    pub(crate) fn text(&self) -> String {
        let bytes = self.bytes();
        if self
            .headers
            .get("content-encoding")
            .is_some_and(|coding| coding == "gzip")
        {
            let mut text = String::new();
            std::io::Read::read_to_string(&mut GzDecoder::new(&bytes[..]), &mut text).unwrap();
            return text;
        }
        String::from_utf8(bytes).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text())
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The events of a native stream.
    pub(crate) fn events(&self) -> Vec<Value> {
        let text = self.text();
        let events = text
            .strip_suffix("\r\n\r\n")
            .unwrap_or(&text)
            .split("\r\n\r\n");
        events
            .map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap())
            .collect()
    }

    #[track_caller]
    pub(crate) fn assert_ok(&self) {
        assert!(
            self.status == 200 && !self.broken,
            "{}: {}",
            self.status,
            self.text()
        );
    }

    #[track_caller]
    pub(crate) fn assert_error(&self, status: u16, message: &str) {
        let json = self.json();
        let error = json.get(0).unwrap_or(&json)["error"]["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert_eq!(self.status, status, "{error}");
        assert!(error.contains(message), "{error:?} has no {message:?}");
    }
}

/// A request to build.
pub(crate) struct Ask {
    request: http::request::Builder,
    body: Bytes,
}

impl Ask {
    pub(crate) fn new(method: &str, path: &str) -> Ask {
        Ask {
            request: Request::builder()
                .method(method)
                .uri(path)
                .header("host", "emulator"),
            body: Bytes::new(),
        }
    }

    /// A prompt to a native path.
    pub(crate) fn say(path: &str, text: &str) -> Ask {
        Ask::new("POST", path).json(&prompt(text))
    }

    /// A prompt to the OpenAI path.
    pub(crate) fn chat(text: &str, stream: bool) -> Ask {
        Ask::new("POST", CHAT).json(&json!({
            "model": "gemini-2.5-flash",
            "messages": [{"role": "user", "content": text}],
            "stream": stream,
            "stream_options": {"include_usage": stream},
        }))
    }

    pub(crate) fn json(self, body: &Value) -> Ask {
        Ask {
            body: Bytes::from(body.to_string()),
            ..self
        }
        .header("content-type", "application/json")
    }

    pub(crate) fn body(self, body: impl Into<Bytes>) -> Ask {
        Ask {
            body: body.into(),
            ..self
        }
    }

    pub(crate) fn header(self, name: &str, value: &str) -> Ask {
        Ask {
            request: self.request.header(name, value),
            ..self
        }
    }

    pub(crate) fn key(self, key: &str) -> Ask {
        self.header("x-goog-api-key", key)
    }

    pub(crate) fn bearer(self, key: &str) -> Ask {
        self.header("authorization", &format!("Bearer {key}"))
    }

    /// Sends it on a connection of its own; an error is a connection that ended with no answer.
    pub(crate) async fn try_send(self, to: &Emulator) -> Result<Answer, hyper::Error> {
        let stream = TcpStream::connect(to.addr()).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let response = sender
            .send_request(self.request.body(Full::new(self.body)).unwrap())
            .await?;
        let (head, mut body) = response.into_parts();
        let (mut frames, mut broken) = (Vec::new(), false);
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => frames.extend(frame.into_data().ok()),
                Err(_) => broken = true,
            }
        }
        Ok(Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            frames,
            broken,
        })
    }

    pub(crate) async fn send(self, to: &Emulator) -> Answer {
        self.try_send(to).await.unwrap()
    }

    /// The request as bytes, for a socket that is used by hand.
    pub(crate) fn raw(self) -> Vec<u8> {
        let request = self.request.body(()).unwrap();
        let mut text = format!(
            "{} {} HTTP/1.1\r\ncontent-length: {}\r\n",
            request.method(),
            request.uri(),
            self.body.len()
        );
        for (name, value) in request.headers() {
            text.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap()));
        }
        [text.as_bytes(), b"\r\n", &self.body].concat()
    }
}

pub(crate) fn prompt(text: &str) -> Value {
    json!({"contents": [{"role": "user", "parts": [{"text": text}]}]})
}

/// Waits until `condition` holds.
#[track_caller]
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    async move {
        while !condition() {
            assert!(Instant::now() < deadline, "never happened: {what}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// Waits until the newest request has ended, and says how.
pub(crate) async fn last_outcome(emulator: &Emulator) -> Outcome {
    let last = || emulator.requests().last().map(|request| request.outcome);
    until("the request's end", || {
        last().is_some_and(|outcome| outcome != Outcome::Open)
    })
    .await;
    last().unwrap()
}
