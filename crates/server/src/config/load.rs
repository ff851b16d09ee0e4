//! From the process's surroundings to the layers of options. The one place that looks at them.

use crate::cli::Flags;
use crate::options::layers::{self, OptionsFile, Resolved};
use crate::options::{ConfigError, show};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Reads flags, variables and the file into one.
pub(crate) fn load(
    flags: Flags,
    variables: &[(OsString, OsString)],
) -> Result<Resolved, ConfigError> {
    let flags = layers::from_flags(flags);
    let variables = layers::from_variables(variables)?;
    let named = [&flags, &variables]
        .into_iter()
        .find_map(|layer| layer.get("config")?.last());
    let file = match named {
        Some(given) => Some(read(Path::new(&given.text)).map_err(|e| {
            ConfigError(format!(
                "{}: {} cannot be read ({e}); name a file that is there",
                given.origin,
                show::path(&given.text)
            ))
        })?),
        None => match read(Path::new(USUAL_FILE)) {
            Ok(file) => Some(file),
            Err(e) if e.kind() == ErrorKind::NotFound => None,
            Err(e) => {
                return Err(ConfigError(format!(
                    "{USUAL_FILE}: it is there and cannot be read ({e})"
                )));
            }
        },
    };
    let file = file
        .as_ref()
        .map(layers::from_file)
        .transpose()?
        .unwrap_or_default();
    Ok(layers::resolve([flags, variables, file]))
}

fn read(path: &Path) -> std::io::Result<OptionsFile> {
    let text = std::fs::read_to_string(path)?;
    let text = text
        .strip_prefix('\u{feff}')
        .map(str::to_owned)
        .unwrap_or(text);
    Ok(OptionsFile {
        path: PathBuf::from(path),
        text,
    })
}

const USUAL_FILE: &str = "gemini-relay.toml";
