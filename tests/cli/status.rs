//! `status`: what the kernel has, counted against packets, and whether it is in step.

use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use crate::DAEMON;
use crate::support::daemon::Daemon;
use crate::support::json_schema;
use crate::support::judged::Judged;
use crate::support::lab::Family;
use crate::support::netns::Namespace;
use crate::support::nft::{Nft, TABLE};
use crate::support::outcome::{Outcome, on_a_terminal, without_net_admin, words};
use crate::support::probe::{Probe, Protocol};
use ipnet::IpNet;
use serde_json::{Value, json};

const DUAL_STACK: &str =
    "enableIPv6: true\nnonMasqueradeCIDRs: [10.0.0.0/8, 198.51.100.0/24, '2001:db8:1::/48']\n";

fn with_config(mut command: Command, config: &Path, arguments: &str) -> Outcome {
    command.env("NON_MASQUERADE_DAEMON_CONFIG", config);
    Outcome::of(&mut words(command, arguments))
}

fn status(namespace: &Namespace, config: &Path) -> Outcome {
    let status = with_config(namespace.command(DAEMON), config, "status --format json");
    json_schema::assert_fits("status.schema.json", &status.json());
    status
}

fn text(namespace: &Namespace, config: &Path) -> Outcome {
    with_config(namespace.command(DAEMON), config, "status")
}

fn nowhere() -> &'static Path {
    Path::new("/nonexistent/config")
}

fn apply(namespace: &Namespace, config: &Path) {
    with_config(namespace.command(DAEMON), config, "run --once").assert_code(0);
}

/// The connections of the element that is this CIDR.
fn connections(table: &Value, cidr: &str) -> u64 {
    let cidr: IpNet = cidr.parse().unwrap();
    let ends = [cidr.network(), cidr.broadcast()].map(|address| json!(address));
    let elements = table["elements"].as_array().unwrap();
    let is_it = |element: &&Value| ends == [&element["first"], &element["last"]].map(Value::clone);
    let element = elements.iter().find(is_it).unwrap();
    element["connections"].as_u64().unwrap()
}

#[test]
fn connections_are_counted_as_packets_were_sent() {
    let judged = Judged::start(DAEMON, DUAL_STACK, &[]).unwrap();
    let config = judged.daemon.config_file();
    let probe = Probe::from_pod(&judged.lab).unwrap();
    let send = |destination: &str, times: u64| {
        let destination: IpAddr = destination.parse().unwrap();
        for _ in 0..times {
            probe.seen_source(Protocol::Udp, destination).unwrap();
        }
    };
    send("198.51.100.7", 3);
    send("10.200.0.1", 1);
    send("203.0.113.9", 5);
    send("2001:db8:1::7", 2);
    send("2001:db8:ffff::7", 4);
    let outcome = status(&judged.lab.node, &config);
    outcome.assert_code(0);
    let status = outcome.json();
    assert_eq!(status["in_step"], true);
    let [ip, ip6] = status["tables"].as_array().unwrap().as_slice() else {
        panic!("{status}")
    };
    assert_eq!(connections(ip, "198.51.100.0/24"), 3);
    assert_eq!(connections(ip, "10.0.0.0/8"), 1);
    assert_eq!(connections(ip, "169.254.0.0/16"), 0);
    let comments = ip["elements"].as_array().unwrap().iter();
    let comments: Vec<&Value> = comments.map(|element| &element["comment"]).collect();
    assert_eq!(comments, [&Value::Null, &json!("link-local"), &Value::Null]);
    assert_eq!(ip["kept_connections"], 4);
    assert_eq!(ip["masqueraded_connections"], 5);
    assert_eq!(connections(ip6, "2001:db8:1::/48"), 2);
    assert_eq!(ip6["masqueraded_connections"], 4);
    let told = text(&judged.lab.node, &config).output;
    let expected = format!(
        "IPv4: table ip {TABLE} is in step with the configuration\n\
         \x20 owner              nobody: others can change it, and a running daemon undoes that\n\
         \x20 masqueraded        5 connections\n\
         \x20 kept their source  4 connections\n\
         \x20 exempt                       connections\n\
         \x20 10.0.0.0/8                             1\n\
         \x20 169.254.0.0/16 (link-local)            0\n\
         \x20 198.51.100.0/24                        3\n\
         \n\
         IPv6: table ip6 {TABLE} is in step"
    );
    assert!(told.starts_with(&expected), "{told}");
}

#[test]
fn on_a_terminal_the_busiest_is_told_at_a_glance() {
    let judged = Judged::start(DAEMON, DUAL_STACK, &[]).unwrap();
    let probe = Probe::from_pod(&judged.lab).unwrap();
    for destination in ["198.51.100.7", "198.51.100.8", "10.200.0.1"] {
        let destination: IpAddr = destination.parse().unwrap();
        probe.seen_source(Protocol::Udp, destination).unwrap();
    }
    let on_terminal = |columns: usize, term: &str, no_color: &str| {
        let mut status = on_a_terminal(&judged.lab.node, columns, &format!("{DAEMON} status"));
        status.env("TERM", term).env("NO_COLOR", no_color);
        let shown = with_config(status, &judged.daemon.config_file(), "");
        shown.assert_code(0);
        shown.output.replace('\r', "")
    };
    let bars = |shown: &str, bar: char| -> Vec<usize> {
        let elements = shown.lines().filter(|line| line.contains("0/"));
        elements
            .map(|line| line.matches(bar).count())
            .take(3)
            .collect()
    };
    let coloured = on_terminal(80, "xterm", "");
    assert_eq!(bars(&coloured, '█'), [12, 0, 24], "{coloured}");
    assert!(
        coloured.contains("\u{1b}[32min step\u{1b}[0m"),
        "{coloured}"
    );
    let plain = on_terminal(80, "xterm", "1");
    assert_eq!(bars(&plain, '█'), [12, 0, 24], "{plain}");
    assert!(!plain.contains('\u{1b}'), "{plain}");
    let dumb = on_terminal(80, "dumb", "");
    assert_eq!(bars(&dumb, '#'), [12, 0, 24], "{dumb}");
    assert!(!dumb.contains('\u{1b}'), "{dumb}");
    let piped = text(&judged.lab.node, &judged.daemon.config_file()).output;
    assert!(!piped.contains(['█', '#', '\u{1b}']), "{piped}");
    // In as many lines as the terminal's width asks for, and elsewhere in one.
    let owner = "nobody: others can change it, and a running daemon undoes that";
    assert!(piped.contains(owner) && on_terminal(120, "xterm", "").contains(owner));
    let narrow = on_terminal(60, "xterm", "1");
    assert!(!narrow.contains(owner), "{narrow}");
    let widths = narrow.lines().map(|line| line.chars().count());
    assert!(widths.max() <= Some(60), "{narrow}");
}

/// So that the schema holds something.
#[test]
fn the_schema_refuses_names_and_types_that_status_does_not_print() {
    let good = status(&Namespace::new().unwrap(), nowhere()).json();
    let faults = |status: &Value| json_schema::faults("status.schema.json", status);
    for (place, value) in [
        ("/in_step", json!("yes")),
        ("/tables/0/family", json!("inet")),
        ("/tables/1/elements", json!([{}])),
        ("/daemon", json!({ "not_ready": "no" })),
        (
            "/configuration",
            json!({ "is_good": true, "files": [], "error": null, "more": 1 }),
        ),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(place).unwrap() = value;
        assert_ne!(faults(&bad), [""; 0], "{place}");
    }
}

#[test]
fn out_of_step_is_exit_code_1_with_what_differs() {
    let namespace = Namespace::new().unwrap();
    let missing = status(&namespace, nowhere());
    missing.assert_code(1);
    let missing = missing.json();
    assert_eq!(
        missing["tables"][0]["differences"],
        json!(["there is no table"])
    );
    assert_eq!(missing["tables"][0]["is_present"], false);
    assert_eq!(missing["tables"][1]["in_step"], true);
    apply(&namespace, nowhere());
    status(&namespace, nowhere()).assert_code(0);
    let set = Nft::host().exempt_set(&namespace).unwrap();
    let hand =
        format!("delete element ip {TABLE} {set} {{ 10.0.0.0/8 }}; add counter ip {TABLE} foreign");
    Nft::host().apply(&namespace, &hand).unwrap();
    let told = text(&namespace, nowhere());
    told.assert_code(1);
    let expected = format!(
        "IPv4: table ip {TABLE} is out of step with the configuration\n\
         \x20 differs            set {set} lacks 10.0.0.0/8\n\
         \x20                    foreign counter foreign\n"
    );
    assert!(told.output.starts_with(&expected), "{}", told.output);
    let absent = "\n\nThere is no file /nonexistent/config, so the defaults apply.\n";
    assert!(told.output.ends_with(absent), "{}", told.output);
    let still = Nft::host().list_table_text(&namespace, TABLE).unwrap();
    assert!(
        still.contains("counter foreign"),
        "status writes nothing: {still}"
    );
}

#[test]
fn a_table_of_a_family_that_is_off_is_out_of_step() {
    let judged = Judged::start(DAEMON, DUAL_STACK, &[]).unwrap();
    let off = status(&judged.lab.node, nowhere());
    off.assert_code(1);
    let ip6 = off.json()["tables"][1].take();
    assert_eq!(ip6["is_wanted"], false);
    assert_eq!(
        ip6["differences"],
        json!(["there is a table, although IPv6 is off"])
    );
}

#[test]
fn a_bad_configuration_is_exit_code_3_and_what_is_in_force_is_shown() {
    let namespace = Namespace::new().unwrap();
    let mut daemon = Daemon::start(DAEMON, &namespace, DUAL_STACK, &[]).unwrap();
    daemon
        .wait_for_table_of(Family::V6, crate::support::daemon::WAIT_LIMIT)
        .unwrap();
    daemon
        .replace_configuration("nonMasqueradeCIDRs: [10.0.0.1/8]\n")
        .unwrap();
    let told = text(&namespace, &daemon.config_file());
    told.assert_code(3);
    assert!(told.errors.contains("use 10.0.0.0/8"), "{}", told.errors);
    assert!(
        told.output.contains("what was in force stays in force"),
        "{}",
        told.output
    );
    assert!(told.output.contains("198.51.100.0/24"), "{}", told.output);
    let machine = status(&namespace, &daemon.config_file());
    machine.assert_code(3);
    let machine = machine.json();
    assert_eq!(machine["configuration"]["is_good"], false);
    assert_eq!(machine["in_step"], Value::Null);
    assert_eq!(machine["tables"][1]["is_present"], true);
}

#[test]
fn with_a_bad_configuration_from_the_start_nothing_is_said_to_be_in_force() {
    let namespace = Namespace::new().unwrap();
    let daemon = Daemon::start(DAEMON, &namespace, "nonMasqueradeCIDRs:\n", &[]).unwrap();
    daemon.wait_for_log("serving").unwrap();
    let told = text(&namespace, &daemon.config_file());
    told.assert_code(3);
    let nothing = "no table is there: nothing is masqueraded until it is mended";
    assert!(told.output.contains(nothing), "{}", told.output);
    assert!(!told.output.contains("in force"), "{}", told.output);
}

#[test]
fn without_cap_net_admin_it_is_exit_code_4() {
    let namespace = Namespace::new().unwrap();
    let refused = with_config(without_net_admin(&namespace, DAEMON), nowhere(), "status");
    refused.assert_code(4);
    assert!(
        refused.errors.contains("CAP_NET_ADMIN is missing"),
        "{}",
        refused.errors
    );
}

/// Ownership takes libnftables 1.1.0: Debian 13's root, which only root can make.
mod needs_root {
    use std::time::Duration;

    use super::*;
    use crate::support::wait_until;

    const LIMIT: Duration = Duration::from_secs(5);

    fn owner(namespace: &Namespace) -> Value {
        status(namespace, nowhere()).json()["tables"][0]["owner"].take()
    }

    #[test]
    fn the_owner_is_the_daemon_s_worker_and_then_nobody() {
        let namespace = Namespace::new().unwrap();
        let mut daemon = Daemon::start_on_debian_13(DAEMON, &namespace, "", &[]).unwrap();
        daemon.wait_for_log("the table is owned").unwrap();
        let owned = owner(&namespace);
        assert_eq!(owned["kind"], "daemon", "{owned}");
        assert_eq!(owned["process"], "nmd-nft-worker");
        let worker = u64::try_from(daemon.worker().unwrap().as_raw()).unwrap();
        assert_eq!(owned["pid"].as_u64(), Some(worker));
        let told = text(&namespace, nowhere());
        told.assert_code(0);
        let expected = format!("nmd-nft-worker (pid {worker}), the worker of a running daemon");
        assert!(told.output.contains(&expected), "{}", told.output);
        daemon.kill().unwrap();
        wait_until(LIMIT, || owner(&namespace)["kind"] == "ended").unwrap();
    }

    #[test]
    fn an_owner_that_is_no_daemon_s_worker_is_named() {
        let namespace = Namespace::new().unwrap();
        let mut other = Nft::host().session(&namespace).unwrap();
        let table = format!("add table ip {TABLE} {{ flags owner; }}");
        other.say(&table).unwrap();
        wait_until(LIMIT, || owner(&namespace)["kind"] == "other").unwrap();
        let told = text(&namespace, nowhere());
        told.assert_code(1);
        let expected = format!("nft (pid {}), which is no daemon's worker", other.id());
        assert!(told.output.contains(&expected), "{}", told.output);
        other.end().unwrap();
    }
}
