//! Lines of keys, values and items. serde_yaml decides the values but says nothing of where they stand;
//! saphyr-parser's events do. A line is given only while both see the same.

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput};

use super::file::ConfigFile;
use super::node::Node;

/// Beyond this size of all files together no lines are looked for: saphyr keeps a whole flow list in memory, and a
/// ConfigMap holds 1 MiB at most.
pub(super) const MAX_TEXT_BYTES: usize = 1 << 20;

/// A place in one [`ConfigFile`]. The order is that of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    /// Index in the file's entries.
    pub(super) entry: usize,
    pub(super) part: Part,
}

impl At {
    pub(super) fn key(entry: usize) -> Self {
        Self {
            entry,
            part: Part::Key,
        }
    }

    pub(super) fn value(entry: usize) -> Self {
        Self {
            entry,
            part: Part::Value,
        }
    }

    pub(super) fn item(entry: usize, item: usize) -> Self {
        Self {
            entry,
            part: Part::Item(item),
        }
    }
}

/// A part of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Key,
    Value,
    Item(usize),
}

/// The line of each of the `wanted` places, which must be sorted; none where it is not known for sure. Lines
/// count from 1 and end at a line feed, in YAML as in JSON.
pub(super) fn lines(text: &str, file: &ConfigFile<'_>, wanted: &[At]) -> Vec<Option<usize>> {
    if wanted.is_empty() || text.len() > MAX_TEXT_BYTES {
        return vec![None; wanted.len()];
    }
    let mut walk = Walk {
        events: Parser::new_from_str(text),
        wanted,
        found: Vec::new(),
    };
    // None either way: it ends where it finds no more.
    let _ = walk.file(file);
    lines_of_characters(text, walk.found, wanted.len())
}

/// The places found, as indices of characters, to lines.
fn lines_of_characters(
    text: &str,
    characters: Vec<Option<usize>>,
    wanted: usize,
) -> Vec<Option<usize>> {
    let mut by_index: Vec<(usize, usize)> = characters
        .into_iter()
        .enumerate()
        .filter_map(|(place, index)| index.map(|index| (index, place)))
        .collect();
    by_index.sort_unstable();
    let mut lines = vec![None; wanted];
    let mut remaining = by_index.into_iter().peekable();
    let mut line = 1;
    for (index, c) in text.chars().enumerate() {
        while let Some((_, place)) = remaining.next_if(|(at, _)| *at == index) {
            if let Some(slot) = lines.get_mut(place) {
                *slot = Some(line);
            }
        }
        line += usize::from(c == '\n');
    }
    lines
}

/// A walk over the events and the file side by side. Each step gives none where the two disagree, where
/// saphyr fails, or where nothing more is wanted: the walk ends there.
struct Walk<'a> {
    events: Parser<'a, StrInput<'a>>,
    /// What is still wanted.
    wanted: &'a [At],
    /// The index of the character where each of those before it stands.
    found: Vec<Option<usize>>,
}

impl<'a> Walk<'a> {
    fn file(&mut self, file: &ConfigFile<'_>) -> Option<()> {
        while !matches!(self.event()?.0, Event::MappingStart(..)) {}
        for (entry, written) in file.entries.iter().enumerate() {
            let (key, key_index) = self.node(&written.key)?;
            self.note(At::key(entry), Some(key_index))?;
            self.skip_rest_of(&key)?;
            let (value, value_index) = self.node(&written.value)?;
            let index = if is_empty(&value) {
                key_index
            } else {
                value_index
            };
            self.note(At::value(entry), Some(index))?;
            match (&value, &written.value) {
                (Event::SequenceStart(..), Node::Sequence(items)) => self.items(entry, items)?,
                _ => self.skip_rest_of(&value)?,
            }
        }
        None
    }

    fn items(&mut self, entry: usize, items: &[Node<'_>]) -> Option<()> {
        for (item, written) in items.iter().enumerate() {
            let (event, index) = self.node(written)?;
            // Nothing is written where an empty item stands, so that its line is anyone's guess.
            let index = Some(index).filter(|_| !is_empty(&event));
            self.note(At::item(entry, item), index)?;
            self.skip_rest_of(&event)?;
        }
        matches!(self.event()?.0, Event::SequenceEnd).then_some(())
    }

    /// The event at which `written` starts, if it is that, and the index of its first character.
    fn node(&mut self, written: &Node<'_>) -> Option<(Event<'a>, usize)> {
        let (event, span) = self.event()?;
        agree(&event, written).then(|| (event, span.start.index()))
    }

    fn event(&mut self) -> Option<(Event<'a>, Span)> {
        self.events.next()?.ok()
    }

    fn note(&mut self, at: At, index: Option<usize>) -> Option<()> {
        while let Some((first, rest)) = self.wanted.split_first() {
            if *first > at {
                return Some(());
            }
            self.found.push(index.filter(|_| *first == at));
            self.wanted = rest;
        }
        None
    }

    fn skip_rest_of(&mut self, first: &Event<'_>) -> Option<()> {
        let mut open = nesting(first);
        while open > 0 {
            open += nesting(&self.event()?.0);
        }
        Some(())
    }
}

fn nesting(event: &Event<'_>) -> i64 {
    match event {
        Event::SequenceStart(..) | Event::MappingStart(..) => 1,
        Event::SequenceEnd | Event::MappingEnd => -1,
        _ => 0,
    }
}

fn is_empty(event: &Event<'_>) -> bool {
    matches!(event, Event::Scalar(text, ScalarStyle::Plain, ..) if text.is_empty())
}

/// Whether both readers see the same. What an alias stands for is not looked at: it stands where it stands.
fn agree(event: &Event<'_>, written: &Node<'_>) -> bool {
    match (event, written) {
        (Event::Alias(_), _) => true,
        (Event::Scalar(seen, ..), Node::Text(text)) => *seen == text.text,
        (Event::Scalar(seen, style, ..), Node::Null) => {
            *style == ScalarStyle::Plain
                && matches!(seen.as_ref(), "" | "~" | "null" | "Null" | "NULL")
        }
        (Event::Scalar(seen, style, ..), Node::Bool(value)) => {
            *style == ScalarStyle::Plain && seen.eq_ignore_ascii_case(&value.to_string())
        }
        (Event::Scalar(seen, style, ..), Node::Number(_)) => {
            *style == ScalarStyle::Plain
                && seen.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c))
        }
        (Event::SequenceStart(..), Node::Sequence(_)) => true,
        (Event::MappingStart(..), Node::Mapping(_)) => true,
        (
            Event::Scalar(.., tag) | Event::SequenceStart(_, tag) | Event::MappingStart(_, tag),
            Node::Tagged(_),
        ) => tag.is_some(),
        _ => false,
    }
}

#[cfg(test)]
#[path = "positions_tests.rs"]
mod tests;
