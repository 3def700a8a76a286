//! The reader held to serde_yaml, which reads the same texts with another parser: both give the same values, and each stands on the line
//! that is said.

use proptest::prelude::*;
use serde_yaml::Value;

use super::super::node::resolved;
use super::*;

/// What serde_yaml reads, and the reader: the same, as deep as the reader keeps it.
fn is_same(node: &Node<'_>, value: &Value, depth: usize) -> bool {
    match (&node.content, value) {
        (Content::Scalar { .. }, _) => node.scalar().as_ref() == Some(value),
        (Content::Sequence(_) | Content::Mapping(_), _) if depth == MAX_DEPTH => true,
        (Content::Sequence(items), Value::Sequence(values)) => {
            let pairs = items.iter().zip(values);
            items.len() == values.len() && { pairs }
                .all(|(item, value)| is_same(item, value, depth + 1))
        }
        (Content::Mapping(entries), Value::Mapping(values)) => {
            let is_same_entry = |(entry, (key, value)): (&Entry<'_>, _)| {
                is_same(&entry.key, key, depth + 1) && is_same(&entry.value, value, depth + 1)
            };
            entries.len() == values.len() && entries.iter().zip(values).all(is_same_entry)
        }
        (Content::Tagged(_), Value::Tagged(_)) => true,
        _ => false,
    }
}

fn assert_same(text: &str) -> Result<(), TestCaseError> {
    let value: Value = serde_yaml::from_str(text)
        .map_err(|error| TestCaseError::fail(format!("{error}: {text:?}")))?;
    let root = Reader::new(text, None, &mut MAX_NODES.clone()).root();
    let root = root.map_err(|error| TestCaseError::fail(format!("{error:?}: {text:?}")))?;
    prop_assert!(
        is_same(&root, &value, 0),
        "{:?}\n{:?}\n{:?}",
        text,
        value,
        root
    );
    Ok(())
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
        word.prop_map(|word| (format!("!!str {word}"), word)),
        word.prop_map(|word| (format!("!own {word}"), word)),
        (0_u32..1_000_000).prop_map(|number| (number.to_string(), number.to_string())),
        "[-+]?[0-9][0-9_.xoe+-]{0,6}".prop_map(|text| (text.clone(), text)),
        prop::sample::select(vec![
            "true",
            "True",
            "TRUE",
            "tRUE",
            "null",
            "Null",
            "~",
            "1.5",
            "-7",
            "1e3",
            "0x1F",
            "0o17",
            "0b11",
            ".5",
            "-.inf",
            ".NaN",
            "yes",
            "on",
            "10.0.0.0/8",
            "fd00::/8",
            "2001:db8::1",
            "é",
            "---x",
            "a b",
            "1 2",
            "x: y"
        ])
        .prop_map(|text| {
            let written = if text.contains(": ") {
                format!("'{text}'")
            } else {
                text.into()
            };
            (written, text.into())
        }),
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

#[test]
fn what_holds_no_line_stands_on_that_of_its_key_or_its_dash() {
    let text = "a: |\nb:\n- |\n- >\n- ''\n-\nc: >\n";
    let root = Reader::new(text, None, &mut MAX_NODES.clone())
        .root()
        .unwrap_or_else(|error| panic!("{error:?}"));
    let mut lines = Vec::new();
    lines_of(&root, &mut lines);
    assert_eq!(lines, [1, 1, 2, 3, 3, 4, 5, 6, 7, 7]);
}

#[test]
fn tabs_are_taken_where_yaml_takes_them() {
    for text in [
        "a:\tb",
        "a :\t\tb",
        "\"a\":\tb",
        "{a:\tb,\n\tc: d}",
        "a:\t- b",
        "a: b\t# c",
        "a:\t\n  b",
        "a: [b,\tc]",
    ] {
        let text = text.replace("- b", "'- b'");
        let taken = super::text(text.as_bytes()).unwrap_or_else(|error| panic!("{error:?}"));
        let entries = entries(&taken, &mut MAX_NODES.clone())
            .unwrap_or_else(|error| panic!("{text:?}: {error:?}"));
        assert_eq!(entries[0].key.text(), Some("a"), "{text:?}");
    }
}

#[derive(Debug, Clone)]
enum Written {
    Scalar((String, String)),
    NextLine((String, String)),
    Block(Vec<Item>, bool),
    Flow(Vec<Item>),
    BlockScalar(String),
    Folded(String),
    Nested(String),
    Mapping(String),
    Nothing,
}

fn written() -> impl Strategy<Value = Written> {
    let items = || proptest::collection::vec((scalar(), gap()), 1..6);
    prop_oneof![
        scalar().prop_map(Written::Scalar),
        scalar().prop_map(Written::NextLine),
        (items(), any::<bool>()).prop_map(|(items, indented)| Written::Block(items, indented)),
        items().prop_map(Written::Flow),
        "[a-z]{1,5}".prop_map(Written::BlockScalar),
        "[a-z]{1,5}".prop_map(Written::Folded),
        "[a-z]{1,5}".prop_map(Written::Nested),
        "[a-z]{1,5}".prop_map(Written::Mapping),
        Just(Written::Nothing),
    ]
}

impl Written {
    /// Writes the value of `key`, and adds for each key, value and item what its line must contain.
    fn write(&self, key: &str, text: &mut String, expected: &mut Vec<String>) {
        expected.push(key.into());
        match self {
            Self::Scalar((written, shown)) => {
                text.push_str(&format!(": {written} # c\n"));
                expected.push(shown.clone());
            }
            Self::NextLine((written, shown)) => {
                text.push_str(&format!(":\n\n  {written}\n"));
                expected.push(shown.clone());
            }
            Self::Block(items, indented) => {
                text.push_str(":\n");
                let indent = if *indented { "  " } else { "" };
                expected.push(
                    items
                        .first()
                        .map_or(String::new(), |((_, shown), _)| shown.clone()),
                );
                for ((written, shown), gap) in items {
                    text.push_str(&format!("{indent}- {written}\n{gap}"));
                    expected.push(shown.clone());
                }
            }
            Self::Flow(items) => {
                text.push_str(": [\n");
                expected.push(key.into());
                for ((written, shown), gap) in items {
                    text.push_str(&format!(" {written} ,\n{gap}"));
                    expected.push(shown.clone());
                }
                text.push_str(" ]\n");
            }
            Self::BlockScalar(word) => {
                text.push_str(&format!(": |\n  {word}\n\n  - {word}: [\n"));
                expected.push(word.into());
            }
            Self::Folded(word) => {
                text.push_str(&format!(": >-\n  {word}\n  {word}\n\n  {word}\n"));
                expected.push(word.into());
            }
            Self::Nested(word) => {
                text.push_str(&format!(
                    ":\n- - {word}\n  - {{a: [{word}]}}\n-\n- zz{word}\n"
                ));
                expected.extend([word.into(), word.into(), "-".into(), format!("zz{word}")]);
            }
            Self::Mapping(word) => {
                text.push_str(&format!(":\n  {word}:\n    - {word}\n  b0: {word}\n"));
                expected.push(word.into());
            }
            Self::Nothing => {
                text.push_str(":\n");
                expected.push(key.into());
            }
        }
    }
}

fn lines_of(node: &Node<'_>, lines: &mut Vec<usize>) {
    for entry in node.entries() {
        lines.extend([entry.key.line, entry.value.line]);
        if let Content::Sequence(items) = &entry.value.content {
            lines.extend(items.iter().map(|item| item.line));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn each_value_is_that_of_serde_yaml_and_stands_on_its_line(
        entries in proptest::collection::vec((written(), gap()), 1..8),
        crlf: bool,
    ) {
        let (mut text, mut expected) = (String::new(), Vec::new());
        for (number, (value, gap)) in entries.iter().enumerate() {
            text.push_str(gap);
            let key = format!("key{number}");
            text.push_str(&key);
            value.write(&key, &mut text, &mut expected);
        }
        if crlf {
            text = text.replace('\n', "\r\n");
        }
        assert_same(&text)?;
        let root = Reader::new(&text, None, &mut MAX_NODES.clone()).root().map_err(|error| TestCaseError::fail(format!("{error:?}")))?;
        let mut lines = Vec::new();
        lines_of(&root, &mut lines);
        prop_assert_eq!(lines.len(), expected.len(), "{:?} {:?}", text, expected);
        for (line, expected) in lines.into_iter().zip(expected) {
            let line = text.split('\n').nth(line - 1).unwrap_or_default();
            prop_assert!(line.contains(&expected), "{:?} in {:?} of {:?}", expected, line, text);
        }
    }

    #[test]
    fn json_is_read_as_its_own_reader_does(value in json(), pretty: bool) {
        let mut text = Vec::new();
        let indent: &[u8] = if pretty { b"\t" } else { b"" };
        let formatter = serde_json::ser::PrettyFormatter::with_indent(indent);
        let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
        let written = serde::Serialize::serialize(&value, &mut serializer);
        prop_assert!(written.is_ok());
        let text = String::from_utf8(text).unwrap_or_default().replace('/', "\\/");
        let value: Value = serde_yaml::to_value(value).unwrap_or_default();
        let root = Reader::new(&text, None, &mut MAX_NODES.clone()).root().map_err(|error| TestCaseError::fail(format!("{error:?}: {text}")))?;
        prop_assert!(is_same(&root, &value, 0), "{}\n{:?}", text, root);
    }

    #[test]
    fn what_both_read_of_any_text_is_the_same(text in "[a-c:\\[\\]{}, \n'\"#-]{0,40}") {
        let value = serde_yaml::from_str::<Value>(&text);
        if let (Ok(value), Ok(root)) = (value, Reader::new(&text, None, &mut MAX_NODES.clone()).root()) {
            prop_assert!(is_same(&root, &value, 0), "{:?}\n{:?}\n{:?}", text, value, root);
        }
    }

    #[test]
    fn a_plain_scalar_is_what_serde_yaml_says_where_it_stands(text in "[-+.0-9a-fxoXOE_~]{1,12}") {
        let there: Result<Vec<Value>, _> = serde_yaml::from_str(&format!("[{text}]"));
        if let Ok([there]) = there.as_deref() {
            prop_assert_eq!(&resolved(&text), there);
        }
    }
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        "[ -~]{0,12}".prop_map(Into::into),
    ];
    let values = leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(serde_json::Value::from),
            proptest::collection::hash_map("[a-z ]{1,6}", inner, 0..6)
                .prop_map(|map| map.into_iter().collect()),
        ]
    });
    proptest::collection::hash_map("[a-zA-Z]{1,8}", values, 1..6)
        .prop_map(|map| map.into_iter().collect())
}
