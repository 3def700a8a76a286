//! Other NAT rules on the node without the daemon: they must do by themselves what they are there for, before they
//! may compete with it.

use std::net::IpAddr;

use crate::support::competitors::Competitor;
use crate::support::lab::{Family, Lab};
use crate::support::nft::Nft;
use crate::support::probe::{Probe, Protocol};
use crate::support::service::Service;

/// What `enforce` comes down to, in nft's words.
const PINNED: &str = "
table ip pinned {
    chain enforce {
        type nat hook postrouting priority srcnat - 10;
        ct status dnat return
        ip daddr 10.0.0.0/8 snat to ip saddr
    }
}
table ip6 pinned {
    chain enforce {
        type nat hook postrouting priority srcnat - 10;
        ct status dnat return
        ip6 daddr fd00::/8 snat to ip6 saddr
    }
}
";

/// A private destination that is not in the pod's own network, and a public one.
fn destinations(family: Family) -> [IpAddr; 2] {
    let texts = match family {
        Family::V4 => ["10.7.0.1", "1.1.1.1"],
        Family::V6 => ["fd00:7::1", "2606:4700::1"],
    };
    texts.map(|text| text.parse().unwrap())
}

#[test]
fn each_competitor_masquerades_what_the_pod_sends() {
    for competitor in Competitor::ALL {
        let lab = Lab::new().unwrap();
        competitor.install(&lab).unwrap();
        let probe = Probe::from_pod(&lab).unwrap();
        for family in Family::BOTH {
            let own = lab.addresses_of(family);
            for destination in destinations(family) {
                for protocol in Protocol::ALL {
                    let seen = probe.seen_source(protocol, destination).unwrap();
                    let what = format!("{competitor}: {protocol} to {destination}");
                    assert_eq!(seen.ip(), own.node_uplink, "{what}");
                }
            }
        }
    }
}

#[test]
fn the_cni_plugin_spares_the_network_of_the_pod_and_other_pods() {
    let lab = Lab::new().unwrap();
    Competitor::CniIpMasq.install(&lab).unwrap();
    let probe = Probe::from_pod(&lab).unwrap();
    for (family, neighbour) in [(Family::V4, "10.244.1.9"), (Family::V6, "fd00:10:244:1::9")] {
        let own = lab.addresses_of(family);
        let neighbour: IpAddr = neighbour.parse().unwrap();
        let seen = probe.seen_source(Protocol::Udp, neighbour).unwrap();
        assert_eq!(seen.ip(), own.pod);
        let [destination, _] = destinations(family);
        let seen = probe.seen_source_from(own.second_pod, Protocol::Udp, destination);
        assert_eq!(seen.unwrap().ip(), own.second_pod);
    }
}

#[test]
fn a_service_shows_the_pod_to_another_node_and_the_node_to_its_own_pod() {
    let lab = Lab::new().unwrap();
    Service::install(&lab).unwrap();
    let mut expected = Vec::new();
    for family in Family::BOTH {
        let own = lab.addresses_of(family);
        for protocol in ["TCP", "UDP"] {
            for (way, source) in [
                ("ClusterIP", own.pod),
                ("hairpin", own.pod_gateway),
                ("NodePort", own.pod_gateway),
            ] {
                expected.push(format!("{family} {protocol} by {way}: {source}"));
            }
        }
    }
    assert_eq!(Service::seen_sources(&lab).unwrap(), expected);
}

#[test]
fn without_masquerading_no_hairpin_connection_comes_about() {
    let lab = Lab::new().unwrap();
    Service::install(&lab).unwrap();
    std::thread::scope(|scope| {
        for family in Family::BOTH {
            let lab = &lab;
            scope.spawn(move || {
                // Nobody grants what the mark asks for.
                let flush = format!("flush chain {} nat KUBE-POSTROUTING", family.nft());
                Nft::host().apply(&lab.node, &flush).unwrap();
                let seen = Service::seen_by_hairpin(lab, family, Protocol::Tcp);
                assert!(seen.is_err(), "{seen:?}");
            });
        }
    });
}

/// The first chain that gives a flow a source decides, and services are not the business of that chain.
#[test]
fn flows_that_are_pinned_to_their_own_source_keep_it_beside_each_competitor() {
    for competitor in Competitor::ALL {
        let lab = Lab::new().unwrap();
        competitor.install(&lab).unwrap();
        Service::install(&lab).unwrap();
        let services = Service::seen_sources(&lab).unwrap();
        Nft::host().apply(&lab.node, PINNED).unwrap();
        let probe = Probe::from_pod(&lab).unwrap();
        for family in Family::BOTH {
            let own = lab.addresses_of(family);
            let [private, public] = destinations(family);
            for protocol in Protocol::ALL {
                let what = format!("{competitor}: {protocol}");
                let seen = probe.seen_source(protocol, private).unwrap();
                assert_eq!(seen.ip(), own.pod, "{what}");
                let seen = probe.seen_source(protocol, public).unwrap();
                assert_eq!(seen.ip(), own.node_uplink, "{what}");
            }
        }
        drop(probe);
        assert_eq!(
            Service::seen_sources(&lab).unwrap(),
            services,
            "{competitor}"
        );
    }
}
