//! `outputInterfaces`: only what leaves by them is looked at, by packets of both families.

use std::net::IpAddr;

use crate::DAEMON;
use crate::support::judged::Judged;
use crate::support::lab::Family;
use crate::support::probe::{Probe, Protocol};

const CONFIGURATION: &str = "
enableIPv6: true
nonMasqueradeCIDRs: [10.0.0.0/8, 'fd00::/8']
masqueradeCIDRs: [10.1.0.0/16, 'fd00:1::/32']
";

fn public(family: Family) -> IpAddr {
    let text = match family {
        Family::V4 => "1.1.1.1",
        Family::V6 => "2606:4700::1",
    };
    text.parse().unwrap()
}

fn with(interfaces: &str) -> String {
    format!("{CONFIGURATION}outputInterfaces: {interfaces}\n")
}

/// Whether each protocol of each family is masqueraded towards the outside.
#[track_caller]
fn assert_masquerades(judged: &Judged, is_looked_at: bool) {
    let probe = Probe::from_pod(&judged.lab).unwrap();
    for family in Family::BOTH {
        let own = judged.lab.addresses_of(family);
        let expected = if is_looked_at {
            own.node_uplink
        } else {
            own.pod
        };
        for protocol in Protocol::ALL {
            let seen = probe.seen_source(protocol, public(family)).unwrap().ip();
            assert_eq!(seen, expected, "{protocol}, {family}");
        }
    }
}

#[test]
fn what_leaves_by_a_listed_interface_follows_the_file() {
    for interfaces in [
        "[uplink0]",
        "[uplink*]",
        "['*']",
        "[eth0, u*, uplink0]",
        "[]",
    ] {
        let configuration = with(interfaces);
        let judged = Judged::start(DAEMON, &configuration, &[]).unwrap();
        judged.assert_follows(CONFIGURATION);
        assert_masquerades(&judged, true);
    }
}

#[test]
fn what_leaves_by_another_is_left_alone() {
    for more in ["", "enforce: true\n"] {
        let configuration = with("[uplink, uplink00, eth*]") + more;
        let judged = Judged::start(DAEMON, &configuration, &[]).unwrap();
        assert_masquerades(&judged, false);
    }
}

#[test]
fn an_interface_counts_as_it_is_called() {
    let judged = Judged::start(DAEMON, &with("[wan*]"), &[]).unwrap();
    assert_masquerades(&judged, false);
    let rename = |from: &str, to: &str| {
        judged
            .lab
            .node
            .ip(&format!("link set dev {from} name {to}"))
    };
    rename("uplink0", "wan0").unwrap();
    assert_masquerades(&judged, true);
    judged.change(&with("[wan0, wan*]")).unwrap();
    judged.assert_comes_to_follow(CONFIGURATION);
    rename("wan0", "uplink0").unwrap();
    assert_masquerades(&judged, false);
}
