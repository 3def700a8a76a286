//! The status for people.

use std::fmt::Write;

use super::{Status, TableStatus};
use crate::commands::bars::{self, Row, Style};
use crate::in_words;
use crate::kernel::observed::ObservedElement;
use crate::ruleset::Family;

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
    let row = |element: &ObservedElement| Row {
        name: element.to_string(),
        numbers: vec![element.connections],
        bar: element.connections.unwrap_or_default(),
    };
    let rows: Vec<Row> = elements.iter().map(row).collect();
    bars::table(["exempt", "connections"], &rows, style)
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
    fn what_others_wrote_into_a_comment_is_escaped() {
        let forged = element("10.0.0.0", "10.0.0.0", "\u{1b}[31m\n", 0);
        assert_eq!(forged.to_string(), "10.0.0.0/32 of \\u{1b}[31m\\n");
    }
}
