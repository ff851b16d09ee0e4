//! Connections to Google that are gone without a word, as after a laptop's sleep.

use super::client::Ask;
use super::scripted::{GOOD, Scripted};
use super::stand::{Native, Stand, bare_keys, projects, until};
use gemini_emulator::Disturbance;
use std::time::{Duration, Instant};

#[tokio::test]
async fn after_a_sleep_the_next_request_is_served_within_five_seconds() {
    let stand = Stand::start(projects(2), &[]).await;
    let asked = (0..4).map(|_| Ask::generate("hello").whole(stand.base()));
    for answer in futures_util::future::join_all(asked).await {
        answer.is(200);
    }
    // What the sleep left behind: connections that look alive and say nothing, and a clock that is
    // an hour on.
    assert!(stand.emulator().disturb(Disturbance::Freeze) > 0);
    stand.relay.clock.advance(Duration::from_secs(3600));
    let woke = Instant::now();
    for _ in 0..4 {
        Ask::generate("hello").whole(stand.base()).await.is(200);
    }
    assert!(
        woke.elapsed() < Duration::from_secs(5),
        "{:?}",
        woke.elapsed()
    );
}

#[tokio::test]
async fn who_waits_while_the_clock_is_set_back_waits_no_longer_for_it() {
    let upstream = Scripted::start().await;
    let relay = Native::start(&upstream.url(), &bare_keys(1), &[]);
    relay.clock.advance(Duration::from_secs(3600));
    let began = Instant::now();
    let (answer, ()) = tokio::join!(Ask::generate("hello").whole(&relay.base), async {
        let mut google = upstream.accept().await;
        google.request().await;
        // To be asked again in two seconds.
        let soon = super::scripted::QUOTA.replace("40s", "2s");
        google.answer("429 Too Many Requests", &soon).await;
        until("it waits", || {
            relay.shared().policy(|p| p.relay.in_progress().1) == 1
        })
        .await;
        relay.clock.set_back(Duration::from_secs(3600));
        let mut google = upstream.accept().await;
        google.request().await;
        google.answer("200 OK", GOOD).await;
    });
    answer.is(200);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test]
async fn idle_connections_that_google_closed_cost_the_client_nothing() {
    let stand = Stand::start(projects(2), &[]).await;
    for how in [Disturbance::Close, Disturbance::Reset] {
        Ask::generate("hello").whole(stand.base()).await.is(200);
        stand.emulator().disturb(how);
        Ask::generate("hello").whole(stand.base()).await.is(200);
    }
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let stand = Stand::start(projects(3), &[]).await;
    for _ in 0..10 {
        Ask::generate("hello").whole(stand.base()).await.is(200);
    }
    assert_eq!(stand.emulator().stats().connections, 1);
}

#[tokio::test]
async fn nobody_there_is_503_and_not_a_keys_fault() {
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    let upstream = format!("http://127.0.0.1:{port}");
    let relay = Native::start(&upstream, &bare_keys(2), &[("MAX_WAIT", "0")]);
    let answer = Ask::generate("hello").whole(&relay.base).await.is(503);
    assert_eq!(answer.header("x-gemini-relay-reason"), "unreachable");
    let census = relay.shared().policy(|p| p.relay.census(relay.clock.now()));
    assert_eq!(census.usable, 2);
}

#[tokio::test]
async fn silence_past_the_first_byte_limit_is_504_and_not_repeated() {
    let upstream = Scripted::start().await;
    let relay = Native::start(
        &upstream.url(),
        &bare_keys(2),
        &[("FIRST_BYTE_TIMEOUT", "300ms")],
    );
    let (answer, mut google) = tokio::join!(Ask::generate("hello").whole(&relay.base), async {
        let mut google = upstream.accept().await;
        google.request().await;
        google
    });
    answer.is(504);
    google.closed(Duration::from_secs(1)).await;
    assert!(upstream.stays_alone().await);
}

#[tokio::test]
async fn silence_inside_a_stream_past_the_idle_limit_cuts_it() {
    let upstream = Scripted::start().await;
    let relay = Native::start(&upstream.url(), &bare_keys(1), &[("IDLE_TIMEOUT", "300ms")]);
    let (reply, mut google) = tokio::join!(Ask::events("hello").to(&relay.base), async {
        let mut google = upstream.accept().await;
        google.request().await;
        google.begin_events().await;
        google.event(r#"{"candidates":[]}"#).await;
        google
    });
    let (answer, ended) = reply.all().await;
    assert!(!ended && answer.text().contains("candidates"));
    google.closed(Duration::from_secs(1)).await;
}

#[tokio::test]
async fn what_is_left_of_the_clients_time_is_what_google_is_told() {
    let upstream = Scripted::start().await;
    let relay = Native::start(&upstream.url(), &bare_keys(3), &[]);
    let told = |head: &str| -> u64 {
        let line = head
            .lines()
            .find_map(|line| line.strip_prefix("x-server-timeout: "));
        line.unwrap().parse().unwrap()
    };
    let ask = Ask::generate("hello").header("x-server-timeout", "60");
    let (answer, ()) = tokio::join!(ask.whole(&relay.base), async {
        let mut google = upstream.accept().await;
        assert!((59..=60).contains(&told(&google.request().await.head)));
        relay.clock.advance(Duration::from_secs(20));
        google
            .answer("429 Too Many Requests", super::scripted::QUOTA)
            .await;
        // The clock jumped, so this may be a new connection, or the same.
        let mut second = next(&upstream, google).await;
        assert!((35..=40).contains(&told(&second.1)));
        second.0.answer("200 OK", GOOD).await;
    });
    answer.is(200);
}

#[tokio::test]
async fn a_clients_time_that_is_all_but_over_is_504_and_not_sent() {
    let upstream = Scripted::start().await;
    let relay = Native::start(&upstream.url(), &bare_keys(3), &[]);
    let ask = Ask::generate("hello").header("x-server-timeout", "60");
    let (answer, ()) = tokio::join!(ask.whole(&relay.base), async {
        let mut google = upstream.accept().await;
        google.request().await;
        relay.clock.advance(Duration::from_secs(55));
        google
            .answer("429 Too Many Requests", super::scripted::QUOTA)
            .await;
    });
    assert_eq!(
        answer.is(504).header("x-gemini-relay-reason"),
        "client-deadline"
    );
    assert!(upstream.stays_alone().await);
}

/// The next request's head, wherever it comes.
async fn next(
    upstream: &Scripted,
    mut open: super::scripted::Peer,
) -> (super::scripted::Peer, String) {
    let mut first = [0];
    tokio::select! {
        // One that was closed meanwhile has nothing to say.
        Ok(1) = open.stream.peek(&mut first) => {
            let head = open.request().await.head;
            (open, head)
        }
        mut peer = upstream.accept() => {
            let head = peer.request().await.head;
            (peer, head)
        }
    }
}
