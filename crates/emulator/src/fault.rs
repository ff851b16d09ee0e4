//! Faults: what goes wrong for the next few requests that match.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::errors::NAMES;
use crate::journal::Received;
use crate::kind::Kind;

/// Which requests a fault is for; what is absent matches all.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Match {
    /// The model asked for.
    pub model: Option<String>,
    /// The text of a credential.
    pub key: Option<String>,
    /// The project whose key came.
    pub project: Option<String>,
    /// A part of the path.
    pub path: Option<String>,
    /// The kind.
    pub kind: Option<Kind>,
    /// The HTTP method, or Google's name of the API's: `GET`, `streamGenerateContent`.
    pub method: Option<String>,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "Written")]
pub enum Fault {
    /// This answer.
    Answer {
        /// Its status.
        status: u16,
        /// JSON, or a string for text.
        body: Option<Value>,
        /// More headers, or others.
        headers: BTreeMap<String, String>,
        /// Whether it is compressed, asked for or not.
        gzip: bool,
    },
    /// One of Google's own refusals, by name.
    Error(String),
    /// A good start, then the refusal of that name in the stream.
    InStreamError {
        /// The refusal's name.
        name: String,
        /// How many events come before it.
        after_chunks: usize,
    },
    /// The connection is reset.
    Reset(ResetPoint),
    /// The stream ends in order after so many events, and says no `finishReason`.
    Truncate(usize),
    /// Status 200 and nothing else.
    Empty,
    /// Silence after the headers and so many events; then it goes on.
    Stall {
        /// How long.
        millis: u64,
        /// After how many events.
        after_chunks: usize,
    },
    /// Silence before the headers; then served as usual.
    Delay(u64),
    /// The connection is closed in order, with no answer.
    CloseWithoutAnswer,
}

/// Where a connection is reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetPoint {
    /// Before any byte of the answer.
    BeforeAnswer,
    /// After the headers.
    AfterHeaders,
    /// After so many events.
    AfterChunks(usize),
}

impl Fault {
    /// What is wrong with the fault itself.
    pub(crate) fn check(&self) -> Result<(), String> {
        match self {
            Fault::Error(name) | Fault::InStreamError { name, .. }
                if !NAMES.contains(&name.as_str()) =>
            {
                Err(format!(
                    "there is no refusal named {name:?}; there are {}",
                    NAMES.join(", ")
                ))
            }
            Fault::Answer {
                status, headers, ..
            } => {
                // Below 200 is not an answer.
                StatusCode::from_u16(*status)
                    .ok()
                    .filter(|status| status.as_u16() >= 200)
                    .ok_or("no such status")?;
                for (name, value) in headers {
                    HeaderName::from_bytes(name.as_bytes())
                        .map_err(|_| format!("{name:?} is no header's name"))?;
                    HeaderValue::from_str(value)
                        .map_err(|_| format!("{name} cannot have that value"))?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// The faults that wait for their requests.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    waiting: Vec<Waiting>,
    last_id: u64,
}

#[derive(Debug)]
struct Waiting {
    id: u64,
    matches: Match,
    count: u64,
    fault: Fault,
}

impl Faults {
    pub(crate) fn add(&mut self, matches: Match, count: u64, fault: Fault) -> u64 {
        self.last_id += 1;
        if count > 0 {
            self.waiting.push(Waiting {
                id: self.last_id,
                matches,
                count,
                fault,
            });
        }
        self.last_id
    }

    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }

    /// The oldest fault for this request, used up by one.
    pub(crate) fn take(&mut self, request: &Received, verb: &str) -> Option<Fault> {
        let index = self
            .waiting
            .iter()
            .position(|waiting| waiting.matches.covers(request, verb))?;
        let waiting = &mut self.waiting[index];
        waiting.count -= 1;
        if waiting.count > 0 {
            return Some(waiting.fault.clone());
        }
        Some(self.waiting.remove(index).fault)
    }

    /// Identity and remaining count of each.
    pub(crate) fn left(&self) -> Vec<(u64, u64)> {
        self.waiting
            .iter()
            .map(|waiting| (waiting.id, waiting.count))
            .collect()
    }
}

impl Match {
    fn covers(&self, request: &Received, verb: &str) -> bool {
        let same = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| Some(wanted) == found)
        };
        same(&self.model, request.model.as_deref())
            && same(&self.project, request.project.as_deref())
            && self
                .key
                .as_ref()
                .is_none_or(|key| request.credentials.iter().any(|one| &one.value == key))
            && self
                .path
                .as_ref()
                .is_none_or(|part| request.path.contains(part))
            && self.kind.is_none_or(|kind| kind == request.kind)
            && self
                .method
                .as_ref()
                .is_none_or(|method| *method == request.method || method == verb)
    }
}

/// A fault as JSON has it: one object, told apart by what it holds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    status: Option<u16>,
    body: Option<Value>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    gzip: bool,
    error: Option<String>,
    in_stream_error: Option<String>,
    after_chunks: Option<usize>,
    reset: Option<String>,
    chunks: Option<usize>,
    truncate: Option<usize>,
    #[serde(default)]
    empty: bool,
    stall_ms: Option<u64>,
    delay_ms: Option<u64>,
    #[serde(default)]
    close_without_answer: bool,
}

impl TryFrom<Written> for Fault {
    type Error = String;

    fn try_from(written: Written) -> Result<Fault, String> {
        let after_chunks = written.after_chunks.unwrap_or(0);
        let mut faults = Vec::new();
        if let Some(status) = written.status {
            faults.push(Fault::Answer {
                status,
                body: written.body,
                headers: written.headers,
                gzip: written.gzip,
            });
        }
        faults.extend(written.error.map(Fault::Error));
        faults.extend(
            written
                .in_stream_error
                .map(|name| Fault::InStreamError { name, after_chunks }),
        );
        if let Some(point) = written.reset {
            faults.push(Fault::Reset(match (point.as_str(), written.chunks) {
                ("before_answer", None) => ResetPoint::BeforeAnswer,
                ("after_headers", None) => ResetPoint::AfterHeaders,
                ("after_chunks", chunks) => ResetPoint::AfterChunks(chunks.unwrap_or(1)),
                _ => {
                    return Err(
                        "reset is before_answer, after_headers, or after_chunks with chunks"
                            .to_owned(),
                    );
                }
            }));
        }
        faults.extend(written.truncate.map(Fault::Truncate));
        faults.extend(written.empty.then_some(Fault::Empty));
        faults.extend(written.stall_ms.map(|millis| Fault::Stall {
            millis,
            after_chunks,
        }));
        faults.extend(written.delay_ms.map(Fault::Delay));
        faults.extend(
            written
                .close_without_answer
                .then_some(Fault::CloseWithoutAnswer),
        );
        match faults.len() {
            1 => faults.pop().ok_or_else(String::new),
            0 => Err("a fault needs one of status, error, in_stream_error, reset, truncate, empty, stall_ms, delay_ms, \
                      close_without_answer"
                .to_owned()),
            _ => Err("one fault at a time: this is several".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, expected: Result<Fault, &str>) {
        match (serde_json::from_str::<Fault>(json), expected) {
            (Ok(fault), Ok(expected)) => assert_eq!(fault, expected),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (found, expected) => panic!("{found:?} is not {expected:?}"),
        }
    }

    #[test]
    fn each_way_of_writing_a_fault_is_read() {
        check(
            r#"{"error":"overloaded"}"#,
            Ok(Fault::Error("overloaded".to_owned())),
        );
        check(
            r#"{"reset":"after_chunks","chunks":2}"#,
            Ok(Fault::Reset(ResetPoint::AfterChunks(2))),
        );
        check(
            r#"{"stall_ms":5,"after_chunks":1}"#,
            Ok(Fault::Stall {
                millis: 5,
                after_chunks: 1,
            }),
        );
        check(r#"{"truncate":0}"#, Ok(Fault::Truncate(0)));
        check(r#"{"empty":true}"#, Ok(Fault::Empty));
        check(r#"{"empty":true,"delay_ms":1}"#, Err("several"));
        check(r#"{"reset":"now"}"#, Err("before_answer"));
        check(r#"{"sleep":1}"#, Err("unknown field"));
        check("{}", Err("needs one of"));
    }

    #[test]
    fn a_fault_with_a_name_that_is_not_there_lists_those_that_are() {
        let error = Fault::Error("overlooded".to_owned()).check().unwrap_err();
        assert!(error.contains("overloaded"), "{error}");
    }
}
