use super::*;

fn texts(list: &KeyList) -> Vec<&str> {
    list.entries.iter().map(|e| e.text.expose()).collect()
}

#[track_caller]
fn reads(input: &str, expected: &[&str]) {
    assert_eq!(texts(&parse(input.as_bytes()).unwrap()), expected);
}

#[track_caller]
fn fails(input: &str, line: usize, words: &str) {
    let error = parse(input.as_bytes()).unwrap_err();
    let said = error.to_string();
    assert_eq!(error.line.unwrap_or(0), line, "{said}");
    assert!(said.contains(words), "{said}");
    assert!(!said.contains("made-up"), "{said}");
}

#[test]
fn every_shape_is_told_apart_by_content() {
    reads(
        r#"[{"key": "key_0", "value": "made-up-1"}]"#,
        &["made-up-1"],
    );
    reads(
        r#"{"keys": ["made-up-1", {"value": "made-up-2"}]}"#,
        &["made-up-1", "made-up-2"],
    );
    reads(
        r#" ["made-up-1","made-up-2"] "#,
        &["made-up-1", "made-up-2"],
    );
    reads(r#"{"value": "made-up-1", "project": 123}"#, &["made-up-1"]);
    reads(
        "made-up-1\n\n# a comment\nmade-up-2 # mine\r\n\tmade#up-3",
        &["made-up-1", "made-up-2", "made#up-3"],
    );
    reads("", &[]);
    reads("[]", &[]);
}

#[test]
fn the_full_form_is_read_whole() {
    let list = parse(
        br#"[
          {"value": "made-up-1", "label": "home", "project": "p-1", "priority": 2, "weight": 3,
           "tags": ["a", "b"], "enabled": false, "models": ["gemini-2.5-*"]},
          {"value": "made-up-2", "key": "work", "project": null}
        ]"#,
    )
    .unwrap();
    let [first, second] = list.entries.as_slice() else {
        panic!("two entries")
    };
    assert_eq!(
        (first.label.as_deref(), first.project.as_deref()),
        (Some("home"), Some("p-1"))
    );
    assert_eq!(
        (first.priority, first.weight, first.enabled),
        (Some(2), Some(3), Some(false))
    );
    assert_eq!(
        first.models.as_deref(),
        Some(&["gemini-2.5-*".to_owned()][..])
    );
    assert_eq!((first.line, second.line), (2, 4));
    assert_eq!(
        (second.label.as_deref(), second.project.as_deref()),
        (Some("work"), None)
    );
}

#[test]
fn any_encoding_a_shell_or_editor_writes_is_read() {
    let text = "made-up-1\r\nmade-up-2\r\n";
    let le: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let be: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let marked = |mark: &[u8], bytes: &[u8]| [mark, bytes].concat();
    for bytes in [
        marked(&[0xEF, 0xBB, 0xBF], text.as_bytes()),
        marked(&[0xFF, 0xFE], &le),
        marked(&[0xFE, 0xFF], &be),
        le,
        be,
    ] {
        assert_eq!(texts(&parse(&bytes).unwrap()), ["made-up-1", "made-up-2"]);
    }
}

#[test]
fn an_error_says_the_line_and_the_remedy_and_shows_no_key() {
    fails("made-up-1\nmade-up 2", 2, "one key a line");
    fails(
        "made-up-1\nexport GEMINI_API_KEY=made-up-2",
        2,
        "write the key alone",
    );
    fails("made-up-1,made-up-2", 1, "one key a line");
    fails("[\n\"made-up-1\",\n]", 3, "remove it");
    fails("[\n\"made-up-1\"\n", 3, "ends too early");
    fails("['made-up-1']", 1, "double quotes");
    fails("[\n// made-up-1\n]", 2, "no comments");
    fails("[\"made-up-1\"]\n[\"made-up-2\"]", 2, "remove what follows");
    fails(
        "[\n {\"value\": \"made-up-1\"},\n {\"value\": \"made-up-2\", \"proiect\": \"a\"}]",
        3,
        "perhaps \"project\"",
    );
    fails(r#"[{"apiKey": "made-up-1"}]"#, 1, "perhaps \"value\"");
    fails(r#"[{"key": "made-up-1"}]"#, 1, "\"key\" is the label");
    fails(r#"[{"label": "made-up-1"}]"#, 1, "without a key");
    fails(r#"[{"made-up-1": "key_0"}]"#, 1, "not known");
    fails(
        "{\"keys\":\n[\n\"made-up-1\",\n\"a, ] \\\" b\"]}",
        4,
        "copy it again",
    );
    fails(r#"{"key_0": "made-up-1"}"#, 0, "not a list of keys");
    fails(r#"{"keys": "made-up-1"}"#, 0, "\"keys\" takes a list");
    fails(
        "{\"keys\": [\"made-up-1\", \"a:\\\"b\"],\n\"made-up-2\": 1}",
        2,
        "nothing else belongs here",
    );
    fails(
        "{\n\"x\": {\"keys\": 1}, \"k\\u0065ys\": [\"made-up-1\"]}",
        2,
        "nothing else belongs here",
    );
    fails(
        r#"[{"value": "made-up-1", "weight": 0}]"#,
        1,
        "\"enabled\": false",
    );
    fails(
        r#"[{"value": "made-up-1", "enabled": "made-up-1"}]"#,
        1,
        "true or false",
    );
    fails("[\"made-up-1\",\n7]", 2, "in double quotes");
}

#[test]
fn nothing_that_was_written_is_lost_without_a_word() {
    fails(
        "[{\"value\": \"made-up-1\",\n\"value\": \"made-up-2\"}]",
        2,
        "\"value\" stands twice",
    );
    fails(
        "[{\"value\": \"made-up-1\", \"weight\": 2,\n \"w\\u0065ight\": 3}]",
        2,
        "\"weight\" stands twice",
    );
    fails(
        "{\"keys\": [\"made-up-1\"],\n\n\"keys\": [\"made-up-2\"]}",
        3,
        "\"keys\" stands twice",
    );
    fails(
        "{\"made-up-1\": 1,\n\"made-up-1\": 2}",
        2,
        "the same field twice",
    );
    fails(
        "[\"made-up-1\",\n{\"key\": \"a\", \"label\": \"b\", \"value\": \"made-up-2\"}]",
        2,
        "\"key\" and \"label\" are both the label",
    );
    reads(
        r#"[{"key": "a", "label": "a", "value": "made-up-1"}, {"key": "a", "value": "made:up-2"}]"#,
        &["made-up-1", "made:up-2"],
    );
}

#[test]
fn a_single_word_of_json_is_no_key() {
    for text in [
        "null",
        "true\n",
        " false",
        "12345",
        "-1.5e3",
        "\"made-up-1\"",
    ] {
        fails(text, 0, "not a list of keys");
        let error = parse_variable(text).unwrap_err();
        assert_eq!(error.problem, Problem::NotAList, "{text}");
    }
    reads("null-made-up\n", &["null-made-up"]);
}

#[test]
fn a_key_that_is_for_no_model_is_not_taken_for_one_of_all() {
    fails(
        "[\"made-up-1\",\n{\"value\": \"made-up-2\", \"models\": []}]",
        2,
        "leave it out for all of them",
    );
}

#[test]
fn another_kind_of_file_is_no_list_of_keys() {
    for (text, line) in [
        ("root:x:0:0:root:/root:/bin/bash\nmade-up", 1),
        ("made-up-1\nmade-up;2;3", 2),
        ("<!doctype>", 1),
        ("# made up\nsomeone@made-up.example", 2),
    ] {
        fails(text, line, "is it the right file?");
    }
    fails(
        "-----BEGIN PRIVATE KEY-----\nbWFkZSB1cA==",
        1,
        "is it the right file?",
    );
    fails("127.0.0.1 localhost", 1, "one key a line");
    fails("made-up-1\nmade-up-2 made-up-3", 2, "one key a line");
    let error = parse(b"\x7fELF\x02\x01\x01\x00\xff\xfe").unwrap_err();
    assert!(
        error.to_string().contains("is it the right file?"),
        "{error}"
    );
    reads("aZ09-_.~+/=made-up", &["aZ09-_.~+/=made-up"]);
}

#[test]
fn a_key_is_never_taken_for_a_name() {
    fails(
        r#"[{"key": "made-up-1", "value": "made-up-1"}]"#,
        1,
        "write a name",
    );
    fails(
        r#"[{"label": "the made-up-1", "value": "made-up-1"}]"#,
        1,
        "write a name",
    );
    fails(
        "[\"made-up-2\",\n{\"project\": \"made-up-2\", \"value\": \"made-up-1\"}]",
        2,
        "write a name",
    );
}

#[test]
fn what_looks_like_a_key_is_met_anywhere_in_a_name() {
    for key in [
        "AIza-made-up-key-of-thirty-letters",
        "AQ.made-up-key-of-thirty-letters",
    ] {
        for name in ["", "old-", "old", "backup:", "u:", "é/"] {
            for after in ["", "/x", " x", "-AIza"] {
                let name = format!("{name}{key}{after}");
                assert!(is_secret(&name, &Secrets::default()), "{name}");
                let list = format!(r#"[{{"label": "{name}", "value": "made-up-1"}}]"#);
                fails(&list, 1, "write a name");
            }
        }
    }
    for name in ["AIza", "the AIza-one of many words that come", "FAQ.of-us"] {
        assert!(!is_secret(name, &Secrets::default()), "{name}");
    }
}

#[test]
fn what_is_too_much_is_refused_before_it_is_read() {
    let error = parse(&vec![b'k'; 17 * 1024 * 1024]).unwrap_err();
    assert_eq!(error.problem, Problem::TooLarge);
    let many: String = (0..=100_000).map(|n| format!("k{n}\n")).collect();
    assert_eq!(
        parse(many.as_bytes()).unwrap_err().problem,
        Problem::TooMany
    );
}

#[test]
fn a_variable_takes_commas_spaces_and_newlines_and_json() {
    for text in [
        "made-up-1,made-up-2",
        "made-up-1 made-up-2\n",
        " made-up-1,\n made-up-2,",
        r#"["made-up-1","made-up-2"]"#,
    ] {
        assert_eq!(
            texts(&parse_variable(text).unwrap()),
            ["made-up-1", "made-up-2"]
        );
    }
}

#[test]
fn a_key_in_two_lists_is_one_key_and_each_list_says_its_part() {
    let first = parse(b"made-up-1\nmade-up-2").unwrap();
    let second = parse(
        br#"[{"value": "made-up-2", "label": "home", "project": "p", "weight": 4},
             {"value": "made-up-2", "label": "other", "enabled": false}]"#,
    )
    .unwrap();
    let merged = merge([first, second]);
    assert_eq!(merged.keys.len(), 2);
    let key = &merged.keys[1];
    assert_eq!(
        (
            key.label.as_deref(),
            key.project.as_deref(),
            key.weight,
            key.enabled
        ),
        (Some("home"), Some("p"), 4, false)
    );
    assert_eq!(merged.duplicates.len(), 2);
    assert_eq!(
        merged.duplicates[0],
        Duplicate {
            label: "home".into(),
            first: Place { list: 0, line: 2 },
            again: Place { list: 1, line: 1 },
            ignored: Vec::new(),
        }
    );
}

#[test]
fn what_contradicts_what_was_said_of_a_key_before_is_named() {
    let list = parse(
        br#"["made-up-1", {"value": "made-up-1", "project": "a", "weight": 2},
             {"value": "made-up-1", "project": "a", "label": "home"},
             {"value": "made-up-1", "project": "b", "weight": 5, "label": "made:up", "tags": ["x"]}]"#,
    )
    .unwrap();
    let merged = merge([list]);
    assert_eq!(merged.keys[0].project.as_deref(), Some("a"));
    assert_eq!(merged.keys[0].weight, 2);
    let said: Vec<_> = merged
        .duplicates
        .iter()
        .map(Duplicate::contradiction)
        .collect();
    assert_eq!(
        said,
        [
            None,
            None,
            Some(
                "says something else of its label, project and weight, which is ignored".to_owned()
            )
        ]
    );
}

#[test]
fn labels_are_each_keys_own() {
    let first =
        parse(br#"[{"key": "key_1", "value": "made-up-1"}, "made-up-2", "made-up-3"]"#).unwrap();
    let second = parse(
        br#"[{"key": "key_1", "value": "made-up-4"}, {"key": "key_1", "value": "made-up-5"}]"#,
    )
    .unwrap();
    let merged = merge([first, second]);
    let labels: Vec<_> = merged
        .keys
        .iter()
        .filter_map(|k| k.label.as_deref())
        .collect();
    assert_eq!(labels, ["key_1", "key_6", "key_2", "key_1-2", "key_1-3"]);
    assert_eq!(merged.renamed.len(), 2);
    assert_eq!(
        (
            merged.renamed[0].from.as_str(),
            merged.renamed[0].to.as_str()
        ),
        ("key_1", "key_1-2")
    );
}

#[cfg(not(target_arch = "wasm32"))]
mod properties {
    use super::*;
    use proptest::prelude::*;

    fn shaped() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("[".to_owned()),
            Just("]".to_owned()),
            Just("{".to_owned()),
            Just("}".to_owned()),
            Just(",".to_owned()),
            Just(":".to_owned()),
            Just("\n".to_owned()),
            Just("\"keys\"".to_owned()),
            Just("\"value\"".to_owned()),
            Just("\"key\"".to_owned()),
            Just("\"tags\"".to_owned()),
            Just("'".to_owned()),
            Just("#".to_owned()),
            Just("7".to_owned()),
            Just("true".to_owned()),
            Just("\"Kq9zKq9z-1\"".to_owned()),
            Just("Kq9zKq9z-2".to_owned()),
            "[ -~]{0,6}",
        ];
        proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn no_error_shows_a_key_in_any_shape(text in shaped()) {
            if let Err(error) = parse(text.as_bytes()) {
                let said = format!("{error} {error:?}");
                prop_assert!(!said.contains("Kq9z"), "{}", said);
            }
        }

        #[test]
        // A key begins with no dash: a certificate does, and is refused as one. Nor is it a number or `null`.
        fn a_list_is_the_same_in_every_shape(keys in proptest::collection::vec("[A-Z_.][A-Za-z0-9_.-]{0,39}", 1..20)) {
            let wanted: Vec<&str> = keys.iter().map(String::as_str).collect();
            let json = serde_json::to_string(&keys).unwrap();
            for text in [keys.join("\n"), json.clone(), format!("{{\"keys\":{json}}}")] {
                let list = parse(text.as_bytes()).unwrap();
                prop_assert_eq!(texts(&list), wanted.clone());
            }
            let merged = merge([parse(json.as_bytes()).unwrap(), parse(json.as_bytes()).unwrap()]);
            let distinct: std::collections::HashSet<_> = wanted.iter().collect();
            prop_assert_eq!(merged.keys.len(), distinct.len());
            let labels: std::collections::HashSet<_> = merged.keys.iter().map(|k| &k.label).collect();
            prop_assert_eq!(labels.len(), distinct.len());
        }
    }
}
