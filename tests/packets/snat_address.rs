//! `snatAddressCIDRs`: the node's own address that masqueraded connections get, while addresses come and go, by packets of both
//! families.

use std::net::IpAddr;
use std::time::Duration;

use crate::DAEMON;
use crate::support::competitors::Competitor;
use crate::support::judged::Judged;
use crate::support::lab::{Family, Lab};
use crate::support::netlink::generation;
use crate::support::netns::{Namespace, succeed};
use crate::support::outcome::Outcome;
use crate::support::probe::{Probe, Protocol};
use crate::support::{time_factor, wait_until};

mod gone;
mod several_hosts;

/// Generous: only a test that fails waits so long.
const LIMIT: Duration = Duration::from_secs(4);

/// The uplink's addresses are the second choice.
const CONFIGURATION: &str = "
enableIPv6: true
nonMasqueradeCIDRs: [10.0.0.0/8, 'fd00::/8']
snatAddressCIDRs: [198.51.100.0/24, 192.0.2.0/24, '2001:db8:51::/64', '2001:db8::/64']
";

fn parsed(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A destination that is masqueraded.
fn public(family: Family) -> IpAddr {
    parsed(match family {
        Family::V4 => "1.1.1.1",
        Family::V6 => "2606:4700::1",
    })
}

/// The first choice, where the node has it.
fn first_choice(family: Family) -> IpAddr {
    parsed(match family {
        Family::V4 => "198.51.100.9",
        Family::V6 => "2001:db8:51::9",
    })
}

/// In the same CIDR as that.
fn other_of_the_first_cidr(family: Family) -> IpAddr {
    parsed(match family {
        Family::V4 => "198.51.100.20",
        Family::V6 => "2001:db8:51::20",
    })
}

fn lab() -> Lab {
    let lab = Lab::new().unwrap();
    for family in Family::BOTH {
        let via = lab.addresses_of(family).node_uplink;
        for address in [first_choice(family), other_of_the_first_cidr(family)] {
            let route = format!("route add {address} via {via} dev eth0 onlink");
            lab.outside.ip(&route).unwrap();
        }
    }
    lab
}

fn start_in(lab: Lab, more: &str) -> Judged {
    Judged::start_in(lab, DAEMON, &format!("{CONFIGURATION}{more}"), &[]).unwrap()
}

/// `verb` is `add`, `change` or `delete`; `how` what comes behind the interface.
fn address(node: &Namespace, verb: &str, address: IpAddr, interface: &str, how: &str) {
    let nodad = match (address, verb) {
        (IpAddr::V6(_), "add" | "change") => "nodad",
        _ => "",
    };
    let words = format!("address {verb} {address} dev {interface} {how} {nodad}");
    node.ip(&words).unwrap();
}

fn source(lab: &Lab, family: Family) -> IpAddr {
    let probe = Probe::from_pod(lab).unwrap();
    let seen = probe.seen_source(Protocol::Udp, public(family));
    seen.unwrap().ip()
}

#[track_caller]
fn assert_comes_to_be(judged: &Judged, family: Family, expected: IpAddr) {
    let mut seen = None;
    let waited = wait_until(LIMIT, || {
        seen = Some(source(&judged.lab, family));
        seen == Some(expected)
    });
    assert!(waited.is_ok(), "{seen:?}, not {expected}");
}

/// What `check` warns of on the node.
fn warnings(judged: &Judged) -> String {
    let mut check = judged.lab.node.command(DAEMON);
    let check = Outcome::of(check.arg("check").arg(judged.daemon.config_file()));
    check.assert_code(0);
    check.errors
}

#[test]
fn each_protocol_gets_the_chosen_address_and_exempt_destinations_see_the_pod_s() {
    for (more, is_within) in [
        ("", 0..=u16::MAX),
        ("randomFully: false\n", 0..=u16::MAX),
        ("toPorts: 50000-50999,60000-60999\n", 50_000..=60_999),
        ("toPorts: '61000'\nrandomFully: false\n", 61_000..=61_000),
        (
            "enforce: true\ndropInvalid: true\noutputInterfaces: [uplink*]\n",
            0..=u16::MAX,
        ),
    ] {
        let lab = lab();
        for family in Family::BOTH {
            address(&lab.node, "add", first_choice(family), "uplink0", "");
        }
        let judged = start_in(lab, more);
        let probe = Probe::from_pod(&judged.lab).unwrap();
        for family in Family::BOTH {
            for protocol in Protocol::ALL {
                let seen = probe.seen_source(protocol, public(family)).unwrap();
                assert_eq!(seen.ip(), first_choice(family), "{protocol}, {more}");
                let has_ports = Protocol::WITH_PORTS.contains(&protocol);
                assert!(
                    !has_ports || is_within.contains(&seen.port()),
                    "{seen}, {more}"
                );
            }
            let exempt = parsed(match family {
                Family::V4 => "10.7.0.1",
                Family::V6 => "fd00:7::1",
            });
            let seen = probe.seen_source(Protocol::Udp, exempt).unwrap();
            assert_eq!(seen.ip(), judged.lab.addresses_of(family).pod);
        }
    }
}

/// Whatever the interface is; one that may be a Service's or a pod's gateway's is warned of.
#[test]
fn an_address_that_comes_changes_and_goes_is_followed() {
    for (interface, kind) in [
        ("uplink0", None),
        ("lo", None),
        ("kube-ipvs0", Some("dummy")),
        ("cni0", Some("bridge")),
        ("vrrp.51", Some("macvlan")),
    ] {
        let lab = lab();
        if let Some(kind) = kind {
            let made = lab.node.ip(&match kind {
                "macvlan" => format!("link add link uplink0 name {interface} up type {kind}"),
                _ => format!("link add {interface} up type {kind}"),
            });
            // The kernels of `make test-kernels` have all of them.
            if made.is_err() && kind == "dummy" {
                println!("this kernel has no {kind}");
                continue;
            }
            made.unwrap();
        }
        let judged = start_in(lab, "");
        let node = &judged.lab.node;
        for family in Family::BOTH {
            let (first, second) = (
                first_choice(family),
                judged.lab.addresses_of(family).node_uplink,
            );
            assert_eq!(source(&judged.lab, family), second);
            address(node, "add", first, interface, "");
            assert_comes_to_be(&judged, family, first);
            let warned = warnings(&judged);
            let words =
                format!("snatAddressCIDRs: {first} of {interface} is taken on this machine");
            assert_eq!(warned.contains(&words), kind.is_some(), "{warned}");
            address(node, "change", first, interface, "preferred_lft 0");
            assert_comes_to_be(&judged, family, second);
            address(node, "change", first, interface, "preferred_lft forever");
            assert_comes_to_be(&judged, family, first);
            address(node, "delete", first, interface, "");
            assert_comes_to_be(&judged, family, second);
        }
    }
}

#[test]
fn a_tentative_address_is_taken_when_it_is_no_longer_tentative() {
    let judged = start_in(lab(), "");
    let (lab, node) = (&judged.lab, &judged.lab.node);
    let (first, second) = (
        first_choice(Family::V6),
        lab.addresses_of(Family::V6).node_uplink,
    );
    node.sysctl("net/ipv6/conf/uplink0/accept_dad", "1")
        .unwrap();
    // For two seconds, or more where ten probes take longer.
    let seconds = 2 * time_factor().min(10);
    node.sysctl("net/ipv6/conf/uplink0/dad_transmits", &seconds.to_string())
        .unwrap();
    node.ip(&format!("address add {first} dev uplink0"))
        .unwrap();
    let is_tentative = || {
        let mut ip = node.command("ip");
        ip.args(["-6", "address", "show", "dev", "uplink0", "tentative"]);
        let listed = succeed(&mut ip).unwrap().stdout;
        String::from_utf8_lossy(&listed).contains(&first.to_string())
    };
    assert!(is_tentative());
    let mut seen_meanwhile = 0;
    loop {
        let seen = source(lab, Family::V6);
        if !is_tentative() {
            break;
        }
        assert_eq!(seen, second);
        seen_meanwhile += 1;
    }
    assert!(seen_meanwhile > 10, "{seen_meanwhile}");
    assert_comes_to_be(&judged, Family::V6, first);
}

/// IPv4 calls an address secondary that shares its network with an earlier one; virtual addresses often are.
#[test]
fn of_several_the_primary_one_is_taken_and_the_others_are_warned_of() {
    let lab = lab();
    let (first, other) = (
        first_choice(Family::V4),
        other_of_the_first_cidr(Family::V4),
    );
    for address in [other, first] {
        lab.node
            .ip(&format!("address add {address}/24 dev uplink0"))
            .unwrap();
    }
    let judged = start_in(lab, "");
    assert_eq!(source(&judged.lab, Family::V4), other);
    let warned = warnings(&judged);
    let words = format!(
        "{other} of uplink0 is taken on this machine, the first of several that match: {first} of uplink0 too"
    );
    assert!(warned.contains(&words), "{warned}");
    // A longer prefix says which one is meant.
    let configuration = CONFIGURATION.replace("198.51.100.0/24", "198.51.100.8/29");
    judged.change(&configuration).unwrap();
    assert_comes_to_be(&judged, Family::V4, first);
    assert_eq!(warnings(&judged), "");
    // A secondary address goes with its primary one.
    judged
        .lab
        .node
        .ip(&format!("address delete {other}/24 dev uplink0"))
        .unwrap();
    let uplink = judged.lab.addresses_of(Family::V4).node_uplink;
    assert_comes_to_be(&judged, Family::V4, uplink);
}

/// The kernel tells of those on `lo` first, and of the newest of IPv6.
#[test]
fn a_virtual_address_beside_the_node_s_own_changes_nothing() {
    let judged = start_in(lab(), "");
    let node = &judged.lab.node;
    for (family, virtual_address) in Family::BOTH
        .into_iter()
        .zip(["192.0.2.200", "2001:db8::200"])
    {
        let own = judged.lab.addresses_of(family).node_uplink;
        let before = generation(node).unwrap();
        for interface in ["lo", "uplink0"] {
            address(node, "add", parsed(virtual_address), interface, "");
            let is_said = || {
                judged
                    .daemon
                    .log()
                    .contains(&format!("{virtual_address} of {interface} too"))
            };
            wait_until(LIMIT, is_said).unwrap();
            assert_eq!(source(&judged.lab, family), own);
            address(node, "delete", parsed(virtual_address), interface, "");
        }
        assert_eq!(generation(node).unwrap(), before);
    }
    assert_eq!(judged.daemon.log().matches(" policy: ").count(), 1);
}

#[test]
fn by_either_uplink_connections_leave_with_the_chosen_address() {
    let lab = lab();
    let outside = lab.outside.path();
    lab.node
        .ip(&format!(
            "link add uplink1 type veth peer name eth1 netns {}",
            outside.display()
        ))
        .unwrap();
    lab.node.ip("link set dev uplink1 up").unwrap();
    lab.outside.ip("link set dev eth1 up").unwrap();
    lab.outside
        .sysctl("net/ipv4/conf/eth1/rp_filter", "0")
        .unwrap();
    // By the second uplink, which has addresses of its own: the first choice.
    let destinations = ["203.0.113.200", "2001:db8:ffff::1"].map(parsed);
    for (family, to) in Family::BOTH.into_iter().zip(destinations) {
        address(&lab.node, "add", first_choice(family), "uplink1", "");
        let mac = lab.outside.hardware_address("eth1").unwrap();
        let outside = lab.addresses_of(family).outside;
        lab.node
            .ip(&format!(
                "neighbour replace {outside} lladdr {mac} dev uplink1 nud permanent"
            ))
            .unwrap();
        lab.node
            .ip(&format!("route add {to} via {outside} dev uplink1 onlink"))
            .unwrap();
    }
    let judged = start_in(lab, "");
    let judge = |expected: fn(&Judged, Family) -> IpAddr| {
        let probe = Probe::from_pod(&judged.lab).unwrap();
        for (family, by_second) in Family::BOTH.into_iter().zip(destinations) {
            for to in [public(family), by_second] {
                for protocol in [Protocol::Udp, Protocol::Tcp, Protocol::Icmp] {
                    let seen = probe.seen_source(protocol, to).unwrap().ip();
                    assert_eq!(seen, expected(&judged, family), "{protocol} to {to}");
                }
            }
        }
    };
    judge(|_, family| first_choice(family));
    let other_order = CONFIGURATION
        .replace("198.51.100.0/24, 192.0.2.0/24", "192.0.2.0/24")
        .replace("'2001:db8:51::/64', ", "");
    judged.change(&other_order).unwrap();
    for family in Family::BOTH {
        let uplink = judged.lab.addresses_of(family).node_uplink;
        assert_comes_to_be(&judged, family, uplink);
    }
    judge(|judged, family| judged.lab.addresses_of(family).node_uplink);
}

/// The first chain that translates a connection gives it its address.
#[test]
fn what_an_earlier_chain_masquerades_gets_that_chain_s_address() {
    for more in ["", "enforce: true\n"] {
        let lab = lab();
        for family in Family::BOTH {
            // Of the uplink's, the other chain may take any.
            address(&lab.node, "add", first_choice(family), "lo", "");
        }
        Competitor::Iptables.install(&lab).unwrap();
        let judged = start_in(lab, more);
        for family in Family::BOTH {
            let uplink = judged.lab.addresses_of(family).node_uplink;
            assert_eq!(source(&judged.lab, family), uplink, "{family} {more}");
        }
    }
}

/// Neither a bad file nor a family without a usable address holds up the other.
#[test]
fn without_a_match_connections_are_masqueraded_and_a_bad_file_holds_up_nothing() {
    let lab = lab();
    let configuration = "
enableIPv6: true
nonMasqueradeCIDRs: [10.0.0.0/8, 'fd00::/8']
snatAddressCIDRs: [198.51.100.0/24, '2001:db8:51::/64']
";
    let judged = Judged::start_in(lab, DAEMON, configuration, &[]).unwrap();
    for family in Family::BOTH {
        let uplink = judged.lab.addresses_of(family).node_uplink;
        assert_eq!(source(&judged.lab, family), uplink);
        let none = format!(
            "masqueraded {family} connections get that of the interface by which they leave"
        );
        assert!(warnings(&judged).contains(&none), "{}", warnings(&judged));
        assert!(
            judged.daemon.log().contains(&none),
            "{}",
            judged.daemon.log()
        );
    }
    judged.change("nonMasqueradeCIDRs: none\n").unwrap();
    judged
        .daemon
        .wait_for_log("the last good one stays in force")
        .unwrap();
    for family in Family::BOTH {
        address(&judged.lab.node, "add", first_choice(family), "uplink0", "");
        assert_comes_to_be(&judged, family, first_choice(family));
    }
}

/// Pods bring and take addresses all the time. More of them than a socket holds, and what else there was is lost with them.
#[test]
fn addresses_of_others_cost_no_pass_and_what_is_lost_is_looked_up() {
    let judged = start_in(lab(), "");
    let node = &judged.lab.node;
    node.ip("link add pods up type bridge").unwrap();
    let of_pods = |verb: &str, number: u32| -> Vec<String> {
        let line = |n| {
            format!(
                "address {verb} 10.99.{}.{}/32 dev pods",
                n / 250,
                1 + n % 250
            )
        };
        (0..number).map(line).collect()
    };
    std::thread::sleep(Duration::from_millis(200));
    let before = generation(node).unwrap();
    let [_, worker_before] = judged.daemon.wakeups();
    for verb in ["add", "delete"] {
        node.ip_batch(&of_pods(verb, 200)).unwrap();
    }
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(generation(node).unwrap(), before);
    assert_eq!(judged.daemon.wakeups()[1], worker_before);
    let first = first_choice(Family::V4);
    judged
        .daemon
        .while_it_sleeps(|| {
            node.ip_batch(&of_pods("add", 5_000))?;
            address(node, "add", first, "uplink0", "");
            Ok(())
        })
        .unwrap();
    assert_comes_to_be(&judged, Family::V4, first);
}
