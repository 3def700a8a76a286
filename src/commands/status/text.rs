//! The status for people.

use std::fmt::Write;
use std::io::{self, IsTerminal};

use super::{Status, TableStatus};
use crate::in_words;
use crate::kernel::observed::ObservedElement;
use crate::ruleset::Family;

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

    fn of(is_terminal: bool, is_dumb: bool, is_without_colour: bool) -> Self {
        Self {
            bar: is_terminal.then_some(if is_dumb { '#' } else { '█' }),
            colour: is_terminal && !is_dumb && !is_without_colour,
        }
    }

    /// `text` in green or red, ECMA-48 "SGR".
    fn coloured(self, text: &str, is_good: bool) -> String {
        match (self.colour, is_good) {
            (false, _) => text.to_owned(),
            (true, true) => format!("\u{1b}[32m{text}\u{1b}[0m"),
            (true, false) => format!("\u{1b}[31m{text}\u{1b}[0m"),
        }
    }
}

/// All that is known.
pub(super) fn told(status: &Status, style: Style) -> String {
    let mut paragraphs: Vec<String> = Vec::new();
    if !status.configuration.is_good {
        paragraphs.push(in_force(&status.tables).to_owned());
    }
    let tables = status.tables.iter();
    paragraphs.extend(tables.map(|table| table_told(table, style)));
    paragraphs.push(format!("{}\n", status.daemon));
    let origin = status.configuration.origin.as_ref();
    paragraphs.extend(origin.map(|origin| format!("{}\n", in_words::sentence(origin))));
    paragraphs.join("\n")
}

/// With a bad configuration, and at the first start there is no good one before it.
fn in_force(tables: &[TableStatus]) -> &'static str {
    let is_present = |expected| move |table: &TableStatus| table.is_present == expected;
    if tables.iter().all(is_present(Some(false))) {
        "The configuration is bad (see the errors), and no table is there: nothing is masqueraded until it is mended.\n"
    } else if tables.iter().any(is_present(Some(true))) {
        // Whether it is a last good one of the daemon's, only that can say.
        "The configuration is bad (see the errors), so that what was in force stays in force. The kernel has:\n"
    } else {
        "The configuration is bad (see the errors). The kernel has:\n"
    }
}

fn table_told(table: &TableStatus, style: Style) -> String {
    let family = match table.family {
        Family::Ip => "IPv4",
        Family::Ip6 => "IPv6",
    };
    let mut text = format!("{family}: {}\n", state(table, style));
    let mut line = |label: &str, said: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {label:18} {said}");
    };
    for (index, difference) in table.differences.iter().enumerate() {
        let label = if index == 0 { "differs" } else { "" };
        line(label, difference);
    }
    if let Some(error) = &table.error {
        line("error", error);
    }
    if let Some(owner) = &table.owner {
        line("owner", &owner.to_string());
    }
    if let Some(address) = &table.snat_address {
        line(
            "masqueraded to",
            &format!("{address}, an address of this machine (snatAddressCIDRs)"),
        );
    }
    for warning in &table.warnings {
        line("warning", warning);
    }
    if let Some(connections) = table.masqueraded_connections {
        line("masqueraded", &counted(connections));
    }
    if let Some(connections) = table.kept_connections {
        line("kept their source", &counted(connections));
    }
    match table.dropped_invalid_packets {
        Some(1) => line("invalid, dropped", "1 packet"),
        Some(packets) => line("invalid, dropped", &format!("{packets} packets")),
        None => {}
    }
    text + &elements(&table.elements, style)
}

fn state(table: &TableStatus, style: Style) -> String {
    let name = format!("table {} {}", table.family.name(), table.table);
    match (table.is_present, table.is_wanted, table.in_step) {
        (Some(false), Some(false), _) => {
            "off (enableIPv6: false), and there is no table".to_owned()
        }
        (_, _, Some(true)) => {
            let in_step = style.coloured("in step", true);
            format!("{name} is {in_step} with the configuration")
        }
        (_, _, Some(false)) => {
            let out_of_step = style.coloured("out of step", false);
            format!("{name} is {out_of_step} with the configuration")
        }
        (Some(true), _, None) => name,
        (Some(false), _, None) => "no table".to_owned(),
        (None, _, None) => {
            let failed = style.coloured("cannot be looked at", false);
            format!("{name} {failed}")
        }
    }
}

fn counted(connections: u64) -> String {
    match connections {
        1 => "1 connection".to_owned(),
        more => format!("{more} connections"),
    }
}

/// One line for each element: its addresses, its connections, and how they compare with the busiest one's.
fn elements(elements: &[ObservedElement], style: Style) -> String {
    const HEADINGS: (&str, &str) = ("exempt", "connections");
    if elements.is_empty() {
        return String::new();
    }
    let rows: Vec<(String, String, u64)> = elements
        .iter()
        .map(|element| {
            let connections = element.connections;
            let shown = connections.map_or_else(|| "?".to_owned(), |n| n.to_string());
            (element.to_string(), shown, connections.unwrap_or_default())
        })
        .collect();
    let names = rows.iter().map(|(name, ..)| name.chars().count());
    let width = names.max().unwrap_or_default().max(HEADINGS.0.len());
    let busiest = rows.iter().map(|(.., n)| *n).max().unwrap_or_default();
    let numbers = rows.iter().map(|(_, shown, _)| shown.len());
    let number_width = numbers.max().unwrap_or_default().max(HEADINGS.1.len());
    let mut text = format!("  {:width$}  {:>number_width$}\n", HEADINGS.0, HEADINGS.1);
    for (name, shown, connections) in rows {
        let bar = bar(connections, busiest, style);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {name:width$}  {shown:>number_width$}{bar}");
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

    fn element(first: &str, last: &str, comment: &str, connections: u64) -> ObservedElement {
        ObservedElement {
            first: first.parse().unwrap(),
            last: last.parse().unwrap(),
            comment: Some(comment.to_owned()),
            connections: Some(connections),
        }
    }

    fn some() -> [ObservedElement; 4] {
        [
            element("10.0.0.0", "10.0.255.255", "10.0.0.0/8", 3),
            element("10.2.0.0", "10.255.255.255", "10.0.0.0/8", 1_200),
            element("169.254.0.0", "169.254.255.255", "link-local", 0),
            element("192.168.0.0", "192.168.255.255", "192.168.0.0/16", 600),
        ]
    }

    #[test]
    fn elements_are_aligned_and_plain_where_nobody_watches() {
        assert_eq!(
            elements(&some(), Style::of(false, false, false)),
            "  exempt                                 connections\n\
             \x20 10.0.0.0/16 of 10.0.0.0/8                        3\n\
             \x20 10.2.0.0-10.255.255.255 of 10.0.0.0/8         1200\n\
             \x20 169.254.0.0/16 (link-local)                      0\n\
             \x20 192.168.0.0/16                                 600\n"
        );
    }

    #[test]
    fn on_a_terminal_the_busiest_element_has_the_longest_bar() {
        let shown = elements(&some(), Style::of(true, true, false));
        let lengths: Vec<usize> = shown
            .lines()
            .map(|line| line.matches('#').count())
            .collect();
        assert_eq!(lengths, [0, 1, 24, 0, 12], "{shown}");
        assert!(elements(&some(), Style::of(true, false, false)).contains('█'));
    }

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

    #[test]
    fn what_others_wrote_into_a_comment_is_escaped() {
        let forged = element("10.0.0.0", "10.0.0.0", "\u{1b}[31m\n", 0);
        assert_eq!(forged.to_string(), "10.0.0.0/32 of \\u{1b}[31m\\n");
    }
}
