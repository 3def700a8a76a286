//! Both YAML readers held to the same items.

use proptest::prelude::*;

use super::super::file::{Limits, ReadError};
use super::*;

fn read(text: &str) -> Result<ConfigFile<'_>, ReadError> {
    ConfigFile::read(text, &Limits::for_bytes(text.len()))
}

/// A scalar as written, and what a line that holds it must contain.
fn scalar() -> impl Strategy<Value = (String, String)> {
    let word = "[a-z][a-z0-9./]{0,8}";
    prop_oneof![
        word.prop_map(|word| (word.clone(), word)),
        word.prop_map(|word| (format!("'{word}'"), word)),
        word.prop_map(|word| (format!("'{word}''s'"), word)),
        word.prop_map(|word| (format!("\"{word}\\t\\u0041\""), word)),
        word.prop_map(|word| (format!("\"{word}: # [\""), word)),
        word.prop_map(|word| (format!("&a {word}"), word)),
        (0_u32..1_000_000).prop_map(|number| (number.to_string(), number.to_string())),
        prop::sample::select(vec!["true", "null", "~", "1.5", "-7", "10.0.0.0/8", "é"])
            .prop_map(|text| (text.into(), text.into())),
    ]
}

/// Something between two lines.
fn gap() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "",
        "",
        "\n",
        "# it's \"a [comment]\n",
        "  # é: - x\n",
        " \n",
    ])
}

type Item = ((String, String), &'static str);

#[derive(Debug, Clone)]
enum Written {
    Scalar((String, String)),
    NextLine((String, String)),
    Block(Vec<Item>, bool),
    Flow(Vec<Item>),
    BlockScalar(String),
    Nested(String),
    Mapping(String),
}

fn written() -> impl Strategy<Value = Written> {
    let items = || proptest::collection::vec((scalar(), gap()), 1..6);
    prop_oneof![
        scalar().prop_map(Written::Scalar),
        scalar().prop_map(Written::NextLine),
        (items(), any::<bool>()).prop_map(|(items, indented)| Written::Block(items, indented)),
        items().prop_map(Written::Flow),
        "[a-z]{1,5}".prop_map(Written::BlockScalar),
        "[a-z]{1,5}".prop_map(Written::Nested),
        "[a-z]{1,5}".prop_map(Written::Mapping),
    ]
}

/// Writes an entry, and notes what must be found where.
fn write(entry: usize, value: &Written, text: &mut String, expected: &mut Vec<(At, String)>) {
    let key = format!("key{entry}");
    text.push_str(&key);
    expected.push((At::key(entry), key));
    match value {
        Written::Scalar((written, shown)) => {
            text.push_str(&format!(": {written} # c\n"));
            expected.push((At::value(entry), shown.clone()));
        }
        Written::NextLine((written, shown)) => {
            text.push_str(&format!(":\n\n  {written}\n"));
            expected.push((At::value(entry), shown.clone()));
        }
        Written::Block(items, indented) => {
            text.push_str(":\n");
            let indent = if *indented { "  " } else { "" };
            for (index, ((written, shown), gap)) in items.iter().enumerate() {
                text.push_str(&format!("{gap}{indent}- {written}\n"));
                expected.push((At::item(entry, index), shown.clone()));
            }
        }
        Written::Flow(items) => {
            text.push_str(": [\n");
            for (index, ((written, shown), gap)) in items.iter().enumerate() {
                text.push_str(&format!(" {written} ,\n{gap}"));
                expected.push((At::item(entry, index), shown.clone()));
            }
            text.push_str(" ]\n");
        }
        Written::BlockScalar(word) => {
            text.push_str(&format!(": |\n  {word}\n  - {word}: [\n"));
        }
        Written::Nested(word) => {
            text.push_str(&format!(":\n- - {word}\n  - {{a: [{word}]}}\n- zz{word}\n"));
            expected.push((At::item(entry, 1), format!("zz{word}")));
        }
        Written::Mapping(word) => {
            text.push_str(&format!(":\n  {word}:\n    - {word}\n  b0: {word}\n"));
        }
    }
}

fn line_of(text: &str, line: usize) -> &str {
    text.split('\n').nth(line - 1).unwrap_or_default()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn each_line_holds_what_serde_yaml_read(
        entries in proptest::collection::vec((written(), gap()), 1..8),
        crlf: bool,
    ) {
        let (mut text, mut expected) = (String::new(), Vec::new());
        for (entry, (value, gap)) in entries.iter().enumerate() {
            text.push_str(gap);
            write(entry, value, &mut text, &mut expected);
        }
        if crlf {
            text = text.replace('\n', "\r\n");
        }
        let file = read(&text).map_err(|error| TestCaseError::fail(format!("{error}: {text}")))?;
        prop_assert_eq!(file.entries.len(), entries.len());
        let wanted: Vec<At> = expected.iter().map(|(at, _)| *at).collect();
        for ((at, shown), line) in expected.iter().zip(lines(&text, &file, &wanted)) {
            let line = line.ok_or_else(|| TestCaseError::fail(format!("no line for {at:?} of {text:?}")))?;
            prop_assert!(line_of(&text, line).contains(shown.as_str()), "{:?}: line {} of {:?}", at, line, text);
        }
    }

    #[test]
    fn any_text_has_lines_or_none(text in "[a-z:\\[\\]{}, \n\t'\"&*!|>#%@-]{0,80}") {
        let Ok(file) = read(&text) else {
            return Ok(());
        };
        let wanted: Vec<At> = (0..file.entries.len())
            .flat_map(|entry| [At::key(entry), At::value(entry), At::item(entry, 0)])
            .collect();
        let found = lines(&text, &file, &wanted);
        prop_assert_eq!(found.len(), wanted.len());
        for (at, line) in wanted.iter().zip(found) {
            let key = &file.entries[at.entry].key;
            if let (Some(line), Part::Key, Node::Text(key)) = (line, at.part, key) {
                let first = key.text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
                prop_assert!(line_of(&text, line).contains(first), "{:?} on line {} of {:?}", key.text, line, text);
            }
        }
    }
}

#[test]
fn where_the_readers_disagree_no_line_is_given() {
    let text = "a: 1\nb: 2\nc: 3\n";
    let other = read("a: 1\nx: 2\nc: 3\n").unwrap();
    let wanted = [At::key(0), At::key(1), At::key(2)];
    assert_eq!(lines(text, &other, &wanted), [Some(1), None, None]);
    // libyaml takes U+2028 for the end of a line, and so of this comment.
    let text = "a: 1 #\u{2028}b: 2\nc: 3\n";
    let file = read(text).unwrap();
    assert_eq!(file.entries.len(), 3);
    assert_eq!(
        lines(text, &file, &[At::key(0), At::key(1), At::key(2)]),
        [Some(1), None, None]
    );
}

#[test]
fn an_alias_stands_where_it_is_written() {
    let text = "a: &x [1]\nb:\n- *x\n- 2\nc: *x\n";
    let file = read(text).unwrap();
    let wanted = [At::item(1, 0), At::item(1, 1), At::value(2), At::item(2, 0)];
    assert_eq!(
        lines(text, &file, &wanted),
        [Some(3), Some(4), Some(5), None]
    );
}

#[test]
fn lines_are_looked_for_in_a_file_of_a_config_map_and_no_larger() {
    for (size, line) in [(MAX_TEXT_BYTES, Some(1)), (MAX_TEXT_BYTES + 1, None)] {
        let text = format!("a: 1\n#{}", "#".repeat(size - 6));
        let file = read(&text).unwrap();
        assert_eq!(lines(&text, &file, &[At::key(0)]), [line]);
    }
}
