//! No new flow is mistreated while features are switched on and off: set of sources, second base chain, ports, rules.

use std::time::{Duration, Instant};

use crate::DAEMON;
use crate::support::flows::Flows;
use crate::support::lab::Lab;
use crate::support::netlink::generation;
use crate::support::programmed::Programmed;
use crate::support::turn::one_at_a_time;
use ipnet::IpNet;
use non_masquerade_daemon::config::{Config, PortRange};
use non_masquerade_daemon::policy::Policy;
use non_masquerade_daemon::ruleset::{ChosenNames, Ruleset};

/// Flows a second that are sent. Seven of eight go to exempt destinations.
const RATE: u32 = 26_000;
/// Flows to exempt destinations that the test must have seen each second: the switches take much of the processors.
const LEAST_RATE: f64 = 10_000.0;
const TIME: Duration = Duration::from_secs(6);

fn ruleset(cidrs: &[&str], change: impl FnOnce(&mut Config)) -> Ruleset {
    let mut config = Config {
        non_masquerade_cidrs: cidrs.iter().map(|cidr| cidr.parse().unwrap()).collect(),
        ..Config::default()
    };
    change(&mut config);
    Ruleset::ipv4(&Policy::new(&config), &ChosenNames::default())
}

/// Two configurations that treat all flows alike, and differ in everything else: the set of sources comes and goes, the
/// chain of `enforce` too, elements and rules change at once.
fn alike(pod: IpNet) -> [Ruleset; 2] {
    let plain = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"];
    let nested = [
        "10.0.0.0/9",
        "10.128.0.0/9",
        "172.0.0.0/8",
        "192.168.0.0/16",
    ];
    let with_features = |config: &mut Config| {
        config.masquerade_cidrs = vec!["172.0.0.0/12".parse().unwrap()];
        config.source_cidrs = vec![pod];
        config.masq_node_traffic = false;
        config.enforce = true;
        config.to_ports = vec![
            PortRange {
                first: 1024,
                last: 29999,
            },
            PortRange {
                first: 32768,
                last: 65535,
            },
        ];
    };
    [ruleset(&plain, |_| {}), ruleset(&nested, with_features)]
}

#[test]
fn switching_every_feature_mistreats_no_flow() {
    let lab = Lab::new().unwrap();
    let versions = alike(IpNet::from(std::net::IpAddr::from(lab.addresses.pod)));
    switch_under_flows(&lab, versions, vec!["100.64.0.0/10".parse().unwrap()]);
}

/// Each version keeps the source by other means: the one's elements with the other's rules would masquerade.
#[test]
fn elements_and_rules_change_at_the_same_moment() {
    let lab = Lab::new().unwrap();
    let by_elements = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"];
    let by_elements = ruleset(&by_elements, |_| {});
    let by_source = ruleset(&[], |config| {
        config.source_cidrs = vec!["192.0.2.0/24".parse().unwrap()];
    });
    switch_under_flows(&lab, [by_elements, by_source], Vec::new());
}

fn switch_under_flows(lab: &Lab, versions: [Ruleset; 2], masqueraded: Vec<IpNet>) {
    let _turn = one_at_a_time();
    let mut programmed = Programmed::within(lab.node.clone(), DAEMON).unwrap();
    programmed.sync(&versions[0]).unwrap();
    let before = generation(&lab.node).unwrap();
    let exempt = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"];
    let flows = Flows {
        rate: RATE,
        keep_source: exempt.map(|prefix| prefix.parse().unwrap()).to_vec(),
        masqueraded,
    };
    let flows = flows.start(lab).unwrap();
    let started = Instant::now();
    while started.elapsed() < TIME {
        for version in versions.iter().rev() {
            programmed.sync(version).unwrap();
        }
    }
    let counts = flows.stop(lab).unwrap();
    let commits = generation(&lab.node).unwrap().wrapping_sub(before);
    println!("{commits} commits; {counts}");
    assert!(commits > 500, "{commits} commits");
    counts.assert_no_flow_was_mistreated();
    counts.assert_enough_arrived(LEAST_RATE);
}
