//! `docs/defaults.md`, made of the table and held to it.

use super::table::OPTIONS;
use super::{OptionSpec, Places};
use std::fmt::Write;
use std::path::Path;

fn page() -> String {
    let mut page = String::from(
        "# Options and their defaults\n\n\
         This page is made from the table in `crates/server/src/options/table.rs`; a test holds it to that.\n\n\
         Each option is a flag, a variable and a line of `gemini-relay.toml`, the nearest winning in that order.\n\
         `gemini-relay config` shows what holds and where each value came from.\n\n\
         Times are written `500ms`, `30s`, `10m`, `1h`; sizes `512KB`, `64MB`, `1GiB`; switches `on` and `off`.\n\
         Lists are repeated flags, `[\"a\", \"b\"]` in the file, and in a variable separated by commas\n\
         (files by the platform's path separator). Files named in `gemini-relay.toml` are taken from where it lies.\n",
    );
    let mut group = "";
    for spec in OPTIONS {
        if spec.group != group {
            group = spec.group;
            let _ = write!(page, "\n## {group}\n");
        }
        entry(&mut page, spec);
    }
    page
}

fn entry(page: &mut String, spec: &OptionSpec) {
    let flag =
        (spec.places != Places::NotAsFlag).then(|| format!("`--{} {}`", spec.name, spec.value));
    let line = (spec.places != Places::NotInFile).then(|| format!("`{} =`", spec.name));
    let places: Vec<String> = [flag, Some(format!("`{}`", spec.variable())), line]
        .into_iter()
        .flatten()
        .collect();
    let repeatable = if spec.many { " · may be repeated" } else { "" };
    let default = if spec.otherwise.is_empty() {
        format!("`{}`", spec.default)
    } else {
        spec.otherwise.to_owned()
    };
    let _ = write!(
        page,
        "\n### {}\n\n{}{repeatable}\n\n{}.\n\nDefault: {default}. {}\n",
        spec.name,
        places.join(" · "),
        spec.help,
        spec.why,
    );
}

#[test]
fn the_page_of_defaults_is_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/defaults.md");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, page()).unwrap();
    }
    let written = std::fs::read_to_string(&path)
        .unwrap_or_default()
        .replace("\r\n", "\n");
    assert_eq!(
        written,
        page(),
        "run this test with UPDATE_GOLDEN=1 to write docs/defaults.md anew"
    );
}

#[test]
fn every_option_says_all_there_is_to_say() {
    for spec in OPTIONS {
        assert!(
            !spec.help.is_empty() && !spec.why.is_empty() && !spec.group.is_empty(),
            "{}",
            spec.name
        );
        assert!(!spec.shown_default().is_empty(), "{}", spec.name);
        assert!(spec.why.ends_with(['.', ')']), "{}", spec.name);
    }
}
