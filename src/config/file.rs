//! A configuration file as written: its keys and values in their order, nothing judged yet.

use serde::Deserialize;
use serde::de::{DeserializeSeed, IgnoredAny};
use thiserror::Error;

use super::MAX_FILE_BYTES;
use super::finding::shown_message;
use super::node::{Allowance, Entry, Node, NodeReader};
use super::positions::{At, Part};
use super::scan::{MAX_DIRECTIVE_BYTES, MAX_NESTED_BRACKETS, NodeLimit, refuse_costly};

/// The keys and values of a file, in the order written, duplicates included.
#[derive(Debug, PartialEq)]
pub(super) struct ConfigFile<'a> {
    pub(super) entries: Vec<Entry<'a>>,
}

/// Why the text of a file cannot be read at all. Each text is the reason; [`ReadError::remedy`] says what to do.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum ReadError {
    #[error("larger than {} MiB", MAX_FILE_BYTES >> 20)]
    TooLarge,
    #[error("larger than {} MiB together with the files before", MAX_FILE_BYTES >> 20)]
    TooLargeTogether,
    #[error("not UTF-8: the byte at offset {offset} is wrong")]
    NotUtf8 { offset: usize, line: usize },
    #[error("more than {MAX_NESTED_BRACKETS} nested [ or {{")]
    NestedTooDeeply { line: usize },
    #[error("more than {limit} keys and items, which no list of CIDRs of its size has")]
    TooManyNodes { limit: usize },
    #[error("more than {MAX_DIRECTIVE_BYTES} bytes of lines that begin with %")]
    DirectivesTooLong,
    #[error("not valid {format}: {message}")]
    Syntax {
        format: &'static str,
        line: Option<usize>,
        /// Line and column as the reader counts them, to compare how far two readers came.
        reached: Option<(usize, usize)>,
        message: String,
    },
    #[error("more than one YAML document")]
    SeveralDocuments,
    #[error("{found} where keys with values must stand")]
    NotAMapping { found: &'static str },
}

impl ReadError {
    /// The line, counted from 1, where it is known.
    pub(super) fn line(&self) -> Option<usize> {
        match self {
            Self::NotUtf8 { line, .. } | Self::NestedTooDeeply { line } => Some(*line),
            Self::Syntax { line, .. } => *line,
            Self::TooLarge
            | Self::TooLargeTogether
            | Self::TooManyNodes { .. }
            | Self::DirectivesTooLong
            | Self::SeveralDocuments
            | Self::NotAMapping { .. } => None,
        }
    }

    pub(super) fn remedy(&self) -> &'static str {
        match self {
            Self::TooLarge => "write a shorter file",
            Self::TooLargeTogether => "write shorter files",
            Self::NotUtf8 { .. } => "save the file as UTF-8",
            Self::NestedTooDeeply { .. } => "write keys with values, and lists without nesting",
            Self::TooManyNodes { .. } => "write keys with values, and lists of CIDRs",
            Self::DirectivesTooLong => "remove them",
            Self::Syntax { .. } => "write keys with values, as YAML or JSON",
            Self::SeveralDocuments => "leave one, with all keys in it",
            Self::NotAMapping { .. } => "write keys with values, such as masqLinkLocal: false",
        }
    }
}

/// The text of a file without its byte order mark, which editors may put there.
///
/// # Errors
/// [`ReadError::TooLarge`], [`ReadError::NotUtf8`].
pub(super) fn text(bytes: &[u8]) -> Result<&str, ReadError> {
    if bytes.len() > MAX_FILE_BYTES {
        return Err(ReadError::TooLarge);
    }
    let text = str::from_utf8(bytes).map_err(|error| {
        let offset = error.valid_up_to();
        let breaks = bytes.iter().take(offset).filter(|byte| **byte == b'\n');
        ReadError::NotUtf8 {
            offset,
            line: 1 + breaks.count(),
        }
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// What the files that are judged together may cost.
pub(super) struct Limits {
    nodes: NodeLimit,
    allowance: Allowance,
}

impl Limits {
    /// For files of `bytes` together.
    pub(super) fn for_bytes(bytes: usize) -> Self {
        Self {
            nodes: NodeLimit::for_bytes(bytes),
            allowance: Allowance::for_bytes(bytes),
        }
    }
}

impl<'a> ConfigFile<'a> {
    /// Reads JSON as JSON (tabs and `\u0035` mean there what they do not in YAML) and all else as YAML.
    ///
    /// # Errors
    /// [`ReadError`]; where both readers fail, the error of the one that came further.
    pub(super) fn read(text: &'a str, limits: &Limits) -> Result<Self, ReadError> {
        refuse_costly(text, &limits.nodes)?;
        let allowance = &limits.allowance;
        let root = if text.trim_start().starts_with(['{', '[']) {
            let before = allowance.left();
            json(text, allowance).or_else(|not_json| {
                allowance.reset(before);
                yaml(text, allowance).map_err(|not_yaml| further(not_json, not_yaml))
            })?
        } else {
            yaml(text, allowance)?
        };
        match root {
            Node::Null => Ok(Self {
                entries: Vec::new(),
            }),
            Node::Mapping(entries) => Ok(Self { entries }),
            other => Err(ReadError::NotAMapping {
                found: other.kind(),
            }),
        }
    }

    /// For a message: what stands at `at`.
    pub(super) fn shown(&self, at: At) -> Option<String> {
        let entry = self.entries.get(at.entry)?;
        let node = match at.part {
            Part::Key => &entry.key,
            Part::Value => &entry.value,
            Part::Item(index) => match &entry.value {
                Node::Sequence(items) => items.get(index)?,
                _ => return None,
            },
        };
        Some(node.shown())
    }
}

fn json<'a>(text: &'a str, allowance: &Allowance) -> Result<Node<'a>, ReadError> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    NodeReader::json(allowance)
        .deserialize(&mut deserializer)
        .and_then(|root| deserializer.end().map(|()| root))
        .map_err(|error| ReadError::Syntax {
            format: "JSON",
            line: Some(error.line()),
            reached: Some((error.line(), error.column())),
            message: shown_message(&error.to_string()),
        })
}

/// The one place that knows serde_yaml.
fn yaml<'a>(text: &'a str, allowance: &Allowance) -> Result<Node<'a>, ReadError> {
    let syntax = |error: serde_yaml::Error| ReadError::Syntax {
        format: "YAML",
        line: error
            .location()
            .map(|location| line_of_byte(text, location.index())),
        reached: error
            .location()
            .map(|location| (location.line(), location.column())),
        message: shown_message(&error.to_string()),
    };
    let mut documents = serde_yaml::Deserializer::from_str(text);
    let root = match documents.next() {
        Some(document) => NodeReader::yaml(text, allowance)
            .deserialize(document)
            .map_err(syntax)?,
        None => Node::Null,
    };
    // A `---` at the end begins a document that is empty.
    match documents.next() {
        None => Ok(root),
        Some(second) => match Option::<IgnoredAny>::deserialize(second).map_err(syntax)? {
            None if documents.next().is_none() => Ok(root),
            _ => Err(ReadError::SeveralDocuments),
        },
    }
}

/// libyaml counts more characters as ends of lines than editors do, so its own line is not used.
fn line_of_byte(text: &str, index: usize) -> usize {
    1 + text
        .bytes()
        .take(index)
        .filter(|byte| *byte == b'\n')
        .count()
}

/// The error of the reader that came further; without a place, YAML was read to its end.
fn further(json: ReadError, yaml: ReadError) -> ReadError {
    match (&json, &yaml) {
        (
            ReadError::Syntax {
                reached: by_json, ..
            },
            ReadError::Syntax {
                reached: by_yaml, ..
            },
        ) if by_yaml.is_some() && by_json >= by_yaml => json,
        _ => yaml,
    }
}
