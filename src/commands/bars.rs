//! Tables with bars, for people: aligned, and as plain as the terminal is.

use std::fmt::Write;
use std::io::{self, IsTerminal};

/// The longest bar, in characters.
const BAR_CHARACTERS: u64 = 24;

/// How much a terminal can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Style {
    /// What bars are made of; none: not a terminal.
    bar: Option<char>,
    colour: bool,
}

impl Style {
    /// Bars on a terminal only; no colour where `NO_COLOR` (no-color.org) is set to anything, or `TERM` is `dumb`.
    pub(super) fn of_standard_output() -> Self {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Self::of(io::stdout().is_terminal(), is_dumb, is_set("NO_COLOR"))
    }

    pub(super) fn of(is_terminal: bool, is_dumb: bool, is_without_colour: bool) -> Self {
        Self {
            bar: is_terminal.then_some(if is_dumb { '#' } else { '█' }),
            colour: is_terminal && !is_dumb && !is_without_colour,
        }
    }

    /// `text` in green or red, ECMA-48 "SGR".
    pub(super) fn coloured(self, text: &str, is_good: bool) -> String {
        match (self.colour, is_good) {
            (false, _) => text.to_owned(),
            (true, true) => format!("\u{1b}[32m{text}\u{1b}[0m"),
            (true, false) => format!("\u{1b}[31m{text}\u{1b}[0m"),
        }
    }
}

/// A row of a table.
pub(super) struct Row {
    pub(super) name: String,
    /// `None`: it is not known.
    pub(super) numbers: Vec<Option<u64>>,
    /// How many connections the bar stands for.
    pub(super) bar: u64,
}

/// Nothing without any row; else one line for each, below one of headings: that of the names, and those of the numbers.
pub(super) fn table<const COLUMNS: usize>(
    headings: [&str; COLUMNS],
    rows: &[Row],
    style: Style,
) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let shown = |number: &Option<u64>| number.map_or_else(|| "?".to_owned(), |n| n.to_string());
    let cells = |row: &Row| {
        let numbers = row.numbers.iter().map(shown);
        std::iter::once(row.name.clone()).chain(numbers).collect()
    };
    let mut lines: Vec<Vec<String>> = vec![headings.map(str::to_owned).into()];
    lines.extend(rows.iter().map(cells));
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    let busiest = rows.iter().map(|row| row.bar).max().unwrap_or_default();
    let bars = std::iter::once(0).chain(rows.iter().map(|row| row.bar));
    let mut text = String::new();
    for (line, connections) in lines.iter().zip(bars) {
        for (column, (cell, width)) in line.iter().zip(widths).enumerate() {
            // Writing to a String cannot fail.
            let _ = match column {
                0 => write!(text, "  {cell:width$}"),
                _ => write!(text, "  {cell:>width$}"),
            };
        }
        text += &bar(connections, busiest, style);
        text.push('\n');
    }
    text
}

/// Of one character at least where there is any connection.
fn bar(connections: u64, busiest: u64, style: Style) -> String {
    let (Some(part), 1..) = (style.bar, connections) else {
        return String::new();
    };
    // Wide, so that no number of connections overflows; the quotient is at most `BAR_CHARACTERS`.
    let share = u128::from(connections) * u128::from(BAR_CHARACTERS);
    let length = share.div_ceil(u128::from(busiest.max(1)));
    let length = usize::try_from(length).unwrap_or_default();
    format!("  {}", String::from(part).repeat(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_for_a_terminal_that_wants_it() {
        let is_coloured = |style: Style| style.coloured("x", true) != "x";
        assert!(is_coloured(Style::of(true, false, false)));
        assert!(!is_coloured(Style::of(true, false, true)));
        assert!(!is_coloured(Style::of(true, true, false)));
        assert!(!is_coloured(Style::of(false, false, false)));
    }

    #[test]
    fn no_number_of_connections_overflows_a_bar() {
        let style = Style::of(true, true, false);
        assert_eq!(bar(u64::MAX, u64::MAX, style).matches('#').count(), 24);
        assert_eq!(bar(1, u64::MAX, style).matches('#').count(), 1);
    }
}
