//! `connections` beside packets: what it says of each connection is what its receiver saw.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use non_masquerade_daemon::config::{Flags, judge as read};
use non_masquerade_daemon::policy::Policy;
use non_masquerade_daemon::policy::judgement::{
    AddressKind, Became, Connection, Contradiction, Node, judge,
};
use non_masquerade_daemon::policy::node_address::NodeAddress;
use serde_json::{Value, json};

use crate::DAEMON;
use crate::support::judged::Judged;
use crate::support::lab::{Family, Lab};
use crate::support::nft::Nft;
use crate::support::oracle::Oracle;
use crate::support::outcome::{Outcome, words};
use crate::support::probe::{Probe, Protocol};
use crate::support::service::Service;

const CONFIGURATION: &str = "
enableIPv6: true
nonMasqueradeCIDRs: [10.0.0.0/8, 'fd00::/8']
";

/// Other chains: before srcnat, and at it. What is `self` is translated to itself, and so by nobody else; the pod's
/// traffic to `zoned` is in zone 7.
const OTHER_CHAINS: &str = r"
table FAMILY other {
    chain zones {
        type filter hook prerouting priority raw;
        FAMILY daddr ZONED ct original zone set 7
    }
    chain early {
        type nat hook postrouting priority srcnat - 5;
        FAMILY daddr EARLY masquerade
        FAMILY daddr { SELF_EXEMPT, SELF_PUBLIC } snat to FAMILY saddr
    }
    chain beside {
        type nat hook postrouting priority srcnat;
        FAMILY daddr BESIDE masquerade
    }
}";

/// Destinations, IPv4 and IPv6.
const PLAIN: [&str; 2] = ["10.1.0.1", "fd00:1::1"];
const PUBLIC: [&str; 2] = ["1.1.1.1", "2606:4700::1"];
const ZONED: [&str; 2] = ["10.2.0.1", "fd00:2::1"];
const EARLY: [&str; 2] = ["10.9.0.1", "fd00:9::1"];
const BESIDE: [&str; 2] = ["10.8.0.1", "fd00:8::1"];
const SELF_EXEMPT: [&str; 2] = ["10.7.0.1", "fd00:7::1"];
const SELF_PUBLIC: [&str; 2] = ["8.8.8.8", "2606:4700::8"];
/// LOCAL by AnyIP.
const ANY_IP: [&str; 2] = ["198.51.100.7", "2001:db8:7::7"];

fn index(family: Family) -> usize {
    usize::from(family == Family::V6)
}

fn other_chains(lab: &Lab) {
    for family in Family::BOTH {
        let mut rules = OTHER_CHAINS.replace("FAMILY", family.nft());
        for (name, destinations) in [
            ("ZONED", ZONED),
            ("EARLY", EARLY),
            ("BESIDE", BESIDE),
            ("SELF_EXEMPT", SELF_EXEMPT),
            ("SELF_PUBLIC", SELF_PUBLIC),
        ] {
            rules = rules.replace(name, destinations[index(family)]);
        }
        Nft::host().apply(&lab.node, &rules).unwrap();
        let any_ip = ANY_IP[index(family)];
        lab.node
            .ip(&format!("route add local {any_ip} dev lo"))
            .unwrap();
    }
}

/// Some are forgotten within seconds, in which an emulated machine does not come to the end of a test.
fn make_entries_last(lab: &Lab) {
    for timeout in [
        "sctp_timeout_cookie_wait",
        "sctp_timeout_closed",
        "icmp_timeout",
        "icmpv6_timeout",
        "udp_timeout",
    ] {
        let name = format!("net/netfilter/nf_conntrack_{timeout}");
        lab.node.sysctl(&name, "600").unwrap();
    }
}

fn connections(judged: &Judged, arguments: &str) -> Outcome {
    let arguments = format!("connections {arguments}");
    let mut command = words(judged.lab.node.command(DAEMON), &arguments);
    Outcome::of(command.arg("--config").arg(judged.daemon.config_file()))
}

/// What is said of the connections to one destination: what became of how many, and how many contradict in which way.
fn said(judged: &Judged, to: &str) -> (Value, Value) {
    let outcome = connections(judged, &format!("--format json --to {to}"));
    outcome.assert_code(0);
    let said = outcome.json();
    (said["verdicts"].clone(), said["contradictions"].clone())
}

fn contradictions(exempt: usize, kept: usize) -> Value {
    json!({
        "masqueraded_though_exempt": exempt,
        "kept_though_to_be_masqueraded": kept,
        "other_address": 0,
    })
}

#[test]
fn what_became_of_each_protocol_of_each_family_is_told() {
    let judged = Judged::start(DAEMON, CONFIGURATION, &[]).unwrap();
    let lab = &judged.lab;
    make_entries_last(lab);
    other_chains(lab);
    let all = Protocol::ALL.len();
    let (through, to_node) = (
        Probe::from_pod(lab).unwrap(),
        Probe::from_pod_to_node(lab).unwrap(),
    );
    for family in Family::BOTH {
        let own = lab.addresses_of(family);
        for (destinations, verdict, exempt, kept) in [
            (PLAIN, "kept", 0, 0),
            (PUBLIC, "masqueraded", 0, 0),
            (ZONED, "kept", 0, 0),
            (EARLY, "masqueraded", all, 0),
            (BESIDE, "masqueraded", all, 0),
            (SELF_EXEMPT, "kept", 0, 0),
            (SELF_PUBLIC, "kept", 0, all),
        ] {
            let to = destinations[index(family)];
            for protocol in Protocol::ALL {
                let seen = through
                    .seen_source(protocol, IpAddr::from_str(to).unwrap())
                    .unwrap();
                assert_eq!(
                    seen.ip() == own.pod,
                    verdict == "kept",
                    "{protocol} to {to}"
                );
            }
            let expected = json!([{ "verdict": verdict, "connections": all }]);
            assert_eq!(
                said(&judged, to),
                (expected, contradictions(exempt, kept)),
                "{to}"
            );
        }
        for to in [ANY_IP[index(family)], &own.pod_gateway.to_string()] {
            for protocol in Protocol::ALL {
                to_node
                    .seen_source(protocol, IpAddr::from_str(to).unwrap())
                    .unwrap();
            }
            let expected = json!([{ "verdict": "not_looked_at", "reason": "local_destination", "connections": all }]);
            assert_eq!(said(&judged, to), (expected, contradictions(0, 0)), "{to}");
        }
    }
    let listed = connections(
        &judged,
        "--contradicting --protocol sctp --from 10.244.0.0/16",
    );
    listed.assert_code(1);
    for found in [
        "to 10.9.0.1:7000: masqueraded as 192.0.2.1 though exempt (10.0.0.0/8)\n",
        "to 8.8.8.8:7000: kept its source address though to be masqueraded (no configured CIDR has it)\n",
    ] {
        assert!(listed.output.contains(found), "{}", listed.output);
    }
    let lines = listed
        .output
        .lines()
        .filter(|line| line.starts_with("sctp 10.244.1.2:"));
    assert_eq!(lines.count(), 3, "{}", listed.output);
}

#[test]
fn what_services_translate_and_what_the_node_sends_contradicts_nothing() {
    let judged = Judged::start(DAEMON, CONFIGURATION, &[]).unwrap();
    let lab = &judged.lab;
    Service::install(lab).unwrap();
    // By ClusterIP, by ClusterIP back to the pod itself, and by NodePort: TCP and UDP of both families.
    let seen = Service::seen_sources(lab).unwrap();
    let node = Probe::from_node(lab).unwrap();
    for family in Family::BOTH {
        node.seen_source(
            Protocol::Udp,
            IpAddr::from_str(PUBLIC[index(family)]).unwrap(),
        )
        .unwrap();
    }
    let outcome = connections(&judged, "--contradicting --format json");
    outcome.assert_code(0);
    let said = outcome.json();
    let of = |verdict: &str| {
        let mut all = said["verdicts"].as_array().unwrap().iter();
        all.find(|its| its["verdict"] == verdict)
            .map(|its| its["connections"].clone())
    };
    assert_eq!(of("service"), Some(json!(seen.len())), "{said}");
    assert_eq!(of("masqueraded"), None, "{said}");
    assert_eq!(said["contradicting"], json!([]));
}

/// Older than any NAT chain. In zone 7 it stands for what Open vSwitch keeps beside the node's own entry.
#[test]
fn what_no_nat_has_seen_contradicts_in_the_node_s_zone_alone() {
    let lab = Lab::new().unwrap();
    let zones = "
        table ip other {
            chain zones {
                type filter hook prerouting priority raw;
                ip daddr 8.8.8.8 ct original zone set 7
            }
        }";
    Nft::host().apply(&lab.node, zones).unwrap();
    let probe = Probe::from_pod(&lab).unwrap();
    let (of_zone, of_node) = ("8.8.8.8", "1.1.1.1");
    for to in [of_zone, of_node] {
        let to: IpAddr = to.parse().unwrap();
        probe.seen_source(Protocol::Udp, to).unwrap();
    }
    drop(probe);
    let judged = Judged::start_in(lab, DAEMON, CONFIGURATION, &[]).unwrap();
    let beside = json!({ "verdict": "not_judged", "reason": "zone_without_nat", "connections": 1 });
    assert_eq!(
        said(&judged, of_zone),
        (json!([beside]), contradictions(0, 0))
    );
    let kept = json!({ "verdict": "kept", "connections": 1 });
    assert_eq!(
        said(&judged, of_node),
        (json!([kept]), contradictions(0, 1))
    );
}

#[test]
fn connections_older_than_a_changed_list_contradict_it_until_they_are_ended() {
    let judged = Judged::start(DAEMON, CONFIGURATION, &[]).unwrap();
    make_entries_last(&judged.lab);
    let probe = Probe::from_pod(&judged.lab).unwrap();
    for to in [PLAIN, PUBLIC].concat() {
        for protocol in Protocol::ALL {
            let to: IpAddr = to.parse().unwrap();
            probe.seen_source(protocol, to).unwrap();
        }
    }
    drop(probe);
    let all = Protocol::ALL.len();
    connections(&judged, "--contradicting").assert_code(0);
    // What was exempt is masqueraded, what was masqueraded is exempt, in IPv4; IPv6 is as it was.
    let changed = "enableIPv6: true\nnonMasqueradeCIDRs: [1.0.0.0/8, 'fd00::/8']\n";
    judged.change(changed).unwrap();
    // Not by packets: one that comes before the change is a connection more that contradicts it.
    judged.daemon.wait_for_log("lacks 1.0.0.0/8").unwrap();
    judged.assert_follows(changed);
    assert_eq!(said(&judged, PLAIN[0]).1, contradictions(0, all));
    assert_eq!(said(&judged, PUBLIC[0]).1, contradictions(all, 0));
    connections(&judged, "--end").assert_code(2);
    let ended = connections(&judged, "--end --yes --to 10.1.0.1/32");
    ended.assert_code(0);
    assert!(ended.output.ends_with("\n5 ended.\n"), "{}", ended.output);
    assert_eq!(said(&judged, PLAIN[0]).0, json!([]));
    assert_eq!(
        said(&judged, PUBLIC[0]).1,
        contradictions(all, 0),
        "and no other"
    );
    connections(&judged, "--end --yes").assert_code(0);
    connections(&judged, "--contradicting").assert_code(0);
    let of_ipv6 = json!([{ "verdict": "kept", "connections": all }]);
    assert_eq!(
        said(&judged, PLAIN[1]).0,
        of_ipv6,
        "an unchanged connection never notices"
    );
}

/// A node of which every sixteenth address is LOCAL.
struct Sixteenth;

impl Node for Sixteenth {
    fn kind_of(&self, address: IpAddr) -> AddressKind {
        match is_local(address) {
            true => AddressKind::Local,
            false => AddressKind::Other,
        }
    }

    fn interface_to(&self, _: IpAddr, _: IpAddr) -> Option<String> {
        None
    }
}

fn is_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.octets()[3] & 15 == 1,
        IpAddr::V6(address) => address.octets()[15] & 15 == 1,
    }
}

/// The oracle finds the deciding prefix by looking at all of them.
#[test]
fn ten_thousand_random_connections_are_judged_as_an_oracle_judges_them() {
    let configuration = "
enableIPv6: true
nonMasqueradeCIDRs: [0.0.0.0/2, 128.0.0.0/3, 192.0.0.0/8, '::/2', '8000::/3']
masqueradeCIDRs: [32.0.0.0/4, 128.0.0.0/5, '2000::/4']
";
    let oracle = Oracle::new(configuration).unwrap();
    let file = read("f", configuration.as_bytes(), &Flags::default()).unwrap();
    let policy_that_chooses = |chosen: Option<IpAddr>| {
        let own = chosen.map(|address| NodeAddress {
            address,
            interface: "eth0".to_owned(),
            kind: None,
            is_usable: true,
            is_secondary: false,
            is_single: false,
            since: 0,
        });
        let mut config = file.config.clone();
        let cidrs = own.iter().map(|own| own.address.into());
        config.snat_address_cidrs = cidrs.collect();
        Policy::new(&config).on_node(own.as_slice())
    };
    let mut state = 1_u64;
    // Knuth's linear congruential generator; the upper half of its numbers is random enough.
    let mut random = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 32) as u32
    };
    let mut found = [0; 3];
    for _ in 0..10_000 {
        let is_ipv6 = random() % 2 == 0;
        let mut address = || match is_ipv6 {
            true => Ipv6Addr::from(u128::from(random()) << 96 | u128::from(random())).into(),
            false => IpAddr::from(random().to_be_bytes()),
        };
        let (source, destination, other, chosen) = (address(), address(), address(), address());
        let (is_kept, is_translated) = (random() % 2 == 0, random() % 8 == 0);
        let chosen = (random() % 4 == 0).then_some(chosen);
        let seen_source = if is_kept { source } else { other };
        let connection = Connection {
            source,
            destination,
            is_translated,
            is_beside: false,
            seen_source,
        };
        let judgement = judge(&policy_that_chooses(chosen), connection, &Sixteenth);
        let is_judged = !is_translated && !is_local(destination);
        let expected = match (is_judged, oracle.masqueraded(destination), is_kept) {
            (false, ..) | (true, false, true) => None,
            (true, false, false) => Some(Contradiction::MasqueradedThoughExempt),
            (true, true, true) if !is_local(source) => {
                Some(Contradiction::KeptThoughToBeMasqueraded)
            }
            (true, true, _) => chosen
                .is_some_and(|chosen| chosen != seen_source)
                .then_some(Contradiction::OtherAddress),
        };
        if is_judged {
            let became = if is_kept {
                Became::Kept
            } else {
                Became::Masqueraded
            };
            assert_eq!(judgement.became, became, "{connection:?}");
        }
        assert_eq!(judgement.contradiction, expected, "{connection:?}");
        if let Some(expected) = expected {
            found[expected as usize] += 1;
        }
    }
    assert!(found.iter().all(|found| *found > 100), "{found:?}");
}
