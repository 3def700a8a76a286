//! A configuration file as written: its keys and values in their order, each with its line. One reader for YAML and JSON, which is read
//! as the YAML that it is.
//!
//! Any text of [`MAX_FILE_BYTES`] is read or refused within a second, and what is kept of it is little: what would cost more is
//! refused: keys and items are counted, and the YAML reader lets no more than 255 `[` and `{` be open, each of which it looks
//! at again for each token.

use std::borrow::Cow;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, StrInput, Tag};
use serde::de::IgnoredAny;

use super::MAX_FILE_BYTES;
use super::finding::{Advice, shown_message};
use super::lookalike::Lookalike;
use super::manifest::Manifest;
use super::node::{Content, Entry, Node};

/// How many keys, values and items all files may hold together, at any depth: room for any list of distinct CIDRs of
/// [`MAX_FILE_BYTES`].
pub(super) const MAX_NODES: usize = MAX_FILE_BYTES / 4;

/// How deep nodes are kept: a file, its values, their items, and the keys within an item. Of what is deeper, nothing is.
const MAX_DEPTH: usize = 3;

/// Why a file cannot be judged at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unreadable {
    /// None where no line is meant.
    pub(super) line: Option<usize>,
    pub(super) advice: Advice,
}

impl Unreadable {
    pub(super) fn file(reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (line, advice) = (None, Advice::new(reason, remedy));
        Self { line, advice }
    }

    fn line(line: usize, reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        let line = Some(line);
        Self {
            line,
            ..Self::file(reason, remedy)
        }
    }

    fn lookalike(found: &Lookalike) -> Self {
        Self::line(found.line, found.to_string(), found.remedy())
    }
}

/// The keys and values of a file, duplicates included; none of a file that says nothing. What it holds is taken from `nodes_left`.
///
/// # Errors
/// [`Unreadable`]
pub(super) fn entries<'a>(
    text: &'a str,
    nodes_left: &mut usize,
) -> Result<Vec<Entry<'a>>, Unreadable> {
    let looks_like_json = text.trim_start().starts_with(['{', '[']);
    let json = looks_like_json.then(|| serde_json::from_str::<IgnoredAny>(text));
    if !matches!(json, Some(Ok(_))) {
        refuse_directives(text)?;
    }
    let root = Reader::new(text, json.and_then(Result::err), nodes_left).root()?;
    if let Some(manifest) = Manifest::of(&root) {
        return Err(manifest.unreadable());
    }
    match root.content {
        Content::Mapping(entries) => Ok(entries),
        _ if root.is_null() => Ok(Vec::new()),
        _ => Err(Lookalike::all_in(text).next().map_or_else(
            || {
                let reason = format!("{} where keys with values must stand", root.kind());
                Unreadable::file(
                    reason,
                    "write keys with values, such as masqLinkLocal: false",
                )
            },
            |found| Unreadable::lookalike(&found),
        )),
    }
}

/// The text of a file, for [`entries`].
///
/// # Errors
/// [`Unreadable`] where it is too large or no text.
pub(super) fn text(bytes: &[u8]) -> Result<Cow<'_, str>, Unreadable> {
    if bytes.len() > MAX_FILE_BYTES {
        let reason = "larger than 1 MiB, which no ConfigMap holds";
        return Err(Unreadable::file(reason, "write a shorter file"));
    }
    let text = str::from_utf8(bytes).map_err(|error| {
        let offset = error.valid_up_to();
        let breaks = bytes.iter().take(offset).filter(|byte| **byte == b'\n');
        let reason = format!("not UTF-8: the byte at offset {offset} is wrong");
        Unreadable::line(1 + breaks.count(), reason, "save the file as UTF-8")
    })?;
    // Editors put a byte order mark there.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    Ok(as_saphyr_takes_it(text))
}

/// JSON and YAML have a tab behind a colon, where saphyr wants a space, and the end of a list at the start of a line, where it
/// wants one if the last item is quoted. No value that is good holds either within quotes.
fn as_saphyr_takes_it(text: &str) -> Cow<'_, str> {
    let is_of_an_end = |line: &str| line.trim_start().starts_with([']', '}']);
    if !text.contains(":\t") && !text.lines().any(is_of_an_end) {
        return Cow::Borrowed(text);
    }
    let mut taken = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        if is_of_an_end(line) {
            taken.push(' ');
        }
        taken.push_str(line);
    }
    Cow::Owned(taken.replace(":\t", ": "))
}

fn refuse_directives(text: &str) -> Result<(), Unreadable> {
    match text.split('\n').position(|line| line.starts_with('%')) {
        Some(before) => Err(Unreadable::line(
            before + 1,
            "a line that begins with %, a directive of YAML",
            "remove the line",
        )),
        None => Ok(()),
    }
}

/// A walk over the events of one text.
struct Reader<'a, 'n> {
    events: Parser<'a, StrInput<'a>>,
    /// The index of the first character of each line.
    lines: Vec<usize>,
    nodes_left: &'n mut usize,
    text: &'a str,
    /// Why a text that looks like JSON is none.
    not_json: Option<serde_json::Error>,
}

impl<'a, 'n> Reader<'a, 'n> {
    fn new(text: &'a str, not_json: Option<serde_json::Error>, nodes_left: &'n mut usize) -> Self {
        // What is behind the last one is no line of its own: where a text ends too early, its last line is meant.
        let lines = text.trim_end();
        let breaks = lines.chars().enumerate().filter(|(_, c)| *c == '\n');
        Self {
            events: Parser::new_from_str(text),
            lines: [0]
                .into_iter()
                .chain(breaks.map(|(at, _)| at + 1))
                .collect(),
            nodes_left,
            text,
            not_json,
        }
    }

    /// What the one document holds; null where there is none. A `---` at the end begins one that is empty.
    fn root(mut self) -> Result<Node<'a>, Unreadable> {
        let mut root = None;
        loop {
            match self.event()? {
                (Event::StreamEnd, _) => break,
                (Event::DocumentStart(_), _) => {
                    let (event, line) = self.event()?;
                    let document = self.node(event, line, 0)?;
                    let manifest = root.as_ref().and_then(Manifest::of);
                    match (&root, manifest.or_else(|| Manifest::of(&document))) {
                        (None, _) => root = Some(document),
                        (Some(_), _) if document.is_empty() => {}
                        (Some(_), Some(manifest)) => return Err(manifest.unreadable()),
                        (Some(_), None) => {
                            let reason = "more than one YAML document";
                            return Err(Unreadable::file(reason, "leave one, with all keys in it"));
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(root.unwrap_or(Node {
            line: 1,
            content: Content::Scalar {
                text: Cow::Borrowed(""),
                is_plain: true,
            },
        }))
    }

    /// The next event, and the line where it begins.
    fn event(&mut self) -> Result<(Event<'a>, usize), Unreadable> {
        let Some(left) = self.nodes_left.checked_sub(1) else {
            return Err(Unreadable::file(
                format!("more than {MAX_NODES} keys and items, with those of the files before"),
                "write keys with values, and lists of CIDRs",
            ));
        };
        *self.nodes_left = left;
        match self.events.next() {
            Some(Ok((event, span))) => {
                // Saphyr has the place of what comes next, where a block scalar holds no line.
                let is_on_line_before = matches!(
                    &event,
                    Event::Scalar(_, ScalarStyle::Literal | ScalarStyle::Folded, ..)
                ) && span.is_empty();
                let line = self.line(span.start.index());
                Ok((event, line - usize::from(is_on_line_before)))
            }
            Some(Err(error)) => Err(self.syntax(&error)),
            None => Ok((Event::StreamEnd, 0)),
        }
    }

    fn node(
        &mut self,
        event: Event<'a>,
        line: usize,
        depth: usize,
    ) -> Result<Node<'a>, Unreadable> {
        let content = match event {
            Event::Scalar(text, style, _, tag) => {
                let is_string = tag.as_ref().is_some_and(|tag| tag.suffix == "str");
                let is_plain = style == ScalarStyle::Plain && !is_string;
                tagged(tag, Content::Scalar { text, is_plain })
            }
            Event::SequenceStart(_, tag) => tagged(tag, Content::Sequence(self.items(depth)?)),
            Event::MappingStart(_, tag) => tagged(tag, Content::Mapping(self.mapping(depth)?)),
            Event::Alias(_) => Content::Alias,
            _ => Content::Scalar {
                text: Cow::Borrowed(""),
                is_plain: true,
            },
        };
        Ok(Node { line, content })
    }

    fn items(&mut self, depth: usize) -> Result<Vec<Node<'a>>, Unreadable> {
        let mut items = Vec::new();
        if depth == MAX_DEPTH {
            self.skip()?;
            return Ok(items);
        }
        loop {
            let (event, line) = self.event()?;
            if matches!(event, Event::SequenceEnd | Event::StreamEnd) {
                return Ok(items);
            }
            items.push(self.node(event, line, depth + 1)?);
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Vec<Entry<'a>>, Unreadable> {
        let mut entries = Vec::new();
        if depth == MAX_DEPTH {
            self.skip()?;
            return Ok(entries);
        }
        loop {
            let (event, line) = self.event()?;
            if matches!(event, Event::MappingEnd | Event::StreamEnd) {
                return Ok(entries);
            }
            let key = self.node(event, line, depth + 1)?;
            if depth == 0 && key.is_empty() {
                let reason = "nothing where a key must stand";
                return Err(Unreadable::file(reason, "write a key before each colon"));
            }
            let (event, line) = self.event()?;
            let mut value = self.node(event, line, depth + 1)?;
            // What is not written stands nowhere: saphyr may name the place of what comes next.
            if value.is_empty() {
                value.line = key.line;
            }
            entries.push(Entry { key, value });
        }
    }

    /// To the end of the list or mapping that has begun.
    fn skip(&mut self) -> Result<(), Unreadable> {
        let mut open = 1_usize;
        while open > 0 {
            match self.event()?.0 {
                Event::SequenceStart(..) | Event::MappingStart(..) => open += 1,
                Event::SequenceEnd | Event::MappingEnd => open -= 1,
                Event::StreamEnd => break,
                _ => {}
            }
        }
        Ok(())
    }

    fn line(&self, at: usize) -> usize {
        self.lines.partition_point(|start| *start <= at)
    }

    /// A character that only looks like one of YAML's is the likely reason; else the reader that came further knows it: serde_json
    /// knows more of JSON, saphyr of YAML.
    fn syntax(&self, error: &ScanError) -> Unreadable {
        let at = error.marker();
        let line = self.line(at.index());
        let before = Lookalike::all_in(self.text).take_while(|found| found.line <= line);
        if let Some(found) = before.last() {
            return Unreadable::lookalike(&found);
        }
        let remedy = "write keys with values, as YAML or JSON";
        match &self.not_json {
            Some(json) if (json.line(), json.column()) >= (line, at.col()) => {
                // Its own message ends with the place.
                let message = json.to_string();
                let message = message.split(" at line ").next().unwrap_or_default();
                let reason = format!("not valid JSON: {}", shown_message(message));
                Unreadable::line(json.line().min(self.lines.len()), reason, remedy)
            }
            _ => {
                let info = error.info();
                // A key that lacks its colon, or the space behind that, goes on in the next line that says something.
                let is_of_keys = ["simple key", "mapping values"]
                    .iter()
                    .any(|words| info.contains(words));
                let place = if is_of_keys {
                    ", here or in a line before"
                } else {
                    ""
                };
                let reason = format!("not valid YAML{place}: {}", shown_message(info));
                let remedy = if is_of_keys {
                    "write each key on a line of its own, with a colon and a space behind it"
                } else if info.contains("anchor") {
                    // `[*]` and `- *0`: names of interfaces may begin so.
                    "quote what begins with * or &, as in \"*\""
                } else {
                    remedy
                };
                Unreadable::line(line, reason, remedy)
            }
        }
    }
}

/// Tags of YAML's own (`!!str`, `!!seq`) say nothing that is not known; another one makes the value unknown.
fn tagged<'a>(tag: Option<Cow<'_, Tag>>, content: Content<'a>) -> Content<'a> {
    match tag {
        Some(tag) if !tag.is_yaml_core_schema() => Content::Tagged(tag.to_string()),
        _ => content,
    }
}

#[cfg(test)]
mod tests;
