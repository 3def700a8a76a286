//! The daemon judged by real packets: pod → node → outside, and which source was seen there.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::DAEMON;
use crate::support::daemon::Daemon;
use crate::support::lab::{Family, Lab};
use crate::support::netns::{Namespace, succeed};
use crate::support::oracle::Oracle;
use crate::support::probe::{Flow, PROBE_PORT, Probe, Protocol};
use crate::support::wait_until;

/// All defaults.
const DEFAULTS: &str = "";

/// Prefixes of every kind: one address, adjacent, nested, public, and at the end of the address space.
const MANY_PREFIXES: &str = "
nonMasqueradeCIDRs:
  - 10.0.0.0/9
  - 10.128.0.0/9
  - 10.1.0.0/16
  - 100.64.0.0/10
  - 192.0.2.128/25
  - 203.0.113.7/32
  - 203.0.113.8/31
  - 240.0.0.0/4
";

/// Destinations that are judged beside the edges of the configured prefixes.
const OTHERS: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(1, 1, 1, 1)),
    IpAddr::V4(Ipv4Addr::new(10, 96, 0, 10)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 200)),
];

fn start(lab: &Lab, configuration: &str) -> Daemon {
    let mut daemon = Daemon::start(DAEMON, &lab.node, configuration, &[]).unwrap();
    daemon.wait_for_table().unwrap();
    daemon
}

/// All that is not as the configuration says, one line each.
fn mistakes(lab: &Lab, configuration: &str) -> Vec<String> {
    let oracle = Oracle::new(configuration).unwrap();
    let outside = Probe::from_pod(lab).unwrap();
    let local = Probe::from_pod_to_node(lab).unwrap();
    let mut mistakes = Vec::new();
    let mut judge = |probe: &Probe<'_>, destination: IpAddr, expected: IpAddr| {
        for protocol in Protocol::ALL {
            match probe.seen_source(protocol, destination) {
                Ok(seen) if seen.ip() == expected => {}
                Ok(seen) => mistakes.push(format!("{protocol} to {destination} came from {seen}")),
                Err(error) => mistakes.push(error.to_string()),
            }
        }
    };
    for destination in oracle.edges().into_iter().chain(OTHERS) {
        let pod = lab.addresses_of(Family::of(destination)).pod;
        let expected = oracle.expected_source(lab, pod, destination);
        judge(&outside, destination, expected);
    }
    // LOCAL addresses are left alone, whether a prefix contains them or not.
    for own in Family::BOTH.map(|family| lab.addresses_of(family)) {
        judge(&local, own.node_uplink, own.pod);
        judge(&local, own.pod_gateway, own.pod);
    }
    mistakes
}

#[track_caller]
fn assert_packets_follow(lab: &Lab, configuration: &str) {
    let mistakes = mistakes(lab, configuration);
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
}

fn packets_follow(configuration: &str) {
    let lab = Lab::new().unwrap();
    let _daemon = start(&lab, configuration);
    assert_packets_follow(&lab, configuration);
}

#[test]
fn every_edge_of_the_defaults() {
    packets_follow(DEFAULTS);
}

#[test]
fn every_edge_of_many_prefixes() {
    packets_follow(MANY_PREFIXES);
}

#[test]
fn every_edge_of_the_sample() {
    packets_follow(include_str!("../../daemon-config/config"));
}

#[test]
fn link_local_is_masqueraded_on_request() {
    packets_follow("masqLinkLocal: true\n");
}

#[test]
fn an_empty_list_masquerades_all_but_link_local() {
    packets_follow("nonMasqueradeCIDRs: []\n");
}

#[test]
fn an_empty_list_and_link_local_masquerade_all() {
    packets_follow("nonMasqueradeCIDRs: []\nmasqLinkLocal: true\n");
}

#[test]
fn the_prefix_of_length_zero_keeps_every_source() {
    packets_follow("nonMasqueradeCIDRs: [0.0.0.0/0]\n");
}

#[test]
fn a_reload_changes_what_new_flows_see() {
    let lab = Lab::new().unwrap();
    let daemon = start(&lab, DEFAULTS);
    assert_packets_follow(&lab, DEFAULTS);
    for configuration in [MANY_PREFIXES, "masqLinkLocal: true\n", DEFAULTS] {
        daemon.replace_configuration(configuration).unwrap();
        daemon.reload().unwrap();
        // Soon, then all of it.
        let limit = Duration::from_secs(2);
        wait_until(limit, || mistakes(&lab, configuration).is_empty()).unwrap();
        assert_packets_follow(&lab, configuration);
    }
}

#[test]
fn the_rules_outlive_the_daemon() {
    let lab = Lab::new().unwrap();
    let daemon = start(&lab, MANY_PREFIXES);
    assert!(daemon.terminate().unwrap().success());
    assert_packets_follow(&lab, MANY_PREFIXES);
}

/// What kube-proxy writes, and a destination that it marks for masquerading.
fn add_kube_proxy_rules(node: &Namespace) {
    for rule in [
        "-t nat -N KUBE-POSTROUTING",
        "-t nat -A POSTROUTING -j KUBE-POSTROUTING",
        "-t nat -A KUBE-POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE",
        "-t mangle -A PREROUTING -d 10.99.99.99/32 -j MARK --or-mark 0x4000",
    ] {
        let words = rule.split_whitespace();
        succeed(node.command("iptables-nft").args(words)).unwrap();
    }
}

/// What `iptables-save` says of table `nat`, without comments (they hold the time) and counters.
fn iptables_save(node: &Namespace) -> String {
    let output = succeed(node.command("iptables-nft-save").args(["-t", "nat"])).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(" [").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

#[track_caller]
fn assert_mark_masquerades(lab: &Lab) {
    let probe = Probe::from_pod(lab).unwrap();
    for protocol in Protocol::ALL {
        let marked = Ipv4Addr::new(10, 99, 99, 99);
        let seen = probe.seen_source(protocol, marked).unwrap();
        assert_eq!(seen.ip(), lab.addresses.node_uplink, "{protocol}");
    }
}

#[test]
fn beside_iptables_rules_that_were_there_before() {
    let lab = Lab::new().unwrap();
    add_kube_proxy_rules(&lab.node);
    let before = iptables_save(&lab.node);
    assert!(
        before.contains("-A POSTROUTING -j KUBE-POSTROUTING"),
        "{before}"
    );

    let daemon = start(&lab, DEFAULTS);
    assert_packets_follow(&lab, DEFAULTS);
    assert_mark_masquerades(&lab);
    assert_eq!(iptables_save(&lab.node), before);

    assert!(daemon.terminate().unwrap().success());
    assert_packets_follow(&lab, DEFAULTS);
    assert_eq!(iptables_save(&lab.node), before);
}

#[test]
fn beside_iptables_rules_that_come_later() {
    let lab = Lab::new().unwrap();
    let daemon = start(&lab, DEFAULTS);
    add_kube_proxy_rules(&lab.node);
    let before = iptables_save(&lab.node);
    assert_packets_follow(&lab, DEFAULTS);
    assert_mark_masquerades(&lab);

    daemon.replace_configuration(MANY_PREFIXES).unwrap();
    daemon.reload().unwrap();
    let limit = Duration::from_secs(2);
    wait_until(limit, || mistakes(&lab, MANY_PREFIXES).is_empty()).unwrap();
    assert_mark_masquerades(&lab);
    assert_eq!(iptables_save(&lab.node), before);
}

/// The node's own: from it they have its address either way, and what shows is the port.
#[test]
fn multicast_and_broadcast_destinations_are_like_any_other() {
    let lab = Lab::new().unwrap();
    let joined = "address add ff05::fb dev eth0 autojoin";
    lab.outside.ip(joined).unwrap();
    let by_uplink = "-6 route add ff05::fb/128 dev uplink0 table local metric 1";
    lab.node.ip(by_uplink).unwrap();
    let listed = "255.255.255.255/32, 'ff00::/8'";
    for (list, is_kept) in [("10.0.0.0/8, 'fd00::/8'", false), (listed, true)] {
        let configuration = format!("enableIPv6: true\nnonMasqueradeCIDRs: [{list}]\n");
        let daemon = start(&lab, &configuration);
        daemon.wait_for_log("table ip6: applied").unwrap();
        let probe = Probe::from_node(&lab).unwrap();
        for destination in ["255.255.255.255", "ff05::fb"] {
            let destination: IpAddr = destination.parse().unwrap();
            let node = lab.addresses_of(Family::of(destination)).node_uplink;
            let from = SocketAddr::new(node, lab.unused_port());
            let to = SocketAddr::new(destination, PROBE_PORT);
            let protocol = Protocol::Udp;
            let seen = probe.seen_source_of(Flow { protocol, from, to }).unwrap();
            assert_eq!(seen.ip(), node, "{destination}");
            let port_is_kept = seen.port() == from.port();
            assert_eq!(port_is_kept, is_kept, "{destination}: {seen}");
        }
        assert!(daemon.terminate().unwrap().success());
    }
}

/// These need Debian 13's root, which only root can install.
mod needs_root {
    use super::*;
    use crate::support::nft::{Nft, TABLE};

    /// Both versions of nft list the table of a living daemon, as text and as JSON.
    fn assert_both_versions_of_nft_read(lab: &Lab) {
        for nft in [Nft::host(), Nft::debian_13()] {
            let text = nft.list_table_text(&lab.node, TABLE).unwrap();
            assert!(text.contains("masquerade"), "{text}");
            let set = nft.exempt_set(&lab.node).unwrap();
            let elements = nft.elements(&lab.node, TABLE, &set).unwrap();
            assert_eq!(elements.len(), 4, "{elements:?}");
        }
    }

    #[test]
    fn every_edge_with_the_libnftables_of_debian_13() {
        let lab = Lab::new().unwrap();
        let mut daemon = Daemon::start_on_debian_13(DAEMON, &lab.node, DEFAULTS, &[]).unwrap();
        daemon.wait_for_table().unwrap();
        assert_packets_follow(&lab, DEFAULTS);
        assert_both_versions_of_nft_read(&lab);
    }

    #[test]
    fn both_versions_of_nft_read_what_the_host_wrote() {
        let lab = Lab::new().unwrap();
        let _daemon = start(&lab, DEFAULTS);
        assert_both_versions_of_nft_read(&lab);
    }
}
