//! Into `docs/quota.md`, between its marks, and its plots beside it.

use super::{Found, plot};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why the page could not be written.
#[derive(Debug)]
pub enum PageError {
    /// It has no place for figures.
    NoMarks(PathBuf),
    /// The disk, or whoever owns it, says no.
    Io(PathBuf, io::Error),
}

impl fmt::Display for PageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMarks(path) => write!(
                f,
                "{} lacks {BEGIN} and {END}: put them where the figures belong",
                path.display()
            ),
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for PageError {}

/// Writes figures and plots.
///
/// # Errors
/// [`PageError`] when there is no such page, when it has no marks, or when it cannot be written.
pub fn write(page: &Path, figures: &str, found: &[Found]) -> Result<(), PageError> {
    let text = std::fs::read_to_string(page).map_err(|error| PageError::Io(page.into(), error))?;
    let text = between(&text, figures).ok_or_else(|| PageError::NoMarks(page.into()))?;
    let folder = page.with_extension("");
    std::fs::create_dir_all(&folder).map_err(|error| PageError::Io(folder.clone(), error))?;
    for found in found {
        let file = folder.join(found.scenario.name).with_extension("svg");
        std::fs::write(&file, plot(found)).map_err(|error| PageError::Io(file, error))?;
    }
    std::fs::write(page, text).map_err(|error| PageError::Io(page.into(), error))
}

fn between(page: &str, figures: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!(
        "{before}{BEGIN}\n\n{}\n\n{END}{after}",
        figures.trim()
    ))
}

const BEGIN: &str = "<!-- cargo xtask sim --write: begin -->";
const END: &str = "<!-- cargo xtask sim --write: end -->";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_replace_what_was_between_the_marks() {
        let page = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        let new = between(&page, "new\n").unwrap();
        assert!(new.contains("new") && !new.contains("old"));
        assert_eq!(between(&new, "new").unwrap(), new);
        assert_eq!(between("no marks", "new"), None);
    }
}
