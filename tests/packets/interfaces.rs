//! `outputInterfaces`: only what leaves by them is looked at, by packets of both families.

use std::net::IpAddr;

use crate::DAEMON;
use crate::support::judged::Judged;
use crate::support::lab::{Family, Lab};
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

/// nftables compares the name of the interface to which the route leads, and an interface has one such name.
#[test]
fn neither_a_bridge_s_port_nor_another_name_of_the_bridge_counts() {
    let lab = Lab::new().unwrap();
    let node = |words: &str| lab.node.ip(words).unwrap();
    let mac = lab.outside.hardware_address("eth0").unwrap();
    node("link add br0 up type bridge");
    node("link property add dev br0 altname wan0");
    node("address flush dev uplink0 scope global");
    node("link set dev uplink0 master br0");
    for (flag, family) in [(4, Family::V4), (6, Family::V6)] {
        let own = lab.addresses_of(family);
        let outside = own.outside;
        let nodad = if flag == 6 { "nodad" } else { "" };
        node(&format!("address add {} dev br0 {nodad}", own.node_uplink));
        node(&format!(
            "neighbour replace {outside} lladdr {mac} dev br0 nud permanent"
        ));
        node(&format!(
            "-{flag} route replace default via {outside} dev br0 onlink"
        ));
    }
    let judged = Judged::start_in(lab, DAEMON, &with("[uplink0, wan0]"), &[]).unwrap();
    assert_masquerades(&judged, false);
    judged.change(&with("[br0]")).unwrap();
    judged.assert_comes_to_follow(CONFIGURATION);
}
