//! The plan, and what is told to the pool object and heard from it.

use super::{Engine, Said};
use crate::log::{self, Level};
use crate::wire::{self, Report};
use gemini_relay_core::Time;
use gemini_relay_core::event::{Change, Subject};
use std::time::Duration;

impl Engine {
    /// What the object is asked, and with it told.
    pub(super) fn ask(&mut self, handle: u32) -> Said {
        let report = std::mem::take(&mut self.outbox);
        let cursor = self.cursor;
        let Some(exchange) = self.exchange(handle) else {
            self.outbox = report;
            return Said::Gone;
        };
        let ask = exchange
            .facts
            .as_ref()
            .map(|facts| wire::ask(facts, cursor, &report));
        exchange.reported = report;
        self.asks = self.asks.saturating_add(1);
        ask.map_or(Said::Gone, Said::Ask)
    }

    /// The object's answer, or an empty text where none came in time: then the request goes on with what
    /// is known.
    pub fn planned(&mut self, handle: u32, reply: &str, now: Time) -> Said {
        let reply = wire::read_reply(reply);
        if reply.is_some() {
            self.silences = 0;
        } else {
            self.unanswered(now);
        }
        self.go(handle, reply, now)
    }

    /// A call of the object came to nothing.
    fn unanswered(&mut self, now: Time) {
        self.silences += 1;
        if self.silences >= SILENT {
            self.away = now + AWAY;
        }
    }

    /// Goes on with the object's answer, or without one.
    pub(super) fn go(&mut self, handle: u32, reply: Option<wire::Reply>, now: Time) -> Said {
        let Some(exchange) = self.exchange(handle) else {
            return Said::Gone;
        };
        let reported = std::mem::take(&mut exchange.reported);
        let Some(facts) = exchange.facts.clone() else {
            return Said::Gone;
        };
        let plan = match reply {
            Some((cursor, plan, news)) => {
                for event in &news {
                    self.relay.apply(event, now);
                }
                // Answers may overtake each other.
                if cursor.generation != self.cursor.generation
                    || cursor.sequence > self.cursor.sequence
                {
                    self.cursor = cursor;
                }
                plan
            }
            None => {
                self.take_back(reported);
                Vec::new()
            }
        };
        let id = self.relay.admit_planned(facts, plan, now);
        if let Some(exchange) = self.exchange(handle) {
            exchange.id = Some(id);
        }
        self.step(handle, now)
    }

    /// What is to be reported, if anything; it counts as reported unless it is given back.
    pub fn report(&mut self, now: Time) -> String {
        if self.waiting(now) == 0 {
            return String::new();
        }
        self.asks = 0;
        wire::report(&std::mem::take(&mut self.outbox))
    }

    /// A report that did not arrive.
    pub fn unreported(&mut self, report: &str, now: Time) {
        self.unanswered(now);
        self.take_back(wire::read_report(report));
    }

    /// How much there is to report by itself: nothing to an object that is not asked either, and nothing too soon
    /// after the last time, since the next ask takes it along.
    #[must_use]
    pub fn waiting(&self, now: Time) -> usize {
        if self.away > now || self.asks < ASKS_A_REPORT {
            0
        } else {
            self.outbox.len()
        }
    }

    pub(super) fn take_back(&mut self, mut report: Report) {
        if report.is_empty() {
            return;
        }
        report.events.append(&mut self.outbox.events);
        report.moved.append(&mut self.outbox.moved);
        // The newest say what holds; an object that is away for long is told those.
        let past = report.events.len().saturating_sub(MOST_UNREPORTED);
        report.events.drain(..past);
        report.moved.truncate(MOST_UNREPORTED);
        self.outbox = report;
    }

    /// Takes what the policy learned, for the object and for the log.
    pub(super) fn collect(&mut self, now: Time) {
        let events = self.relay.take_events();
        for event in &events {
            self.note(&event.change, now);
        }
        self.outbox.events.extend(events);
        self.outbox.moved.extend(self.relay.take_moved());
    }

    fn note(&mut self, change: &Change, now: Time) {
        let (level, text) = self.told(change);
        if !text.is_empty() {
            self.say(level, &text, now);
        }
    }

    fn told(&self, change: &Change) -> (Level, String) {
        let mut keys = self.relay.pool().keys();
        match change {
            Change::Blocked(subject, block) | Change::Cleared(subject, block) => {
                let (what, label) = match subject {
                    Subject::Key(id) => {
                        ("key", keys.find(|key| key.id == *id).map(|key| &*key.label))
                    }
                    Subject::Project(id) => (
                        "project",
                        keys.find(|key| key.project_id == *id)
                            .map(|key| &*key.project),
                    ),
                };
                let label = label.unwrap_or("?");
                let model = block.model.as_deref();
                let model = model.map_or("all".into(), |model| {
                    log::word(&self.relay.pool().said_model(model)).into_owned()
                });
                let (reason, until) = (block.reason.name(), block.until);
                match change {
                    Change::Cleared(..) => {
                        (Level::Info, format!("back: {what} {label} reason={reason}"))
                    }
                    _ if block.strikes.is_some() => (
                        Level::Warn,
                        format!(
                            "out: {what} {label} is {} reason={reason} model={model} tried_again={until:?}",
                            block.reason.words()
                        ),
                    ),
                    _ => (
                        Level::Info,
                        format!(
                            "cools: {what} {label} reason={reason} model={model} until={until:?}"
                        ),
                    ),
                }
            }
            Change::CarrierLearned(..) | Change::LimitLearned(..) | Change::ModelNamed(..) => {
                (Level::Info, String::new())
            }
        }
    }
}

/// An object that did not answer so often in a row is neither asked nor told anything for a while: each ask costs a
/// client a second, and each call is counted, of an object that is out for the day too.
const SILENT: u32 = 3;
const AWAY: Duration = Duration::from_secs(10);

/// Each report by itself is a call of the object as each ask is, and a day's are counted: with one in five asks they
/// are 1.2 a request, however seldom somebody asks. The first is free, so that what is learned by an isolate of a few
/// requests is not lost with it. What waits for an ask that does not come costs another isolate one attempt.
pub(super) const ASKS_A_REPORT: u32 = 5;

/// More than a pool of a thousand keys has to say at once.
const MOST_UNREPORTED: usize = 2048;
