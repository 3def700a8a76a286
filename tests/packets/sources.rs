//! Whose traffic is looked at: `sourceCIDRs` and `masqNodeTraffic`, by packets of both families.

use std::net::{IpAddr, SocketAddr};

use crate::DAEMON;
use crate::support::judged::Judged;
use crate::support::lab::Family;
use crate::support::probe::{Flow, PROBE_PORT, Probe, Protocol};

/// The networks of the pod's first address.
const PODS: &str = "sourceCIDRs: [10.244.0.0/16, 'fd00:10:244::/48']\n";
/// All destinations are masqueraded, the pods' too.
const MASQUERADE_ALL: &str = "
enableIPv6: true
nonMasqueradeCIDRs: []
masqLinkLocal: true
";
const DUAL_STACK: &str = "
enableIPv6: true
nonMasqueradeCIDRs: [10.0.0.0/8, 'fd00::/8']
masqueradeCIDRs: [10.1.0.0/16, 'fd00:1::/32']
";

fn start(configuration: &str) -> Judged {
    Judged::start(DAEMON, configuration, &[]).unwrap()
}

#[track_caller]
fn assert_packets_follow(configuration: &str) {
    let judged = start(configuration);
    judged.assert_follows(configuration);
    judged.assert_node_reaches_itself_unchanged();
}

/// A destination that every configuration here masquerades.
fn public(family: Family) -> IpAddr {
    let text = match family {
        Family::V4 => "1.1.1.1",
        Family::V6 => "2606:4700::1",
    };
    text.parse().unwrap()
}

#[test]
fn only_traffic_from_the_listed_sources_is_masqueraded() {
    let configuration = format!("{DUAL_STACK}{PODS}");
    let judged = start(&configuration);
    judged.assert_follows(&configuration);
    // In words, beside the oracle.
    let probe = Probe::from_pod(&judged.lab).unwrap();
    for family in Family::BOTH {
        let own = judged.lab.addresses_of(family);
        let seen = |source| {
            let seen = probe.seen_source_from(source, Protocol::Tcp, public(family));
            seen.unwrap().ip()
        };
        assert_eq!(seen(own.pod), own.node_uplink);
        assert_eq!(seen(own.second_pod), own.second_pod);
    }
}

#[test]
fn a_source_may_be_one_address() {
    assert_packets_follow(&format!(
        "{DUAL_STACK}sourceCIDRs: [10.245.1.2/32, 'fd00:10:245:1::2/128']\n"
    ));
}

#[test]
fn a_family_without_a_source_is_left_alone() {
    assert_packets_follow(&format!("{DUAL_STACK}sourceCIDRs: [10.244.0.0/16]\n"));
    assert_packets_follow(&format!("{DUAL_STACK}sourceCIDRs: ['fd00:10:244::/48']\n"));
}

#[test]
fn a_client_outside_keeps_its_address_where_only_pods_are_sources() {
    let configuration = format!("{MASQUERADE_ALL}{PODS}");
    // Without sources the client's address is lost, which is what users complain about.
    for (configuration, is_kept) in [(MASQUERADE_ALL, false), (&configuration, true)] {
        let judged = start(configuration);
        judged.assert_follows(configuration);
        let probe = Probe::from_outside_to_pod(&judged.lab).unwrap();
        for family in Family::BOTH {
            let own = judged.lab.addresses_of(family);
            let seen = probe.seen_source(Protocol::Tcp, own.pod).unwrap();
            let expected = if is_kept { own.client } else { own.pod_gateway };
            assert_eq!(seen.ip(), expected);
        }
    }
}

#[test]
fn sources_can_be_given_and_taken_away_at_run_time() {
    let judged = start(DUAL_STACK);
    let other = "sourceCIDRs: [10.245.0.0/16, 'fd00:10:245::/48']\n";
    for sources in [PODS, other, PODS, "", other] {
        let configuration = format!("{DUAL_STACK}{sources}");
        judged.change(&configuration).unwrap();
        judged.assert_comes_to_follow(&configuration);
    }
}

/// Sends UDP from the node's two addresses and says what the receiver saw, each with the source it was sent from.
fn of_the_node(judged: &Judged, family: Family) -> Vec<(SocketAddr, SocketAddr)> {
    let probe = Probe::from_node(&judged.lab).unwrap();
    let own = judged.lab.addresses_of(family);
    let mut pairs = Vec::new();
    for source in [own.node_uplink, own.pod_gateway] {
        for _ in 0..10 {
            let from = SocketAddr::new(source, judged.lab.unused_port());
            let flow = Flow {
                protocol: Protocol::Udp,
                from,
                to: SocketAddr::new(public(family), PROBE_PORT),
            };
            pairs.push((from, probe.seen_source_of(flow).unwrap()));
        }
    }
    pairs
}

#[test]
fn the_node_keeps_its_addresses_and_ports_where_its_traffic_is_left_alone() {
    let configuration = format!("{DUAL_STACK}masqNodeTraffic: false\n");
    let judged = start(&configuration);
    // The pod's traffic is masqueraded as ever.
    judged.assert_follows(&configuration);
    for family in Family::BOTH {
        for (from, seen) in of_the_node(&judged, family) {
            assert_eq!(seen, from);
        }
    }
}

#[test]
fn the_node_s_own_traffic_is_masqueraded_by_default() {
    let judged = start(DUAL_STACK);
    judged.assert_follows(DUAL_STACK);
    for family in Family::BOTH {
        let pairs = of_the_node(&judged, family);
        let uplink = judged.lab.addresses_of(family).node_uplink;
        assert!(pairs.iter().all(|(_, seen)| seen.ip() == uplink));
        // Fully random: of twenty ports hardly one is met again.
        let kept = pairs
            .iter()
            .filter(|(from, seen)| from.port() == seen.port());
        assert!(kept.count() <= 3, "{pairs:?}");
    }
}

#[test]
fn traffic_of_the_node_can_be_left_alone_and_not_at_run_time() {
    let judged = start(DUAL_STACK);
    for setting in ["masqNodeTraffic: false\n", "masqNodeTraffic: true\n", ""] {
        let configuration = format!("{DUAL_STACK}{setting}");
        judged.change(&configuration).unwrap();
        judged.assert_comes_to_follow(&configuration);
    }
}

#[test]
fn the_node_s_traffic_and_unlisted_sources_are_left_alone_together() {
    assert_packets_follow(&format!("{DUAL_STACK}{PODS}masqNodeTraffic: false\n"));
    // The node's own address is a source like any other.
    let node = "sourceCIDRs: [192.0.2.1/32, 10.244.1.1/32, '2001:db8::1/128']\n";
    assert_packets_follow(&format!("{DUAL_STACK}{node}"));
    assert_packets_follow(&format!("{DUAL_STACK}{node}masqNodeTraffic: false\n"));
}
