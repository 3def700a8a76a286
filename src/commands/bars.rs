//! Tables with bars, for people: aligned, and as wide as the terminal is.

use super::terminal::Terminal;

/// The longest bar, in characters.
const BAR_CHARACTERS: usize = 24;

/// A row of a table.
pub(super) struct Row<const NUMBERS: usize> {
    pub(super) name: String,
    /// `None`: it is not known.
    pub(super) numbers: [Option<u64>; NUMBERS],
    /// How many connections the bar stands for.
    pub(super) bar: u64,
}

/// Nothing without any row; else one line for each, below one of headings: that of the names, and those of the numbers.
pub(super) fn table<const NUMBERS: usize>(
    heading: &str,
    headings: [&str; NUMBERS],
    rows: &[Row<NUMBERS>],
    terminal: Terminal,
) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let shown = |number: Option<u64>| number.map_or_else(|| "?".to_owned(), |n| n.to_string());
    let mut numbers = vec![headings.map(str::to_owned)];
    numbers.extend(rows.iter().map(|row| row.numbers.map(shown)));
    let numbers = aligned(&numbers);
    let width_of_numbers = numbers.first().map_or(0, String::len);
    let columns = terminal.columns.unwrap_or(usize::MAX);
    // A longer name has a line of its own, and its numbers stand on the next.
    let most = columns.saturating_sub("  ".len() + width_of_numbers);
    let names = std::iter::once(heading).chain(rows.iter().map(|row| row.name.as_str()));
    let widths = names.map(|name| name.chars().count());
    let width = widths.filter(|width| *width <= most).max().unwrap_or(0);
    let room = most.saturating_sub(width + "  ".len()).min(BAR_CHARACTERS);
    let busiest = rows.iter().map(|row| row.bar).max().unwrap_or_default();
    let line = |name: &str, numbers: &str, bar: &str| match name.chars().count() <= most {
        true => format!("  {name:width$}{numbers}{bar}\n"),
        false => format!("  {name}\n  {:width$}{numbers}{bar}\n", ""),
    };
    let mut lines = numbers.iter();
    let first = lines.next().map(|numbers| line(heading, numbers, ""));
    let others = rows.iter().zip(lines).map(|(row, numbers)| {
        let bar = bar(row.bar, busiest, room, terminal);
        line(&row.name, numbers, &bar)
    });
    first.into_iter().chain(others).collect()
}

/// Each line in one piece, every number below the others of its column.
fn aligned<const NUMBERS: usize>(lines: &[[String; NUMBERS]]) -> Vec<String> {
    let mut aligned = vec![String::new(); lines.len()];
    for column in 0..NUMBERS {
        let cells = lines.iter().filter_map(|line| line.get(column));
        let width = cells.clone().map(|cell| cell.chars().count()).max();
        for (line, cell) in aligned.iter_mut().zip(cells) {
            *line += &format!("  {cell:>width$}", width = width.unwrap_or(0));
        }
    }
    aligned
}

/// Of one character at least where there is any connection, and of `longest` for the busiest.
fn bar(connections: u64, busiest: u64, longest: usize, terminal: Terminal) -> String {
    let (Some(part), 1.., 1..) = (terminal.bar, connections, longest) else {
        return String::new();
    };
    // Wide, so that no number of connections overflows; the quotient is at most `longest`.
    let share = u128::from(connections) * longest as u128;
    let length = share.div_ceil(u128::from(busiest.max(1)));
    let length = usize::try_from(length).unwrap_or_default();
    format!("  {}", String::from(part).repeat(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, numbers: [u64; 2]) -> Row<2> {
        Row {
            name: name.to_owned(),
            numbers: numbers.map(Some),
            bar: numbers[0],
        }
    }

    #[test]
    fn numbers_stand_below_their_headings_and_bars_take_what_is_left() {
        let rows = [row("10.0.0.0/8", [12, 1]), row("none", [6, 12_345])];
        let told = |terminal| table("by CIDR", ["kept", "other"], &rows, terminal);
        assert_eq!(
            told(Terminal::NONE),
            "  by CIDR     kept  other\n\
             \x20 10.0.0.0/8    12      1\n\
             \x20 none           6  12345\n"
        );
        assert_eq!(
            told(Terminal::with_columns(31)),
            "  by CIDR     kept  other\n\
             \x20 10.0.0.0/8    12      1  ####\n\
             \x20 none           6  12345  ##\n"
        );
        assert_eq!(
            told(Terminal::with_columns(22)),
            "  by CIDR  kept  other\n\
             \x20 10.0.0.0/8\n\
             \x20            12      1\n\
             \x20 none        6  12345\n"
        );
    }

    #[test]
    fn no_number_of_connections_overflows_a_bar() {
        let terminal = Terminal::with_columns(80);
        assert_eq!(
            bar(u64::MAX, u64::MAX, 24, terminal),
            format!("  {}", "#".repeat(24))
        );
        assert_eq!(bar(1, u64::MAX, 24, terminal), "  #");
    }
}
