//! A new list of keys while requests are open.

use super::client::Ask;
use super::stand::{Stand, key, keys_of, projects, until};
use gemini_emulator::{KeyState, Metric, Quota};

#[tokio::test]
async fn an_open_stream_goes_on_and_the_next_request_has_a_new_key() {
    let stand = Stand::start(projects(2), &[]).await;
    let all = keys_of(&projects(2));
    stand.relay.shared().reload(&all[..1]);
    let mut open = Ask::events("[[chunks:4]] [[delay:100ms]] slowly")
        .to(stand.base())
        .await;
    open.next().await.unwrap().unwrap();
    stand.relay.shared().reload(&all[1..]);
    Ask::generate("hello").whole(stand.base()).await.is(200);
    assert_eq!(
        (stand.target.used(&key(0)), stand.target.used(&key(1))),
        (1, 1)
    );
    assert!(open.whole().await.text().contains("STOP"));
}

#[tokio::test]
async fn what_is_known_of_a_key_that_stays_is_kept() {
    let stand = Stand::start(projects(2), &[]).await;
    stand
        .emulator()
        .set_key(&key(0), "project-0", KeyState::Leaked)
        .unwrap();
    Ask::generate("hello").whole(stand.base()).await.is(200);
    stand.relay.shared().reload(&keys_of(&projects(3))[..2]);
    for _ in 0..4 {
        Ask::generate("hello").whole(stand.base()).await.is(200);
    }
    assert_eq!(stand.target.used(&key(0)), 1);
}

#[tokio::test]
async fn a_request_that_waits_is_served_by_a_key_that_comes() {
    let mut config = projects(2);
    config.projects[0]
        .quotas
        .push(Quota::new("*", Metric::RequestsPerMinute, 1));
    let stand = Stand::start(config.clone(), &[("MAX_WAIT", "2m")]).await;
    let all = keys_of(&config);
    stand.relay.shared().reload(&all[..1]);
    Ask::generate("hello").whole(stand.base()).await.is(200);
    let base = stand.base().to_owned();
    let waiting = tokio::spawn(async move { Ask::generate("hello").whole(&base).await });
    until("it waits", || stand.relay.in_progress().1 == 1).await;
    stand.relay.shared().reload(&all);
    waiting.await.unwrap().is(200);
    assert_eq!(stand.target.used(&key(1)), 1);
}
