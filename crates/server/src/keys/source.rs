//! Each source of keys, and all of them read together.

use super::{KeyPool, KeysError};
use crate::config::Config;
use crate::options::show;
use crate::tokens::ClientToken;
use gemini_relay_core::keylist::{self, KeyList, KeyListError, Merged, Place};
use gemini_relay_core::secrets::Secrets;
use gemini_relay_core::{KeyId, KeySpec};
use std::collections::HashMap;
use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Where keys come from. Clones share what was last loaded.
#[derive(Clone)]
pub(crate) struct Sources(Arc<Inner>);

struct Inner {
    files: Vec<FileSource>,
    variable: Option<Variable>,
    /// Looked at only when nothing else gives a key, and after the start only if it was so then.
    last_resort: Vec<Variable>,
    tokens: HashMap<KeyId, ClientToken>,
    last: Mutex<Last>,
}

#[derive(Default)]
struct Last {
    fingerprint: Option<u64>,
    from_last_resort: bool,
}

impl Sources {
    /// The sources of a configuration, a process's variables and the folder it was started in.
    pub(crate) fn new(config: &Config, variables: &[(OsString, OsString)]) -> Self {
        let named = config
            .key_files
            .iter()
            .map(|path| FileSource::new(path.clone(), true));
        let usual = USUAL_FILES
            .iter()
            .map(|name| FileSource::new(PathBuf::from(name), false));
        let variable = |name| Variable::read(name, variables);
        Self(Arc::new(Inner {
            files: named.chain(usual).collect(),
            variable: variable(VARIABLES[0]),
            last_resort: VARIABLES[1..]
                .iter()
                .filter_map(|name| variable(name))
                .collect(),
            tokens: by_secret(&config.tokens),
            last: Mutex::default(),
        }))
    }

    /// Keys that are given and never change.
    pub(crate) fn fixed(name: &'static str, list: KeyList) -> Self {
        Self(Arc::new(Inner {
            files: Vec::new(),
            variable: Some(Variable {
                name,
                list: Ok(list),
            }),
            last_resort: Vec::new(),
            tokens: HashMap::new(),
            last: Mutex::default(),
        }))
    }

    /// Reads all sources into one pool, or says what is wrong with one of them.
    pub(crate) fn load(&self) -> Result<KeyPool, KeysError> {
        let mut names = Vec::new();
        let mut lists = Vec::new();
        let mut add = |name: String, list: KeyList| {
            names.push(name);
            lists.push(list);
        };
        let (named, usual): (Vec<_>, Vec<_>) = self.0.files.iter().partition(|file| file.required);
        for file in named {
            add(file.name(), file.read()?.unwrap_or_default());
        }
        if let Some(variable) = &self.0.variable {
            add(variable.name.to_owned(), variable.list()?);
        }
        for file in usual {
            if let Some(list) = file.read()? {
                add(file.name(), list);
            }
        }
        let mut last = self.0.last.lock().unwrap_or_else(PoisonError::into_inner);
        let from_last_resort = lists.iter().all(|list| list.entries.is_empty())
            && (last.fingerprint.is_none() || last.from_last_resort);
        if from_last_resort {
            for variable in &self.0.last_resort {
                names.push(variable.name.to_owned());
                lists.push(variable.list()?);
            }
        }
        let empty: Vec<String> = names
            .iter()
            .zip(&lists)
            .filter(|(_, list)| list.entries.is_empty())
            .map(|(name, _)| name.clone())
            .collect();
        let keys = lists.iter().flat_map(|list| &list.entries);
        let mut secrets: Secrets = keys.map(|entry| &entry.text).collect();
        for token in self.0.tokens.values() {
            secrets.add(&token.secret);
        }
        self.refuse_named(&secrets)?;
        for (name, list) in names.iter().zip(&lists) {
            keylist::refuse_secrets_in_names(list, &secrets).map_err(|error| KeysError::Bad {
                source: name.clone(),
                error,
            })?;
        }
        let merged = keylist::merge(lists);
        if merged.keys.is_empty() {
            return Err(KeysError::Nothing { empty });
        }
        self.refuse_tokens(&merged.keys)?;
        *last = Last {
            fingerprint: Some(fingerprint(&merged.keys)),
            from_last_resort,
        };
        Ok(KeyPool {
            notes: notes(&merged, &names, &empty),
            keys: merged.keys,
        })
    }

    /// What tells whether a load brought anything new.
    pub(super) fn fingerprint(&self) -> Option<u64> {
        self.0
            .last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .fingerprint
    }

    /// The files that are to be watched, whether they are there or not.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        self.0
            .files
            .iter()
            .filter(|file| file.once.get().is_none())
            .map(|file| file.path.as_path())
    }

    /// Each source and what it gives, for people.
    pub(crate) fn summary(&self) -> Vec<(String, String)> {
        let counted = |list: Result<Option<KeyList>, String>| match list {
            Ok(Some(list)) if list.entries.len() == 1 => "1 key".to_owned(),
            Ok(Some(list)) => format!("{} keys", list.entries.len()),
            Ok(None) => "not there".to_owned(),
            Err(problem) => problem,
        };
        let files = self.0.files.iter().map(|file| {
            let list = file.read().map_err(|e| match e {
                KeysError::Bad { error, .. } => error.to_string(),
                KeysError::Unreadable { error, .. } => error.to_string(),
                e => e.to_string(),
            });
            (file.name(), counted(list))
        });
        let variables = self
            .0
            .variable
            .iter()
            .chain(&self.0.last_resort)
            .map(|variable| {
                (
                    variable.name.to_owned(),
                    counted(variable.list.clone().map(Some).map_err(|e| e.to_string())),
                )
            });
        files.chain(variables).collect()
    }

    /// The name of a client's token is in the log.
    fn refuse_named(&self, secrets: &Secrets) -> Result<(), KeysError> {
        let mut tokens = self.0.tokens.values();
        if tokens.any(|token| secrets.are_in(token.name.as_bytes(), usize::MAX)) {
            return Err(KeysError::NamesToken);
        }
        Ok(())
    }

    fn refuse_tokens(&self, keys: &[KeySpec]) -> Result<(), KeysError> {
        let twin = keys
            .iter()
            .find_map(|key| Some((key, self.0.tokens.get(&key.text.id())?)));
        twin.map_or(Ok(()), |(key, token)| {
            Err(KeysError::IsToken {
                label: key.label.clone().unwrap_or_default(),
                token: token.name.clone(),
            })
        })
    }
}

struct FileSource {
    path: PathBuf,
    /// One that was named must be there; a usual one must stay once it was there.
    required: bool,
    seen: OnceLock<()>,
    /// A pipe (`--keys <(…)`) can be read once.
    once: OnceLock<KeyList>,
}

impl FileSource {
    fn new(path: PathBuf, required: bool) -> Self {
        Self {
            path,
            required,
            seen: OnceLock::new(),
            once: OnceLock::new(),
        }
    }

    fn name(&self) -> String {
        show::path(&self.path.to_string_lossy())
            .trim_matches('"')
            .to_owned()
    }

    fn read(&self) -> Result<Option<KeyList>, KeysError> {
        if let Some(list) = self.once.get() {
            return Ok(Some(list.clone()));
        }
        let unreadable = |error| KeysError::Unreadable {
            source: self.name(),
            error,
        };
        let (bytes, regular) = match read_bounded(&self.path) {
            Ok(read) => read,
            Err(e)
                if e.kind() == std::io::ErrorKind::NotFound
                    && !self.required
                    && self.seen.get().is_none() =>
            {
                return Ok(None);
            }
            Err(e) => return Err(unreadable(e)),
        };
        let list = keylist::parse(&bytes).map_err(|error| KeysError::Bad {
            source: self.name(),
            error,
        })?;
        let _ = self.seen.set(());
        if !regular {
            let _ = self.once.set(list.clone());
        }
        Ok(Some(list))
    }
}

/// One byte more than a list may have is enough to be refused for it.
fn read_bounded(path: &Path) -> std::io::Result<(Vec<u8>, bool)> {
    let file = std::fs::File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(std::io::Error::other("it is a folder"));
    }
    let mut bytes = Vec::new();
    file.take(MOST_BYTES).read_to_end(&mut bytes)?;
    Ok((bytes, metadata.is_file()))
}

struct Variable {
    name: &'static str,
    list: Result<KeyList, KeyListError>,
}

impl Variable {
    fn read(name: &'static str, variables: &[(OsString, OsString)]) -> Option<Self> {
        let (_, value) = variables.iter().find(|(n, v)| n == name && !v.is_empty())?;
        // What is not UTF-8 holds a character that no key has, and is refused for it.
        Some(Self {
            name,
            list: keylist::parse_variable(&value.to_string_lossy()),
        })
    }

    fn list(&self) -> Result<KeyList, KeysError> {
        self.list.clone().map_err(|error| KeysError::Bad {
            source: self.name.to_owned(),
            error,
        })
    }
}

fn by_secret(tokens: &[ClientToken]) -> HashMap<KeyId, ClientToken> {
    tokens
        .iter()
        .map(|token| (token.secret.id(), token.clone()))
        .collect()
}

fn notes(merged: &Merged, names: &[String], empty: &[String]) -> Vec<String> {
    let place = |p: Place| {
        format!(
            "{}, line {}",
            names.get(p.list).map_or("", String::as_str),
            p.line
        )
    };
    let (plain, contradicting): (Vec<_>, Vec<_>) = merged
        .duplicates
        .iter()
        .partition(|d| d.contradiction().is_none());
    // What is lost is said before what is the same.
    let duplicates = contradicting.into_iter().chain(plain).map(|d| {
        let contradiction = d.contradiction().map(|said| format!(", {said}"));
        format!(
            "{} is given twice and counts once: {}; {}{}",
            d.label,
            place(d.first),
            place(d.again),
            contradiction.unwrap_or_default()
        )
    });
    let renamed = merged.renamed.iter().map(|r| {
        format!(
            "two keys are called {}; the one of {} is now {}",
            r.from,
            place(r.place),
            r.to
        )
    });
    let count = merged.duplicates.len() + merged.renamed.len();
    let rest = (count > MOST_NOTES).then(|| format!("and {} more like these", count - MOST_NOTES));
    let empty = empty.iter().map(|name| format!("nothing is in {name}"));
    let none_is_used = merged.keys.iter().all(|key| !key.enabled);
    let disabled = none_is_used.then(|| keylist::ALL_DISABLED.to_owned());
    duplicates
        .chain(renamed)
        .take(MOST_NOTES)
        .chain(rest)
        .chain(empty)
        .chain(disabled)
        .collect()
}

fn fingerprint(keys: &[KeySpec]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for key in keys {
        (
            key.text.id(),
            &key.label,
            &key.project,
            key.priority,
            key.weight,
        )
            .hash(&mut hasher);
        (&key.tags, key.enabled, &key.models).hash(&mut hasher);
    }
    hasher.finish()
}

const USUAL_FILES: [&str; 2] = ["gemini-keys.json", "gemini.keys"];

/// The first adds to the files; the others are the last resort.
const VARIABLES: [&str; 3] = ["GEMINI_API_KEYS", "GEMINI_API_KEY", "GOOGLE_API_KEY"];

/// What [`keylist::parse`] takes, and one more.
const MOST_BYTES: u64 = 16 * 1024 * 1024 + 1;

/// A file that was pasted twice has a duplicate a line; twenty of them say it as well.
const MOST_NOTES: usize = 20;
