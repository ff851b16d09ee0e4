//! What isolates and the pool object say to each other.
//!
//! The ask for a plan goes with every request, so it is one short line: `kind replayable client whole
//! earlier items bytes generation cursor model`. Events are rare, and are a line of JSON each. All of it is ours on
//! both ends, of one deployment; still, what cannot be read is passed over, since an object may be
//! older than an isolate for the moment of an upgrade.

use gemini_relay_core::block::{Block, Reason};
use gemini_relay_core::budget::{Measure, Quota};
use gemini_relay_core::event::{Change, Event, Stamp, Subject};
use gemini_relay_core::google_error::Violation;
use gemini_relay_core::pool::{Carrier, ProjectId};
use gemini_relay_core::relay::{Moved, Turn};
use gemini_relay_core::{ClientId, Conversation, Facts, KeyId, Kind, Kinds, Repeat, Surface, Time};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::sync::Arc;

/// Where a caller is in the object's news.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Which life of the object.
    pub generation: u64,
    /// The last event seen of it.
    pub sequence: u64,
}

/// What an isolate learned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Changes of what is known.
    pub events: Vec<Event>,
    /// Conversations that were not served as planned.
    pub moved: Vec<Moved>,
}

impl Report {
    /// How many things it says.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.len() + self.moved.len()
    }

    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The ask for a plan, with a report.
#[must_use]
pub fn ask(facts: &Facts, cursor: Cursor, report: &Report) -> String {
    let turns = facts.conversation;
    let mut out = format!(
        "{} {} {} {} {} {} {} {} {} {}\n",
        facts.kind as u8,
        u8::from(facts.replayable),
        facts.client.0,
        turns.map_or_else(|| "-".into(), |turns| format!("{:x}", turns.whole)),
        turns
            .and_then(|turns| turns.earlier)
            .map_or_else(|| "-".into(), |earlier| format!("{earlier:x}")),
        facts.items,
        facts.bytes,
        cursor.generation,
        cursor.sequence,
        // The client's word: it must not end the line.
        facts
            .model
            .as_deref()
            .unwrap_or_default()
            .replace(['\n', '\r'], " "),
    );
    write_report(&mut out, report);
    out
}

/// Reads what [`ask`] wrote.
#[must_use]
pub fn read_ask(text: &str) -> Option<(Facts, Cursor, Report)> {
    let (line, rest) = text.split_once('\n')?;
    let mut words = line.splitn(10, ' ');
    let kind = *Kind::ALL.get(words.next()?.parse::<usize>().ok()?)?;
    let replayable = words.next()? == "1";
    let client = ClientId(words.next()?.parse().ok()?);
    let whole = u64::from_str_radix(words.next()?, 16).ok();
    let earlier = u64::from_str_radix(words.next()?, 16).ok();
    let items = words.next()?.parse().ok()?;
    let bytes = words.next()?.parse().ok()?;
    let cursor = Cursor {
        generation: words.next()?.parse().ok()?,
        sequence: words.next()?.parse().ok()?,
    };
    let model = words.next().filter(|model| !model.is_empty());
    let facts = Facts {
        surface: Surface::Gemini,
        kind,
        method: 0,
        model: model.map(Arc::from),
        streams: false,
        repeat: Repeat::WhenRefused,
        replayable,
        client,
        conversation: whole.map(|whole| Conversation { whole, earlier }),
        items,
        bytes,
        deadline: None,
    };
    Some((facts, cursor, read_report(rest)))
}

/// A report alone.
#[must_use]
pub fn report(report: &Report) -> String {
    let mut out = String::new();
    write_report(&mut out, report);
    out
}

/// The object's answer: where the caller is now, the plan, and the news.
#[must_use]
pub fn reply<'a>(cursor: Cursor, plan: &[KeyId], news: impl Iterator<Item = &'a Event>) -> String {
    let mut out = format!("{} {}", cursor.generation, cursor.sequence);
    for key in plan {
        let _ = write!(out, " {:x}", key.0);
    }
    out.push('\n');
    for event in news {
        let _ = writeln!(out, "{}", event_json(event));
    }
    out
}

/// Where the object is, whom to ask, and what is new since the cursor of the question.
pub type Reply = (Cursor, Vec<KeyId>, Vec<Event>);

/// Reads what [`reply`] wrote.
#[must_use]
pub fn read_reply(text: &str) -> Option<Reply> {
    let (line, rest) = text.split_once('\n')?;
    let mut words = line.split(' ');
    let cursor = Cursor {
        generation: words.next()?.parse().ok()?,
        sequence: words.next()?.parse().ok()?,
    };
    let plan = words
        .filter_map(|word| u64::from_str_radix(word, 16).ok().map(KeyId))
        .collect();
    Some((cursor, plan, read_report(rest).events))
}

/// An event as it is sent and kept.
#[must_use]
pub fn event_json(event: &Event) -> Value {
    let Stamp {
        at,
        generation,
        sequence,
        origin,
    } = event.stamp;
    // Beyond 2^53 a number of JavaScript is another one.
    let stamp = format!("{} {generation:x} {sequence:x} {origin:x}", at.as_millis());
    match &event.change {
        Change::Blocked(subject, block) => json!({"s": stamp, "b": block_json(*subject, block)}),
        Change::Cleared(subject, block) => json!({"s": stamp, "c": block_json(*subject, block)}),
        Change::CarrierLearned(key, surface, carrier) => {
            let bearer = *carrier == Carrier::Bearer;
            json!({"s": stamp, "k": [format!("{:x}", key.0), surface.name(), bearer]})
        }
        Change::LimitLearned(project, quota, violation) => json!({"s": stamp, "l": [
            format!("{:x}", project.0),
            quota.model.as_deref(),
            quota.kinds.bits(),
            quota.measure.name(),
            violation.as_deref().map(violation_json),
        ]}),
        Change::ModelNamed(asked, named) => json!({"s": stamp, "n": [&**asked, &**named]}),
    }
}

/// Reads what [`event_json`] wrote.
#[must_use]
pub fn read_event(value: &Value) -> Option<Event> {
    let mut words = value.get("s")?.as_str()?.split(' ');
    let at = Time::from_millis(words.next()?.parse().ok()?);
    let mut number = || u64::from_str_radix(words.next()?, 16).ok();
    let stamp = Stamp {
        at,
        generation: number()?,
        sequence: number()?,
        origin: number()?,
    };
    let change = if let Some(block) = value.get("b") {
        let (subject, block) = read_block(block)?;
        Change::Blocked(subject, block)
    } else if let Some(block) = value.get("c") {
        let (subject, block) = read_block(block)?;
        Change::Cleared(subject, block)
    } else if let Some(learned) = value.get("k") {
        let surface = learned.get(1)?.as_str()?;
        let carrier = if learned.get(2)?.as_bool()? {
            Carrier::Bearer
        } else {
            Carrier::ApiKeyHeader
        };
        Change::CarrierLearned(
            KeyId(hex(learned.get(0)?)?),
            read_surface(surface)?,
            carrier,
        )
    } else if let Some(limit) = value.get("l") {
        let measure = limit.get(3)?.as_str()?;
        let quota = Quota {
            model: limit.get(1)?.as_str().map(Arc::from),
            kinds: Kinds::from_bits(u8::try_from(limit.get(2)?.as_u64()?).ok()?),
            measure: Measure::ALL.into_iter().find(|one| one.name() == measure)?,
        };
        let violation = limit.get(4).and_then(read_violation).map(Arc::new);
        Change::LimitLearned(ProjectId(hex(limit.get(0)?)?), quota, violation)
    } else {
        let named = value.get("n")?;
        Change::ModelNamed(
            Arc::from(named.get(0)?.as_str()?),
            Arc::from(named.get(1)?.as_str()?),
        )
    };
    Some(Event { stamp, change })
}

/// What an event replaces when a later one says something else: its row in the store.
#[must_use]
pub fn subject_of(event: &Event) -> String {
    match &event.change {
        Change::Blocked(subject, block) | Change::Cleared(subject, block) => format!(
            "{} {} {} {}",
            subject_text(*subject),
            block.reason.name(),
            block.kinds.bits(),
            block.model.as_deref().unwrap_or_default()
        ),
        Change::CarrierLearned(key, surface, _) => format!("k{:x} {}", key.0, surface.name()),
        Change::LimitLearned(project, quota, _) => format!(
            "l{:x} {} {} {}",
            project.0,
            quota.measure.name(),
            quota.kinds.bits(),
            quota.model.as_deref().unwrap_or_default()
        ),
        Change::ModelNamed(asked, _) => format!("n {asked}"),
    }
}

/// Turns as they are kept.
#[must_use]
pub fn turns_json(turns: &[Turn]) -> Value {
    turns
        .iter()
        .map(|turn| {
            json!([
                turn.model.as_deref(),
                turn.kind.name(),
                format!("{:x}", turn.next.0)
            ])
        })
        .collect()
}

/// Reads what [`turns_json`] wrote.
#[must_use]
pub fn read_turns(value: &Value) -> Vec<Turn> {
    let turn = |value: &Value| {
        let kind = value.get(1)?.as_str()?;
        Some(Turn {
            model: value.get(0)?.as_str().map(Arc::from),
            kind: Kind::ALL.into_iter().find(|one| one.name() == kind)?,
            next: KeyId(hex(value.get(2)?)?),
        })
    };
    let turns = value.as_array().into_iter().flatten();
    turns.filter_map(turn).collect()
}

fn write_report(out: &mut String, report: &Report) {
    for event in &report.events {
        let _ = writeln!(out, "{}", event_json(event));
    }
    for moved in &report.moved {
        let value = json!({"m": [moved.client.0, format!("{:x}", moved.turns), format!("{:x}", moved.project.0)]});
        let _ = writeln!(out, "{value}");
    }
}

/// Reads a report.
#[must_use]
pub fn read_report(text: &str) -> Report {
    let mut report = Report::default();
    for line in text.lines() {
        let Ok(value) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        if let Some(event) = read_event(&value) {
            report.events.push(event);
        } else if let Some(moved) = read_moved(&value) {
            report.moved.push(moved);
        }
    }
    report
}

fn read_moved(value: &Value) -> Option<Moved> {
    let moved = value.get("m")?;
    Some(Moved {
        client: ClientId(u32::try_from(moved.get(0)?.as_u64()?).ok()?),
        turns: hex(moved.get(1)?)?,
        project: ProjectId(hex(moved.get(2)?)?),
    })
}

fn block_json(subject: Subject, block: &Block) -> Value {
    let violation = block.violation.as_deref().map(violation_json);
    json!([
        subject_text(subject),
        block.model.as_deref(),
        block.kinds.bits(),
        block.reason.name(),
        block.since.as_millis(),
        block.until.as_millis(),
        block.strikes,
        violation
    ])
}

fn violation_json(violation: &Violation) -> Value {
    json!([
        violation.metric,
        violation.quota_id,
        violation.model,
        violation.value,
        violation.dimensions
    ])
}

fn read_block(value: &Value) -> Option<(Subject, Block)> {
    let subject = value.get(0)?.as_str()?;
    let (whose, id) = subject.split_at_checked(1)?;
    let id = u64::from_str_radix(id, 16).ok()?;
    let subject = match whose {
        "k" => Subject::Key(KeyId(id)),
        _ => Subject::Project(ProjectId(id)),
    };
    let reason = value.get(3)?.as_str()?;
    let violation = value.get(7).filter(|value| value.is_array());
    Some((
        subject,
        Block {
            model: value.get(1)?.as_str().map(Arc::from),
            kinds: Kinds::from_bits(u8::try_from(value.get(2)?.as_u64()?).ok()?),
            reason: Reason::ALL.into_iter().find(|one| one.name() == reason)?,
            since: Time::from_millis(value.get(4)?.as_u64()?),
            until: Time::from_millis(value.get(5)?.as_u64()?),
            strikes: value
                .get(6)?
                .as_u64()
                .and_then(|strikes| u8::try_from(strikes).ok()),
            violation: violation.and_then(read_violation).map(Arc::new),
        },
    ))
}

fn read_surface(name: &str) -> Option<Surface> {
    Surface::ALL.into_iter().find(|one| one.name() == name)
}

fn read_violation(value: &Value) -> Option<Violation> {
    Some(Violation {
        metric: value.get(0)?.as_str()?.to_owned(),
        quota_id: value.get(1)?.as_str()?.to_owned(),
        model: value.get(2)?.as_str().map(str::to_owned),
        value: value.get(3)?.as_u64(),
        dimensions: value.get(4)?.as_bool()?,
    })
}

fn subject_text(subject: Subject) -> String {
    match subject {
        Subject::Key(id) => format!("k{:x}", id.0),
        Subject::Project(id) => format!("p{:x}", id.0),
    }
}

fn hex(value: &Value) -> Option<u64> {
    u64::from_str_radix(value.as_str()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events() -> Vec<Event> {
        let stamp = Stamp {
            at: Time::from_millis(1_795_348_800_123),
            generation: u64::MAX,
            sequence: 7,
            origin: u64::MAX - 1,
        };
        let block = Block {
            model: Some("gemini-2.5-flash".into()),
            kinds: Kinds::GENERATION,
            reason: Reason::QuotaDay,
            since: Time::from_millis(5),
            until: Time::from_millis(1_795_348_900_000),
            strikes: None,
            violation: Some(Arc::new(Violation {
                metric: "a/metric".into(),
                quota_id: "PerDay\nodd".into(),
                model: None,
                value: Some(u64::MAX),
                dimensions: true,
            })),
        };
        let open = Block {
            model: None,
            kinds: Kinds::ALL,
            strikes: Some(2),
            violation: None,
            reason: Reason::Leaked,
            ..block.clone()
        };
        [
            Change::Blocked(Subject::Project(ProjectId(u64::MAX)), block),
            Change::Cleared(Subject::Key(KeyId(3)), open),
            Change::CarrierLearned(KeyId(3), Surface::OpenAi, Carrier::ApiKeyHeader),
            Change::ModelNamed("asked".into(), "named".into()),
        ]
        .into_iter()
        .map(|change| Event { stamp, change })
        .collect()
    }

    #[test]
    fn every_kind_of_event_survives_being_sent_and_kept() {
        for event in events() {
            let text = event_json(&event).to_string();
            assert_eq!(
                read_event(&serde_json::from_str(&text).unwrap()),
                Some(event)
            );
        }
        for reason in Reason::ALL {
            let (mut event, name) = (events().remove(0), reason.name());
            if let Change::Blocked(_, block) = &mut event.change {
                block.reason = reason;
            }
            assert_eq!(read_event(&event_json(&event)), Some(event), "{name}");
        }
    }

    #[test]
    fn an_ask_and_its_reply_arrive_as_they_were_meant() {
        let facts = Facts {
            surface: Surface::Gemini,
            kind: Kind::Grounded,
            method: 0,
            model: Some("a model\nof two lines".into()),
            streams: false,
            repeat: Repeat::WhenRefused,
            replayable: true,
            client: ClientId::ANONYMOUS,
            conversation: Some(Conversation {
                whole: u64::MAX,
                earlier: None,
            }),
            items: 7,
            bytes: 12_345,
            deadline: None,
        };
        let sent = Report {
            events: events(),
            moved: vec![Moved {
                client: ClientId(1),
                turns: u64::MAX,
                project: ProjectId(9),
            }],
        };
        let cursor = Cursor {
            generation: 1_795_348_800_123,
            sequence: 9,
        };
        let (read, at, got) = read_ask(&ask(&facts, cursor, &sent)).unwrap();
        assert_eq!((at, got), (cursor, sent));
        assert_eq!(read.model.as_deref(), Some("a model of two lines"));
        assert_eq!((read.kind, read.client), (facts.kind, facts.client));
        assert_eq!(read.conversation, facts.conversation);
        let plan = [KeyId(u64::MAX), KeyId(0)];
        let news = events();
        let text = reply(cursor, &plan, news.iter());
        assert_eq!(read_reply(&text), Some((cursor, plan.to_vec(), news)));
        assert_eq!(read_reply(""), None);
        assert!(read_ask("7 x\n").is_none());
    }

    #[test]
    fn turns_are_kept_for_models_and_for_requests_without_one() {
        let turns = vec![
            Turn {
                model: Some("flash".into()),
                kind: Kind::Embed,
                next: KeyId(u64::MAX),
            },
            Turn {
                model: None,
                kind: Kind::Other,
                next: KeyId(1),
            },
        ];
        assert_eq!(read_turns(&turns_json(&turns)), turns);
    }
}
