//! What a file holds, whether it is JSON or YAML: as much of the tree as a configuration needs.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::finding::shown_text;

/// A value as written.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node<'a> {
    Null,
    Bool(bool),
    Number(Number),
    Text(Text<'a>),
    /// The items of the value of a key of the file. Of a list within such a list no items are kept.
    Sequence(Vec<Node<'a>>),
    /// The entries of the file itself. Of a mapping within it no entries are kept.
    Mapping(Vec<Entry<'a>>),
    /// A value with a YAML tag of the writer's own, such as `!x`.
    Tagged(String),
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry<'a> {
    pub(super) key: Node<'a>,
    pub(super) value: Node<'a>,
}

/// A number as its reader takes it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    Unsigned(u64),
    Negative(i64),
    /// A fraction, an exponent, or an integer of more than 64 bits.
    Float(f64),
}

/// A string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text<'a> {
    pub(super) text: Cow<'a, str>,
    /// No quotes around it and no block scalar.
    pub(super) is_plain: bool,
}

impl Text<'_> {
    /// For a message, cut and escaped.
    pub(super) fn shown(&self) -> String {
        shown_text(&self.text)
    }
}

impl Node<'_> {
    /// For a message: `a string`, `a list`.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::Sequence(_) => "a list",
            Self::Mapping(_) => "a mapping",
            Self::Tagged(_) => "a tagged value",
        }
    }

    /// For a message: the value itself where it is short, never a control character.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Null => "null".into(),
            Self::Bool(value) => value.to_string(),
            Self::Number(value) => value.to_string(),
            Self::Text(text) => format!("\"{}\"", text.shown()),
            Self::Tagged(tag) => format!("!{}", shown_text(tag)),
            Self::Sequence(_) | Self::Mapping(_) => self.kind().into(),
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsigned(value) => value.fmt(f),
            Self::Negative(value) => value.fmt(f),
            Self::Float(value) => value.fmt(f),
        }
    }
}

/// How much reading may still cost: YAML aliases can unfold a small file to any size, and serde_yaml's own
/// limit counts aliases, not what each of them holds.
pub(super) struct Allowance(Cell<usize>);

/// What a node costs, where a byte of text costs 1.
const NODE_COST: usize = 8;

impl Allowance {
    /// More than any files of `bytes` together cost without aliases: their texts are at most one and a half times
    /// their size (`\L`, an escape of two bytes, is a character of three), and their nodes are few enough for
    /// [`super::scan`], where each one counted there is at most six here (a key and its value, both with tags).
    pub(super) fn for_bytes(bytes: usize) -> Self {
        Self(Cell::new(
            (bytes.saturating_mul(13) / 2).saturating_add(4 << 20),
        ))
    }

    /// What is left, for [`Self::reset`].
    pub(super) fn left(&self) -> usize {
        self.0.get()
    }

    /// Forgets what has been spent since [`Self::left`].
    pub(super) fn reset(&self, left: usize) {
        self.0.set(left);
    }

    fn spend<E: Error>(&self, cost: usize) -> Result<(), E> {
        match self.0.get().checked_sub(cost) {
            Some(left) => {
                self.0.set(left);
                Ok(())
            }
            None => Err(E::custom("aliases unfold this file to many times its size")),
        }
    }
}

/// What a node is to the file, which decides how much of it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    File,
    Value,
    Within,
}

/// Reads one node.
#[derive(Clone, Copy)]
pub(super) struct NodeReader<'a> {
    /// The text that YAML strings are borrowed from; none where every string is quoted (JSON).
    yaml: Option<&'a str>,
    allowance: &'a Allowance,
    level: Level,
}

impl<'a> NodeReader<'a> {
    pub(super) fn json(allowance: &'a Allowance) -> Self {
        Self {
            yaml: None,
            allowance,
            level: Level::File,
        }
    }

    pub(super) fn yaml(text: &'a str, allowance: &'a Allowance) -> Self {
        Self {
            yaml: Some(text),
            allowance,
            level: Level::File,
        }
    }

    fn at(self, level: Level) -> Self {
        Self { level, ..self }
    }

    fn text<'de, E: Error>(self, text: Cow<'de, str>, is_plain: bool) -> Result<Node<'de>, E> {
        self.allowance.spend(text.len())?;
        Ok(Node::Text(Text { text, is_plain }))
    }

    /// serde_yaml does not say whether a string was quoted, but borrows it from its input wherever input and
    /// value are the same. So a plain word is always borrowed, and a quoted one that is borrowed stands
    /// right behind its quote.
    fn is_plain(self, borrowed: &str) -> bool {
        self.yaml.is_some_and(|yaml| {
            let offset = borrowed.as_ptr().addr().checked_sub(yaml.as_ptr().addr());
            match offset {
                Some(0) => true,
                Some(offset) => yaml
                    .as_bytes()
                    .get(offset - 1)
                    .is_some_and(|before| !matches!(before, b'"' | b'\'')),
                None => false,
            }
        })
    }
}

impl<'de> DeserializeSeed<'de> for NodeReader<'_> {
    type Value = Node<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node<'de>, D::Error> {
        self.allowance.spend(NODE_COST)?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for NodeReader<'_> {
    type Value = Node<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E: Error>(self) -> Result<Node<'de>, E> {
        Ok(Node::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Node<'de>, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Node<'de>, E> {
        Ok(Node::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Node<'de>, E> {
        Ok(Node::Number(Number::Unsigned(value)))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Node<'de>, E> {
        Ok(Node::Number(match u64::try_from(value) {
            Ok(value) => Number::Unsigned(value),
            Err(_) => Number::Negative(value),
        }))
    }

    fn visit_u128<E: Error>(self, value: u128) -> Result<Node<'de>, E> {
        Ok(Node::Number(Number::Float(value as f64)))
    }

    fn visit_i128<E: Error>(self, value: i128) -> Result<Node<'de>, E> {
        Ok(Node::Number(Number::Float(value as f64)))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Node<'de>, E> {
        Ok(Node::Number(Number::Float(value)))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Node<'de>, E> {
        self.text(Cow::Borrowed(text), self.is_plain(text))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Node<'de>, E> {
        self.text(Cow::Owned(text.to_owned()), false)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node<'de>, A::Error> {
        let mut kept = Vec::new();
        while let Some(item) = items.next_element_seed(self.at(Level::Within))? {
            if self.level == Level::Value {
                kept.push(item);
            }
        }
        Ok(Node::Sequence(kept))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node<'de>, A::Error> {
        let inner = match self.level {
            Level::File => Level::Value,
            Level::Value | Level::Within => Level::Within,
        };
        let mut kept = Vec::new();
        while let Some(key) = entries.next_key_seed(self.at(Level::Within))? {
            let value = entries.next_value_seed(self.at(inner))?;
            if self.level == Level::File {
                kept.push(Entry { key, value });
            }
        }
        Ok(Node::Mapping(kept))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<Node<'de>, A::Error> {
        let (tag, value) = tagged.variant_seed(self.at(Level::Within))?;
        value.newtype_variant_seed(self.at(Level::Within))?;
        Ok(Node::Tagged(match tag {
            Node::Text(tag) => tag.text.into_owned(),
            _ => String::new(),
        }))
    }
}
