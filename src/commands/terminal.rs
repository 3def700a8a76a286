//! Standard output as people read it. On a terminal, lines are as long as that is wide, and a few words have a colour.
//! Elsewhere each line is in one piece and plain: what reads it looks for lines.

use std::io::{self, IsTerminal};

/// How much standard output can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Terminal {
    /// How many characters a line has; none: not a terminal, or one that does not tell.
    pub(super) columns: Option<usize>,
    /// What bars are made of; none: not a terminal.
    pub(super) bar: Option<char>,
    is_coloured: bool,
}

/// ECMA-48, "SGR".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colour {
    Red = 31,
    Green = 32,
    Yellow = 33,
}

impl Terminal {
    /// No colour where `NO_COLOR` (no-color.org) is set to anything, or `TERM` is `dumb`.
    pub(super) fn of_standard_output() -> Self {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let columns = terminal_size::terminal_size_of(io::stdout());
        let columns = columns.map(|(width, _)| usize::from(width.0));
        Self {
            columns,
            ..Self::of(io::stdout().is_terminal(), is_dumb, is_set("NO_COLOR"))
        }
    }

    fn of(is_terminal: bool, is_dumb: bool, is_without_colour: bool) -> Self {
        Self {
            columns: None,
            bar: is_terminal.then_some(if is_dumb { '#' } else { '█' }),
            is_coloured: is_terminal && !is_dumb && !is_without_colour,
        }
    }

    pub(super) fn coloured(self, text: &str, colour: Colour) -> String {
        match self.is_coloured {
            false => text.to_owned(),
            true => format!("\u{1b}[{}m{text}\u{1b}[0m", colour as u8),
        }
    }

    /// `line` in as many lines as it needs, those after the first indented by so many spaces, and an end of line. A word
    /// stays in one piece, also where it is longer than a line.
    pub(super) fn lines(self, line: &str, indentation: usize) -> String {
        let columns = self.columns.unwrap_or(usize::MAX);
        let mut lines = String::new();
        let mut column = 0;
        for (index, word) in line.split(' ').enumerate() {
            let width = width(word);
            if index > 0 && column + 1 + width > columns && column > indentation {
                lines.push_str(&format!("\n{:indentation$}", ""));
                column = indentation;
            } else if index > 0 {
                lines.push(' ');
                column += 1;
            }
            lines.push_str(word);
            column += width;
        }
        lines + "\n"
    }
}

/// In characters, without those that make a colour.
fn width(word: &str) -> usize {
    let mut parts = word.split('\u{1b}');
    let first = parts.next().unwrap_or_default();
    let behind = parts.filter_map(|part| part.split_once('m'));
    let behind = behind.map(|(_, text)| text.chars().count());
    first.chars().count() + behind.sum::<usize>()
}

/// Names in the kernel are anyone's to choose, and not to forge a line or a colour.
pub(super) fn one_line(text: &str) -> String {
    let shown = |c: char| {
        if c.is_control() {
            c.escape_default().to_string()
        } else {
            c.to_string()
        }
    };
    text.chars().map(shown).collect()
}

#[cfg(test)]
impl Terminal {
    pub(super) const NONE: Self = Self {
        columns: None,
        bar: None,
        is_coloured: false,
    };

    /// One without colours.
    pub(super) fn with_columns(columns: usize) -> Self {
        Self {
            columns: Some(columns),
            ..Self::of(true, true, true)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_for_a_terminal_that_wants_it() {
        let is_coloured = |terminal: Terminal| terminal.coloured("x", Colour::Red) != "x";
        assert!(is_coloured(Terminal::of(true, false, false)));
        assert!(!is_coloured(Terminal::of(true, false, true)));
        assert!(!is_coloured(Terminal::of(true, true, false)));
        assert!(!is_coloured(Terminal::of(false, false, false)));
        let green = Terminal::of(true, false, false).coloured("ok", Colour::Green);
        assert_eq!(green, "\u{1b}[32mok\u{1b}[0m");
    }

    #[test]
    fn lines_are_as_long_as_the_terminal_is_wide() {
        let said = "ok   a line of words";
        for (columns, lines) in [
            (20, "ok   a line of words\n"),
            (19, "ok   a line of\n     words\n"),
            (14, "ok   a line of\n     words\n"),
            (10, "ok   a\n     line\n     of\n     words\n"),
            // Shorter than a word.
            (1, "ok   a\n     line\n     of\n     words\n"),
        ] {
            assert_eq!(Terminal::with_columns(columns).lines(said, 5), lines);
        }
        assert_eq!(Terminal::NONE.lines(said, 5), "ok   a line of words\n");
    }

    #[test]
    fn a_colour_takes_no_room() {
        let said = "a \u{1b}[32mgreen\u{1b}[0m word";
        assert_eq!(
            Terminal::with_columns(12).lines(said, 0),
            format!("{said}\n")
        );
        assert!(
            Terminal::with_columns(11)
                .lines(said, 0)
                .ends_with("\nword\n")
        );
    }

    #[test]
    fn what_others_chose_forges_no_line_and_no_colour() {
        assert_eq!(one_line("a\n\u{1b}[31m b"), "a\\n\\u{1b}[31m b");
    }
}
