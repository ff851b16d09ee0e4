//! Through a company's proxy: `CONNECT`, and SOCKS.

use super::client::Ask;
use super::stand::{Native, emulator, keys_of, projects, soon};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

#[tokio::test]
async fn an_http_proxy_is_asked_to_connect() {
    serves_through("http://someone:a-proxys-password@", connect).await;
}

#[tokio::test]
async fn a_socks_proxy_is_asked_to_connect() {
    serves_through("socks5://", socks).await;
}

#[tokio::test]
async fn a_proxy_that_refuses_is_not_a_keys_fault_and_its_password_is_not_shown() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = format!(
        "http://someone:a-proxys-password@{}",
        listener.local_addr().unwrap()
    );
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            read_head(&mut stream).await;
            let _ = stream
                .write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
                .await;
        }
    });
    let config = projects(1);
    let relay = Native::start(
        "http://127.0.0.1:9",
        &keys_of(&config),
        &[("PROXY", &proxy), ("MAX_WAIT", "0")],
    );
    let answer = Ask::generate("hello").whole(&relay.base).await.is(503);
    assert!(!answer.text().contains("a-proxys-password"));
    assert_eq!(answer.header("x-gemini-relay-reason"), "unreachable");
}

async fn serves_through<F>(scheme: &str, greet: fn(TcpStream) -> F)
where
    F: Future<Output = (TcpStream, String)> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = format!("{scheme}{}", listener.local_addr().unwrap());
    let through = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&through);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let count = Arc::clone(&count);
            tokio::spawn(async move {
                let (mut near, to) = greet(stream).await;
                let mut far = TcpStream::connect(to).await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                let _ = copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    let config = projects(2);
    let google = emulator(config.clone()).await;
    let relay = Native::start(&google.url(), &keys_of(&config), &[("PROXY", &proxy)]);
    for _ in 0..3 {
        soon(Ask::events("hello").whole(&relay.base)).await.is(200);
    }
    assert_eq!(
        through.load(Ordering::Relaxed),
        1,
        "one connection, used again"
    );
    assert_eq!(google.requests().len(), 3);
}

async fn connect(mut stream: TcpStream) -> (TcpStream, String) {
    let head = read_head(&mut stream).await;
    let to = head
        .strip_prefix("CONNECT ")
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .to_owned();
    assert!(
        head.to_ascii_lowercase()
            .contains("proxy-authorization: basic "),
        "{head}"
    );
    assert!(!head.contains("made-up-key"), "{head}");
    stream
        .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
        .await
        .unwrap();
    (stream, to)
}

async fn socks(mut stream: TcpStream) -> (TcpStream, String) {
    let mut greeting = [0; 2];
    stream.read_exact(&mut greeting).await.unwrap();
    assert_eq!(greeting[0], 5);
    let mut methods = vec![0; usize::from(greeting[1])];
    stream.read_exact(&mut methods).await.unwrap();
    stream.write_all(&[5, 0]).await.unwrap();
    let mut head = [0; 4];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(head[..2], [5, 1]);
    let host = match head[3] {
        1 => {
            let mut ip = [0; 4];
            stream.read_exact(&mut ip).await.unwrap();
            std::net::Ipv4Addr::from(ip).to_string()
        }
        3 => {
            let length = stream.read_u8().await.unwrap();
            let mut name = vec![0; usize::from(length)];
            stream.read_exact(&mut name).await.unwrap();
            String::from_utf8(name).unwrap()
        }
        other => panic!("an address of the kind {other}"),
    };
    let port = stream.read_u16().await.unwrap();
    stream
        .write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])
        .await
        .unwrap();
    (stream, format!("{host}:{port}"))
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}
