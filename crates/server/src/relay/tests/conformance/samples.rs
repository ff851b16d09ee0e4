//! Every real error body that is known, sent through the relay to a client.
//!
//! Core judges each of them in its own tests. Here they go over the wire, plain and compressed, to a
//! pool of one key and to one of three, and what the client sees is what the verdict says.

use super::super::client::Ask;
use super::super::stand::projects;
use super::subject::Subject;
use gemini_emulator::Fault;
use gemini_relay_core::google_error::GoogleError;
use gemini_relay_core::verdict::{Meaning, Outcome, judge};
use gemini_relay_core::{ClientId, Facts, Kind, Repeat, Surface, Time};
use serde_json::Value;
use std::collections::BTreeMap;

const SAMPLES: &str = include_str!("../../../../../core/tests/errors.json");

struct Sample {
    status: u16,
    body: Value,
    meaning: Meaning,
    at: usize,
}

impl Sample {
    fn fault(&self) -> Fault {
        Fault::Answer {
            status: self.status,
            body: Some(self.body.clone()),
            headers: BTreeMap::new(),
            gzip: self.at % 2 == 1,
        }
    }
}

#[tokio::test]
async fn one_key_that_fails_for_good_gives_the_client_what_the_verdict_says() {
    for sample in samples() {
        let subject = Subject::start(projects(1), &[("MAX_WAIT", "0")]).await;
        subject.target.fault(100, sample.fault());
        let answer = Ask::generate("hello").whole(subject.base()).await;
        let expected = match sample.meaning {
            Meaning::Quota => 429,
            Meaning::Billing | Meaning::KeyDead | Meaning::Carrier | Meaning::EgressBan => 503,
            _ => sample.status,
        };
        let at = sample.at;
        assert_eq!(answer.status, expected, "sample {at}: {}", answer.text());
        if sample.body.is_object() || sample.body.is_array() || expected != sample.status {
            assert!(answer.json()["error"].is_object(), "sample {at}");
        }
        assert_eq!(answer.header("content-encoding"), "", "sample {at}");
    }
}

#[tokio::test]
async fn a_second_key_is_asked_exactly_when_that_can_help() {
    for sample in samples() {
        let subject = Subject::start(projects(3), &[]).await;
        subject.target.fault(1, sample.fault());
        let at = sample.at;
        if sample.meaning == Meaning::EgressBan {
            // Half a minute of silence for the whole pool, which this test does not wait for.
            continue;
        }
        let answer = Ask::generate("hello").whole(subject.base()).await;
        let as_it_came = matches!(
            sample.meaning,
            Meaning::Client | Meaning::Location | Meaning::NotOwner | Meaning::Signature
        );
        let (status, attempts) = match sample.meaning {
            // The same key the other way, which the emulator refuses, and then the next key.
            Meaning::Carrier => (200, "3"),
            _ if as_it_came => (sample.status, "1"),
            _ => (200, "2"),
        };
        assert_eq!(answer.status, status, "sample {at}: {}", answer.text());
        assert_eq!(
            answer.header("x-gemini-relay-attempts"),
            attempts,
            "sample {at}"
        );
    }
}

fn samples() -> Vec<Sample> {
    let list: Vec<Value> = serde_json::from_str(SAMPLES).unwrap();
    let samples: Vec<Sample> = list
        .into_iter()
        .enumerate()
        .filter_map(|(at, sample)| {
            let status = u16::try_from(sample["status"].as_u64()?).ok()?;
            let body = sample["body"].clone();
            (400..600).contains(&status).then(|| Sample {
                status,
                meaning: meaning(status, &body),
                body,
                at,
            })
        })
        .collect();
    assert!(samples.len() > 60, "{}", samples.len());
    samples
}

fn meaning(status: u16, body: &Value) -> Meaning {
    let text = match body {
        Value::String(text) => text.clone(),
        body => body.to_string(),
    };
    let facts = Facts {
        surface: Surface::Gemini,
        kind: Kind::Generate,
        method: 0,
        model: Some("gemini-2.5-flash".into()),
        streams: false,
        repeat: Repeat::Freely,
        replayable: true,
        client: ClientId::ANONYMOUS,
        conversation: None,
        items: 1,
        bytes: 0,
        deadline: None,
    };
    let error = GoogleError::parse(text.as_bytes());
    judge(&facts, &Outcome::Refused { status, error }, Time::ZERO).meaning
}
