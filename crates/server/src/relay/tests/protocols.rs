//! How clients may speak: HTTP/2 with prior knowledge, and TLS with either version.

use super::client::{Ask, Outgoing, piecewise};
use super::scripted::Scripted;
use super::stand::{Native, Stand, bare_keys, projects, soon, within};
use crate::config::CaSource;
use crate::tls;
use gemini_emulator::Outcome;
use http::{Method, Request, Version};
use http_body_util::BodyExt;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

#[tokio::test]
async fn http2_with_prior_knowledge_is_served() {
    let stand = Stand::start(projects(2), &[]).await;
    let stream = TcpStream::connect(stand.relay.running.bound[0])
        .await
        .unwrap();
    let asks = (0..20)
        .map(|_| http2("http", stand.base(), Ask::events("hello")))
        .collect();
    for (status, text) in over_http2(stream, asks).await {
        assert_eq!(status, 200);
        assert!(
            text.starts_with("data: ") && text.contains("STOP"),
            "{text}"
        );
    }
    assert_eq!(stand.emulator().requests().len(), 20);
}

#[tokio::test]
async fn an_empty_body_over_http2_is_said_to_be_empty() {
    let upstream = Scripted::start().await;
    let relay = Native::start(&upstream.url(), &bare_keys(1), &[]);
    let stream = TcpStream::connect(relay.running.bound[0]).await.unwrap();
    // hyper's own client says so of a body that it knows to be empty; this one turns out to be.
    let (pieces, body) = piecewise();
    drop(pieces);
    let ask = Ask::new(Method::POST, "/v1beta/batches/b:cancel", body)
        .header("content-type", "application/json");
    let asked = over_http2(stream, vec![http2("http", &relay.base, ask)]);
    let google = async {
        let mut google = upstream.accept().await;
        let head = google.head().await.to_ascii_lowercase();
        assert!(head.contains("\r\ncontent-length: 0\r\n"), "{head}");
        google
            .write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
            .await;
    };
    let (answers, ()) = tokio::join!(asked, google);
    assert_eq!(answers[0].0, 200);
}

#[tokio::test]
async fn over_http2_a_host_that_is_not_ours_is_refused_too() {
    let stand = Stand::start(projects(1), &[]).await;
    let stream = TcpStream::connect(stand.relay.running.bound[0])
        .await
        .unwrap();
    let mut ask = http2("http", stand.base(), Ask::generate("hello"));
    *ask.uri_mut() = ask
        .uri()
        .to_string()
        .replace("127.0.0.1", "evil.example")
        .parse()
        .unwrap();
    assert_eq!(over_http2(stream, vec![ask]).await[0].0, 403);
}

#[tokio::test]
async fn a_stream_that_breaks_is_reset_over_http2() {
    let stand = Stand::start(projects(1), &[]).await;
    stand.target.fault(1, gemini_emulator::Fault::Truncate(1));
    let mut sender = connected(&stand).await;
    let ask = http2("http", stand.base(), Ask::events("hello"));
    let response = soon(sender.send_request(ask)).await.unwrap();
    assert!(soon(response.into_body().collect()).await.is_err());
}

#[tokio::test]
async fn a_stream_that_an_http2_client_resets_ends_upstream_and_the_others_go_on() {
    let stand = Stand::start(projects(2), &[]).await;
    let mut sender = connected(&stand).await;
    let slow = || Ask::events("[[chunks:8]] [[delay:100ms]] slowly");
    let left = http2("http", stand.base(), slow());
    let stays = http2("http", stand.base(), slow());
    let mut left = soon(sender.send_request(left)).await.unwrap().into_body();
    let stays = soon(sender.send_request(stays)).await.unwrap().into_body();
    soon(left.frame()).await.unwrap().unwrap();
    drop(left);
    within(Duration::from_secs(1), "the first is cancelled", || {
        stand.emulator().requests()[0].outcome == Outcome::Cancelled
    })
    .await;
    let whole = soon(stays.collect()).await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&whole).contains("STOP"));
}

#[tokio::test]
async fn tls_with_the_relays_own_authority_serves_both_versions() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    let options = [
        ("TLS", "self-signed"),
        ("TLS_CA_FILE", ca.to_str().unwrap()),
    ];
    let stand = Stand::start(projects(1), &options).await;
    assert!(stand.base().starts_with("https://"));
    for (offered, version) in [
        ("h2", Version::HTTP_2),
        ("http/1.1", Version::HTTP_11),
        ("http/1.0", Version::HTTP_10),
    ] {
        let mut client = tls::client_config(&[CaSource::File(ca.clone(), "ca")]).unwrap();
        client.alpn_protocols = vec![offered.into()];
        let stream = TcpStream::connect(stand.relay.running.bound[0])
            .await
            .unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = tokio_rustls::TlsConnector::from(Arc::new(client))
            .connect(name, stream)
            .await
            .unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(offered.as_bytes()));
        if version == Version::HTTP_2 {
            let ask = http2("https", stand.base(), Ask::events("hello"));
            assert_eq!(over_http2(stream, vec![ask]).await[0].0, 200);
        } else {
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream))
                    .await
                    .unwrap();
            tokio::spawn(connection);
            let ask = Ask::generate("hello").finished(&stand.base().parse().unwrap());
            let answer = soon(sender.send_request(ask)).await.unwrap();
            assert_eq!(answer.status(), 200);
        }
    }
}

/// The request as HTTP/2 wants it: the whole URL, and no `Host`.
pub(super) fn http2(scheme: &str, base: &str, ask: Ask) -> Request<Outgoing> {
    let base: http::Uri = base.parse().unwrap();
    let mut request = ask.finished(&base);
    request.headers_mut().remove("host");
    let url = format!("{scheme}://{}{}", base.authority().unwrap(), request.uri());
    *request.uri_mut() = url.parse().unwrap();
    *request.version_mut() = Version::HTTP_2;
    request
}

/// A connection to the relay that begins with HTTP/2.
pub(super) async fn connected(stand: &Stand) -> SendRequest<Outgoing> {
    let address = stand.relay.running.bound[0];
    handshake(TcpStream::connect(address).await.unwrap()).await
}

async fn handshake<S>(stream: S) -> SendRequest<Outgoing>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    sender
}

async fn over_http2<S>(stream: S, asks: Vec<Request<Outgoing>>) -> Vec<(u16, String)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let sender = handshake(stream).await;
    let all = asks.into_iter().map(|ask| {
        let mut sender = sender.clone();
        async move {
            let response = soon(sender.send_request(ask)).await.unwrap();
            let status = response.status().as_u16();
            let body = soon(response.into_body().collect())
                .await
                .unwrap()
                .to_bytes();
            (status, String::from_utf8(body.to_vec()).unwrap())
        }
    });
    futures_util::future::join_all(all).await
}
