//! The pool object: the one place where turns are taken and what is known comes together.
//!
//! It answers one call a request, from memory. What it learns it writes down behind the answer, together
//! with whose turn it is, a few rows at a time and some seconds apart: 100,000 rows a day are free. With
//! the same writing it removes what is long past. It has no other chore: a key that is out without a known
//! end is tried again by the request whose turn that is, and a Worker that nobody asks costs nothing. It may
//! be evicted between any two calls; what it then has lost is the last seconds' news, which isolates find
//! out again at the cost of an attempt.
//!
//! An isolate that was here before is told what is new since then; one that was not, or that met an earlier
//! life of this object, or that stayed away for too long, is told all.

use crate::config::Config;
use crate::wire::{self, Cursor, Report};
use gemini_relay_core::Time;
use gemini_relay_core::event::{Change, Event};
use gemini_relay_core::relay::Relay;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// The object's own engine.
#[derive(Debug)]
pub struct PoolObject {
    relay: Relay,
    config: Config,
    generation: u64,
    /// How many events there were, and the last of them.
    sequence: u64,
    news: VecDeque<Event>,
    /// Rows to be written, by id; empty to be removed.
    rows: BTreeMap<String, String>,
    /// When nobody will need a row any more.
    ends: BTreeMap<String, Time>,
    turns_taken: bool,
    /// Rows that were read before there were keys.
    kept: Vec<Event>,
    kept_turns: Value,
    has_keys: bool,
}

impl PoolObject {
    /// With the Worker's variables; `now` names this life.
    #[must_use]
    pub fn new(variables: &str, entropy: u64, now: Time) -> Self {
        let config = Config::read(variables);
        Self {
            relay: Relay::new(
                &[],
                config.settings.clone(),
                entropy,
                entropy,
                now.as_millis(),
            ),
            config,
            generation: now.as_millis(),
            sequence: 0,
            news: VecDeque::new(),
            rows: BTreeMap::new(),
            ends: BTreeMap::new(),
            turns_taken: false,
            kept: Vec::new(),
            kept_turns: Value::Null,
            has_keys: false,
        }
    }

    /// Takes what was written down: `[[ID, TEXT], …]`. What is long past is removed.
    pub fn load(&mut self, rows: &str, now: Time) {
        let rows: Value = serde_json::from_str(rows).unwrap_or_default();
        for row in rows.as_array().into_iter().flatten() {
            let (Some(id), Some(text)) = (
                row.get(0).and_then(Value::as_str),
                row.get(1).and_then(Value::as_str),
            ) else {
                continue;
            };
            let value: Value = serde_json::from_str(text).unwrap_or_default();
            if id == TURNS {
                self.kept_turns = value;
            } else if let Some(event) = wire::read_event(&value).filter(|event| end(event) > now) {
                self.kept.push(event);
            } else {
                self.rows.insert(id.to_owned(), String::new());
            }
        }
    }

    /// Takes a list of keys, as the glue found it. What is wrong with it is said by the isolates.
    pub fn keys(&mut self, found: &str, now: Time) {
        let found = crate::keys::read(found, &self.config.tokens, self.has_keys);
        if !found.replace {
            return;
        }
        let keys = found.keys;
        let turns = if self.has_keys {
            self.relay.turns()
        } else {
            wire::read_turns(&self.kept_turns)
        };
        self.relay.reload(&keys, now);
        self.has_keys = true;
        for event in std::mem::take(&mut self.kept) {
            // It is written down already.
            let id = wire::subject_of(&event);
            self.ends.insert(id, end(&event));
            self.relay.apply(&event, now);
        }
        self.relay.restore_turns(&turns, now);
        self.rows.remove(TURNS);
    }

    /// Makes a plan. An empty answer to what cannot be read, and while there are no keys: what is known of them could not
    /// be told either, and would count as told.
    pub fn plan(&mut self, ask: &str, now: Time) -> String {
        if !self.has_keys {
            return String::new();
        }
        let Some((facts, cursor, report)) = wire::read_ask(ask) else {
            return String::new();
        };
        self.learn_all(report, now);
        let plan = self.relay.plan(&facts, MOST_PLANNED, now);
        self.turns_taken |= !plan.is_empty();
        let here = Cursor {
            generation: self.generation,
            sequence: self.sequence,
        };
        let oldest = self.sequence - self.news.len() as u64;
        if cursor.generation == self.generation && cursor.sequence >= oldest {
            let seen = usize::try_from(cursor.sequence - oldest).unwrap_or(usize::MAX);
            return wire::reply(here, &plan, self.news.iter().skip(seen));
        }
        wire::reply(here, &plan, self.relay.known().iter())
    }

    /// Takes a report that came by itself.
    pub fn report(&mut self, report: &str, now: Time) {
        self.learn_all(wire::read_report(report), now);
    }

    /// Whether there is anything to write down.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.turns_taken || !self.rows.is_empty()
    }

    /// The rows to write: `[[ID, TEXT or nothing], …]`.
    pub fn save(&mut self, now: Time) -> String {
        let mut rows = std::mem::take(&mut self.rows);
        self.ends.retain(|id, end| {
            let needed = *end > now;
            if !needed {
                rows.insert(id.clone(), String::new());
            }
            needed
        });
        if std::mem::take(&mut self.turns_taken) {
            let mut turns = self.relay.turns();
            turns.retain(|turn| turn.model.as_deref().map_or(0, str::len) <= MOST_OF_A_MODEL);
            rows.insert(TURNS.to_owned(), wire::turns_json(&turns).to_string());
        }
        json!(rows.into_iter().collect::<Vec<_>>()).to_string()
    }

    /// Rows that could not be written: they will be, unless there is newer news of the same.
    pub fn unsaved(&mut self, rows: &str) {
        let rows: Vec<(String, String)> = serde_json::from_str(rows).unwrap_or_default();
        for (id, text) in rows {
            if id == TURNS {
                self.turns_taken = true;
            } else {
                self.rows.entry(id).or_insert(text);
            }
        }
    }

    fn learn_all(&mut self, report: Report, now: Time) {
        for event in report.events {
            self.learn(event, now);
        }
        for moved in report.moved {
            self.relay.remember(moved);
        }
    }

    fn learn(&mut self, event: Event, now: Time) {
        if !self.relay.apply(&event, now) {
            // Late news: what is written down and told is later.
            return;
        }
        let (id, text) = (
            wire::subject_of(&event),
            wire::event_json(&event).to_string(),
        );
        if id.len() + text.len() <= MOST_OF_A_ROW {
            self.ends.insert(id.clone(), end(&event));
            self.rows.insert(id, text);
        }
        self.sequence += 1;
        self.news.push_back(event);
        if self.news.len() > MOST_NEWS {
            self.news.pop_front();
        }
    }

    /// What is wrong with the variables.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.config.problems
    }
}

/// When nobody will need to know of it any more.
fn end(event: &Event) -> Time {
    match &event.change {
        Change::Blocked(_, block) if block.strikes.is_some() => block.until + FORGOTTEN,
        Change::Blocked(_, block) => block.until + PAST,
        Change::Cleared(_, block) => block.until.max(event.stamp.at) + PAST,
        Change::CarrierLearned(..) | Change::LimitLearned(..) | Change::ModelNamed(..) => {
            event.stamp.at + FORGOTTEN
        }
    }
}

/// Enough for nearly every walk; past its end an isolate goes on by itself.
const MOST_PLANNED: usize = 8;

/// An isolate that missed more than these is told everything.
const MOST_NEWS: usize = 2048;

/// Late news of what ended an hour ago are of no use.
const PAST: Duration = Duration::from_secs(3600);

/// What has no end of its own is learned anew after this, at the cost of an attempt; keys and models that nobody
/// uses any more are gone by then.
const FORGOTTEN: Duration = Duration::from_secs(30 * 86_400);

/// Clients choose the names of models, and a row takes two million bytes: whose turn it is for a longer name than
/// Google's have is known until the object ends. There are at most a few hundred names.
const MOST_OF_A_MODEL: usize = 128;

/// So is what was learned about a longer one.
const MOST_OF_A_ROW: usize = 65_536;

/// The row of whose turn it is.
const TURNS: &str = "turns";

#[cfg(test)]
mod tests {
    use super::*;
    use gemini_relay_core::block::{Block, Reason};
    use gemini_relay_core::event::{Stamp, Subject};
    use gemini_relay_core::{ClientId, Facts, KeyId, KeyText, Kind, Kinds, Repeat, Surface};

    const NOW: Time = Time::from_millis(1_795_348_800_000);

    fn facts() -> Facts {
        Facts {
            surface: Surface::Gemini,
            kind: Kind::Generate,
            method: 0,
            model: Some("flash".into()),
            streams: false,
            repeat: Repeat::Freely,
            replayable: true,
            client: ClientId::ANONYMOUS,
            conversation: None,
            items: 1,
            bytes: 0,
            deadline: None,
        }
    }

    fn object(rows: &str, now: Time) -> PoolObject {
        let mut object = PoolObject::new("{}", 5, now);
        object.load(rows, now);
        let found = json!({"config": r#"["made-up-key-0","made-up-key-1","made-up-key-2"]"#});
        object.keys(&found.to_string(), now);
        object
    }

    fn id(at: usize) -> KeyId {
        KeyText::new(&format!("made-up-key-{at}")).unwrap().id()
    }

    fn blocked(at: usize, sequence: u64, until: Time) -> Event {
        Event {
            stamp: Stamp {
                at: NOW,
                generation: 1,
                sequence,
                origin: 9,
            },
            change: Change::Blocked(
                Subject::Key(id(at)),
                Block {
                    model: None,
                    kinds: Kinds::ALL,
                    reason: Reason::QuotaMinute,
                    since: NOW,
                    until,
                    strikes: None,
                    violation: None,
                },
            ),
        }
    }

    fn plan(
        object: &mut PoolObject,
        cursor: Cursor,
        report: &Report,
    ) -> (Cursor, Vec<KeyId>, usize) {
        let text = object.plan(&wire::ask(&facts(), cursor, report), NOW);
        let (cursor, plan, news) = wire::read_reply(&text).unwrap();
        (cursor, plan, news.len())
    }

    #[test]
    fn each_plan_begins_with_the_next_key_and_tells_only_what_is_new() {
        let mut object = object("[]", NOW);
        let (cursor, first, _) = plan(&mut object, Cursor::default(), &Report::default());
        assert_eq!(first, [id(0), id(1), id(2)]);
        let report = Report {
            events: vec![blocked(1, 1, NOW + Duration::from_secs(60))],
            moved: Vec::new(),
        };
        let (later, second, news) = plan(&mut object, cursor, &report);
        assert_eq!((second, news), (vec![id(2), id(0)], 1));
        let (_, _, news) = plan(&mut object, later, &Report::default());
        assert_eq!(news, 0);
        let (_, _, news) = plan(&mut object, Cursor::default(), &Report::default());
        assert_eq!(news, 1, "a newcomer is told all");
    }

    #[test]
    fn an_evicted_object_goes_on_where_it_was() {
        let mut object1 = object("[]", NOW);
        let report = Report {
            events: vec![blocked(0, 1, NOW + Duration::from_secs(60))],
            moved: Vec::new(),
        };
        let (cursor, first, _) = plan(&mut object1, Cursor::default(), &report);
        assert_eq!(first[0], id(1));
        assert!(object1.is_dirty());
        let saved: Value = serde_json::from_str(&object1.save(NOW)).unwrap();
        assert!(!object1.is_dirty());
        let mut object2 = object(&saved.to_string(), NOW + Duration::from_millis(1));
        let (_, second, news) = plan(&mut object2, cursor, &Report::default());
        assert_eq!((second, news), (vec![id(2), id(1)], 1));
    }

    #[test]
    fn late_news_of_what_is_over_is_not_written_down() {
        let mut object1 = object("[]", NOW);
        let mut late = blocked(0, 5, NOW + Duration::from_secs(900));
        let Change::Blocked(subject, block) = &mut late.change else {
            panic!()
        };
        block.strikes = Some(0);
        let over = Event {
            stamp: Stamp {
                at: NOW + Duration::from_secs(2),
                ..late.stamp
            },
            change: Change::Cleared(*subject, block.clone()),
        };
        let later = NOW + Duration::from_secs(3);
        for event in [over, late] {
            let report = Report {
                events: vec![event],
                moved: Vec::new(),
            };
            object1.report(&wire::report(&report), later);
        }
        let saved = object1.save(later);
        let mut object2 = object(&saved, later + Duration::from_millis(1));
        let (_, keys, _) = plan(&mut object2, Cursor::default(), &Report::default());
        assert_eq!(keys.len(), 3, "{saved}");
    }

    #[test]
    fn what_is_long_past_is_removed_from_the_store() {
        let mut object1 = object("[]", NOW);
        object1.report(
            &wire::report(&Report {
                events: vec![blocked(0, 1, NOW + Duration::from_secs(60))],
                moved: Vec::new(),
            }),
            NOW,
        );
        let saved = object1.save(NOW);
        let later = NOW + Duration::from_secs(2 * 3600);
        let mut object2 = object(&saved, later);
        assert!(object2.is_dirty());
        let rows: Value = serde_json::from_str(&object2.save(later)).unwrap();
        assert_eq!(rows[0][1], "");
        // Also by an object that lives on.
        let rows: Value = serde_json::from_str(&object1.save(later)).unwrap();
        assert_eq!(rows[0][1], "");
        assert_eq!(object1.save(later), "[]");
    }

    #[test]
    fn what_has_no_end_of_its_own_is_kept_for_a_month() {
        let mut first = object("[]", NOW);
        let mut named = blocked(0, 1, NOW);
        named.change = Change::ModelNamed("flash".into(), "flash-1".into());
        let report = Report {
            events: vec![named],
            moved: Vec::new(),
        };
        first.report(&wire::report(&report), NOW);
        let saved = first.save(NOW);
        let weeks = |count: u64| NOW + Duration::from_secs(count * 7 * 86_400);
        assert_eq!(first.save(weeks(4)), "[]");
        assert!(!object(&saved, weeks(4)).is_dirty());
        assert!(object(&saved, weeks(5)).is_dirty(), "to be removed");
        assert_ne!(first.save(weeks(5)), "[]");
    }

    #[test]
    fn rows_stay_small_whatever_models_are_called() {
        let mut object = object("[]", NOW);
        for at in 0..300 {
            let mut facts = facts();
            let name = if at % 2 == 0 { 10_000 } else { 100 };
            facts.model = Some(format!("{at}\u{1}{}", "m".repeat(name)).into());
            object.plan(
                &wire::ask(&facts, Cursor::default(), &Report::default()),
                NOW,
            );
        }
        plan(&mut object, Cursor::default(), &Report::default());
        let report = Report {
            events: [100, 100_000]
                .map(|length| {
                    let mut named = blocked(0, 1, NOW);
                    named.change = Change::ModelNamed("m".repeat(length).into(), "m".into());
                    named
                })
                .into(),
            moved: Vec::new(),
        };
        object.report(&wire::report(&report), NOW);
        let rows: Vec<(String, String)> = serde_json::from_str(&object.save(NOW)).unwrap();
        assert_eq!(rows.len(), 2, "the turns, and the model of a short name");
        assert!(
            rows.iter()
                .all(|(id, text)| id.len() + text.len() < 300_000)
        );
        assert!(rows.iter().any(|(_, text)| text.contains("\"flash\"")));
    }

    #[test]
    fn until_there_are_keys_it_answers_nothing_and_then_tells_all_that_was_written() {
        let mut first = object("[]", NOW);
        let report = Report {
            events: vec![blocked(0, 1, NOW + Duration::from_secs(60))],
            moved: Vec::new(),
        };
        first.report(&wire::report(&report), NOW);
        let saved = first.save(NOW);
        let mut object = PoolObject::new("{}", 5, NOW);
        object.load(&saved, NOW);
        let ask = wire::ask(&facts(), Cursor::default(), &Report::default());
        assert_eq!(object.plan(&ask, NOW), "");
        let found = json!({"config": r#"["made-up-key-0","made-up-key-1"]"#});
        object.keys(&found.to_string(), NOW);
        let (_, keys, news) = plan(&mut object, Cursor::default(), &Report::default());
        assert_eq!((keys, news), (vec![id(1)], 1));
    }

    #[test]
    fn one_that_cannot_be_understood_is_answered_with_nothing() {
        assert_eq!(object("[]", NOW).plan("what?", NOW), "");
    }
}
