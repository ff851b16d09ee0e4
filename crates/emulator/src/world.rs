//! Google, as far as the emulator has it: projects, keys, what they have used, what goes wrong.
//!
//! All of it stands behind one lock, held for as long as it takes to decide on one request and
//! never while one is answered.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::catalog::{self, Model};
use crate::clock::{Clock, Ms};
use crate::config::{Config, ConfigError, Key, KeyState, Project};
use crate::fault::Faults;
use crate::journal::Journal;
use crate::ledger::{Ledger, Use};

pub(crate) struct World {
    pub(crate) config: Config,
    pub(crate) projects: Vec<Project>,
    pub(crate) models: HashMap<String, Model>,
    pub(crate) clock: Clock,
    pub(crate) ledger: Ledger,
    pub(crate) faults: Faults,
    pub(crate) journal: Journal,
    /// By key text: the project's place, and the key's state.
    keys: HashMap<String, (usize, KeyState)>,
    /// The order that models are listed in.
    names: Vec<String>,
}

impl World {
    pub(crate) fn new(config: Config) -> Result<World, ConfigError> {
        config.check()?;
        let projects = config.numbered_projects();
        let models = catalog::all(&config.models);
        let clock = Clock::start(config.clock_start_ms());
        let mut keys = HashMap::new();
        for (index, project) in projects.iter().enumerate() {
            keys.extend(
                project
                    .keys
                    .iter()
                    .map(|key| (key.value.clone(), (index, key.state))),
            );
        }
        Ok(World {
            ledger: Ledger::new(&config, clock.now()),
            names: models.iter().map(|model| model.name.clone()).collect(),
            models: models
                .into_iter()
                .map(|model| (model.name.clone(), model))
                .collect(),
            faults: Faults::default(),
            journal: Journal::default(),
            config,
            projects,
            clock,
            keys,
        })
    }

    /// Begins anew with another configuration. What was received stays, and so do faults.
    pub(crate) fn configure(&mut self, config: Config) -> Result<(), ConfigError> {
        let fresh = World::new(config)?;
        let old = std::mem::replace(self, fresh);
        self.faults = old.faults;
        self.journal = old.journal;
        Ok(())
    }

    pub(crate) fn now(&self) -> Ms {
        self.clock.now()
    }

    pub(crate) fn advance(&mut self, by: Duration) {
        self.clock.advance(by);
    }

    /// Whose key this is, and its state.
    pub(crate) fn key(&self, value: &str) -> Option<(usize, KeyState)> {
        self.keys.get(value).copied()
    }

    /// Adds a key, or changes it. Without a project it must be there already.
    pub(crate) fn set_key(
        &mut self,
        value: &str,
        project: Option<&str>,
        state: KeyState,
    ) -> Result<(), String> {
        let index = match (project, self.key(value)) {
            (Some(name), _) => self
                .projects
                .iter()
                .position(|project| project.name == name)
                .ok_or_else(|| format!("there is no project {name:?}"))?,
            (None, Some((index, _))) => index,
            (None, None) => return Err("a new key needs a project".to_owned()),
        };
        if value.is_empty() {
            return Err("a key has text".to_owned());
        }
        for project in &mut self.projects {
            project.keys.retain(|key| key.value != value);
        }
        self.projects[index].keys.push(Key {
            value: value.to_owned(),
            state,
        });
        self.keys.insert(value.to_owned(), (index, state));
        Ok(())
    }

    /// The model of that name, if this project has it.
    pub(crate) fn model(&self, project: usize, name: &str) -> Option<&Model> {
        let listed = self.projects[project].models.as_ref();
        self.models
            .get(name)
            .filter(|_| listed.is_none_or(|listed| listed.iter().any(|one| one == name)))
    }

    /// Every model this project has, in order.
    pub(crate) fn models_of(&self, project: usize) -> impl Iterator<Item = &Model> {
        self.names
            .iter()
            .filter_map(move |name| self.model(project, name))
    }

    /// Counts the use, unless it passes a limit: then says which.
    pub(crate) fn spend(
        &mut self,
        project: usize,
        uses: Use<'_>,
    ) -> Result<(), Vec<crate::errors::Violation>> {
        let now = self.clock.now();
        let violations = self
            .ledger
            .violations(project, &self.projects[project], uses, now);
        if !violations.is_empty() {
            return Err(violations);
        }
        self.ledger
            .take(project, &self.projects[project], uses, now);
        Ok(())
    }

    /// Everything, for `GET /_emulator/state`.
    pub(crate) fn state(&mut self) -> Value {
        let now = self.now();
        let mut projects = Vec::new();
        for (index, project) in self.projects.iter().enumerate() {
            let mut quotas = Vec::new();
            for (number, quota) in project.quotas.iter().enumerate() {
                let mut shown = json!(quota);
                shown["used"] = self
                    .ledger
                    .used((index, number), quota, now)
                    .into_iter()
                    .collect();
                quotas.push(shown);
            }
            projects.push(json!({
                "name": project.name,
                "number": project.number,
                "keys": project.keys,
                "models": project.models,
                "quotas": quotas,
            }));
        }
        let faults = self
            .faults
            .left()
            .into_iter()
            .map(|(id, count)| json!({"id": id, "count": count}));
        json!({"clock_ms": now, "projects": projects, "faults": faults.collect::<Vec<_>>()})
    }
}
