//! What one file says of each key, each value with its line. All that is wrong with it is found at once.

use super::document::{self, MAX_NODES, Unreadable};
use super::finding::{Advice, Finding, Findings, Spot};
use super::keys::{Field, KEYS, Key, position};
use super::node::{Content, Entry, Node};
use super::other_names::unknown;
use super::value::{self, Item, Value};
use super::{MAX_BYTES_TOGETHER, Source};

/// What a file says.
#[derive(Debug)]
pub(super) struct Said<'a> {
    pub(super) file: Spot<'a>,
    /// Of each key of [`KEYS`].
    pub(super) stated: [Option<Stated>; KEYS.len()],
    /// It holds no key at all.
    pub(super) is_silent: bool,
}

/// What stands behind a key.
#[derive(Debug)]
pub(super) struct Stated {
    pub(super) line: usize,
    /// For a message.
    pub(super) shown: String,
    /// None where it is an error. What is no list counts as an empty one: the file gave it.
    pub(super) value: Option<Value>,
}

impl Said<'_> {
    /// As the end of a reason: ` in b:2` in what is said of another file, ` on line 2` of this one.
    pub(super) fn at(&self, line: usize, from: &Said<'_>) -> String {
        let Spot { index, name, .. } = self.file;
        if index == from.file.index {
            return format!(" on line {line}");
        }
        format!(" in {name}:{line}")
    }
}

/// What each of the files says; none of one that cannot be read.
pub(super) fn all<'a>(files: &[Source<'a>], findings: &mut Findings) -> Vec<Option<Said<'a>>> {
    let (mut bytes_before, mut nodes_left) = (0, MAX_NODES);
    let read = files.iter().enumerate().map(|(index, source)| {
        let bytes = source.bytes?;
        let (name, line) = (source.name, None);
        let file = Spot { index, name, line };
        bytes_before += bytes.len();
        let said = document::text(bytes).and_then(|text| {
            let entries = document::entries(&text, &mut nodes_left)?;
            if bytes_before > MAX_BYTES_TOGETHER {
                let reason = "larger than 8 MiB together with the files before";
                return Err(Unreadable::file(reason, "write shorter files"));
            }
            let findings = &mut *findings;
            Ok(Judging { file, findings }.said(&entries))
        });
        said.map_err(|Unreadable { line, advice }| {
            let spot = line.map_or(file, |line| file.on(line));
            findings.error(spot, || advice.about(None, None));
        })
        .ok()
    });
    read.collect()
}

/// One file, and what is found in it.
struct Judging<'a, 'f> {
    file: Spot<'a>,
    findings: &'f mut Findings,
}

impl<'a> Judging<'a, '_> {
    fn said(mut self, entries: &[Entry<'_>]) -> Said<'a> {
        let mut said = Said {
            file: self.file,
            stated: std::array::from_fn(|_| None),
            is_silent: entries.is_empty(),
        };
        let mut first_lines = [None; KEYS.len()];
        for Entry {
            key: written,
            value,
        } in entries
        {
            let known = written.text().and_then(position);
            let known = known.and_then(|known| {
                let slots = (said.stated.get_mut(known)?, first_lines.get_mut(known)?);
                Some((KEYS.get(known)?, slots))
            });
            match known {
                None => self.error(written.line, || unknown(written).about(written.key(), None)),
                Some((_, (_, Some(first)))) => self.error(written.line, || {
                    let reason = format!("duplicate key, already given on line {first}");
                    Advice::new(reason, "leave one of the two").about(written.key(), None)
                }),
                Some((key, (stated, first))) => {
                    *first = Some(written.line);
                    self.warn_of_case(key, written);
                    *stated = self.stated(key, value);
                }
            }
        }
        said
    }

    fn warn_of_case(&mut self, key: &Key, written: &Node<'_>) {
        if written.text() != Some(key.name) {
            let reason = "not the documented form of this key";
            let advice = Advice::new(reason, format!("write {}", key.name));
            self.warning(written.line, advice.about(written.key(), None));
        }
    }

    fn stated(&mut self, key: &Key, node: &Node<'_>) -> Option<Stated> {
        if node.is_null() && !key.field.is_list() {
            // As in Go, where null leaves a field as it was (but refuses a duration, which reads null by itself).
            let reason = "without a value, so that its default holds";
            let advice = Advice::new(reason, "write a value or remove the key");
            self.warning(node.line, about(advice, key, node));
            return None;
        }
        let value = match key.field {
            Field::Cidrs(..) => {
                let items = self.list(key, node, value::cidr, value::not_a_cidr);
                Some(Value::Cidrs(items))
            }
            Field::Names(..) => {
                let items = self.list(key, node, value::name, value::not_a_name);
                Some(Value::Names(items))
            }
            _ => self.scalar(key, node),
        };
        Some(Stated {
            line: node.line,
            shown: node.shown(),
            value,
        })
    }

    fn scalar(&mut self, key: &Key, node: &Node<'_>) -> Option<Value> {
        match value::scalar(key, node) {
            Ok((value, documented)) => {
                if let Some(advice) = documented {
                    self.warning(node.line, about(advice, key, node));
                }
                Some(value)
            }
            Err(advice) => {
                self.refuse(key, node, || advice);
                None
            }
        }
    }

    /// The items of a list: what `read` makes of each, or `what_is_wrong` with it.
    fn list<T>(
        &mut self,
        key: &Key,
        node: &Node<'_>,
        read: fn(&Node<'_>) -> Option<T>,
        what_is_wrong: fn(&Node<'_>) -> Advice,
    ) -> Vec<Item<T>> {
        let Content::Sequence(items) = &node.content else {
            self.refuse(key, node, || {
                value::with_lookalike(node.text(), value::not_a_list(key, node))
            });
            return Vec::new();
        };
        let items = items.iter().map(|item| {
            let value = read(item);
            if value.is_none() {
                self.refuse(key, item, || what_is_wrong(item));
            }
            let line = item.line;
            Item { line, value }
        });
        items.collect()
    }

    fn refuse(&mut self, key: &Key, node: &Node<'_>, advice: impl FnOnce() -> Advice) {
        self.error(node.line, || about(advice(), key, node));
    }

    fn error(&mut self, line: usize, finding: impl FnOnce() -> Finding) {
        self.findings.error(self.file.on(line), finding);
    }

    fn warning(&mut self, line: usize, finding: Finding) {
        self.findings.warning(self.file.on(line), finding);
    }
}

fn about(advice: Advice, key: &Key, node: &Node<'_>) -> Finding {
    advice.about(key.name.to_owned(), Some(node.shown()))
}
