//! `enforce`: exempt destinations keep their source whatever other NAT rules say, and services stay as they are.

use std::net::IpAddr;
use std::time::Duration;

use crate::DAEMON;
use crate::support::competitors::Competitor;
use crate::support::judged::Judged;
use crate::support::lab::{Family, Lab};
use crate::support::probe::{Probe, Protocol};
use crate::support::service::Service;
use crate::support::wait_until;

/// Generous: only a test that fails waits so long.
const LIMIT: Duration = Duration::from_secs(4);

const NOT_ENFORCED: &str = "
enableIPv6: true
nonMasqueradeCIDRs: [10.0.0.0/8, 192.168.0.0/16, 'fd00::/8', '2001:db8:1::/48']
masqueradeCIDRs: [10.1.0.0/16, 'fd00:1::/32']
";

fn enforced() -> String {
    format!("{NOT_ENFORCED}enforce: true\n")
}

fn start_in(lab: Lab, configuration: &str) -> Judged {
    Judged::start_in(lab, DAEMON, configuration, &[]).unwrap()
}

fn lab_with(competitor: Competitor) -> Lab {
    let lab = Lab::new().unwrap();
    competitor.install(&lab).unwrap();
    lab
}

/// A destination that every configuration here exempts, and the CNI plugin does not spare.
fn exempt(family: Family) -> IpAddr {
    let text = match family {
        Family::V4 => "10.7.0.1",
        Family::V6 => "fd00:7::1",
    };
    text.parse().unwrap()
}

/// Which source an exempt destination sees of the pod.
fn seen_by_exempt(lab: &Lab, family: Family) -> IpAddr {
    let probe = Probe::from_pod(lab).unwrap();
    let seen = probe.seen_source(Protocol::Tcp, exempt(family));
    seen.unwrap().ip()
}

#[test]
fn without_enforce_each_competitor_takes_the_source_from_exempt_destinations() {
    for competitor in Competitor::ALL {
        let judged = start_in(lab_with(competitor), NOT_ENFORCED);
        for family in Family::BOTH {
            let uplink = judged.lab.addresses_of(family).node_uplink;
            let seen = seen_by_exempt(&judged.lab, family);
            assert_eq!(seen, uplink, "{competitor}, {family}");
        }
    }
}

#[test]
fn with_enforce_no_competitor_changes_what_the_file_says() {
    for competitor in Competitor::ALL {
        println!("{competitor}");
        let configuration = enforced();
        start_in(lab_with(competitor), &configuration).assert_follows(&configuration);
    }
}

#[test]
fn with_enforce_no_competitor_that_comes_later_changes_what_the_file_says() {
    let configuration = enforced();
    let judged = start_in(Lab::new().unwrap(), &configuration);
    judged.assert_follows(&configuration);
    Competitor::Iptables.install(&judged.lab).unwrap();
    judged.assert_follows(&configuration);
}

#[test]
fn without_a_competitor_enforce_changes_nothing() {
    let configuration = enforced();
    let judged = start_in(Lab::new().unwrap(), &configuration);
    judged.assert_follows(&configuration);
    judged.assert_node_reaches_itself_unchanged();
}

#[test]
fn enforce_can_be_switched_on_and_off_at_run_time() {
    let judged = start_in(lab_with(Competitor::Iptables), NOT_ENFORCED);
    for _ in 0..2 {
        judged.change(&enforced()).unwrap();
        judged.assert_comes_to_follow(&enforced());
        judged.change(NOT_ENFORCED).unwrap();
        for family in Family::BOTH {
            let uplink = judged.lab.addresses_of(family).node_uplink;
            wait_until(LIMIT, || seen_by_exempt(&judged.lab, family) == uplink).unwrap();
        }
    }
}

#[test]
fn an_edited_list_is_enforced_too() {
    let judged = start_in(lab_with(Competitor::Iptables), &enforced());
    for lists in [
        "nonMasqueradeCIDRs: [10.0.0.0/9, 100.64.0.0/10, 'fd00::/9']",
        "nonMasqueradeCIDRs: [0.0.0.0/0, '::/0']\nmasqueradeCIDRs: [10.0.0.0/8, 'fd00::/8']",
        "nonMasqueradeCIDRs: [192.168.0.0/16, '2001:db8:1::/48']",
    ] {
        let configuration = format!("enableIPv6: true\nenforce: true\n{lists}\n");
        judged.change(&configuration).unwrap();
        judged.assert_comes_to_follow(&configuration);
    }
}

#[test]
fn services_see_the_same_sources_as_without_the_daemon() {
    let lab = Lab::new().unwrap();
    Service::install(&lab).unwrap();
    let before = Service::seen_sources(&lab).unwrap();
    let judged = start_in(lab, &enforced());
    assert_eq!(Service::seen_sources(&judged.lab).unwrap(), before);
    // What is not bound for a service is enforced beside it.
    judged.assert_follows(&enforced());

    judged.change(NOT_ENFORCED).unwrap();
    judged.assert_comes_to_follow(NOT_ENFORCED);
    assert_eq!(Service::seen_sources(&judged.lab).unwrap(), before);
}

#[test]
fn services_beside_a_competitor_see_the_same_sources_as_without_the_daemon() {
    for competitor in Competitor::ALL {
        let lab = lab_with(competitor);
        Service::install(&lab).unwrap();
        let before = Service::seen_sources(&lab).unwrap();
        let judged = start_in(lab, &enforced());
        let after = Service::seen_sources(&judged.lab).unwrap();
        assert_eq!(after, before, "{competitor}");
        for family in Family::BOTH {
            let pod = judged.lab.addresses_of(family).pod;
            assert_eq!(seen_by_exempt(&judged.lab, family), pod, "{competitor}");
        }
    }
}

#[test]
fn a_source_that_is_not_listed_is_left_to_the_competitor() {
    let configuration = format!(
        "{}sourceCIDRs: [10.244.0.0/16, 'fd00:10:244::/48']\n",
        enforced()
    );
    let judged = start_in(lab_with(Competitor::Iptables), &configuration);
    let probe = Probe::from_pod(&judged.lab).unwrap();
    for family in Family::BOTH {
        let own = judged.lab.addresses_of(family);
        for (source, expected) in [(own.pod, own.pod), (own.second_pod, own.node_uplink)] {
            let seen = probe.seen_source_from(source, Protocol::Udp, exempt(family));
            assert_eq!(seen.unwrap().ip(), expected);
        }
    }
}

#[test]
fn traffic_of_the_node_that_is_left_alone_is_left_to_the_competitor() {
    for is_enforced in [true, false] {
        let configuration = format!("{}masqNodeTraffic: {is_enforced}\n", enforced());
        let judged = start_in(lab_with(Competitor::Iptables), &configuration);
        for family in Family::BOTH {
            let own = judged.lab.addresses_of(family);
            let probe = Probe::from_node(&judged.lab).unwrap();
            // Another of the node's addresses than the one that masquerading gives.
            let seen = probe.seen_source_from(own.pod_gateway, Protocol::Udp, exempt(family));
            let expected = match is_enforced {
                true => own.pod_gateway,
                false => own.node_uplink,
            };
            assert_eq!(seen.unwrap().ip(), expected);
            drop(probe);
            // The pod's traffic is enforced either way.
            assert_eq!(seen_by_exempt(&judged.lab, family), own.pod);
        }
    }
}
