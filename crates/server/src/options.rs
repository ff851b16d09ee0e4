//! Every option, told once.
//!
//! An option can be given as a flag, as a variable and as a line of `gemini-relay.toml`; it has a
//! help text, a default and a reason for that default. Written in five places these drift apart, so
//! here they are one row of one table ([`table::OPTIONS`]), and everything else is made of it: the
//! flags, the names of the variables, what `gemini-relay config` prints, `--help`, and
//! `docs/defaults.md`.
//!
//! Texts stay texts until [`crate::config`] checks them. What is kept beside each is where it came
//! from, since "30 is not a duration" helps nobody who has three places to look in.

pub(crate) mod layers;
#[cfg(test)]
mod page;
pub(crate) mod show;
pub(crate) mod suggest;
pub(crate) mod table;
pub(crate) mod value;

use std::fmt;
use std::path::PathBuf;

pub(crate) use layers::Resolved;

/// One row of the table.
pub(crate) struct OptionSpec {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Whether it may be given several times.
    pub(crate) many: bool,
    /// As one would write it; empty when there is none.
    pub(crate) default: &'static str,
    /// What happens without it, where the default is no text that could be written.
    pub(crate) otherwise: &'static str,
    /// What stands for the value in the help.
    pub(crate) value: &'static str,
    pub(crate) group: &'static str,
    pub(crate) places: Places,
    pub(crate) help: &'static str,
    /// Why the default is what it is.
    pub(crate) why: &'static str,
}

impl OptionSpec {
    /// The name of its variable.
    pub(crate) fn variable(&self) -> String {
        format!(
            "{PREFIX}{}",
            self.name.replace('-', "_").to_ascii_uppercase()
        )
    }

    pub(crate) fn is_secret(&self) -> bool {
        matches!(self.kind, Kind::Tokens)
    }

    /// The default as people are told it.
    pub(crate) fn shown_default(&self) -> &'static str {
        if self.otherwise.is_empty() {
            self.default
        } else {
            self.otherwise
        }
    }
}

/// What kind of text an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Listen,
    Upstream,
    BasePath,
    Proxy,
    Origin,
    Host,
    Duration,
    Size,
    Count,
    /// Off unless said: `--name` alone turns it on.
    Switch,
    /// On unless said.
    OnOff,
    Choice(&'static [&'static str]),
    Path,
    /// A file, or one of these words.
    PathOr(&'static [&'static str]),
    Tokens,
}

impl Kind {
    pub(crate) fn is_path(self) -> bool {
        matches!(self, Self::Path | Self::PathOr(_))
    }
}

/// Where an option may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Places {
    All,
    /// Arguments are seen by everybody on the machine.
    NotAsFlag,
    /// What names the file cannot stand in it.
    NotInFile,
}

/// A text and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) text: String,
    pub(crate) origin: Origin,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Flag(&'static str),
    Variable(String),
    File {
        path: PathBuf,
        line: usize,
        name: &'static str,
    },
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "--{name}"),
            Self::Variable(name) => f.write_str(name),
            Self::File { path, line, .. } => write!(f, "{}:{line}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A configuration that cannot be used: where that was said, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfigError(pub(crate) String);

impl ConfigError {
    /// An unusable value.
    pub(crate) fn value(spec: &OptionSpec, given: &Given, remedy: &str) -> Self {
        let shown = show::one(spec, &given.text);
        let name = match &given.origin {
            Origin::File { name, .. } => format!(" {name} ="),
            _ => String::new(),
        };
        Self(format!(
            "{}:{name} {shown} cannot be used: {remedy}",
            given.origin
        ))
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// What the names of all variables begin with.
pub(crate) const PREFIX: &str = "GEMINI_RELAY_";
