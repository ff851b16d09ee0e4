//! Giving the keys to the Worker: into its KV, by way of wrangler, which knows the account.
//!
//! What is sent is the pool as the native relay would use it, each key once and with its label. Wrangler
//! reads it from a file, since arguments are seen by everybody on the machine; the file is its owner's alone
//! and is gone afterwards, whatever happened.

use crate::files;
use crate::relay::stop;
use gemini_relay_core::KeySpec;
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Sends them; `folder` has the Worker's `wrangler.toml`. An error is a sentence for a person.
pub(crate) fn push(keys: &[KeySpec], folder: &Path) -> Result<(), String> {
    // Not the canonical path: on Windows npx.cmd does not start in one.
    let folder = std::path::absolute(folder)
        .ok()
        .filter(|folder| folder.join("wrangler.toml").is_file())
        .ok_or("--worker: there is no wrangler.toml in that folder; name the one that the Worker was deployed from")?;
    let list = ForAMoment::write(&std::env::temp_dir(), &list(keys))
        .map_err(|error| format!("the list cannot be written to a file of its own: {error}"))?;
    // From here on a signal ends wrangler, and this goes on to remove the file.
    stop::leave_to_children().map_err(|error| format!("signals cannot be waited for: {error}"))?;
    let status = Command::new(NPX)
        .args(["--yes", "wrangler", "kv", "key", "put", "--binding", "KV"])
        .args(["GEMINI_API_KEYS_CONFIG", "--path"])
        .arg(&list.0)
        .arg("--remote")
        .current_dir(&folder)
        .stdin(Stdio::null())
        .status()
        .map_err(|error| format!("{NPX} does not run ({error}); install Node 20 or newer"))?;
    if status.success() {
        Ok(())
    } else {
        Err(
            "wrangler did not take the keys: see above; perhaps `npx wrangler login` comes first"
                .to_owned(),
        )
    }
}

fn list(keys: &[KeySpec]) -> String {
    let entries: Vec<Value> = keys
        .iter()
        .map(|key| {
            let mut entry = json!({"value": key.text.expose(), "priority": key.priority, "weight": key.weight, "enabled": key.enabled});
            if let Some(entry) = entry.as_object_mut() {
                let named = [("label", &key.label), ("project", &key.project)];
                for (field, name) in named {
                    if let Some(name) = name {
                        entry.insert(field.to_owned(), json!(name));
                    }
                }
                for (field, names) in [("models", &key.models), ("tags", &key.tags)] {
                    if !names.is_empty() {
                        entry.insert(field.to_owned(), json!(names));
                    }
                }
            }
            entry
        })
        .collect();
    Value::from(entries).to_string()
}

/// A file that is its owner's alone, until this is dropped.
struct ForAMoment(PathBuf);

impl ForAMoment {
    fn write(folder: &Path, text: &str) -> std::io::Result<Self> {
        let path = folder.join(format!(".gemini-keys-{}.json", std::process::id()));
        let mut file = files::writing(true).create_new(true).open(&path)?;
        let written = Self(path);
        file.write_all(text.as_bytes())?;
        Ok(written)
    }
}

impl Drop for ForAMoment {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

const NPX: &str = if cfg!(windows) { "npx.cmd" } else { "npx" };

#[cfg(test)]
mod tests {
    use super::*;
    use gemini_relay_core::{KeyText, keylist};

    #[test]
    fn what_is_sent_is_read_as_the_same_pool() {
        let spec = KeySpec {
            label: Some("work".into()),
            project: Some("p".into()),
            priority: 2,
            weight: 3,
            models: vec!["gemini-2.5-*".into()],
            enabled: false,
            ..KeySpec::bare(KeyText::new("made-up-key-1").unwrap())
        };
        let other = KeySpec {
            label: Some("key_1".into()),
            ..KeySpec::bare(KeyText::new("made-up-key-2").unwrap())
        };
        let sent = list(&[spec.clone(), other.clone()]);
        let read = keylist::parse(sent.as_bytes()).unwrap();
        assert_eq!(keylist::merge([read]).keys, [spec, other]);
    }

    #[test]
    fn the_file_is_gone_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let file = ForAMoment::write(folder.path(), "[]").unwrap();
        let path = file.0.clone();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        drop(file);
        assert!(!path.exists());
    }
}
