//! `doctor` beside each thing that it is to find, planted in a namespace.

#![allow(clippy::unwrap_used, clippy::panic)] // in a test, what cannot be unwrapped is a failure

mod support;

use std::fs;
use std::process::Command;

use serde_json::Value;
use support::competitors::restore_nat;
use support::daemon::{Daemon, TemporaryDirectory};
use support::lab::Family;
use support::netlink::generation;
use support::netns::{Namespace, succeed};
use support::nft::{Nft, TABLE};
use support::poison;

const DAEMON: &str = env!("CARGO_BIN_EXE_non-masquerade-daemon");
const CHECKS: [&str; 14] = [
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
    "daemons",
];

/// What the doctor said.
struct Report {
    code: i32,
    findings: Vec<Value>,
}

impl Report {
    fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        let findings: Vec<Value> = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {output:?}"));
        Self {
            code: output.status.code().unwrap(),
            findings,
        }
    }

    fn on(namespace: &Namespace, configuration: &str) -> Self {
        let directory = TemporaryDirectory::new().unwrap();
        let file = directory.path().join("config");
        fs::write(&file, configuration).unwrap();
        let mut command = namespace.command(DAEMON);
        command.args(["doctor", "--format", "json", "--config"]);
        Self::of(command.arg(file))
    }

    /// The results of a check, each with what was found and the remedy.
    fn of_check(&self, check: &str) -> Vec<(&str, String)> {
        let findings = self.findings.iter();
        let told = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        findings
            .filter(|finding| finding["check"] == check)
            .map(|finding| {
                let (said, remedy) = (told(&finding["finding"]), told(&finding["remedy"]));
                (
                    finding["result"].as_str().unwrap(),
                    format!("{said} -> {remedy}"),
                )
            })
            .collect()
    }

    #[track_caller]
    fn must_have(&self, check: &str, result: &str, words: &[&str]) {
        let found = self.of_check(check);
        let has = |(of, said): &(&str, String)| {
            *of == result && words.iter().all(|words| said.contains(words))
        };
        assert!(
            found.iter().any(has),
            "{result} {words:?} not in {found:#?}"
        );
    }

    fn failures(&self) -> Vec<&Value> {
        let findings = self.findings.iter();
        findings
            .filter(|finding| finding["result"] == "failure")
            .collect()
    }
}

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
}

#[test]
fn a_running_daemon_is_in_step_and_what_is_out_of_step_fails() {
    let namespace = Namespace::new().unwrap();
    let mut daemon = Daemon::start(DAEMON, &namespace, "", &[]).unwrap();
    daemon.wait_for_table().unwrap();
    let before = generation(&namespace).unwrap();
    let report = Report::on(&namespace, "");
    assert_eq!(report.code, 0, "{:#?}", report.findings);
    report.must_have("table", "ok", &["is in step"]);
    report.must_have("daemons", "ok", &[&format!("pid {}", daemon.process_id())]);
    let other = Report::on(&namespace, "nonMasqueradeCIDRs: [192.0.2.0/24]\n");
    assert_eq!(other.code, 1);
    other.must_have("table", "failure", &["lacks 192.0.2.0-192.0.2.255"]);
    assert_eq!(generation(&namespace).unwrap(), before);
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
        &["not checked: the configuration is bad"],
    );
    let odd = Report::on(&namespace, "enableIPv6: true\n");
    odd.must_have("configuration", "warning", &["IPv6"]);
}

#[test]
fn native_chains_are_told_rule_by_rule_with_their_place() {
    let namespace = Namespace::new().unwrap();
    let rules = "table inet vpn {
            chain sub {
                ip saddr 10.0.0.9 masquerade
            }
            chain early {
                type nat hook postrouting priority 95;
                ip daddr 192.0.2.1 goto sub
            }
        }
        table ip late {
            chain p {
                type nat hook postrouting priority 120;
                snat to 192.0.2.7
            }
        }
        table ip asleep {
            flags dormant;
            chain p {
                type nat hook postrouting priority 90;
                masquerade
            }
        }
        table ip idle {
            chain p {
                type nat hook postrouting priority 90;
                accept
            }
        }";
    Nft::host().apply(&namespace, rules).unwrap();
    let report = Report::on(&namespace, "");
    assert_eq!(report.code, 0);
    assert_eq!(report.of_check("other-nat").len(), 2);
    let early = [
        "inet vpn",
        "priority 95, before ours (110)",
        "chain sub rule 1",
    ];
    report.must_have("other-nat", "warning", &early);
    report.must_have(
        "other-nat",
        "warning",
        &["nft delete rule inet vpn sub handle"],
    );
    report.must_have("other-nat", "warning", &["ip late", "after ours (110)"]);
    let enforced = Report::on(&namespace, "enforce: true\n");
    let results = enforced.of_check("other-nat");
    assert!(
        results.iter().all(|(result, _)| *result == "ok"),
        "{results:?}"
    );
}

/// The command that a remedy names does what it says.
#[test]
fn rules_of_iptables_nft_are_told_with_the_commands_that_delete_them() {
    let namespace = Namespace::new().unwrap();
    let rules = ":KUBE-POSTROUTING - [0:0]
:CNI-0123456789abcdef01234567 - [0:0]
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MASQUERADE
-A CNI-0123456789abcdef01234567 ! -d 224.0.0.0/4 -j MASQUERADE
-A POSTROUTING -j KUBE-POSTROUTING
-A POSTROUTING -s 10.0.0.9 -j CNI-0123456789abcdef01234567
-A POSTROUTING -j MASQUERADE";
    restore_nat(&namespace, Family::V4, rules).unwrap();
    let report = Report::on(&namespace, "");
    report.must_have(
        "other-nat",
        "ok",
        &["KUBE-POSTROUTING rule 2, by kube-proxy"],
    );
    report.must_have(
        "other-nat",
        "warning",
        &["CNI plugins", "\"ipMasq\": false"],
    );
    let command = "iptables -t nat -D POSTROUTING 3";
    report.must_have(
        "other-nat",
        "warning",
        &["chain POSTROUTING rule 3", command],
    );
    let nft_command = command.replace("iptables", "iptables-nft");
    succeed(namespace.command("sh").args(["-c", &nft_command])).unwrap();
    let again = Report::on(&namespace, "");
    assert_eq!(again.of_check("other-nat").len(), 2);
}

#[test]
fn what_ip_masq_agent_leaves_is_gone_after_the_commands_of_the_remedy() {
    let namespace = Namespace::new().unwrap();
    // As cmd/ip-masq-agent/ip-masq-agent.go writes it, its quotes included.
    let rules = r#":IP-MASQ-AGENT - [0:0]
-A POSTROUTING -m comment --comment "\"ip-masq-agent: ensure nat POSTROUTING directs all non-LOCAL destination traffic to our custom IP-MASQ-AGENT chain\"" -m addrtype ! --dst-type LOCAL -j IP-MASQ-AGENT
-A IP-MASQ-AGENT -m comment --comment "ip-masq-agent: outbound traffic is subject to MASQUERADE (must be last in chain)" -j MASQUERADE --random-fully"#;
    for family in Family::BOTH {
        restore_nat(&namespace, family, rules).unwrap();
    }
    let report = Report::on(&namespace, "");
    for (_, said) in report.of_check("ip-masq-agent") {
        let (_, commands) = said.split_once("on the node: ").unwrap();
        let commands = commands.replace("tables -t", "tables-nft -t");
        succeed(namespace.command("sh").args(["-ec", &commands])).unwrap();
    }
    let again = Report::on(&namespace, "");
    again.must_have("ip-masq-agent", "ok", &[]);
    again.must_have("other-nat", "ok", &["no other base chain"]);
}

#[test]
fn ranges_of_pods_that_no_prefix_covers_are_guessed_from_the_routes() {
    let namespace = Namespace::new().unwrap();
    for words in [
        "link add cni0 type bridge",
        "link set cni0 up",
        "address add 100.64.1.1/24 dev cni0",
        "address add fd00:9::1/64 dev cni0 nodad",
    ] {
        namespace.ip(words).unwrap();
    }
    let report = Report::on(&namespace, "");
    report.must_have(
        "pod-ranges",
        "warning",
        &["a guess", "100.64.1.0/24 (by cni0), which"],
    );
    let both = Report::on(&namespace, "enableIPv6: true\n");
    both.must_have("pod-ranges", "warning", &["fd00:9::/64"]);
    let covered = "enableIPv6: true\nnonMasqueradeCIDRs: [100.64.0.0/10, 'fd00::/8']\n";
    Report::on(&namespace, covered).must_have("pod-ranges", "ok", &[]);
}

/// A set that kills the host's libnftables 1.0.6: the daemon could not apply either.
#[test]
fn a_crash_of_libnftables_is_a_failure_with_its_remedy_and_ends_no_other_check() {
    let namespace = Namespace::new().unwrap();
    poison::plant(&namespace).unwrap();
    let report = Report::on(&namespace, "");
    assert_eq!(report.code, 1, "{:#?}", report.findings);
    report.must_have(
        "kernel-features",
        "failure",
        &["SIGSEGV", "update libnftables"],
    );
    for check in CHECKS {
        assert!(!report.of_check(check).is_empty(), "{check}");
    }
}

#[test]
fn without_privilege_the_capability_fails_and_the_rest_says_what_it_needs() {
    let namespace = Namespace::new().unwrap();
    let mut command = namespace.command("setpriv");
    command.args([
        "--reuid=65534",
        "--clear-groups",
        "--inh-caps=-all",
        "--bounding-set=-all",
    ]);
    command.args([DAEMON, "doctor", "--format", "json"]);
    let report = Report::of(&mut command);
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

mod needs_root {
    use super::*;
    use std::path::Path;
    use support::nft::debian_13_root;

    const IN_ROOT: &str = r#"mount --rbind /proc "$0/proc"; mount --bind "$1" "$0/mnt"; exec chroot "$0" "/mnt/$2" doctor --format json"#;

    /// The doctor with the libraries of Debian 13.
    fn report_on_debian_13(namespace: &Namespace) -> Report {
        let program = Path::new(DAEMON).canonicalize().unwrap();
        let mut command = namespace.command("unshare");
        command.args(["--mount", "sh", "-ceu", IN_ROOT]);
        command.arg(debian_13_root()).arg(program.parent().unwrap());
        Report::of(command.arg(program.file_name().unwrap()))
    }

    #[test]
    fn a_newer_libnftables_is_right_and_an_owner_possible() {
        let namespace = Namespace::new().unwrap();
        restore_nat(&namespace, Family::V4, "-A POSTROUTING -j MASQUERADE").unwrap();
        let before = generation(&namespace).unwrap();
        let report = report_on_debian_13(&namespace);
        assert_eq!(generation(&namespace).unwrap(), before);
        assert_eq!(report.code, 0, "{:#?}", report.findings);
        report.must_have("libnftables", "ok", &["1.1.3"]);
        report.must_have("owner", "ok", &["will be owned"]);
        report.must_have(
            "other-nat",
            "warning",
            &["iptables -t nat -D POSTROUTING 1"],
        );
        let plain = format!("table ip {TABLE} {{ }}");
        Nft::host().apply(&namespace, &plain).unwrap();
        let report = report_on_debian_13(&namespace);
        report.must_have("owner", "warning", &["made without one", "cleanup"]);
        report.must_have("table", "failure", &["chain postrouting is missing"]);
    }

    #[test]
    fn an_owner_that_lives_is_right_and_one_that_has_ended_is_a_warning() {
        let namespace = Namespace::new().unwrap();
        let mut daemon = Daemon::start_on_debian_13(DAEMON, &namespace, "", &[]).unwrap();
        daemon.wait_for_log("the table is owned").unwrap();
        let report = Report::on(&namespace, "");
        report.must_have("owner", "ok", &["owned by nmd-nft-worker"]);
        report.must_have("table", "ok", &["in step"]);
        daemon.kill().unwrap();
        support::wait_until(support::daemon::WAIT_LIMIT, || {
            let report = Report::on(&namespace, "");
            let found = report.of_check("owner");
            found
                .iter()
                .any(|(result, said)| *result == "warning" && said.contains("has ended"))
        })
        .unwrap();
        let dormant = format!("add table ip {TABLE} {{ flags persist, dormant; }}");
        Nft::debian_13().apply(&namespace, &dormant).unwrap();
        let report = Report::on(&namespace, "");
        assert_eq!(report.code, 1);
        report.must_have("table", "failure", &["dormant"]);
    }
}
