//! The command line, made of the table of options.
//!
//! clap's own errors repeat what they did not understand, and what somebody typed in the wrong place
//! may be a key. So its findings are worded here, and only what is surely no secret is repeated.

use crate::options::table::OPTIONS;
use crate::options::{Kind, OptionSpec, Places, suggest};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command};
use gemini_relay_core::options::nearest;
use std::ffi::OsString;

/// The options given as flags, in order.
pub(crate) type Flags = Vec<(&'static OptionSpec, String)>;

/// What was asked for.
#[derive(Debug)]
pub(crate) enum Asked {
    Serve(FlagsOf),
    Config {
        flags: FlagsOf,
        json: bool,
    },
    Demo(FlagsOf),
    /// The keys, for the Worker that was deployed from this folder.
    PushKeys {
        flags: FlagsOf,
        folder: String,
    },
    /// A text for standard output.
    Show(String),
}

/// Flags, by the name of their option.
#[derive(Default)]
pub(crate) struct FlagsOf(pub(crate) Flags);

impl std::fmt::Debug for FlagsOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(spec, _)| spec.name))
            .finish()
    }
}

/// Understands the arguments; an error is a sentence for the person who typed them.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Asked, String> {
    let matches = match command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(e) if matches!(e.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            return Ok(Asked::Show(e.render().to_string()));
        }
        Err(e) => return Err(worded(&e)),
    };
    Ok(match matches.subcommand() {
        Some(("config", sub)) => Asked::Config {
            flags: flags(sub),
            json: sub.get_flag("json"),
        },
        Some(("demo", sub)) => Asked::Demo(flags(sub)),
        Some(("keys", sub)) => match sub.subcommand() {
            Some((_, push)) => Asked::PushKeys {
                flags: flags(push),
                folder: push
                    .get_one::<String>("worker")
                    .cloned()
                    .unwrap_or_default(),
            },
            None => return Err(KEYS_PUSH.to_owned()),
        },
        Some((_, sub)) => Asked::Serve(flags(sub)),
        None => Asked::Serve(flags(&matches)),
    })
}

fn flags(matches: &ArgMatches) -> FlagsOf {
    let given = OPTIONS
        .iter()
        .filter(|spec| spec.places != Places::NotAsFlag);
    FlagsOf(
        given
            .flat_map(|spec| {
                matches
                    .get_many::<String>(spec.name)
                    .into_iter()
                    .flatten()
                    .map(move |text| (spec, text.clone()))
            })
            .collect(),
    )
}

fn command() -> Command {
    Command::new("gemini-relay")
        .version(env!("CARGO_PKG_VERSION"))
        .about("One base URL in front of several Gemini API keys")
        .after_help(AFTER_HELP)
        .max_term_width(110)
        .args(
            OPTIONS
                .iter()
                .filter(|spec| spec.places != Places::NotAsFlag)
                .map(argument),
        )
        .subcommand(Command::new("serve").about("Serve; what happens without a command"))
        .subcommand(
            Command::new("config")
                .about("Show what holds, where each value came from, and no secret")
                .arg(
                    Arg::new("json")
                        .long("json")
                        .action(ArgAction::SetTrue)
                        .help("As JSON"),
                ),
        )
        .subcommand(
            Command::new("demo")
                .about("Try it without keys or network, against an emulated Gemini API"),
        )
        .subcommand(
            Command::new("keys")
                .about("Give the keys to a Worker: keys push --worker FOLDER")
                .subcommand(
                    Command::new("push")
                        .about("Put the keys into the KV of the Worker that was deployed from FOLDER")
                        .arg(
                            Arg::new("worker")
                                .long("worker")
                                .value_name("FOLDER")
                                .num_args(0..=1)
                                .default_missing_value(".")
                                .required(true)
                                .help("The folder with the Worker's wrangler.toml; without one, this folder"),
                        ),
                ),
        )
}

fn argument(spec: &'static OptionSpec) -> Arg {
    let help = format!(
        "{} [default: {}] [{}]",
        spec.help,
        spec.shown_default(),
        spec.variable()
    );
    let arg = Arg::new(spec.name)
        .long(spec.name)
        .value_name(spec.value)
        .help(help)
        .help_heading(spec.group)
        .global(true)
        .action(if spec.many {
            ArgAction::Append
        } else {
            ArgAction::Set
        });
    match spec.kind {
        Kind::Switch => arg
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("on"),
        // `-1s` is a wrong time and no unknown option.
        Kind::Duration | Kind::Size | Kind::Count => arg.allow_hyphen_values(true),
        _ => arg,
    }
}

fn worded(error: &clap::Error) -> String {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => texts.first().cloned(),
        _ => None,
    };
    let argument = context(ContextKind::InvalidSubcommand)
        .or_else(|| context(ContextKind::InvalidArg))
        .unwrap_or_default();
    match error.kind() {
        ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand => unknown(&argument),
        ErrorKind::InvalidValue
        | ErrorKind::NoEquals
        | ErrorKind::WrongNumberOfValues
        | ErrorKind::TooFewValues => {
            format!("{} needs a value", name_of(&argument))
        }
        ErrorKind::ArgumentConflict => {
            format!("{} was given twice; it takes one value", name_of(&argument))
        }
        ErrorKind::InvalidUtf8 => "an argument is not UTF-8".to_owned(),
        ErrorKind::TooManyValues => format!("{} takes no value", name_of(&argument)),
        ErrorKind::MissingRequiredArgument => KEYS_PUSH.to_owned(),
        _ => "the arguments were not understood; see `gemini-relay help`".to_owned(),
    }
}

/// `--listen <ADDRESS:PORT>` without what follows the name.
fn name_of(argument: &str) -> &str {
    argument.split([' ', '=', '[']).next().unwrap_or_default()
}

fn unknown(argument: &str) -> String {
    let name = name_of(argument);
    let shown = |name: &str| {
        name.len() <= 24
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b == b'-' || b == b'_')
    };
    if !name.starts_with('-') {
        let near = nearest(name, ["serve", "config", "demo", "keys", "help"]);
        return match near {
            Some(near) => format!("there is no such command; did you mean `gemini-relay {near}`?"),
            None => "an argument belongs to no option (not shown, it might be a key); \
                     keys come from files (--keys FILE) or from GEMINI_API_KEYS"
                .to_owned(),
        };
    }
    if name == "--tokens" || name == "--token" {
        return format!(
            "{name}: arguments are seen by everybody on the machine; use GEMINI_RELAY_TOKENS or --tokens-file FILE"
        );
    }
    let named = if shown(name) {
        format!("there is no option {name}")
    } else {
        "there is no such option".to_owned()
    };
    match suggest::option(name) {
        Some("tokens") => format!("{named}; did you mean --tokens-file?"),
        Some(near) => format!("{named}; did you mean --{near}?"),
        None => format!("{named}; see `gemini-relay help`"),
    }
}

const KEYS_PUSH: &str = "say where they go: gemini-relay keys push --worker FOLDER, the one with the Worker's wrangler.toml";

// The terminal's width breaks the lines.
const AFTER_HELP: &str = "\
Each option is also a variable (in brackets above) and a line of gemini-relay.toml; a flag wins over a \
variable, and a variable over the file.
Client tokens: --tokens-file, or GEMINI_RELAY_TOKENS=name=SECRET,...
Keys: --keys FILE, GEMINI_API_KEYS=KEY,KEY, ./gemini-keys.json or ./gemini.keys; they add up.";
