//! Several lists made into one pool.
//!
//! The same key in two lists is one key: counted twice it would get twice its share of one quota.
//! The first list to say something of it is believed; what it left out, a later one may fill in.
//! Labels are what people see and what metrics are filed under, so two keys never share one.

use super::{Entry, KeyList};
use crate::key::KeySpec;
use std::collections::{HashMap, HashSet};

/// Where an entry stands: which list, in the order given to [`merge`], and which line of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The list, counting from 0.
    pub list: usize,
    /// The line, counting from 1.
    pub line: usize,
}

/// A key met a second time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duplicate {
    /// The label under which the one key is known.
    pub label: String,
    /// Where it was met first.
    pub first: Place,
    /// Where it was met again.
    pub again: Place,
    /// The fields that say something else there than before, which holds.
    pub ignored: Vec<&'static str>,
}

impl Duplicate {
    /// What does not hold of what it says, for people; nothing if it contradicts nothing.
    #[must_use]
    pub fn contradiction(&self) -> Option<String> {
        let [others @ .., last] = self.ignored.as_slice() else {
            return None;
        };
        let fields = match others {
            [] => (*last).to_owned(),
            others => format!("{} and {last}", others.join(", ")),
        };
        Some(format!(
            "says something else of its {fields}, which is ignored"
        ))
    }
}

/// A label that another key already had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renamed {
    /// The label as written.
    pub from: String,
    /// The label it got.
    pub to: String,
    /// Where it was written.
    pub place: Place,
}

/// One pool and what had to be settled to make it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// Each key once, in the order first met, each with a label of its own.
    pub keys: Vec<KeySpec>,
    /// Keys that were met again.
    pub duplicates: Vec<Duplicate>,
    /// Labels that had to change.
    pub renamed: Vec<Renamed>,
}

/// Makes one pool of several lists.
#[must_use]
pub fn merge(lists: impl IntoIterator<Item = KeyList>) -> Merged {
    let mut kept: Vec<(Entry, Place)> = Vec::new();
    let mut index_of = HashMap::new();
    let mut again = Vec::new();
    for (list, KeyList { entries }) in lists.into_iter().enumerate() {
        for entry in entries {
            let place = Place {
                list,
                line: entry.line,
            };
            match index_of.get(&entry.text.id()) {
                Some(&index) => {
                    let (first, first_place): &mut (Entry, Place) = &mut kept[index];
                    again.push((index, *first_place, place, fill(first, entry)));
                }
                None => {
                    index_of.insert(entry.text.id(), kept.len());
                    kept.push((entry, place));
                }
            }
        }
    }
    let (labels, renamed) = labels(&kept);
    let duplicates = again
        .into_iter()
        .map(|(index, first, again, ignored)| Duplicate {
            label: labels[index].clone(),
            first,
            again,
            ignored,
        })
        .collect();
    let keys = kept
        .into_iter()
        .zip(labels)
        .map(|((entry, _), label)| spec(entry, label))
        .collect();
    Merged {
        keys,
        duplicates,
        renamed,
    }
}

/// Takes over what was not said before; the fields that contradict it.
fn fill(first: &mut Entry, later: Entry) -> Vec<&'static str> {
    let Entry {
        text: _,
        label,
        project,
        priority,
        weight,
        tags,
        enabled,
        models,
        line: _,
    } = later;
    [
        ("label", take(&mut first.label, label)),
        ("project", take(&mut first.project, project)),
        ("priority", take(&mut first.priority, priority)),
        ("weight", take(&mut first.weight, weight)),
        ("tags", take(&mut first.tags, tags)),
        ("enabled", take(&mut first.enabled, enabled)),
        ("models", take(&mut first.models, models)),
    ]
    .into_iter()
    .filter_map(|(field, agrees)| (!agrees).then_some(field))
    .collect()
}

/// Whether what is said later agrees with what was.
fn take<T: PartialEq>(said: &mut Option<T>, later: Option<T>) -> bool {
    if said.is_none() {
        *said = later;
        return true;
    }
    later.is_none() || *said == later
}

/// Labels that were written go first, so that a default never takes one away from them.
fn labels(kept: &[(Entry, Place)]) -> (Vec<String>, Vec<Renamed>) {
    let mut taken = HashSet::new();
    let mut next_suffix: HashMap<&str, usize> = HashMap::new();
    let mut renamed = Vec::new();
    let mut labels: Vec<Option<String>> = Vec::with_capacity(kept.len());
    let written: HashSet<&str> = kept
        .iter()
        .filter_map(|(e, _)| e.label.as_deref())
        .collect();
    for (entry, place) in kept {
        labels.push(entry.label.as_deref().map(|label| {
            if taken.insert(label.to_owned()) {
                return label.to_owned();
            }
            let suffix = next_suffix.entry(label).or_insert(2);
            let to = loop {
                let to = format!("{label}-{suffix}");
                *suffix += 1;
                if !written.contains(to.as_str()) && taken.insert(to.clone()) {
                    break to;
                }
            };
            renamed.push(Renamed {
                from: label.to_owned(),
                to: to.clone(),
                place: *place,
            });
            to
        }));
    }
    let labels = labels
        .into_iter()
        .enumerate()
        .map(|(place, label)| {
            label.unwrap_or_else(|| {
                let mut number = place;
                loop {
                    let label = format!("key_{number}");
                    if taken.insert(label.clone()) {
                        return label;
                    }
                    number += kept.len();
                }
            })
        })
        .collect();
    (labels, renamed)
}

fn spec(entry: Entry, label: String) -> KeySpec {
    let mut spec = KeySpec::bare(entry.text);
    spec.label = Some(label);
    spec.project = entry.project;
    spec.priority = entry.priority.unwrap_or(spec.priority);
    spec.weight = entry.weight.unwrap_or(spec.weight);
    spec.tags = entry.tags.unwrap_or_default();
    spec.enabled = entry.enabled.unwrap_or(spec.enabled);
    spec.models = entry.models.unwrap_or_default();
    spec
}
