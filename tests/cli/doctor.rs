//! `doctor` beside each thing that it is to find, planted in a namespace.

mod agents;
mod connections;
mod limited_rules;
mod neighbours;
mod out_of_sight;
mod own_table;
mod report;
mod uplinks;

use std::fs;
use std::process::Command;

use crate::DAEMON;
use crate::support::daemon::{Daemon, TemporaryDirectory};
use crate::support::netlink::generation;
use crate::support::netns::{Namespace, succeed};
use crate::support::outcome::{Outcome, as_ordinary_user, on_a_terminal};
use report::Report;

const CHECKS: [&str; 16] = [
    "capability",
    "configuration",
    "libnftables",
    "kernel-features",
    "table",
    "owner",
    "other-nat",
    "other-tables",
    "ip-masq-agent",
    "iptables-legacy",
    "ipvs",
    "forwarding",
    "pod-ranges",
    "uplinks",
    "connections",
    "daemons",
];

#[test]
fn nothing_fails_in_a_clean_namespace_and_each_check_is_told_with_its_remedy() {
    let namespace = Namespace::new().unwrap();
    let before = generation(&namespace).unwrap();
    let report = Report::on(&namespace, "");
    assert_eq!(generation(&namespace).unwrap(), before);
    assert_eq!(report.code, 0, "{:#?}", report.findings);
    for check in CHECKS {
        assert!(!report.of_check(check).is_empty(), "{check}");
    }
    for finding in &report.findings {
        let is_ok = finding["result"] == "ok";
        assert_eq!(finding["remedy"].is_null(), is_ok, "{finding}");
        assert_eq!(finding.as_object().unwrap().len(), 4, "{finding}");
    }
    report.must_have(
        "table",
        "warning",
        &["there is no table ip", "-> start the daemon"],
    );
}

#[test]
fn text_is_a_line_for_each_finding_and_the_remedy_on_the_next() {
    let namespace = Namespace::new().unwrap();
    namespace.sysctl("net/ipv4/ip_forward", "0").unwrap();
    let output = succeed(namespace.command(DAEMON).arg("doctor")).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let remedy = lines
        .windows(2)
        .find_map(|pair| match pair {
            [finding, remedy] if finding.starts_with("warning  forwarding: ") => Some(*remedy),
            _ => None,
        })
        .unwrap();
    assert_eq!(remedy, "         -> sysctl -w net.ipv4.ip_forward=1");
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[test]
fn on_a_terminal_results_have_a_colour_unless_no_color_is_set() {
    let namespace = Namespace::new().unwrap();
    namespace.sysctl("net/ipv4/ip_forward", "0").unwrap();
    let mut on_terminal = on_a_terminal(&namespace, 80, &format!("{DAEMON} doctor"));
    let shown = Outcome::of(&mut on_terminal).output;
    for (colour, result, check) in [(32, "ok", "capability"), (33, "warning", "forwarding")] {
        let padding = " ".repeat(9 - result.len());
        let line = format!("\u{1b}[{colour}m{result}\u{1b}[0m{padding}{check}: ");
        assert!(shown.contains(&line), "{shown}");
    }
    let plain = Outcome::of(on_terminal.env("NO_COLOR", "1")).output;
    assert!(!plain.contains('\u{1b}'), "{plain}");
}

#[test]
fn a_second_daemon_in_the_namespace_fails() {
    let namespace = Namespace::new().unwrap();
    let mut first = Daemon::start(DAEMON, &namespace, "", &[]).unwrap();
    first.wait_for_table().unwrap();
    let second = Daemon::start(DAEMON, &namespace, "", &["--table", "second"]).unwrap();
    second.wait_for_log("applied").unwrap();
    let report = Report::on(&namespace, "");
    assert_eq!(report.code, 1);
    let ids = [first.process_id(), second.process_id()].map(|id| format!("pid {id}"));
    report.must_have(
        "daemons",
        "failure",
        &[&ids[0], &ids[1], "-> stop all but one"],
    );
    report.must_have(
        "other-tables",
        "warning",
        &["table ip second is a daemon", "cleanup"],
    );
    assert!(second.terminate().unwrap().success());
    let mended = Report::on(&namespace, "");
    mended.must_have("daemons", "ok", &["one runs here, ", &ids[0]]);
}

#[test]
fn another_user_s_daemon_may_be_here() {
    let namespace = Namespace::new().unwrap();
    let mut daemon = Daemon::start(DAEMON, &namespace, "", &[]).unwrap();
    daemon.wait_for_table().unwrap();
    let report = Report::of(&mut without_privilege(&namespace));
    report.must_have(
        "daemons",
        "warning",
        &["daemons of other users", "-> run as root"],
    );
}

#[test]
fn a_bad_file_fails_with_each_of_its_errors() {
    let namespace = Namespace::new().unwrap();
    let report = Report::on(&namespace, "nonMasqueradeCIDRs: [10.0.0.1/8]\nresync: 1\n");
    assert_eq!(report.code, 1);
    assert_eq!(report.failures().len(), 2);
    report.must_have(
        "configuration",
        "failure",
        &["not aligned", "-> use 10.0.0.0/8"],
    );
    report.must_have(
        "table",
        "warning",
        &["there is no table ip", "-> mend the configuration"],
    );
    report.must_have(
        "pod-ranges",
        "warning",
        &["not checked: the configuration is bad"],
    );
    let mended = Report::on(
        &namespace,
        "nonMasqueradeCIDRs: [10.0.0.0/8]\nresyncInterval: 1s\n",
    );
    assert_eq!(mended.code, 0, "{:#?}", mended.findings);
    mended.must_have("configuration", "ok", &["the configuration is that of "]);
    let mut once = namespace.command(DAEMON);
    succeed(once.args(["run", "--once", "--config=/nonexistent/config"])).unwrap();
    let with_a_table = Report::on(&namespace, "resync: 1\n");
    let not_checked = ["not checked: the configuration is bad"];
    with_a_table.must_have("table", "warning", &not_checked);
    let many = Report::on(&namespace, &"key: x\n".repeat(2_000));
    many.must_have(
        "configuration",
        "failure",
        &["more errors", "mend the first ones"],
    );
    let odd = Report::on(&namespace, "enableIPv6: true\n");
    odd.must_have("configuration", "warning", &["IPv6"]);
}

fn without_privilege(namespace: &Namespace) -> Command {
    let mut command = namespace.command("setpriv");
    command.args([
        "--reuid=65534",
        "--clear-groups",
        "--inh-caps=-all",
        "--bounding-set=-all",
    ]);
    command.args([DAEMON, "doctor", "--format", "json"]);
    command
}

#[test]
fn without_privilege_the_capability_fails_and_the_rest_says_what_it_needs() {
    let namespace = Namespace::new().unwrap();
    let report = Report::of(&mut without_privilege(&namespace));
    assert_eq!(report.code, 1);
    assert_eq!(report.failures().len(), 1, "{:#?}", report.findings);
    report.must_have(
        "capability",
        "failure",
        &["CAP_NET_ADMIN is missing", "securityContext"],
    );
    for check in ["libnftables", "table", "owner", "other-nat"] {
        report.must_have(check, "warning", &["not checked: needs CAP_NET_ADMIN"]);
    }
    report.must_have("ipvs", "ok", &[]);
}

#[test]
fn a_file_that_cannot_be_read_fails_with_what_to_do() {
    let namespace = Namespace::new().unwrap();
    let directory = TemporaryDirectory::new().unwrap();
    let file = directory.path().join("config");
    let report = || {
        let mut command = namespace.command(DAEMON);
        command.args(["doctor", "--format=json", "--config"]);
        Report::of(command.arg(&file))
    };
    succeed(namespace.command("mkfifo").arg(&file)).unwrap();
    let words = ["is not a regular file", "-> name a YAML or JSON file"];
    report().must_have("configuration", "failure", &words);
    fs::remove_file(&file).unwrap();
    report().must_have("configuration", "ok", &["there is no file"]);
}

#[test]
fn without_proc_what_it_tells_is_not_checked() {
    let namespace = Namespace::new().unwrap();
    let report = Report::after(&namespace, "mount -t tmpfs tmpfs /proc", "");
    assert_eq!(report.code, 1);
    report.must_have(
        "libnftables",
        "failure",
        &["did not start", "-> mount -t proc proc /proc"],
    );
    for check in ["iptables-legacy", "ipvs", "forwarding"] {
        report.must_have(check, "warning", &["not checked", "with /proc mounted"]);
    }
}

mod needs_root {
    use super::*;

    #[test]
    fn a_file_capability_will_do() {
        let namespace = Namespace::new().unwrap();
        let directory = TemporaryDirectory::new().unwrap();
        let copy = directory.path().join("daemon");
        let copy = copy.to_str().unwrap();
        let user = as_ordinary_user(&namespace, DAEMON, copy).unwrap();
        succeed(namespace.command("setcap").args(["cap_net_admin+p", copy])).unwrap();
        let report = Report::with(user, "");
        assert_eq!(report.code, 0, "{:#?}", report.findings);
        report.must_have("capability", "ok", &["permitted, as by a file capability"]);
    }
}
