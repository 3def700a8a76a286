//! `connections` as a user meets it: its words, its exit codes, its JSON, and what it lists live.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::DAEMON;
use crate::support::daemon::TemporaryDirectory;
use crate::support::flows::Flows;
use crate::support::json_schema;
use crate::support::judged::Judged;
use crate::support::lab::{Family, Lab};
use crate::support::netns::Namespace;
use crate::support::nft::Nft;
use crate::support::outcome::{Outcome, without_net_admin, words};
use crate::support::probe::{Probe, Protocol};
use crate::support::wait_until;

const SCHEMA: &str = "connections.schema.json";
/// Generous: only a test that fails waits so long.
const LIMIT: Duration = Duration::from_secs(5);

fn connections(mut program: Command, config: &Path, arguments: &str) -> Outcome {
    program.arg("--config").arg(config);
    Outcome::of(&mut words(program, &format!("connections {arguments}")))
}

fn send(lab: &Lab, destinations: &[&str]) {
    let probe = Probe::from_pod(lab).unwrap();
    for destination in destinations {
        let destination: IpAddr = destination.parse().unwrap();
        probe.seen_source(Protocol::Udp, destination).unwrap();
    }
}

/// Another chain masquerades what is exempt.
fn other_chain(lab: &Lab) {
    let rules = "
        table ip other {
            chain early {
                type nat hook postrouting priority srcnat - 5;
                ip daddr 10.9.0.0/16 masquerade
            }
        }";
    Nft::host().apply(&lab.node, rules).unwrap();
}

#[test]
fn the_summary_is_aligned_and_names_what_contradicts() {
    let judged = Judged::start(DAEMON, "enforce: false\n", &[]).unwrap();
    let config = judged.daemon.config_file();
    let node = || judged.lab.node.command(DAEMON);
    Outcome::of(judged.lab.node.command("conntrack").arg("--flush")).assert_code(0);
    other_chain(&judged.lab);
    send(
        &judged.lab,
        &["10.1.0.1", "10.9.0.1", "1.1.1.1", "8.8.8.8", "192.168.3.3"],
    );
    let summary = connections(node(), &config, "--to 0.0.0.0/0");
    summary.assert_code(0);
    let expected = format!(
        "\x20 connections tracked      5
\x20 kept the source address  2
\x20 masqueraded              3

\x20 of those judged, by CIDR  kept  masqueraded  contradicting
\x20 10.0.0.0/8                   1            1              1
\x20 192.168.0.0/16               1            0              0
\x20 no configured CIDR           0            2              0

1 contradict the configuration (connections --contradicting lists them):
\x20 1 masqueraded though exempt

The configuration is that of {}.\n",
        config.display()
    );
    assert_eq!(summary.output, expected);
    let listed = connections(node(), &config, "--contradicting");
    listed.assert_code(1);
    assert!(
        listed.output.ends_with(
            ":7000: masqueraded as 192.0.2.1 though exempt (10.0.0.0/8)\n\n\
             Either they are older than the rules, and `connections --end` ends them, or another NAT chain decides, which\n\
             `explain --from 10.244.1.2 10.9.0.1` names.\n"
        ),
        "{}",
        listed.output
    );
    let none = connections(node(), &config, "--contradicting --to 1.1.1.1");
    none.assert_code(0);
    assert_eq!(
        none.output,
        "No connection contradicts the configuration.\n"
    );
}

/// Connections of each kind: each treated as two other chains and the policy have it.
fn connections_of_all_kinds(lab: &Lab) {
    let rules = "
        table ip other {
            chain early {
                type nat hook postrouting priority srcnat - 5;
                ip daddr { 10.9.0.0/16, 9.9.9.9 } masquerade
                ip daddr { 10.8.0.0/16, 8.8.8.8 } snat to ip saddr
            }
        }";
    Nft::host().apply(&lab.node, rules).unwrap();
    let other_source = lab.addresses_of(Family::V4).second_pod;
    let destinations = [
        "10.8.0.1",
        "10.9.0.1",
        "10.1.0.1",
        "169.254.7.7",
        "192.168.3.3",
        "1.1.1.1",
        "8.8.8.8",
        "9.9.9.9",
    ]
    .map(parsed);
    let pod = Probe::from_pod(lab).unwrap();
    for to in destinations {
        pod.seen_source(Protocol::Tcp, to).unwrap();
        pod.seen_source_from(other_source, Protocol::Udp, to)
            .unwrap();
    }
    for to in ["fd00:9::1", "2606:4700::1"].map(parsed) {
        pod.seen_source(Protocol::Udp, to).unwrap();
    }
    drop(pod);
    let node = Probe::from_node(lab).unwrap();
    for to in destinations {
        node.seen_source(Protocol::Udp, to).unwrap();
    }
}

fn parsed(address: &str) -> IpAddr {
    address.parse().unwrap()
}

#[test]
fn without_a_good_file_and_a_daemon_the_kernel_s_tables_are_judged_by() {
    for good in [
        "",
        "
enableIPv6: true
nonMasqueradeCIDRs: [10.0.0.0/8, 192.168.0.0/16, 'fd00::/8']
masqueradeCIDRs: [10.1.0.0/16]
masqNodeTraffic: false
sourceCIDRs: [10.244.1.2/32, 192.0.2.0/24, 'fd00::/8']
snatAddressCIDRs: [198.51.100.0/24]
outputInterfaces: [uplink*, other0]
toPorts: 50000-50999
dropInvalid: true
",
        "enableIPv6: true\noutputInterfaces: [other0]\nsourceCIDRs: ['fd00::/8']\n",
    ] {
        let lab = Lab::new().unwrap();
        lab.node.ip("address add 198.51.100.9 dev lo").unwrap();
        let via = lab.addresses_of(Family::V4).node_uplink;
        let route = format!("route add 198.51.100.9 via {via} dev eth0 onlink");
        lab.outside.ip(&route).unwrap();
        let mut judged = Judged::start_in(lab, DAEMON, good, &[]).unwrap();
        connections_of_all_kinds(&judged.lab);
        judged.daemon.kill().unwrap();
        let config = judged.daemon.config_file();
        let said = |judged_by: &str| {
            let node = judged.lab.node.command(DAEMON);
            let outcome = connections(node, &config, "--contradicting --format json");
            let mut said = outcome.json();
            json_schema::assert_fits(SCHEMA, &said);
            assert_eq!(said["judged_by"].take(), judged_by);
            without_lists(&mut said);
            (said, outcome)
        };
        let (by_file, _) = said("configuration");
        judged
            .daemon
            .replace_configuration("nonMasqueradeCIDRs: [10.0.0.1/8]\n")
            .unwrap();
        let (by_tables, outcome) = said("kernel_tables");
        assert_eq!(by_tables, by_file, "{good}");
        let words = "connections are judged by the kernel's table non-masquerade-daemon.\n";
        assert!(outcome.errors.ends_with(words), "{outcome:?}");
    }
}

/// Which of all that are masqueraded `masqueradeCIDRs` lists, no table tells.
fn without_lists(said: &mut Value) {
    let cidrs = said["cidrs"].as_array_mut().unwrap();
    cidrs.retain(|of| of["cidr"].is_string() && of["cidr"] != "10.1.0.0/16");
}

#[test]
fn while_the_file_is_bad_the_daemon_tells_the_last_good_one() {
    let good = "nonMasqueradeCIDRs: [10.9.0.0/16]\noutputInterfaces: [uplink*]\n";
    let mut judged = Judged::start(DAEMON, good, &[]).unwrap();
    let config = judged.daemon.config_file();
    other_chain(&judged.lab);
    send(&judged.lab, &["10.1.0.1", "10.9.0.1"]);
    judged
        .daemon
        .replace_configuration("nonMasqueradeCIDRs: [10.0.0.1/8]\n")
        .unwrap();
    judged
        .daemon
        .wait_for_log("the last good one stays in force")
        .unwrap();
    let listed = |judged: &Judged, arguments: &str| {
        connections(judged.lab.node.command(DAEMON), &config, arguments)
    };
    let contradicting = listed(&judged, "--contradicting --to 10.0.0.0/8");
    contradicting.assert_code(1);
    let only = "masqueraded as 192.0.2.1 though exempt (10.9.0.0/16)\n";
    assert!(
        contradicting.output.contains(only) && !contradicting.output.contains("10.1.0.1"),
        "{contradicting:?}"
    );
    let said = "judged by the last good one, which the daemon has in force.\n";
    for words in ["use 10.0.0.0/8", said] {
        assert!(contradicting.errors.contains(words), "{contradicting:?}");
    }
    let summary = listed(&judged, "");
    assert!(summary.output.ends_with(said), "{summary:?}");
    judged.daemon.kill().unwrap();
    Outcome::of(&mut words(judged.lab.node.command(DAEMON), "cleanup")).assert_code(0);
    let unknown = listed(&judged, "--contradicting");
    unknown.assert_code(3);
    assert!(
        unknown.errors.contains("No daemon answers") && unknown.output.is_empty(),
        "{unknown:?}"
    );
    assert!(
        unknown
            .errors
            .ends_with("the kernel has no table ip non-masquerade-daemon.\n"),
        "{unknown:?}"
    );
}

/// A contract with programs that read it.
#[test]
fn the_json_of_a_connection_tells_all_of_it() {
    let judged = Judged::start(DAEMON, "", &[]).unwrap();
    let lab = &judged.lab;
    lab.node
        .sysctl("net/netfilter/nf_conntrack_timestamp", "1")
        .unwrap();
    other_chain(lab);
    send(lab, &["10.9.0.1", "10.9.0.2"]);
    let config = judged.daemon.config_file();
    let arguments = "--contradicting --limit 1 --format json --to 10.9.0.0/16";
    let outcome = connections(lab.node.command(DAEMON), &config, arguments);
    outcome.assert_code(1);
    let said = outcome.json();
    json_schema::assert_fits(SCHEMA, &said);
    for (place, value) in [
        ("/judged_by", json!("file")),
        ("/verdicts/0/verdict", json!("exempt")),
        ("/cidrs/0/kept", json!("no")),
        ("/contradicting/0/reason", json!(null)),
        ("/contradicting/0/zone", json!(null)),
    ] {
        let mut bad = said.clone();
        let (object, name) = place.rsplit_once('/').unwrap();
        bad.pointer_mut(object).unwrap()[name] = value;
        assert_ne!(json_schema::faults(SCHEMA, &bad), [""; 0], "{place}");
    }
    let cidr = json!({ "cidr": "10.0.0.0/8", "kept": 0, "masqueraded": 2, "contradicting": 2 });
    assert_eq!(
        (&said["connections"], &said["cidrs"]),
        (&json!(2), &json!([cidr]))
    );
    let [only] = said["contradicting"].as_array().unwrap().as_slice() else {
        panic!("{said}")
    };
    let mut only = only.clone();
    let started = only["started"].take();
    assert!(
        started.as_f64().is_some_and(|started| started > 1.6e9),
        "{started}"
    );
    only["source_port"].take();
    only["destination"].take();
    only["sent_to"].take();
    assert_eq!(
        only,
        json!({
            "protocol": "udp", "source": "10.244.1.2", "source_port": null, "destination": null,
            "destination_port": 7000, "sent_to": null, "seen_source": "192.0.2.1", "zone": 0,
            "is_answered": false, "started": null, "verdict": "masqueraded", "decided_by": "10.0.0.0/8",
            "contradiction": "masqueraded_though_exempt",
        })
    );
    let arguments = "--end --yes --format json --to 10.9.0.0/16";
    let ended = connections(lab.node.command(DAEMON), &config, arguments).json();
    json_schema::assert_fits(SCHEMA, &ended);
    assert_eq!(ended["ended"], 2);
}

#[test]
fn what_cannot_be_done_is_said_with_its_exit_code() {
    let namespace = Namespace::new().unwrap();
    let nowhere = Path::new("/nonexistent/config");
    let without = without_net_admin(&namespace, DAEMON);
    connections(without, nowhere, "").assert_code(4);
    let node = || namespace.command(DAEMON);
    for (arguments, code) in [
        ("", 0),
        ("--contradicting", 0),
        ("--end", 2),
        ("--yes", 2),
        ("--end --watch", 2),
        ("--protocol tpc", 2),
        ("--from 10.0.0.1/8", 2),
        ("--contradicting --limit 0", 2),
        ("--end --yes", 0),
    ] {
        let outcome = connections(node(), nowhere, arguments);
        assert_eq!(outcome.code, code, "{arguments}: {}", outcome.output);
    }
    let directory = TemporaryDirectory::new().unwrap();
    let bad = directory.path().join("config");
    fs::write(&bad, "nonMasqueradeCIDRs: [10.0.0.1/8]\n").unwrap();
    connections(node(), &bad, "").assert_code(3);
    namespace
        .sysctl("net/netfilter/nf_conntrack_events", "0")
        .unwrap();
    connections(node(), nowhere, "--watch").assert_code(1);
}

/// Each line of `--watch --format json`, until so many connections have begun that it has to end.
fn watched(judged: &Judged, arguments: &str, act: impl FnOnce()) -> (Vec<Value>, Option<i32>) {
    let directory = TemporaryDirectory::new().unwrap();
    let written = directory.path().join("written");
    let mut command = judged.lab.node.command(DAEMON);
    command.arg("--config").arg(judged.daemon.config_file());
    let mut command = words(
        command,
        &format!("connections --watch --format json {arguments}"),
    );
    let mut child = command
        .stdin(Stdio::null())
        .stdout(fs::File::create(&written).unwrap())
        .spawn()
        .unwrap();
    // It hears of those that begin once its socket is there: of one of them it tells.
    wait_until(LIMIT, || {
        send(&judged.lab, &["10.250.0.1"]);
        fs::read_to_string(&written).unwrap().contains("10.250.0.1")
    })
    .unwrap();
    act();
    std::thread::sleep(Duration::from_millis(500));
    kill(
        Pid::from_raw(child.id().try_into().unwrap()),
        Signal::SIGINT,
    )
    .unwrap();
    let code = child.wait().unwrap().code();
    let text = fs::read_to_string(&written).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    (lines.collect(), code)
}

#[test]
fn new_connections_are_listed_as_they_begin_and_summed_up_at_the_end() {
    let judged = Judged::start(DAEMON, "", &[]).unwrap();
    other_chain(&judged.lab);
    let (lines, code) = watched(&judged, "", || send(&judged.lab, &["1.1.1.1", "10.9.0.1"]));
    let [.., public, contradicting, end] = lines.as_slice() else {
        panic!("{lines:?}")
    };
    assert_eq!(
        (&public["verdict"], &public["contradiction"]),
        (&json!("masqueraded"), &Value::Null)
    );
    for line in &lines {
        json_schema::assert_fits(SCHEMA, line);
    }
    assert_eq!(contradicting["contradiction"], "masqueraded_though_exempt");
    assert_eq!(end["connections"], lines.len() - 1);
    assert_eq!((&end["lost"], code), (&json!(0), Some(1)));
}

#[test]
fn under_twenty_thousand_new_connections_a_second_each_is_told_or_counted_as_lost() {
    let judged = Judged::start(
        DAEMON,
        "enableIPv6: true\nnonMasqueradeCIDRs: [10.0.0.0/8, 'fd00::/8']\n",
        &[],
    )
    .unwrap();
    let flows = Flows {
        rate: 20_000,
        keep_source: vec!["10.0.0.0/9".parse().unwrap(), "fd00::/16".parse().unwrap()],
        masqueraded: vec![
            "100.64.0.0/10".parse().unwrap(),
            "2001:db8:8000::/33".parse().unwrap(),
        ],
    };
    let mut seen = None;
    let (lines, code) = watched(&judged, "", || {
        seen = Some(flows.run_for(&judged.lab, Duration::from_secs(2)).unwrap());
    });
    let seen = seen.unwrap();
    let end = lines.last().unwrap();
    let number = |field: &str| end[field].as_u64().unwrap();
    let (told, lost) = (number("connections"), number("lost"));
    println!("{seen}; {told} told, {lost} lost");
    assert_eq!(told, lines.len() as u64 - 1);
    // Those by which it was found to listen are few.
    assert!(
        (seen.received..=seen.sent + 1_000).contains(&(told + lost)),
        "{end}"
    );
    assert_eq!(
        (
            code,
            &end["contradictions"]["kept_though_to_be_masqueraded"]
        ),
        (Some(0), &json!(0))
    );
}
