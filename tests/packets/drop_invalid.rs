//! `dropInvalid`: what belongs to no connection does not leave with the pod's address, by packets of TCP, SCTP and ICMP of
//! each kind.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use crate::DAEMON;
use crate::support::judged::Judged;
use crate::support::lab::{Family, Lab};
use crate::support::nft::Nft;
use crate::support::outcome::Outcome;
use crate::support::{time_factor, wait_until};
use stray::Packet::Segment;
use stray::{ACK, FIN, PORT, PSH, RST, SYN, URG};

mod in_progress;
mod stray;

pub(super) use stray::{INVALID, Packet, Way, raw_socket, seen};

/// Of all protocols.
const KINDS: usize = 9;

const CONFIGURATION: &str = "
enableIPv6: true
nonMasqueradeCIDRs: [10.0.0.0/8, 'fd00::/8']
masqueradeCIDRs: [10.1.0.0/16, 'fd00:1::/32']
";

fn start(more: &str) -> Judged {
    Judged::start(DAEMON, &format!("{CONFIGURATION}{more}"), &[]).unwrap()
}

fn destination(family: Family, is_exempt: bool) -> IpAddr {
    let text = match (family, is_exempt) {
        (Family::V4, true) => "10.7.0.1",
        (Family::V4, false) => "1.1.1.1",
        (Family::V6, true) => "fd00:7::1",
        (Family::V6, false) => "2606:4700::1",
    };
    text.parse().unwrap()
}

/// The same of what is invalid, of each protocol.
fn invalid_seen(lab: &Lab, way: Way<'_>) -> Vec<Option<IpAddr>> {
    let of_protocols = INVALID.iter();
    of_protocols
        .flat_map(|(packets, last)| seen(lab, way, packets, *last))
        .collect()
}

#[test]
fn without_it_each_kind_leaves_with_the_pod_s_address() {
    let judged = start("");
    for family in Family::BOTH {
        let pod = judged.lab.addresses_of(family).pod;
        for is_exempt in [false, true] {
            let seen = invalid_seen(
                &judged.lab,
                Way::from_pod(&judged.lab, destination(family, is_exempt)),
            );
            assert_eq!(seen, [Some(pod); KINDS], "{family}");
        }
    }
}

#[test]
fn with_it_none_leaves_for_masqueraded_destinations_and_all_for_exempt_ones() {
    let judged = start("dropInvalid: true\n");
    for family in Family::BOTH {
        let own = judged.lab.addresses_of(family);
        let to = |is_exempt| destination(family, is_exempt);
        let of_pod =
            |is_exempt| invalid_seen(&judged.lab, Way::from_pod(&judged.lab, to(is_exempt)));
        assert_eq!(of_pod(false), [None; KINDS], "{family}");
        assert_eq!(of_pod(true), [Some(own.pod); KINDS], "{family}");
        let of_node = invalid_seen(&judged.lab, Way::from_node(&judged.lab, to(false)));
        assert_eq!(of_node, [Some(own.node_uplink); KINDS], "{family}");
    }
    judged.assert_follows(CONFIGURATION);
    let mut status = judged.lab.node.command(DAEMON);
    status
        .arg("status")
        .arg("--config")
        .arg(judged.daemon.config_file());
    let status = Outcome::of(&mut status);
    status.assert_code(0);
    let told = status.output;
    assert_eq!(
        told.matches(&format!("invalid, dropped   {KINDS} packets"))
            .count(),
        2,
        "{told}"
    );
}

/// Whether conntrack begins a connection with a segment of these flags; otherwise the segment is invalid. PSH and URG make no
/// difference. Where it is loose, it takes a plain ACK for the middle of a connection that it has not seen.
fn begins_a_connection(flags: u8, is_loose: bool) -> bool {
    match flags & !(PSH | URG) {
        SYN => true,
        ACK => is_loose,
        _ => false,
    }
}

/// Through the node in either direction, and from the node itself: to a destination that is exempt, and to another.
fn ways(lab: &Lab, family: Family) -> [Way<'_>; 6] {
    let own = lab.addresses_of(family);
    let [exempt, masqueraded] = [true, false].map(|is_exempt| destination(family, is_exempt));
    [
        Way::from_pod(lab, exempt),
        Way::from_pod(lab, masqueraded),
        Way::from_node(lab, exempt),
        Way::from_node(lab, masqueraded),
        Way::from_client(lab, own.pod),
        Way::from_client(lab, own.second_pod),
    ]
}

/// What begins a connection gets the source that the policy gives. What is invalid is dropped with the key where it would
/// have to be masqueraded, so that none leaves with the pod's address; it passes unchanged everywhere else.
#[test]
fn each_combination_of_flags_is_treated_as_conntrack_takes_it() {
    let flags = 0..=FIN | SYN | RST | PSH | ACK | URG;
    let segments: Vec<Packet> = flags.clone().map(Segment).collect();
    for is_on in [false, true] {
        // The second pod's address is not exempt.
        let configuration = format!(
            "enableIPv6: true\nnonMasqueradeCIDRs: [10.0.0.0/8, 'fd00::/8']\n\
             masqueradeCIDRs: [10.245.0.0/16, 'fd00:10:245::/48']\ndropInvalid: {is_on}\n"
        );
        let judged = Judged::start(DAEMON, &configuration, &[]).unwrap();
        let (lab, oracle) = (&judged.lab, judged.oracle(&configuration).unwrap());
        for is_loose in [true, false] {
            set_loose(lab, is_loose);
            for way in Family::BOTH.iter().flat_map(|family| ways(lab, *family)) {
                let Way { from, to, .. } = way;
                let seen = seen(lab, way, &segments, Segment(SYN));
                for (flags, seen) in flags.clone().zip(seen) {
                    let expected = if begins_a_connection(flags, is_loose) {
                        Some(oracle.expected_source(lab, from, to))
                    } else {
                        (!oracle.drops_invalid(lab, from, to)).then_some(from)
                    };
                    assert_eq!(
                        seen, expected,
                        "flags {flags:#08b} from {from} to {to}, dropInvalid: {is_on}, loose: {is_loose}"
                    );
                }
            }
        }
    }
}

fn set_loose(lab: &Lab, is_loose: bool) {
    let value = if is_loose { "1" } else { "0" };
    let sysctl = "net/netfilter/nf_conntrack_tcp_loose";
    lab.node.sysctl(sysctl, value).unwrap();
}

/// The pod's second address counts as no pod's then.
const PODS: &str = "sourceCIDRs: [10.244.0.0/16, 'fd00:10:244::/48']\n";

/// What a client sent to the VIP came to its server by another way, so that the node sees the answers alone. The pod's second
/// address is the VIP.
#[test]
fn direct_server_return_to_a_client_outside_needs_source_cidrs() {
    for (is_on, sources) in [(false, ""), (true, ""), (false, PODS), (true, PODS)] {
        let judged = start(&format!("dropInvalid: {is_on}\n{sources}"));
        let lab = &judged.lab;
        for family in Family::BOTH {
            let own = lab.addresses_of(family);
            let vip = own.second_pod;
            let way = Way {
                from: vip,
                ..Way::from_pod(lab, own.client)
            };
            let seen = seen(lab, way, &[Segment(SYN | ACK), Segment(ACK)], Segment(SYN));
            let expected = match (is_on, sources) {
                (_, PODS) => [Some(vip), Some(vip)],
                // Masqueraded, what follows is of no use to the client.
                (false, _) => [Some(vip), Some(own.node_uplink)],
                (true, _) => [None, Some(own.node_uplink)],
            };
            assert_eq!(seen, expected, "{family}, {is_on}, {sources}");
        }
    }
}

/// The node answers clients in the name of a server behind it, before the server hears of them. It knows them again by the
/// cookie in their ACK, which comes to the rule where conntrack takes it for invalid.
const SYNPROXY: &str = "
table inet guard {
    chain prerouting {
        type filter hook prerouting priority raw;
        iifname uplink0 tcp dport 7001 tcp flags syn notrack
    }
    chain forward {
        type filter hook forward priority filter;
        tcp dport 7001 ct state invalid,untracked synproxy mss 1460 wscale 7 timestamp sack-perm
    }
}";

#[test]
fn synproxy_before_a_server_that_is_no_pod_needs_source_cidrs() {
    for (is_on, sources, connects) in [
        (false, "", true),
        (true, "", false),
        (false, PODS, true),
        (true, PODS, true),
    ] {
        let judged = start(&format!("dropInvalid: {is_on}\n{sources}"));
        let lab = &judged.lab;
        set_loose(lab, false);
        Nft::host().apply(&lab.node, SYNPROXY).unwrap();
        let any = (Ipv6Addr::UNSPECIFIED, PORT);
        let _server = lab.pod.run(|| TcpListener::bind(any)).unwrap();
        for family in Family::BOTH {
            let server = SocketAddr::new(lab.addresses_of(family).second_pod, PORT);
            let limit = Duration::from_secs(2) * time_factor();
            let connected = lab
                .outside
                .run(|| TcpStream::connect_timeout(&server, limit));
            assert_eq!(
                connected.is_ok(),
                connects,
                "{family}, {is_on}, {sources}: {connected:?}"
            );
        }
    }
}

#[test]
fn it_is_narrowed_by_sources_and_interfaces_as_masquerading_is() {
    for more in [
        "sourceCIDRs: [10.245.0.0/16, 'fd00:10:245::/48']\n",
        "outputInterfaces: [eth*, pod0]\n",
    ] {
        let judged = start(&format!("dropInvalid: true\n{more}"));
        for family in Family::BOTH {
            let pod = judged.lab.addresses_of(family).pod;
            let seen = invalid_seen(
                &judged.lab,
                Way::from_pod(&judged.lab, destination(family, false)),
            );
            assert_eq!(seen, [Some(pod); KINDS], "{family}, {more}");
        }
    }
    let judged = start("dropInvalid: true\noutputInterfaces: [eth*, uplink*]\n");
    for family in Family::BOTH {
        let seen = invalid_seen(
            &judged.lab,
            Way::from_pod(&judged.lab, destination(family, false)),
        );
        assert_eq!(seen, [None; KINDS], "{family}");
    }
}

#[test]
fn it_goes_on_and_off_at_run_time() {
    let judged = start("");
    let nft = Nft::host();
    for is_on in [true, false, true] {
        judged
            .change(&format!("{CONFIGURATION}dropInvalid: {is_on}\n"))
            .unwrap();
        let table = || nft.list_table_text(&judged.lab.node, "non-masquerade-daemon");
        let is_as_wanted = || table().is_ok_and(|table| table.contains("drop-invalid") == is_on);
        wait_until(Duration::from_secs(5), is_as_wanted).unwrap();
        let seen = invalid_seen(
            &judged.lab,
            Way::from_pod(&judged.lab, destination(Family::V4, false)),
        );
        assert_eq!(seen.iter().all(Option::is_none), is_on, "{seen:?}");
        judged.assert_comes_to_follow(CONFIGURATION);
    }
}
