//! What the pages show of the program's output is what it prints.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use crate::DAEMON;
use crate::packaging::pages::SAMPLE;
use crate::packaging::pages::page::{CONFIGURATION, FRONT, Page, TABLE, repository};
use crate::support::daemon::Daemon;
use crate::support::judged::Judged;
use crate::support::lab::Lab;
use crate::support::netns::Namespace;
use crate::support::nft::Nft;
use crate::support::oracle::Oracle;
use crate::support::outcome::Outcome;
use crate::support::probe::{Probe, Protocol};

/// How each shown output begins. The first is compared in `yaml`.
const BEGINNINGS: [&str; 9] = [
    "$ non-masquerade-daemon check ",
    "$ non-masquerade-daemon status",
    "$ non-masquerade-daemon doctor",
    "$ non-masquerade-daemon explain ",
    "$ non-masquerade-daemon connections ",
    "ip daddr @",
    "DESTINATION ",
    "table ip ",
    "WARN ",
];
const DEFAULT_CONFIG: &str = "/etc/config/non-masquerade-daemon";

/// The output on this page that begins so.
fn shown(page: &'static str, beginning: &str) -> String {
    assert!(BEGINNINGS.contains(&beginning));
    let blocks = Page::of(page).blocks();
    let mut texts = blocks.into_iter().map(|block| block.text);
    texts.find(|text| text.starts_with(beginning)).unwrap()
}

/// The text with `#` for each number behind one of these words: ids, ports and sizes are others in each run.
fn masked(text: &str) -> String {
    let mut masked = text.to_owned();
    for word in ["pid ", "port ", "handle ", "bytes "] {
        let mut parts = masked.split(word);
        let first = parts.next().unwrap_or_default().to_owned();
        masked = parts.fold(first, |text, part| {
            let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
            format!("{text}{word}#{rest}")
        });
    }
    masked
}

/// The text with each line in one piece that a terminal of 80 columns shows in several: where they end depends on the
/// numbers in them. A remedy, which begins with an arrow, is a line of its own.
fn in_one_piece(text: &str) -> String {
    let mut pieces: Vec<String> = Vec::new();
    for line in text.lines() {
        let words = line.trim_start();
        let is_deep = line.len() - words.len() > 8;
        match pieces.last_mut() {
            Some(piece) if is_deep && !words.starts_with("->") => {
                piece.push(' ');
                piece.push_str(words);
            }
            _ => pieces.push(line.to_owned()),
        }
    }
    pieces.join("\n")
}

/// Fails unless the page shows this, as a terminal of 80 columns does.
#[track_caller]
fn assert_shown_on_a_terminal(printed: &str, beginning: &str) {
    let shown = shown(FRONT, beginning);
    let (_, shown) = shown.split_once('\n').unwrap();
    for line in shown.lines().filter(|line| !line.contains("-> ")) {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let [printed, shown] = [printed, shown].map(|text| masked(&in_one_piece(text)));
    assert_eq!(printed, shown);
}

/// Runs the words of the shown output's first line, and compares the rest.
#[track_caller]
fn assert_printed(shown: &str, namespace: &Namespace, config: &Path) {
    let (line, expected) = shown.split_once('\n').unwrap();
    let words = line.strip_prefix("$ non-masquerade-daemon ").unwrap();
    let mut command = namespace.command(DAEMON);
    command.args(words.split(' '));
    let printed = Outcome::of(command.env("NON_MASQUERADE_DAEMON_CONFIG", config));
    printed.assert_code(0);
    let printed = printed
        .output
        .replace(config.to_str().unwrap(), DEFAULT_CONFIG);
    // The lab's name for the interface.
    let printed = printed.replace("uplink0", "eth0");
    assert_eq!(masked(&printed), masked(expected));
}

/// The connections after which the pages show counters.
fn send_connections(lab: &Lab) {
    let probe = Probe::from_pod(lab).unwrap();
    for (destination, times) in [
        ("10.9.9.9", 3),
        ("169.254.169.254", 1),
        ("198.51.100.7", 2),
        ("1.1.1.1", 5),
    ] {
        let destination: IpAddr = destination.parse().unwrap();
        for _ in 0..times {
            probe.seen_source(Protocol::Udp, destination).unwrap();
        }
    }
}

#[test]
fn each_shown_output_is_compared_here() {
    for block in Page::all().iter().flat_map(Page::blocks) {
        if block.language == "text" {
            let is_known = BEGINNINGS.iter().any(|of| block.text.starts_with(of));
            assert!(is_known, "{}: {}", block.page, block.text);
        }
    }
}

#[test]
fn the_deciding_lines_are_those_of_the_table() {
    let golden = repository().join("tests/golden/defaults.1.1.3.nft");
    let golden = fs::read_to_string(golden).unwrap();
    let shown = shown(FRONT, "ip daddr @");
    assert_eq!(shown.lines().count(), 2);
    for line in shown.lines() {
        assert!(
            golden.lines().any(|of| of.trim() == line),
            "{line}\n{golden}"
        );
    }
}

#[test]
fn the_lines_of_make_run_are_what_packets_show() {
    let judged = Judged::start(DAEMON, SAMPLE, &[]).unwrap();
    let oracle = Oracle::new(SAMPLE).unwrap();
    let shown = shown(FRONT, "DESTINATION ");
    for line in shown.lines().skip(1) {
        let columns: Vec<&str> = line
            .split("  ")
            .map(str::trim)
            .filter(|of| !of.is_empty())
            .collect();
        let [destination, protocol, source, treated, prefix, "yes"] = columns[..] else {
            panic!("{line}");
        };
        let destination: IpAddr = destination.parse().unwrap();
        let is_local = judged.lab.is_local(destination);
        let probe = if is_local {
            Probe::from_pod_to_node
        } else {
            Probe::from_pod
        };
        assert_eq!(protocol, "TCP");
        let seen = probe(&judged.lab)
            .unwrap()
            .seen_source(Protocol::Tcp, destination);
        assert_eq!(seen.unwrap().ip().to_string(), source, "{line}");
        let is_kept = source == judged.lab.addresses.pod.to_string();
        assert_eq!(
            treated,
            if is_kept {
                "source kept"
            } else {
                "masqueraded"
            }
        );
        let deciding = oracle.deciding_prefix(destination);
        let deciding = deciding.map_or_else(|| "none".to_owned(), |prefix| prefix.to_string());
        assert_eq!(prefix, if is_local { "LOCAL" } else { &deciding });
    }
}

#[test]
fn an_explanation_is_as_shown() {
    let nested = Page::of(CONFIGURATION).blocks();
    let nested = nested
        .iter()
        .find(|block| block.text.contains("10.9.9.0/24"))
        .unwrap();
    let judged = Judged::start(DAEMON, &nested.text, &[]).unwrap();
    judged.daemon.wait_for_log("applied and read back").unwrap();
    let shown = shown(CONFIGURATION, "$ non-masquerade-daemon explain ");
    assert_printed(&shown, &judged.lab.node, &judged.daemon.config_file());
}

#[test]
fn the_summary_of_connections_is_as_shown() {
    let judged = Judged::start(DAEMON, SAMPLE, &[]).unwrap();
    let lab = &judged.lab;
    let other = "table ip other {
        chain early {
            type nat hook postrouting priority srcnat - 5;
            ip daddr 10.9.0.0/16 masquerade
            ip daddr 8.8.8.8 snat to ip saddr
        }
    }";
    Nft::host().apply(&lab.node, other).unwrap();
    Outcome::of(lab.node.command("conntrack").arg("--flush")).assert_code(0);
    let send = |probe: &Probe<'_>, destination: IpAddr| {
        for _ in 0..3 {
            probe.seen_source(Protocol::Udp, destination).unwrap();
        }
    };
    let through = Probe::from_pod(lab).unwrap();
    for destination in [[10, 1, 0, 1], [10, 9, 0, 1], [1, 1, 1, 1], [8, 8, 8, 8]] {
        send(&through, destination.into());
    }
    send(
        &Probe::from_pod_to_node(lab).unwrap(),
        lab.addresses.pod_gateway.into(),
    );
    let shown = shown(CONFIGURATION, "$ non-masquerade-daemon connections ");
    assert_printed(&shown, &lab.node, &judged.daemon.config_file());
}

/// A table that nobody owns, as any libnftables makes it where it is told to.
#[test]
fn a_repair_is_logged_as_shown() {
    let namespace = Namespace::new().unwrap();
    let daemon = Daemon::start(DAEMON, &namespace, SAMPLE, &["--table-owner=off"]).unwrap();
    daemon.wait_for_log("applied and read back").unwrap();
    let rule = "add rule ip non-masquerade-daemon non-masquerade-daemon accept";
    Nft::host().apply(&namespace, rule).unwrap();
    daemon.wait_for_log("repaired and read back").unwrap();
    let shown = shown(TABLE, "WARN ");
    let log = masked(&daemon.log());
    assert!(log.contains(masked(&shown).trim()), "{log}");
}

/// Ownership takes libnftables 1.1.0: Debian 13's root, which only root can make.
mod needs_root {
    use super::*;
    use crate::support::container::Container;
    use crate::support::daemon::WAIT_LIMIT;
    use crate::support::http::get;
    use crate::support::ip_masq_agent::Agent;
    use crate::support::outcome::on_a_terminal;
    use crate::support::root_file_system::RootFileSystem;
    use crate::support::security_context::Manifest;
    use crate::support::wait_until;

    #[test]
    fn status_and_table_are_as_shown() {
        let judged = Judged::start_on_debian_13(DAEMON, SAMPLE).unwrap();
        judged.daemon.wait_for_log("the table is owned").unwrap();
        send_connections(&judged.lab);
        let node = &judged.lab.node;
        let mut status = on_a_terminal(node, 80, &format!("{DAEMON} status"));
        let config = judged.daemon.config_file();
        status.env("NO_COLOR", "1");
        let printed = Outcome::of(status.env("NON_MASQUERADE_DAEMON_CONFIG", &config));
        printed.assert_code(0);
        let printed = printed.output.replace('\r', "");
        let printed = printed.replace(config.to_str().unwrap(), DEFAULT_CONFIG);
        assert_shown_on_a_terminal(&printed, "$ non-masquerade-daemon status");
        let table = Nft::debian_13()
            .list_table_text(node, "non-masquerade-daemon")
            .unwrap();
        // There is no /proc in that root, where nft finds the owner's name.
        let table = table.replace("progname (null)", "progname nmd-nft-worker");
        let shown = shown(TABLE, "table ip ");
        assert_eq!(masked(&table), masked(&shown));
    }

    /// In a pod, on a node on which ip-masq-agent has left its rules.
    #[test]
    fn what_doctor_finds_is_as_shown() {
        let root = RootFileSystem::new(DAEMON).unwrap();
        let lab = Lab::new().unwrap();
        let container = Container::start(&root, &Manifest::base(), &lab.node, SAMPLE, &[]).unwrap();
        let is_ready = || get(&lab.node, "/readyz").is_ok_and(|answer| answer.status == 200);
        wait_until(WAIT_LIMIT, is_ready).unwrap();
        Agent::First.sync(&lab.node, &["10.0.0.0/8"]).unwrap();
        Nft::host()
            .apply(&lab.node, "delete table ip6 nat")
            .unwrap();
        let doctor = container.exec(&["doctor"]).unwrap();
        doctor.assert_code(0);
        let printed = doctor.output.replace("uplink0", "eth0");
        assert_shown_on_a_terminal(&printed, "$ non-masquerade-daemon doctor");
    }
}
