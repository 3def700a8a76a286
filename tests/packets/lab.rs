//! The lab itself: it must show what an nftables ruleset does, before it may judge the daemon.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::flows::Flows;
use crate::support::lab::{Family, Lab, is_routable};
use crate::support::netlink::generation;
use crate::support::netns::Namespace;
use crate::support::nft::Nft;
use crate::support::oracle::Oracle;
use crate::support::poison;
use crate::support::probe::{Flow, PROBE_PORT, Probe, Protocol};

/// The configuration that [`RULESET`] stands for.
const CONFIGURATION: &str = "
enableIPv6: true
nonMasqueradeCIDRs:
  - 10.0.0.0/8
  - 172.16.0.0/12
  - 192.168.0.0/16
  - fd00::/8
  - 2001:db8:1::/48
";

/// The tables of the daemon in nft's words.
const RULESET: &str = r#"
table ip lab {
    set non-masquerade-cidrs {
        type ipv4_addr
        flags interval
        counter
        elements = {
            10.0.0.0/8 comment "10.0.0.0/8", 172.16.0.0/12, 192.168.0.0/16,
            169.254.0.0/16 comment "link-local"
        }
    }
    chain lab {
        ip daddr @non-masquerade-cidrs return
        masquerade fully-random
    }
    chain postrouting {
        type nat hook postrouting priority srcnat + 10;
        fib daddr type != local jump lab
    }
}
table ip6 lab {
    set non-masquerade-cidrs {
        type ipv6_addr
        flags interval
        counter
        elements = { fd00::/8, 2001:db8:1::/48, fe80::/10 }
    }
    chain lab {
        ip6 daddr @non-masquerade-cidrs return
        masquerade fully-random
    }
    chain postrouting {
        type nat hook postrouting priority srcnat + 10;
        fib daddr type != local jump lab
    }
}
"#;

/// Without elements, all is masqueraded.
const FLUSH: &str =
    "flush set ip lab non-masquerade-cidrs\nflush set ip6 lab non-masquerade-cidrs\n";

fn lab_with_ruleset() -> Lab {
    let lab = Lab::new().unwrap();
    Nft::host().apply(&lab.node, RULESET).unwrap();
    lab
}

#[test]
fn packets_show_every_edge() {
    let lab = lab_with_ruleset();
    let oracle = Oracle::new(CONFIGURATION).unwrap();
    let probe = Probe::from_pod(&lab).unwrap();
    let edges = oracle.edges();
    let of_ipv6 = edges.iter().filter(|edge| edge.is_ipv6()).count();
    // Of fe80::/10 only what lies around it, and what follows fd00::/8 is routable too.
    assert_eq!((edges.len() - of_ipv6, of_ipv6), (16, 10), "{edges:?}");
    for destination in edges {
        let own = lab.addresses_of(Family::of(destination));
        let expected = match oracle.masqueraded(destination) {
            true => own.node_uplink,
            false => own.pod,
        };
        for protocol in Protocol::ALL {
            let seen = probe.seen_source(protocol, destination).unwrap();
            assert_eq!(seen.ip(), expected, "{protocol} to {destination}");
        }
    }
}

#[test]
fn packets_reach_what_linux_routes_with_address_and_port_kept() {
    let lab = Lab::new().unwrap();
    let probe = Probe::from_pod(&lab).unwrap();
    for destination in [
        "1.0.0.0",
        "100.64.0.0",
        "223.255.255.255",
        "240.0.0.0",
        "255.255.255.254",
        "::2",
        "::1.2.3.4",
        "64:ff9b::1",
        "2001:db8::",
        "fdff:ffff::",
        "fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "fec0::",
        "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    ] {
        let to = SocketAddr::new(destination.parse().unwrap(), PROBE_PORT);
        assert!(is_routable(to.ip()));
        let pod = lab.addresses_of(Family::of(to.ip())).pod;
        for protocol in Protocol::ALL {
            let from = SocketAddr::new(pod, lab.unused_port());
            let seen = probe.seen_source_of(Flow { protocol, from, to }).unwrap();
            assert_eq!(seen, from, "{protocol} to {to}");
        }
    }
}

#[test]
fn what_cannot_be_routed_is_named() {
    for unroutable in [
        "0.1.2.3",
        "127.0.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:1.2.3.4",
        "fe80::1",
        "febf::1",
        "ff02::1",
    ] {
        let address: IpAddr = unroutable.parse().unwrap();
        assert!(!is_routable(address), "{address}");
    }
}

#[test]
fn packets_of_the_node_and_to_local_addresses() {
    let lab = lab_with_ruleset();
    let local = Probe::from_pod_to_node(&lab).unwrap();
    let from_node = Probe::from_node(&lab).unwrap();
    for family in Family::BOTH {
        let own = lab.addresses_of(family);
        for protocol in Protocol::ALL {
            for address in [own.node_uplink, own.pod_gateway] {
                let seen = local.seen_source(protocol, address).unwrap();
                assert_eq!(seen.ip(), own.pod);
            }
            let seen = from_node.seen_source(protocol, public(family)).unwrap();
            assert_eq!(seen.ip(), own.node_uplink);
            let gateway = own.pod_gateway;
            let seen = from_node.seen_source_from(gateway, protocol, public(family));
            assert_eq!(seen.unwrap().ip(), own.node_uplink);
        }
    }
}

/// A destination that the rules masquerade.
fn public(family: Family) -> IpAddr {
    match family {
        Family::V4 => [1, 1, 1, 1].into(),
        Family::V6 => [0x2606, 0x4700, 0, 0, 0, 0, 0, 1].into(),
    }
}

#[test]
fn packets_from_another_address_of_the_pod_and_from_a_client_outside() {
    let lab = Lab::new().unwrap();
    // Only the pod's first address is masqueraded, and what comes in.
    let rules = "
        table inet lab {
            chain postrouting {
                type nat hook postrouting priority srcnat;
                ip saddr 10.244.1.2 masquerade
                ip6 saddr fd00:10:244:1::2 masquerade
            }
        }";
    Nft::host().apply(&lab.node, rules).unwrap();
    let from_pod = Probe::from_pod(&lab).unwrap();
    let inbound = Probe::from_outside_to_pod(&lab).unwrap();
    for family in Family::BOTH {
        let own = lab.addresses_of(family);
        for protocol in Protocol::ALL {
            for (source, expected) in [(own.pod, own.node_uplink), (own.second_pod, own.second_pod)]
            {
                let seen = from_pod.seen_source_from(source, protocol, public(family));
                assert_eq!(seen.unwrap().ip(), expected, "{protocol}");
            }
            for pod in [own.pod, own.second_pod] {
                let seen = inbound.seen_source(protocol, pod).unwrap();
                assert_eq!(seen.ip(), own.client, "{protocol}");
            }
        }
    }
}

/// 200 source ports that the receiver saw of one protocol to a masqueraded destination.
fn masqueraded_ports(lab: &Lab, protocol: Protocol, family: Family) -> Vec<u16> {
    let probe = Probe::from_pod(lab).unwrap();
    let seen = || probe.seen_source(protocol, public(family)).unwrap();
    (0..200).map(|_| seen().port()).collect()
}

#[test]
fn packets_show_from_which_port_they_are_masqueraded() {
    let lab = Lab::new().unwrap();
    let rules = "
        table inet lab {
            chain postrouting {
                type nat hook postrouting priority srcnat;
                meta l4proto { tcp, udp, sctp } masquerade to :30000-30999 fully-random
                masquerade
            }
        }";
    Nft::host().apply(&lab.node, rules).unwrap();
    for family in Family::BOTH {
        for protocol in Protocol::WITH_PORTS {
            let ports = masqueraded_ports(&lab, protocol, family);
            let inside = ports.iter().all(|port| (30_000..=30_999).contains(port));
            assert!(inside, "{protocol}: {ports:?}");
            // Random, and not the sender's.
            let upper = ports.iter().filter(|port| **port >= 30_500).count();
            assert!((50..=150).contains(&upper), "{protocol}: {ports:?}");
        }
        let probe = Probe::from_pod(&lab).unwrap();
        let seen = probe.seen_source(Protocol::Gre, public(family)).unwrap();
        assert_eq!(seen.ip(), lab.addresses_of(family).node_uplink);
    }
}

#[test]
fn flows_count_what_is_wrong_and_what_is_right() {
    let lab = lab_with_ruleset();
    let prefixes = |prefixes: [&str; 2]| prefixes.map(|prefix| prefix.parse().unwrap()).to_vec();
    let flows = Flows {
        rate: 25_000,
        keep_source: prefixes(["10.0.0.0/8", "fd00::/8"]),
        masqueraded: prefixes(["100.64.0.0/10", "2001:db8:8000::/33"]),
    };
    let right = flows.clone().run_for(&lab, Duration::from_secs(1)).unwrap();
    println!("{right}");
    assert_eq!((right.wrong_source, right.not_masqueraded), (0, 0));
    assert!(right.lost() * 100 < right.sent, "{right}");
    assert!(right.by_ipv6 * 5 > right.received * 2, "{right}");

    let emptied = lab_with_ruleset();
    Nft::host().apply(&emptied.node, FLUSH).unwrap();
    let wrong = flows.run_for(&emptied, Duration::from_secs(1)).unwrap();
    println!("{wrong}");
    assert_eq!(wrong.wrong_source, wrong.to_exempt, "{wrong}");
    assert!(wrong.wrong_source * 3 > wrong.received, "{wrong}");
    assert_eq!(wrong.not_masqueraded, 0);
}

#[test]
fn poison_kills_libnftables_1_0_6_and_can_be_removed() {
    let namespace = Namespace::new().unwrap();
    let nft = Nft::host();
    nft.apply(
        &namespace,
        "add table ip t\nadd set ip t s { type ipv4_addr; }\n",
    )
    .unwrap();
    let add = || {
        nft.command(&namespace)
            .args(["add", "element", "ip", "t", "s", "{ 192.0.2.1 }"])
            .output()
            .unwrap()
    };
    poison::plant(&namespace).unwrap();
    nft.list_table_text(&namespace, "t").unwrap();
    let version = nft.command(&namespace).arg("--version").output().unwrap();
    if String::from_utf8_lossy(&version.stdout).contains("v1.0.6") {
        assert_eq!(add().status.signal(), Some(Signal::SIGSEGV as i32));
    }
    poison::remove(&namespace).unwrap();
    assert!(add().status.success());
}

#[test]
fn generation_grows_with_every_transaction() {
    let namespace = Namespace::new().unwrap();
    let before = generation(&namespace).unwrap();
    assert_eq!(generation(&namespace).unwrap(), before);
    Nft::host().apply(&namespace, "add table ip t").unwrap();
    assert_eq!(generation(&namespace).unwrap(), before + 1);
}

#[test]
fn elements_have_counters_and_comments() {
    let lab = lab_with_ruleset();
    let probe = Probe::from_pod(&lab).unwrap();
    let ten = Ipv4Addr::new(10, 0, 0, 1);
    probe.seen_source(Protocol::Udp, ten).unwrap();
    probe.seen_source(Protocol::Udp, ten).unwrap();
    let elements = Nft::host()
        .elements(&lab.node, "lab", "non-masquerade-cidrs")
        .unwrap();
    assert_eq!(elements.len(), 4);
    let counted: Vec<_> = elements.iter().filter(|e| e.packets > 0).collect();
    assert_eq!(counted.len(), 1);
    assert_eq!(counted[0].packets, 2);
    assert_eq!(counted[0].comment.as_deref(), Some("10.0.0.0/8"));
}
