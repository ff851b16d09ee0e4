//! The web page that tries to spend the keys of the relay on the reader's own machine.
//!
//! A page can make a browser send a request to a loopback port; it cannot choose what the browser adds
//! to it. Each of these is what a browser sends for one such attempt.

use super::client::{Ask, MODEL, contents, whole_body};
use super::stand::{Stand, projects, soon};
use bytes::Bytes;
use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const EVIL: &str = "https://evil.example";

fn call() -> String {
    format!("/v1beta/models/{MODEL}:generateContent")
}

fn no_cors() -> Ask {
    // `fetch(url, {mode: "no-cors"})` and forms may send text without asking first.
    let body = contents("spend").to_string();
    Ask::new(Method::POST, call(), whole_body(Bytes::from(body)))
        .header("content-type", "text/plain;charset=UTF-8")
}

fn preflight(origin: &str) -> Ask {
    Ask::new(Method::OPTIONS, call(), whole_body(Bytes::new()))
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header(
            "access-control-request-headers",
            "content-type,x-goog-api-key",
        )
}

#[tokio::test]
async fn a_page_of_another_origin_spends_nothing() {
    let stand = Stand::start(projects(1), &[]).await;
    let attempts = [
        Ask::generate("spend").header("origin", EVIL),
        Ask::generate("spend").header("origin", "null"),
        Ask::generate("spend").header("origin", "http://localhost:3000"),
        Ask::generate("spend")
            .header("sec-fetch-site", "cross-site")
            .header("sec-fetch-mode", "no-cors"),
        no_cors()
            .header("origin", EVIL)
            .header("sec-fetch-site", "cross-site"),
        no_cors().header("sec-fetch-site", "cross-site"),
        no_cors().header("sec-fetch-site", "same-site"),
        // An image or a link: a GET with no `Origin`.
        Ask::get("/v1beta/models").header("sec-fetch-site", "cross-site"),
        // A page whose own name now points at 127.0.0.1.
        Ask::generate("spend").header("host", "evil.example:8787"),
        Ask::generate("spend")
            .header("host", "evil.example:8787")
            .header("origin", "http://evil.example:8787")
            .header("sec-fetch-site", "same-origin"),
        Ask::get("/-/metrics").header("host", "evil.example:8787"),
        Ask::chat("spend", true).header("origin", EVIL),
        Ask::get("/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent")
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA==")
            .header("origin", EVIL),
        preflight(EVIL),
    ];
    for attempt in attempts {
        let answer = attempt.whole(stand.base()).await.is(403);
        assert_eq!(answer.header("access-control-allow-origin"), "");
    }
    assert_eq!(stand.emulator().requests().len(), 0);
}

#[tokio::test]
async fn two_hosts_are_none_and_the_request_lines_own_counts() {
    let stand = Stand::start(projects(1), &[]).await;
    let here = stand.relay.running.bound[0].to_string();
    for (line, hosts, status) in [
        ("/v1beta/models".to_owned(), vec![&*here], "200"),
        (
            "/v1beta/models".to_owned(),
            vec![&*here, "evil.example"],
            "400",
        ),
        ("/v1beta/models".to_owned(), vec![&*here, &here], "400"),
        (
            "http://evil.example/v1beta/models".to_owned(),
            vec![&*here],
            "403",
        ),
        (format!("http://{here}/v1beta/models"), vec![&*here], "200"),
    ] {
        let hosts: String = hosts
            .iter()
            .map(|host| format!("host: {host}\r\n"))
            .collect();
        let mut stream = tokio::net::TcpStream::connect(&here).await.unwrap();
        let request = format!("GET {line} HTTP/1.1\r\n{hosts}connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        soon(stream.read_to_string(&mut answer)).await.unwrap();
        assert_eq!(
            answer.split(' ').nth(1),
            Some(status),
            "{line} {hosts}{answer}"
        );
    }
}

#[tokio::test]
async fn programs_on_this_machine_are_let_in_by_any_of_its_names() {
    let stand = Stand::start(projects(1), &[("ALLOW_HOST", "relay.lan")]).await;
    for host in [
        "127.0.0.1:8787",
        "localhost:8787",
        "localhost",
        "[::1]:8787",
        "relay.lan:8787",
    ] {
        Ask::generate("x")
            .header("host", host)
            .whole(stand.base())
            .await
            .is(200);
    }
    // Node's fetch says so, and is no browser.
    let node = Ask::generate("x").header("sec-fetch-mode", "cors");
    node.whole(stand.base()).await.is(200);
}

#[tokio::test]
async fn an_allowed_page_may_call_and_read_and_no_other() {
    let allowed = "https://app.example";
    let stand = Stand::start(projects(1), &[("ALLOW_ORIGIN", allowed)]).await;
    let answer = preflight(allowed).whole(stand.base()).await.is(204);
    assert_eq!(answer.header("access-control-allow-origin"), allowed);
    assert!(
        answer
            .header("access-control-allow-methods")
            .contains("POST")
    );
    assert_eq!(
        answer.header("access-control-allow-headers"),
        "content-type,x-goog-api-key"
    );
    let call = Ask::events("x")
        .header("origin", allowed)
        .header("sec-fetch-site", "cross-site");
    let answer = call.whole(stand.base()).await.is(200);
    assert_eq!(answer.header("access-control-allow-origin"), allowed);
    assert!(
        answer
            .header("vary")
            .to_ascii_lowercase()
            .contains("origin")
    );
    preflight(EVIL).whole(stand.base()).await.is(403);
    Ask::generate("x")
        .header("origin", EVIL)
        .whole(stand.base())
        .await
        .is(403);
    let refusal = Ask::post("/v1beta/models/none:generateContent", &contents("x"));
    let refusal = refusal.header("origin", allowed).whole(stand.base()).await;
    assert_eq!(refusal.header("access-control-allow-origin"), allowed);
}

#[tokio::test]
async fn with_tokens_the_token_decides_and_cors_stays_off() {
    let stand = Stand::start(projects(1), &[("TOKENS", "a-long-token-of-a-client")]).await;
    Ask::generate("x")
        .header("origin", EVIL)
        .whole(stand.base())
        .await
        .is(401);
    no_cors()
        .header("origin", EVIL)
        .whole(stand.base())
        .await
        .is(401);
    let known = Ask::generate("x")
        .header("origin", EVIL)
        .header("x-goog-api-key", "a-long-token-of-a-client");
    let answer = known.whole(stand.base()).await.is(200);
    assert_eq!(answer.header("access-control-allow-origin"), "");
}
