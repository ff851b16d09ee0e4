//! Tables that repeat and pictures that are well-formed.

use super::*;
use crate::scenario::{self, Size};

fn found(name: &str) -> Found {
    let scenario = scenario::ALL
        .iter()
        .find(|scenario| scenario.name == name)
        .unwrap()
        .sized(Size::Quick);
    compare(scenario, &scenario.setting(Size::Quick, 5), &mut |_, _| {})
}

fn text(found: Found) -> String {
    let found = [found];
    summary(&found, &bars(&found)) + &figures(&found[0])
}

#[test]
fn the_same_seed_gives_the_same_table_and_the_same_picture() {
    assert_eq!(text(found("hidden")), text(found("hidden")));
    assert_eq!(plot(&found("hidden")), plot(&found("hidden")));
}

#[test]
fn every_row_of_a_table_has_as_many_cells_as_its_head() {
    let text = text(found("stampede"));
    let mut cells = 0;
    for line in text.lines() {
        let count = line.matches('|').count();
        if !line.starts_with('|') {
            cells = 0;
        } else if cells == 0 {
            cells = count;
        } else {
            assert_eq!(count, cells, "{line}");
        }
    }
}

#[test]
fn plots_are_well_formed_and_say_what_they_show() {
    for name in ["agent", "stampede", "embed"] {
        let svg = plot(&found(name));
        well_formed(&svg);
        for word in [
            "Served",
            "turns a minute",
            "Added wait",
            "seconds",
            "time of day in Los Angeles",
            "omniscient",
            "offered",
            "prefers-color-scheme:dark",
        ] {
            assert!(svg.contains(word), "{name}: {word}");
        }
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{name}");
    }
}

#[test]
fn plots_of_titles_with_signs_are_well_formed() {
    let mut odd = found("agent");
    odd.scenario.title = "a < b & \"c\"";
    well_formed(&plot(&odd));
}

/// Every element is closed in order, and every attribute quoted.
#[track_caller]
fn well_formed(svg: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = svg;
    while let Some((text, tail)) = rest.split_once('<') {
        assert!(
            open.last() == Some(&"style") || !text.contains('>'),
            "a sign stands in a text: {text}"
        );
        for (at, _) in text.match_indices('&') {
            let names = ["&amp;", "&lt;", "&gt;", "&quot;"];
            assert!(
                names.iter().any(|name| text[at..].starts_with(name)),
                "{text}"
            );
        }
        let (tag, after) = tail.split_once('>').expect("a tag is open at the end");
        rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name));
            continue;
        }
        let (tag, closed) = tag
            .strip_suffix('/')
            .map_or((tag, false), |tag| (tag, true));
        let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        let mut left = attributes.trim();
        while !left.is_empty() {
            let (attribute, tail) = left
                .split_once("=\"")
                .expect("an attribute without a value");
            assert!(
                !attribute.is_empty() && !attribute.contains(['"', ' ']),
                "{tag}"
            );
            let (_, tail) = tail.split_once('"').expect("a value is open");
            left = tail.trim_start();
        }
        if !closed {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?}");
    assert!(rest.trim().is_empty());
}
