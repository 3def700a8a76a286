//! The steps of the page's "Moving over from ip-masq-agent", there and back, with the rules that ip-masq-agent writes and
//! thousands of new flows a second.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::DAEMON;
use crate::support::competitors::restore_nat;
use crate::support::daemon::Daemon;
use crate::support::flows::Flows;
use crate::support::ip_masq_agent::Agent;
use crate::support::lab::{Family, Lab};
use crate::support::netns::{Namespace, succeed};
use crate::support::nft::{Nft, TABLE};
use crate::support::outcome::Outcome;
use crate::support::probe::{Flow, PROBE_PORT, Probe, Protocol};
use crate::support::turn::one_at_a_time;
use serde_json::Value;

/// What the agent's ConfigMap says, and so what the daemon's does.
const EXEMPT: [&str; 4] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fd00::/8"];
const FILE: &str = "
nonMasqueradeCIDRs:
  - 10.0.0.0/8
  - 172.16.0.0/12
  - 192.168.0.0/16
  - fd00::/8
resyncInterval: 60s
";
const WITH_IPV6: &[&str] = &["--enable-ipv6"];
/// New flows a second.
const RATE: u32 = 16_000;
/// How long flows go on between two steps.
const PAUSE: Duration = Duration::from_millis(300);

fn flows() -> Flows {
    Flows {
        rate: RATE,
        keep_source: EXEMPT.map(|prefix| prefix.parse().unwrap()).to_vec(),
        masqueraded: ["100.64.0.0/10", "2001:db8:8000::/33"]
            .map(|prefix| prefix.parse().unwrap())
            .to_vec(),
    }
}

/// What the doctor says of ip-masq-agent: for each finding its result and what it advises.
fn leftovers(node: &Namespace) -> Vec<(String, String)> {
    let words = ["doctor", "--format=json", "--enable-ipv6"];
    let doctor = Outcome::of(node.command(DAEMON).args(words));
    let findings: Vec<Value> = serde_json::from_str(&doctor.output).unwrap();
    let of_the_agent = findings.iter().filter(|f| f["check"] == "ip-masq-agent");
    let told = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    of_the_agent
        .map(|finding| (told(&finding["result"]), told(&finding["remedy"])))
        .collect()
}

/// Runs what the doctor advises, in the order in which it does.
fn remove_leftovers(node: &Namespace) {
    let found = leftovers(node);
    assert_eq!(found.len(), 2, "one for each family: {found:?}");
    for (result, remedy) in found {
        assert_eq!(result, "warning");
        let (_, commands) = remedy.split_once("on the node: ").unwrap();
        let commands = commands.replace("tables -t", "tables-nft -t");
        succeed(node.command("sh").args(["-ec", &commands])).unwrap();
        std::thread::sleep(PAUSE);
    }
    assert_eq!(leftovers(node), [("ok".to_owned(), String::new())]);
}

/// Where each protocol's packets to an exempt destination and another one come from, in both families.
#[track_caller]
fn assert_all_protocols_are_treated_as_ever(lab: &Lab) {
    let probe = Probe::from_pod(lab).unwrap();
    for (family, exempt, other) in [
        (Family::V4, "10.7.0.1", "1.1.1.1"),
        (Family::V6, "fd00:7::1", "2606:4700::1"),
    ] {
        let own = lab.addresses_of(family);
        for protocol in Protocol::ALL {
            for (destination, expected) in [(exempt, own.pod), (other, own.node_uplink)] {
                let destination: std::net::IpAddr = destination.parse().unwrap();
                let seen = probe.seen_source(protocol, destination).unwrap();
                assert_eq!(seen.ip(), expected, "{protocol} to {destination}");
            }
        }
    }
}

/// `command` is the daemon's program.
fn cleanup(mut command: Command, node: &Namespace) {
    Outcome::of(command.arg("cleanup")).assert_code(0);
    for family in Family::BOTH {
        assert!(Nft::host().list_table_text_of(family, node, TABLE).is_err());
    }
}

/// Each step while flows are sent, and what the outside saw of all of them.
fn move_there_and_back(
    agent: Agent,
    start: impl FnOnce(&Namespace) -> Daemon,
    program: impl FnOnce(&Namespace) -> Command,
) {
    let _turn = one_at_a_time();
    let lab = Lab::new().unwrap();
    let node = &lab.node;
    agent.sync(node, &EXEMPT).unwrap();
    let running = flows().start(&lab).unwrap();
    let pause = || std::thread::sleep(PAUSE);
    pause();
    // The daemon beside the agent, which goes on syncing until its DaemonSet is deleted.
    let mut daemon = start(node);
    for family in Family::BOTH {
        daemon
            .wait_for_table_of(family, Duration::from_secs(5))
            .unwrap();
    }
    agent.sync(node, &EXEMPT).unwrap();
    assert_all_protocols_are_treated_as_ever(&lab);
    pause();
    // The agent is gone, and its rules with it.
    remove_leftovers(node);
    assert_all_protocols_are_treated_as_ever(&lab);
    // Back: the agent first, and the daemon's tables last.
    agent.sync(node, &EXEMPT).unwrap();
    pause();
    assert!(daemon.terminate().unwrap().success());
    pause();
    cleanup(program(node), node);
    assert_all_protocols_are_treated_as_ever(&lab);
    pause();
    let counts = running.stop(&lab).unwrap();
    println!("{agent}: {counts}");
    counts.assert_no_flow_was_mistreated();
    // Enough of them that a gap of a millisecond would show.
    let masqueraded = counts.received - counts.to_exempt;
    assert!(masqueraded > 1_000 && counts.by_ipv6 > 5_000, "{counts}");
}

#[test]
fn no_flow_is_mistreated_at_any_step_there_and_back() {
    for agent in Agent::ALL {
        let start = |node: &Namespace| Daemon::start(DAEMON, node, FILE, WITH_IPV6).unwrap();
        move_there_and_back(agent, start, |node| node.command(DAEMON));
    }
}

/// So that it is the order of the steps that the test above proves.
#[test]
fn removing_the_agents_rules_first_leaves_a_gap() {
    let _turn = one_at_a_time();
    let lab = Lab::new().unwrap();
    Agent::First.sync(&lab.node, &EXEMPT).unwrap();
    let running = flows().start(&lab).unwrap();
    remove_leftovers(&lab.node);
    let daemon = Daemon::start(DAEMON, &lab.node, FILE, WITH_IPV6).unwrap();
    daemon.wait_for_log("applied and read back").unwrap();
    let counts = running.stop(&lab).unwrap();
    assert!(counts.not_masqueraded > 0, "{counts}");
    assert_eq!(counts.wrong_source, 0, "{counts}");
}

#[test]
fn while_both_run_a_destination_keeps_its_source_where_both_lists_hold_it_or_enforce_is_on() {
    let lab = Lab::new().unwrap();
    let both = Ipv4Addr::new(10, 7, 0, 1);
    let of_the_agent = Ipv4Addr::new(192, 168, 7, 1);
    let of_the_daemon = Ipv4Addr::new(198, 51, 100, 7);
    Agent::First
        .sync(&lab.node, &["10.0.0.0/8", "192.168.0.0/16"])
        .unwrap();
    let file = "nonMasqueradeCIDRs: [10.0.0.0/8, 198.51.100.0/24]\n";
    let daemon = Daemon::start(DAEMON, &lab.node, file, &[]).unwrap();
    daemon.wait_for_log("applied and read back").unwrap();
    let own = lab.addresses;
    let probe = Probe::from_pod(&lab).unwrap();
    let seen = |destination| probe.seen_source(Protocol::Tcp, destination).unwrap().ip();
    assert_eq!(seen(both), own.pod);
    assert_eq!(seen(of_the_agent), own.node_uplink);
    assert_eq!(seen(of_the_daemon), own.node_uplink);
    daemon
        .replace_configuration(&format!("{file}enforce: true\n"))
        .unwrap();
    daemon.wait_for_log("enforce").unwrap();
    crate::support::wait_until(crate::support::daemon::WAIT_LIMIT, || {
        seen(of_the_daemon) == own.pod
    })
    .unwrap();
    assert_eq!(seen(of_the_agent), own.node_uplink);
}

/// The lines of a page that begin so. Their addresses are the lab's.
fn commands_of_the_page(page: &str, beginning: &str) -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let text = fs::read_to_string(page).unwrap();
    let lines = text.lines().map(str::trim_start);
    let lines = lines.filter(|line| line.starts_with(beginning));
    lines.map(str::to_owned).collect()
}

/// As the page says it, for those who do not ask the doctor.
#[test]
fn the_commands_of_the_page_remove_all_that_the_agent_leaves() {
    for agent in Agent::ALL {
        let node = Namespace::new().unwrap();
        let neighbour =
            "-A POSTROUTING -s 10.0.0.9/32 -m comment --comment \"a neighbour\" -j ACCEPT";
        restore_nat(&node, Family::V4, neighbour).unwrap();
        agent.sync(&node, &EXEMPT).unwrap();
        let commands = commands_of_the_page("manifests/README.md", "iptables");
        assert_eq!(commands.len(), 3);
        for command in commands {
            for program in ["iptables-nft", "ip6tables-nft"] {
                let line = command.replace("iptables", program);
                succeed(node.command("sh").args(["-ec", &line])).unwrap();
            }
        }
        assert_eq!(
            leftovers(&node),
            [("ok".to_owned(), String::new())],
            "{agent}"
        );
        let list = ["-t", "nat", "-S", "POSTROUTING"];
        let left = succeed(node.command("iptables-nft").args(list)).unwrap();
        let left = String::from_utf8(left.stdout).unwrap();
        assert_eq!(left, format!("-P POSTROUTING ACCEPT\n{neighbour}\n"));
    }
}

#[test]
fn a_flow_keeps_its_translation_until_its_entry_is_deleted() {
    let lab = Lab::new().unwrap();
    let own = lab.addresses;
    Agent::First.sync(&lab.node, &EXEMPT).unwrap();
    let probe = Probe::from_pod(&lab).unwrap();
    let partner = SocketAddr::new(Ipv4Addr::new(198, 51, 100, 7).into(), PROBE_PORT);
    let flow = Flow {
        protocol: Protocol::Udp,
        from: SocketAddr::new(own.pod.into(), lab.unused_port()),
        to: partner,
    };
    let seen = |flow: Flow| probe.seen_source_of(flow).unwrap().ip();
    assert_eq!(seen(flow), own.node_uplink);
    // The daemon's file exempts the partner too.
    let file = FILE.replace("  - fd00", "  - 198.51.100.0/24\n  - fd00");
    let daemon = Daemon::start(DAEMON, &lab.node, &file, WITH_IPV6).unwrap();
    daemon
        .wait_for_log("table ip6: applied and read back")
        .unwrap();
    remove_leftovers(&lab.node);
    assert_eq!(seen(flow), own.node_uplink);
    assert_eq!(
        probe.seen_source(Protocol::Udp, partner.ip()).unwrap().ip(),
        own.pod
    );
    let end = "non-masquerade-daemon connections --end ";
    let lines = commands_of_the_page("daemon-config/README.md", end);
    assert_eq!(lines.len(), 1);
    let line = lines[0].replace("non-masquerade-daemon", DAEMON);
    let mut shell = lab.node.command("sh");
    shell.env("NON_MASQUERADE_DAEMON_CONFIG", daemon.config_file());
    shell.env("NON_MASQUERADE_DAEMON_ENABLE_IPV6", "true");
    succeed(shell.args(["-ec", &line])).unwrap();
    assert_eq!(seen(flow), own.pod);
}

mod needs_root {
    use super::*;
    use crate::support::nft::debian_13_root;

    const IN_ROOT: &str = r#"
mount --rbind /proc "$0/proc"
mount --bind "$(dirname "$1")" "$0/mnt"
program="/mnt/$(basename "$1")"
shift
exec chroot "$0" "$program" "$@"
"#;

    fn program(node: &Namespace) -> Command {
        let mut command = node.command("unshare");
        command.args(["--mount", "sh", "-ceu", IN_ROOT]);
        command.arg(debian_13_root());
        command.arg(fs::canonicalize(DAEMON).unwrap());
        command
    }

    /// With tables that are owned.
    #[test]
    fn no_flow_is_mistreated_with_the_libnftables_of_debian_13() {
        let start =
            |node: &Namespace| Daemon::start_on_debian_13(DAEMON, node, FILE, WITH_IPV6).unwrap();
        move_there_and_back(Agent::First, start, program);
    }
}
