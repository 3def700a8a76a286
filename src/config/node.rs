//! What stands in a configuration file: keys, values and items, each as written and with its line.

use std::borrow::Cow;

use serde_yaml::Value;

use super::finding::shown_text;

/// A key with its value.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) key: Node<'a>,
    pub(super) value: Node<'a>,
}

/// A value as written.
#[derive(Debug)]
pub(super) struct Node<'a> {
    /// Counted from 1; lines end at a line feed.
    pub(super) line: usize,
    pub(super) content: Content<'a>,
}

/// What a node holds.
#[derive(Debug)]
pub(super) enum Content<'a> {
    Scalar {
        text: Cow<'a, str>,
        /// No quotes around it, no block scalar, no tag `!!str`: its text decides what it is.
        is_plain: bool,
    },
    Sequence(Vec<Node<'a>>),
    Mapping(Vec<Entry<'a>>),
    /// A value with a YAML tag of the writer's own, such as `!x`.
    Tagged(String),
    Alias,
}

impl<'a> Node<'a> {
    /// The text of a string, a number, a boolean or null, as written.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The keys and values of a mapping; none of anything else.
    pub(super) fn entries(&self) -> &[Entry<'a>] {
        match &self.content {
            Content::Mapping(entries) => entries,
            _ => &[],
        }
    }

    /// The value of a scalar: null, a boolean, a number or a string.
    pub(super) fn scalar(&self) -> Option<Value> {
        match &self.content {
            Content::Scalar {
                text,
                is_plain: true,
            } => Some(resolved(text)),
            Content::Scalar { text, .. } => Some(Value::String(text.to_string())),
            _ => None,
        }
    }

    pub(super) fn is_null(&self) -> bool {
        self.scalar().is_some_and(|value| value.is_null())
    }

    /// Nothing is written where it stands.
    pub(super) fn is_empty(&self) -> bool {
        matches!(&self.content, Content::Scalar { text, is_plain: true } if text.is_empty())
    }

    /// For a message, of a key: without quotes.
    pub(super) fn key(&self) -> String {
        match self.text() {
            Some(text) => shown_text(text),
            None => self.shown(),
        }
    }

    /// For a message: `a string`, `a list`.
    pub(super) fn kind(&self) -> &'static str {
        match (&self.content, self.scalar()) {
            (Content::Sequence(_), _) => "a list",
            (Content::Mapping(_), _) => "a mapping",
            (Content::Tagged(_), _) => "a tagged value",
            (Content::Alias, _) => "an alias",
            (_, Some(Value::Null)) => "null",
            (_, Some(Value::Bool(_))) => "a boolean",
            (_, Some(Value::Number(_))) => "a number",
            (Content::Scalar { .. }, _) => "a string",
        }
    }

    /// For a message: the value itself where it is short, never a control character.
    pub(super) fn shown(&self) -> String {
        match (&self.content, self.scalar()) {
            (Content::Scalar { text, .. }, Some(Value::String(_))) => {
                format!("\"{}\"", shown_text(text))
            }
            (Content::Scalar { text, .. }, Some(Value::Number(_))) => shown_text(text),
            (_, Some(Value::Bool(value))) => value.to_string(),
            (Content::Tagged(tag), _) => shown_text(tag),
            _ => self.kind().into(),
        }
    }
}

/// What a plain scalar means. The one place that knows how YAML resolves it, which is that serde_yaml does.
pub(super) fn resolved(text: &str) -> Value {
    // Longer ones are no number that anyone writes, and are resolved several times.
    let is_word = text.len() <= 1_024 && !text.contains(['\n', '\r', ' ']);
    let value = match text {
        "" => Some(Value::Null),
        // As an item, so that `---` is no mark of a document.
        _ if is_word => serde_yaml::from_str(&format!("- {text}"))
            .ok()
            .map(|[value]: [Value; 1]| value),
        _ => None,
    };
    value
        .filter(|value| !value.is_sequence() && !value.is_mapping())
        .unwrap_or_else(|| Value::String(text.to_owned()))
}
