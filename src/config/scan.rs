//! One pass over a text before it is parsed: refuses what would cost the YAML reader
//! quadratic time, or memory out of proportion.

use std::cell::Cell;

use super::file::ReadError;

/// How deeply `[` and `{` may be nested. libyaml looks at every open one again for each token: 100 KB of `[`
/// take it 11 s.
pub(super) const MAX_NESTED_BRACKETS: usize = 64;

/// How many bytes the directives of a file (`%YAML`, `%TAG`) may have together. libyaml compares each with all
/// before it, and writes out the prefix that one of them gives for each tag: 1 MB took it 6 GB.
pub(super) const MAX_DIRECTIVE_BYTES: usize = 64;

/// How many keys and items files of any size may hold together. Larger ones may hold one more for each CIDR of the
/// shortest form, `1.0.0.0/8,`, that fits in them.
const MAX_NODES_OF_ANY_SIZE: usize = 1 << 16;

/// So many open brackets make each key and item cost as much again: libyaml looks at each of them.
const BRACKETS_OF_A_NODE: usize = 16;

/// As how many nodes an alias counts. What it stands for is read again for each, until serde_yaml refuses: as many nodes
/// again as 100 times those that are written.
const NODES_OF_AN_ALIAS: usize = 16;

/// The bytes of `1.0.0.0/8,`.
const SHORTEST_ITEM_BYTES: usize = 10;

/// How many keys and items the files that are judged together may hold.
pub(super) struct NodeLimit {
    limit: usize,
    left: Cell<usize>,
}

impl NodeLimit {
    /// For files of `bytes` together.
    pub(super) fn for_bytes(bytes: usize) -> Self {
        let limit = MAX_NODES_OF_ANY_SIZE + bytes / SHORTEST_ITEM_BYTES;
        Self {
            limit,
            left: Cell::new(limit),
        }
    }
}

/// # Errors
/// [`ReadError::NestedTooDeeply`], [`ReadError::TooManyNodes`], [`ReadError::DirectivesTooLong`].
pub(super) fn refuse_costly(text: &str, nodes: &NodeLimit) -> Result<(), ReadError> {
    let is_bracket = |byte: &u8| matches!(byte, b'[' | b'{');
    let mut deepest = text.bytes().filter(is_bracket).count();
    // The ones in comments and those that are closed do not count.
    if deepest >= BRACKETS_OF_A_NODE {
        deepest = deepest_nesting(text)?;
    }
    refuse_many_nodes(text, deepest, nodes)?;
    refuse_long_directives(text)
}

/// serde_yaml keeps some 200 bytes for each key and item: 8 MiB of `? ` take it 1.5 GiB and 3 s.
fn refuse_many_nodes(text: &str, deepest: usize, allowed: &NodeLimit) -> Result<(), ReadError> {
    let left_by = |nodes: usize| {
        let nodes = nodes * (1 + deepest / BRACKETS_OF_A_NODE);
        allowed.left.get().checked_sub(nodes)
    };
    // What is quick first: only a text with much in its comments needs more.
    let left = left_by(most_nodes(text)).or_else(|| left_by(most_nodes(&without_comments(text))));
    let Some(left) = left else {
        return Err(ReadError::TooManyNodes {
            limit: allowed.limit,
        });
    };
    allowed.left.set(left);
    Ok(())
}

fn most_nodes(text: &str) -> usize {
    let after = text.bytes().skip(1).chain([b'\n']);
    let mut before = b'\n';
    let mut nodes = 0;
    for (byte, after) in text.bytes().zip(after) {
        nodes += most_nodes_at(before, byte, after);
        before = byte;
    }
    nodes
}

/// The text without what is in a comment for sure.
fn without_comments(text: &str) -> String {
    let mut depths = Depths::OF_NOTHING;
    let mut before = '\n';
    let mut rest = String::with_capacity(text.len());
    for c in text.chars() {
        depths = depths.after(before, c);
        if !depths.is_comment_only() {
            rest.push(c);
        }
        before = c;
    }
    rest
}

/// How many nodes may begin here: never none for an indicator of YAML or JSON with which a key, an item or a value
/// begins. A key and its value are two, and an anchor costs as much as a node.
fn most_nodes_at(before: u8, byte: u8, after: u8) -> usize {
    match byte {
        b',' | b'[' | b'{' | b'?' => 1,
        b'-' => usize::from(!after.is_ascii_graphic()),
        b'&' => usize::from(!before.is_ascii_alphanumeric()),
        // The names that libyaml takes (yaml_parser_scan_anchor).
        b'*' if after.is_ascii_alphanumeric() || matches!(after, b'_' | b'-') => {
            NODES_OF_AN_ALIAS * usize::from(!before.is_ascii_alphanumeric())
        }
        // Within an IPv6 address it stands between digits.
        b':' => {
            let within = |neighbour: u8| neighbour.is_ascii_alphanumeric() || neighbour == b':';
            if within(before) && (within(after) || after == b'/') {
                0
            } else {
                2
            }
        }
        _ => 0,
    }
}

fn refuse_long_directives(text: &str) -> Result<(), ReadError> {
    let directives = text.split(is_break).filter(|line| line.starts_with('%'));
    if directives.map(str::len).sum::<usize>() > MAX_DIRECTIVE_BYTES {
        return Err(ReadError::DirectivesTooLong);
    }
    Ok(())
}

fn deepest_nesting(text: &str) -> Result<usize, ReadError> {
    let mut deepest = None;
    let mut depths = Depths::OF_NOTHING;
    let mut before = '\n';
    let mut line = 1;
    for c in text.chars() {
        depths = depths.after(before, c);
        deepest = deepest.max(depths.structure);
        if deepest > Some(MAX_NESTED_BRACKETS) {
            return Err(ReadError::NestedTooDeeply { line });
        }
        line += usize::from(c == '\n');
        before = c;
    }
    Ok(deepest.unwrap_or_default())
}

/// How many brackets may be open, for each state that the YAML reader may be in; none: it cannot be in it.
///
/// Whether a quote opens a string or stands within a plain one depends on what only a whole YAML scanner
/// knows. So where it may be either, both are followed, and the deepest depth counts. That never finds less
/// than the reader will meet: a closing bracket is taken off only in `structure`, where it either closes or is
/// text outside all brackets. It may find more in a text that holds more than 64 of them within strings.
#[derive(Clone, Copy, Default)]
struct Depths {
    /// Outside quotes and comments; within block scalars too, which hold no structure.
    structure: Option<usize>,
    comment: Option<usize>,
    double_quoted: Option<usize>,
    /// After a backslash in a double-quoted string.
    escaped: Option<usize>,
    single_quoted: Option<usize>,
    /// After a `'` in a single-quoted string: a second one stands for itself, all else is outside.
    maybe_closed: Option<usize>,
}

impl Depths {
    /// Before the first character.
    const OF_NOTHING: Self = Self {
        structure: Some(0),
        comment: None,
        double_quoted: None,
        escaped: None,
        single_quoted: None,
        maybe_closed: None,
    };

    fn is_comment_only(self) -> bool {
        let others = [
            self.structure,
            self.double_quoted,
            self.escaped,
            self.single_quoted,
            self.maybe_closed,
        ];
        others.iter().all(Option::is_none)
    }

    fn after(self, before: char, c: char) -> Self {
        let mut next = Self::default();
        next.step_quoted(self, c);
        match self.comment {
            Some(depth) if is_break(c) => {
                next.structure = next.structure.max(Some(depth));
                // In YAML 1.2, which the reader of positions follows, no other ends a line.
                if !matches!(c, '\n' | '\r') {
                    next.comment = self.comment;
                }
            }
            other => next.comment = other,
        }
        let structure = if c == '\'' {
            self.structure
        } else {
            self.structure.max(self.maybe_closed)
        };
        if let Some(depth) = structure {
            next.step_structure(depth, before, c);
        }
        next
    }

    fn step_quoted(&mut self, from: Self, c: char) {
        self.double_quoted = from.escaped;
        match c {
            '"' => self.structure = self.structure.max(from.double_quoted),
            '\\' => self.escaped = from.double_quoted,
            _ => self.double_quoted = self.double_quoted.max(from.double_quoted),
        }
        if c == '\'' {
            self.maybe_closed = from.single_quoted;
            self.single_quoted = from.maybe_closed;
        } else {
            self.single_quoted = from.single_quoted;
        }
    }

    fn step_structure(&mut self, depth: usize, before: char, c: char) {
        let mut stays_at = Some(depth);
        match c {
            '[' | '{' => stays_at = Some(depth + 1),
            ']' | '}' => stays_at = Some(depth.saturating_sub(1)),
            '"' if may_start_a_token(before) => {
                self.double_quoted = self.double_quoted.max(stays_at);
            }
            '\'' if may_start_a_token(before) => {
                self.single_quoted = self.single_quoted.max(stays_at);
            }
            '#' => {
                self.comment = self.comment.max(stays_at);
                // Behind another kind of space, U+00A0 say, it is text.
                if matches!(before, ' ' | '\t' | '\n' | '\r') {
                    stays_at = None;
                }
            }
            _ => {}
        }
        self.structure = self.structure.max(stays_at);
    }
}

/// False only where the reader is within a plain string for sure, or refuses the text anyway.
fn may_start_a_token(before: char) -> bool {
    !before.is_ascii_alphanumeric() && !matches!(before, '"' | '\'' | ']' | '}' | '.' | '/')
}

/// What libyaml takes for the end of a line.
fn is_break(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use saphyr_parser::{Event, Parser};

    use super::*;

    fn refused_line(text: &str) -> Option<usize> {
        match refuse_costly(text, &NodeLimit::for_bytes(text.len())) {
            Err(ReadError::NestedTooDeeply { line }) => Some(line),
            _ => None,
        }
    }

    #[test]
    fn sixty_four_nested_brackets_are_taken_and_no_more() {
        assert_eq!(refused_line(&"[".repeat(64)), None);
        assert_eq!(refused_line(&"[".repeat(65)), Some(1));
        assert_eq!(refused_line(&"- {\n".repeat(65)), Some(65));
    }

    #[test]
    fn brackets_that_are_closed_or_text_do_not_count() {
        for line in [
            "- [a]\n",
            "- [\"a\", 'b', \"\", '']\n",
            "- {\"a\": 'it''s'}\n",
            "# [ {\n",
            "a: b # [\n",
            "- \"a [0]\"\n",
            "- 'a'\n- ['b']\n",
            "# don't [do] this\n",
            "- a[0]\n",
        ] {
            assert_eq!(refused_line(&line.repeat(1_000)), None, "{line}");
        }
    }

    #[test]
    fn no_closing_bracket_in_a_string_or_comment_hides_depth() {
        for line in [
            "[ # ]\n",
            "[ #']\n",
            "[#]\n",
            "[\n# \"]\n",
            "[ \"]\", \n",
            "[ \"\\\"]\",\n",
            "[ ']''',\n",
            "[ '\n]\n',\n",
            "[ a#b \"]\",\n",
            "[ # \u{2028}\"]\",",
            "[ \"# ]\",\n",
            "[a\u{a0}#,",
            "[a\u{3000}#,",
        ] {
            assert!(refused_line(&line.repeat(100)).is_some(), "{line}");
        }
        for head in [
            "a: |\n  \"\nb: ",
            "# \"\n",
            "a: it's\nb: ",
            "a: >\n  '\nb: ",
        ] {
            let text = format!("{head}{}", "[".repeat(65));
            assert!(refused_line(&text).is_some(), "{head}");
        }
    }

    #[test]
    fn many_nodes_and_directives_are_refused() {
        let error = |text: &str| {
            refuse_costly(text, &NodeLimit::for_bytes(text.len()))
                .map_err(|error| error.to_string())
        };
        assert_eq!(error(&"- a\n".repeat(1 << 16)), Ok(()));
        assert!(error(&"- a\n".repeat(1 << 18)).is_err());
        assert_eq!(error(&"- fd00:1:2:3:4:5:6::/112\n".repeat(1 << 17)), Ok(()));
        assert_eq!(error(&"- *a\n".repeat(1 << 11)), Ok(()));
        assert!(error(&"- *a\n".repeat(1 << 13)).is_err());
        assert_eq!(error(&"- a*b\n".repeat(1 << 13)), Ok(()));
        assert_eq!(error(&"# ***\n".repeat(1 << 13)), Ok(()));
        let owned = "- 10.0.0.0/8 # vpc: prod, zone: {a, 'b'}, don't: \"\n";
        assert_eq!(error(&owned.repeat(1 << 15)), Ok(()));
        let text = "- a\u{a0}# b: c, d: e, f: g, h: i, j: k\n";
        assert!(error(&text.repeat(1 << 15)).is_err());
        let nested = |items: usize| "[".repeat(63) + &"a,".repeat(items) + &"]".repeat(63);
        assert_eq!(error(&nested(1 << 14)), Ok(()));
        assert!(error(&nested(1 << 15)).is_err());
        let commented = "# [a]\n".repeat(60) + &"- a\n".repeat(1 << 15);
        assert_eq!(error(&commented), Ok(()));
        assert_eq!(error(&"%\n".repeat(64)), Ok(()));
        assert!(error(&"%\r".repeat(65)).is_err());
        assert_eq!(
            error("%YAML 1.2\n%TAG !e! tag:example.com,2000:\n---\n"),
            Ok(())
        );
        let prefix = "t".repeat(64);
        assert!(error(&format!("%TAG ! {prefix}\n---\n- !a b\n")).is_err());
    }

    #[test]
    fn files_that_are_judged_together_share_one_limit() {
        let file = "- a\n".repeat(1 << 12);
        let limit = NodeLimit::for_bytes(64 * file.len());
        let taken = (0..64).take_while(|_| refuse_costly(&file, &limit).is_ok());
        assert_eq!(taken.count(), 41);
    }

    /// The deepest nesting that a whole YAML reader meets.
    fn real_depth(text: &str) -> usize {
        let (mut depth, mut deepest) = (0_usize, 0);
        for event in Parser::new_from_str(text).map_while(Result::ok) {
            match event.0 {
                Event::SequenceStart(..) | Event::MappingStart(..) => depth += 1,
                Event::SequenceEnd | Event::MappingEnd => depth -= 1,
                _ => {}
            }
            deepest = deepest.max(depth);
        }
        deepest
    }

    /// How many nodes a whole YAML reader meets; `None`: it is no YAML.
    fn real_nodes(text: &str) -> Option<usize> {
        let mut nodes = 0;
        for event in Parser::new_from_str(text) {
            let (event, _) = event.ok()?;
            nodes += usize::from(matches!(
                event,
                Event::Scalar(..) | Event::SequenceStart(..) | Event::MappingStart(..)
            ));
        }
        Some(nodes)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn never_finds_less_than_the_reader(
            parts in proptest::collection::vec(
                prop::sample::select(vec![
                    "[", "[", "[", "]", "{", "}", ",", ", ", "\"", "'", "\\", "#", " #", "\n", " ", "a", "]\"",
                    "'' ", "\"]\",", "']',", "# ]\n", "\"]\\\"\",", "[ ",
                    "\u{a0}", "\u{2028}",
                ]),
                0..60,
            )
        ) {
            let text = format!("[{}", parts.concat());
            let mut depths = Depths::OF_NOTHING;
            let (mut before, mut deepest) = ('\n', Some(0));
            for c in text.chars() {
                depths = depths.after(before, c);
                deepest = deepest.max(depths.structure);
                before = c;
            }
            // A pair within a flow list (`["a":b]`) is a mapping without a bracket.
            let pairs = usize::from(text.contains(':'));
            prop_assert!(real_depth(&text) <= deepest.unwrap_or(0) + pairs, "{:?}", text);
        }

        #[test]
        fn no_node_is_lost_with_the_comments(
            parts in proptest::collection::vec(
                prop::sample::select(vec![
                    "- ", "- ", "a: ", "a", "\n", "\n", "  ", ", ", "[", "]", "\"", "'", "\\", "#", " #", "\t#", "\u{a0}#",
                    "''", "|\n", "\" # ", "' # ", ": ",
                ]),
                0..60,
            )
        ) {
            let text = parts.concat();
            let rest = without_comments(&text);
            // A list and its first item begin with one indicator.
            prop_assert!(real_nodes(&text) <= Some(1 + 2 * most_nodes(&rest)), "{:?}, {:?}", text, rest);
        }
    }
}
