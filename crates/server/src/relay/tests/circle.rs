//! An upstream that is, by a way that nobody could see at the start, this relay itself.

use super::client::Ask;
use super::scripted::{GOOD, Scripted};
use super::stand::{Native, bare_keys};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::{TcpListener, TcpStream};

/// A proxy in between, which passes on what comes and counts it.
struct Detour {
    listener: TcpListener,
    seen: Arc<AtomicUsize>,
}

impl Detour {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self {
            listener,
            seen: Arc::default(),
        }
    }

    fn url(&self) -> String {
        format!("http://{}", self.listener.local_addr().unwrap())
    }

    fn points_at(self, to: SocketAddr) -> Arc<AtomicUsize> {
        let seen = Arc::clone(&self.seen);
        tokio::spawn(async move {
            while let Ok((mut from, _)) = self.listener.accept().await {
                self.seen.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    let mut to = TcpStream::connect(to).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
                });
            }
        });
        seen
    }
}

#[tokio::test]
async fn a_request_that_comes_back_is_refused_after_one_round() {
    let detour = Detour::start().await;
    let relay = Native::start(&detour.url(), &bare_keys(3), &[]);
    let rounds = detour.points_at(relay.running.bound[0]);
    for (at, ask) in [
        Ask::generate("x"),
        Ask::events("x"),
        Ask::get("/v1beta/models"),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = ask.whole(&relay.base).await.is(508);
        assert!(answer.message().contains("--upstream"), "{}", answer.text());
        assert_eq!(answer.json()["error"]["code"], 508);
        assert!(rounds.load(Ordering::Relaxed) <= at + 1);
    }
}

#[tokio::test]
async fn two_relays_that_point_at_each_other_are_found_out() {
    let (there, back) = (Detour::start().await, Detour::start().await);
    let one = Native::start(&there.url(), &bare_keys(1), &[]);
    let other = Native::start(&back.url(), &bare_keys(1), &[]);
    let rounds = there.points_at(other.running.bound[0]);
    back.points_at(one.running.bound[0]);
    Ask::generate("x").whole(&one.base).await.is(508);
    assert_eq!(rounds.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_relay_behind_a_relay_is_no_circle() {
    let google = Scripted::start().await;
    let inner = Native::start(&google.url(), &bare_keys(1), &[]);
    let outer = Native::start(&inner.base, &bare_keys(1), &[]);
    let served = async {
        let mut peer = google.accept().await;
        peer.request().await;
        peer.answer("200 OK", GOOD).await;
    };
    let (answer, ()) = tokio::join!(Ask::generate("x").whole(&outer.base), served);
    answer.is(200);
}
