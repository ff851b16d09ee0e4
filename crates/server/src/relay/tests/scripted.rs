//! An upstream that does what a test says, byte by byte, and nothing by itself.
//!
//! A test takes the connections that the relay makes, reads what came and writes what it wants, so it
//! can pause, stall, reset and speak nonsense where a server would not; and a panic in its lines is a
//! panic of the test.

use super::stand::soon;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub(super) struct Scripted {
    listener: TcpListener,
}

/// One connection of the relay's.
pub(super) struct Peer {
    pub(super) stream: TcpStream,
    read: Vec<u8>,
}

/// A request as it stood on the wire.
pub(super) struct Seen {
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Scripted {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { listener }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.listener.local_addr().unwrap())
    }

    pub(super) async fn accept(&self) -> Peer {
        let (stream, _) = soon(self.listener.accept()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Peer {
            stream,
            read: Vec::new(),
        }
    }

    /// Whether nobody connects for a while.
    pub(super) async fn stays_alone(&self) -> bool {
        tokio::time::timeout(A_WHILE, self.listener.accept())
            .await
            .is_err()
    }
}

impl Peer {
    /// Reads one request, body and all.
    pub(super) async fn request(&mut self) -> Seen {
        let head = self.head().await;
        let lower = head.to_ascii_lowercase();
        let body = if lower.contains("transfer-encoding: chunked") {
            self.chunks().await
        } else {
            let length = lower
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.trim().parse().unwrap());
            self.exactly(length).await
        };
        Seen { head, body }
    }

    /// Reads a request's head alone.
    pub(super) async fn head(&mut self) -> String {
        let end = self.find(b"\r\n\r\n").await + 4;
        String::from_utf8(self.read.drain(..end).collect()).unwrap()
    }

    /// Reads one chunk of a chunked body; empty at its end.
    pub(super) async fn chunk(&mut self) -> Vec<u8> {
        let end = self.find(b"\r\n").await + 2;
        let line: Vec<u8> = self.read.drain(..end).collect();
        let line = String::from_utf8(line).unwrap();
        let size = usize::from_str_radix(line.trim(), 16).unwrap();
        let mut chunk = self.exactly(size + 2).await;
        chunk.truncate(size);
        chunk
    }

    async fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let chunk = self.chunk().await;
            if chunk.is_empty() {
                return body;
            }
            body.extend(chunk);
        }
    }

    pub(super) async fn exactly(&mut self, length: usize) -> Vec<u8> {
        while self.read.len() < length {
            self.more().await;
        }
        self.read.drain(..length).collect()
    }

    async fn find(&mut self, what: &[u8]) -> usize {
        loop {
            if let Some(at) = self.read.windows(what.len()).position(|w| w == what) {
                return at;
            }
            self.more().await;
        }
    }

    async fn more(&mut self) {
        let mut piece = vec![0; 64 * 1024];
        let count = soon(self.stream.read(&mut piece)).await.unwrap();
        assert!(
            count > 0,
            "the relay closed after {:?}",
            String::from_utf8_lossy(&self.read)
        );
        self.read.extend_from_slice(&piece[..count]);
    }

    pub(super) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        soon(self.stream.write_all(bytes.as_ref())).await.unwrap();
    }

    /// Answers as a whole.
    pub(super) async fn answer(&mut self, status: &str, body: &str) {
        let length = body.len();
        self.write(format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json; charset=UTF-8\r\ncontent-length: {length}\r\n\r\n{body}"
        ))
        .await;
    }

    /// Begins a stream of events.
    pub(super) async fn begin_events(&mut self) {
        self.write("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n").await;
    }

    /// Sends one event as one chunk.
    pub(super) async fn event(&mut self, data: &str) {
        let event = format!("data: {data}\r\n\r\n");
        self.write(format!("{:x}\r\n{event}\r\n", event.len()))
            .await;
    }

    pub(super) async fn end_events(&mut self) {
        self.write("0\r\n\r\n").await;
    }

    /// Waits until the relay lets the connection go.
    pub(super) async fn closed(&mut self, limit: Duration) {
        let mut rest = [0; 4096];
        let gone = async {
            while let Ok(count) = self.stream.read(&mut rest).await {
                if count == 0 {
                    return;
                }
            }
        };
        assert!(
            tokio::time::timeout(limit, gone).await.is_ok(),
            "the connection is open after {limit:?}"
        );
    }
}

/// A per-minute quota, as Google words it.
pub(super) const QUOTA: &str = r#"{"error":{"code":429,"message":"You exceeded your current quota. Please retry in 40s.","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaMetric":"generativelanguage.googleapis.com/generate_content_free_tier_requests","quotaId":"GenerateRequestsPerMinutePerProjectPerModel-FreeTier","quotaDimensions":{"location":"global","model":"gemini-2.5-flash"},"quotaValue":"10"}]},{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"40s"}]}}"#;

/// The smallest good answer.
pub(super) const GOOD: &str = r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"ok"}]},"finishReason":"STOP","index":0}]}"#;

/// Long enough for a connection that was going to be made.
const A_WHILE: Duration = Duration::from_millis(300);
