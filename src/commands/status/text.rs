//! The status for people.

use super::{Status, TableStatus};
use crate::commands::bars::{self, Row};
use crate::commands::terminal::{Colour, Terminal, one_line};
use crate::in_words;
use crate::kernel::observed::ObservedElement;
use crate::ruleset::Family;

/// Of what is said of a table, behind its label.
const INDENTATION: usize = 21;

/// All that is known.
pub(super) fn told(status: &Status, terminal: Terminal) -> String {
    let mut paragraphs: Vec<String> = Vec::new();
    let sentence = |said: &str| terminal.lines(&one_line(said), 0);
    if !status.configuration.is_good {
        paragraphs.push(sentence(in_force(&status.tables)));
    }
    let tables = status.tables.iter();
    paragraphs.extend(tables.map(|table| table_told(table, terminal)));
    paragraphs.push(sentence(&status.daemon.to_string()));
    let origin = status.configuration.origin.as_ref();
    paragraphs.extend(origin.map(|origin| sentence(&in_words::sentence(origin))));
    paragraphs.join("\n")
}

/// With a bad configuration, and at the first start there is no good one before it.
fn in_force(tables: &[TableStatus]) -> &'static str {
    let is_present = |expected| move |table: &TableStatus| table.is_present == expected;
    if tables.iter().all(is_present(Some(false))) {
        "The configuration is bad (see the errors), and no table is there: nothing is masqueraded until it is mended."
    } else if tables.iter().any(is_present(Some(true))) {
        // Whether it is a last good one of the daemon's, only that can say.
        "The configuration is bad (see the errors), so that what was in force stays in force. The kernel has:"
    } else {
        "The configuration is bad (see the errors). The kernel has:"
    }
}

fn table_told(table: &TableStatus, terminal: Terminal) -> String {
    let family = match table.family {
        Family::Ip => "IPv4",
        Family::Ip6 => "IPv6",
    };
    let mut text = terminal.lines(&format!("{family}: {}", state(table, terminal)), 0);
    let mut line = |label: &str, said: &str| {
        let line = format!("  {label:18} {}", one_line(said));
        text += &terminal.lines(&line, INDENTATION);
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
    text + &elements(&table.elements, terminal)
}

fn state(table: &TableStatus, terminal: Terminal) -> String {
    let name = format!("table {} {}", table.family.name(), table.table);
    match (table.is_present, table.is_wanted, table.in_step) {
        (Some(false), Some(false), _) => {
            "off (enableIPv6: false), and there is no table".to_owned()
        }
        (_, _, Some(true)) => {
            let in_step = terminal.coloured("in step", Colour::Green);
            format!("{name} is {in_step} with the configuration")
        }
        (_, _, Some(false)) => {
            let out_of_step = terminal.coloured("out of step", Colour::Red);
            format!("{name} is {out_of_step} with the configuration")
        }
        (Some(true), _, None) => name,
        (Some(false), _, None) => "no table".to_owned(),
        (None, _, None) => {
            let failed = terminal.coloured("cannot be looked at", Colour::Red);
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
fn elements(elements: &[ObservedElement], terminal: Terminal) -> String {
    let row = |element: &ObservedElement| Row {
        name: element.to_string(),
        numbers: [element.connections],
        bar: element.connections.unwrap_or_default(),
    };
    let rows: Vec<Row<1>> = elements.iter().map(row).collect();
    bars::table("exempt", ["connections"], &rows, terminal)
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
            elements(&some(), Terminal::NONE),
            "  exempt                                 connections\n\
             \x20 10.0.0.0/16 of 10.0.0.0/8                        3\n\
             \x20 10.2.0.0-10.255.255.255 of 10.0.0.0/8         1200\n\
             \x20 169.254.0.0/16 (link-local)                      0\n\
             \x20 192.168.0.0/16                                 600\n"
        );
    }

    fn bars(shown: &str) -> Vec<usize> {
        let lines = shown.lines();
        lines.map(|line| line.matches('#').count()).collect()
    }

    #[test]
    fn on_a_terminal_the_busiest_element_has_the_longest_bar_that_fits() {
        for (columns, lengths) in [
            (80, [0, 1, 24, 0, 12]),
            (64, [0, 1, 10, 0, 5]),
            (52, [0, 0, 0, 0, 0]),
        ] {
            let shown = elements(&some(), Terminal::with_columns(columns));
            assert_eq!(bars(&shown), lengths, "{shown}");
            assert!(shown.lines().all(|line| line.len() <= columns), "{shown}");
        }
    }

    #[test]
    fn a_name_that_leaves_no_room_for_its_number_has_a_line_of_its_own() {
        let last = "2001:db8:1:7fff:ffff:ffff:ffff:fffe";
        let long = element("2001:db8:1::", last, "2001:db8:1::/32", 7);
        let short = element("fd00::", "fd00::ffff", "fd00::/112", 0);
        assert_eq!(
            elements(&[long, short], Terminal::with_columns(80)),
            "  exempt      connections\n\
             \x20 2001:db8:1::-2001:db8:1:7fff:ffff:ffff:ffff:fffe of 2001:db8:1::/32\n\
             \x20                       7  ########################\n\
             \x20 fd00::/112            0\n"
        );
    }

    #[test]
    fn what_others_wrote_into_a_comment_is_escaped() {
        let forged = element("10.0.0.0", "10.0.0.0", "\u{1b}[31m\n", 0);
        assert_eq!(forged.to_string(), "10.0.0.0/32 of \\u{1b}[31m\\n");
    }
}
