//! The lab itself: it must show what an nftables ruleset does, before it may judge the daemon.

#![allow(clippy::unwrap_used)] // in a test, what cannot be unwrapped is a failure

mod support;

use std::net::Ipv4Addr;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use nix::sys::signal::Signal;

use support::flows::Flows;
use support::lab::Lab;
use support::netlink::generation;
use support::netns::Namespace;
use support::nft::Nft;
use support::oracle::Oracle;
use support::poison;
use support::probe::{Probe, Protocol};

/// The table of the daemon in nft's words, with the default configuration.
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
"#;

/// Without elements, all is masqueraded.
const FLUSH: &str = "flush set ip lab non-masquerade-cidrs\n";

fn lab_with_ruleset() -> Lab {
    let lab = Lab::new().unwrap();
    Nft::host().apply(&lab.node, RULESET).unwrap();
    lab
}

#[test]
fn packets_show_every_edge() {
    let lab = lab_with_ruleset();
    let oracle = Oracle::new("").unwrap();
    let probe = Probe::from_pod(&lab).unwrap();
    let edges = oracle.edges();
    assert_eq!(edges.len(), 16);
    for destination in edges {
        for protocol in Protocol::ALL {
            let seen = probe.seen_source(protocol, destination).unwrap();
            let expected = if oracle.masqueraded(destination) {
                lab.addresses.node_uplink
            } else {
                lab.addresses.pod
            };
            assert_eq!(*seen.ip(), expected, "{protocol} to {destination}");
        }
    }
}

#[test]
fn packets_reach_what_linux_routes() {
    let lab = Lab::new().unwrap();
    let probe = Probe::from_pod(&lab).unwrap();
    for destination in [
        "1.0.0.0",
        "100.64.0.0",
        "223.255.255.255",
        "240.0.0.0",
        "255.255.255.254",
    ] {
        let destination: Ipv4Addr = destination.parse().unwrap();
        for protocol in Protocol::ALL {
            let seen = probe.seen_source(protocol, destination).unwrap();
            assert_eq!(*seen.ip(), lab.addresses.pod);
        }
    }
}

#[test]
fn packets_of_the_node_and_to_local_addresses() {
    let lab = lab_with_ruleset();
    let local = Probe::from_pod_to_node(&lab).unwrap();
    let from_node = Probe::from_node(&lab).unwrap();
    for protocol in Protocol::ALL {
        for address in [lab.addresses.node_uplink, lab.addresses.pod_gateway] {
            let seen = local.seen_source(protocol, address).unwrap();
            assert_eq!(*seen.ip(), lab.addresses.pod);
        }
        let seen = from_node
            .seen_source(protocol, Ipv4Addr::new(1, 1, 1, 1))
            .unwrap();
        assert_eq!(*seen.ip(), lab.addresses.node_uplink);
    }
}

#[test]
fn flows_count_what_is_wrong_and_what_is_right() {
    let lab = lab_with_ruleset();
    let flows = Flows {
        rate: 25_000,
        keep_source: vec!["10.0.0.0/8".parse().unwrap()],
        masqueraded: vec!["100.64.0.0/10".parse().unwrap()],
    };
    let right = flows.clone().run_for(&lab, Duration::from_secs(1)).unwrap();
    println!("{right}");
    assert_eq!((right.wrong_source, right.not_masqueraded), (0, 0));
    assert!(right.lost() * 100 < right.sent, "{right}");

    let emptied = lab_with_ruleset();
    Nft::host().apply(&emptied.node, FLUSH).unwrap();
    let wrong = flows.run_for(&emptied, Duration::from_secs(1)).unwrap();
    println!("{wrong}");
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
