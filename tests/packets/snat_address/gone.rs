//! The address that connections were given leaves the node: they meet the rules anew, and no others do.

use std::io::Write;
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};

use non_masquerade_daemon::kernel::conntrack::{Conntrack, Entry, Filter};
use non_masquerade_daemon::ruleset;

use super::*;
use crate::support::daemon::Daemon;
use crate::support::nft::{Nft, TABLE};
use crate::support::probe::{Flow, PROBE_PORT};

/// Others give addresses too that lie in the first CIDR: one that is LOCAL by AnyIP, and in a zone one that is nobody's.
const OTHER_CHAINS: &str = r"
table FAMILY other {
    chain zones {
        type filter hook prerouting priority raw;
        FAMILY daddr ZONED ct original zone set 7
    }
    chain early {
        type nat hook postrouting priority srcnat - 5;
        FAMILY daddr BY_ANY_IP snat to ANY_IP
        FAMILY daddr ZONED snat to NOBODY
    }
}";

/// The other end of a TCP connection does not know what comes from another source: its answer would end the connection.
const NO_RESETS: &str = "
table inet quiet {
    chain output {
        type filter hook output priority filter;
        tcp flags rst drop
    }
}";

/// Destinations of those chains, IPv4 and IPv6.
const BY_ANY_IP: [&str; 2] = ["9.9.9.1", "2620:fe::1"];
const ZONED: [&str; 2] = ["9.9.9.2", "2620:fe::2"];
/// What they give.
const ANY_IP: [&str; 2] = ["198.51.100.77", "2001:db8:51::77"];
const NOBODY: [&str; 2] = ["198.51.100.78", "2001:db8:51::78"];
/// Another host in the first CIDR.
const CLIENT: [&str; 2] = ["198.51.100.79", "2001:db8:51::79"];

fn of(family: Family, addresses: [&str; 2]) -> IpAddr {
    parsed(addresses[usize::from(family == Family::V6)])
}

fn set_up_others(lab: &Lab) {
    Nft::host().apply(&lab.outside, NO_RESETS).unwrap();
    for family in Family::BOTH {
        let mut rules = OTHER_CHAINS.replace("FAMILY", family.nft());
        for (name, addresses) in [
            ("BY_ANY_IP", BY_ANY_IP),
            ("ZONED", ZONED),
            ("ANY_IP", ANY_IP),
            ("NOBODY", NOBODY),
        ] {
            rules = rules.replace(name, &of(family, addresses).to_string());
        }
        Nft::host().apply(&lab.node, &rules).unwrap();
        let route = format!("route add local {} dev lo", of(family, ANY_IP));
        lab.node.ip(&route).unwrap();
        address(&lab.outside, "add", of(family, CLIENT), "lo", "");
    }
}

fn udp(lab: &Lab, from: IpAddr, to: IpAddr) -> Flow {
    Flow {
        protocol: Protocol::Udp,
        from: SocketAddr::new(from, lab.unused_port()),
        to: SocketAddr::new(to, PROBE_PORT),
    }
}

/// Connections that got an address from others, and such as keep their source, which is the node's first choice or lies
/// beside it.
fn begin_those_of_others(lab: &Lab, family: Family) {
    let of_pod = Probe::from_pod(lab).unwrap();
    for (to, expected) in [(BY_ANY_IP, ANY_IP), (ZONED, NOBODY)] {
        let seen = of_pod.seen_source(Protocol::Udp, of(family, to)).unwrap();
        assert_eq!(seen.ip(), of(family, expected));
    }
    drop(of_pod);
    let of_node = udp(lab, first_choice(family), public(family));
    let seen = Probe::from_node(lab).unwrap().seen_source_of(of_node);
    assert_eq!(seen.unwrap().ip(), first_choice(family));
    let of_client = udp(lab, of(family, CLIENT), lab.addresses_of(family).pod);
    let inbound = Probe::from_outside_to_pod(lab).unwrap();
    assert_eq!(inbound.seen_source_of(of_client).unwrap(), of_client.from);
}

/// What conntrack has: connections that were given the first choice, and all others.
fn entries(lab: &Lab, family: Family) -> (Vec<Entry>, Vec<Entry>) {
    let by_conntrack = match family {
        Family::V4 => ruleset::Family::Ip,
        Family::V6 => ruleset::Family::Ip6,
    };
    let mut found = Vec::new();
    lab.node.run(|| {
        let conntrack = Conntrack::open().unwrap();
        let any = Filter::default();
        let dumped = conntrack.dump(by_conntrack, &any, |entry| found.push(entry));
        dumped.unwrap();
    });
    let first = first_choice(family);
    let was_given_it =
        |entry: &Entry| entry.reply.destination == first && entry.original.source != first;
    found.into_iter().partition(was_given_it)
}

/// Connections of the pod that last.
struct Lasting {
    family: Family,
    udp: Flow,
    tcp: TcpStream,
    /// TCP's other end.
    _accepted: TcpStream,
}

impl Lasting {
    fn begin(lab: &Lab, family: Family) -> Self {
        // Any free port: another test's child that has not begun its program yet may hold one that was closed here.
        let any = (Ipv6Addr::UNSPECIFIED, 0);
        let listener = lab.outside.run(|| TcpListener::bind(any)).unwrap();
        let to = SocketAddr::new(public(family), listener.local_addr().unwrap().port());
        let connect = || TcpStream::connect_timeout(&to, LIMIT);
        let tcp = lab.pod.run(connect).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        Self {
            family,
            udp: udp(lab, lab.addresses_of(family).pod, public(family)),
            tcp,
            _accepted: accepted,
        }
    }

    /// The sources that the next packets have. That of TCP as conntrack tells it.
    fn sources(&mut self, lab: &Lab) -> [Option<IpAddr>; 2] {
        let probe = Probe::from_pod(lab).unwrap();
        let by_udp = probe.seen_source_of(self.udp).unwrap().ip();
        self.tcp.write_all(b"more").unwrap();
        let own = self.tcp.local_addr().unwrap();
        let (given, others) = entries(lab, self.family);
        let by_tcp = given.iter().chain(&others).find(|entry| {
            let from = entry.original;
            (from.source, from.source_port) == (own.ip(), Some(own.port()))
        });
        [Some(by_udp), by_tcp.map(|entry| entry.reply.destination)]
    }

    #[track_caller]
    fn assert_have(&mut self, lab: &Lab, expected: IpAddr) {
        let mut seen = [None; 2];
        let waited = wait_until(LIMIT, || {
            seen = self.sources(lab);
            seen == [Some(expected); 2]
        });
        assert!(waited.is_ok(), "{seen:?}, not {expected}");
    }
}

/// `leave` has the first choice go.
fn assert_connections_end(leave: fn(&mut Judged, &mut [Lasting])) {
    let lab = lab();
    set_up_others(&lab);
    let mut judged = start_in(lab, "");
    for family in Family::BOTH {
        let lab = &judged.lab;
        assert_eq!(source(lab, family), lab.addresses_of(family).node_uplink);
        address(&lab.node, "add", first_choice(family), "uplink0", "");
        assert_comes_to_be(&judged, family, first_choice(family));
        begin_those_of_others(lab, family);
    }
    let mut lasting = Family::BOTH.map(|family| Lasting::begin(&judged.lab, family));
    for lasting in &mut lasting {
        lasting.assert_have(&judged.lab, first_choice(lasting.family));
    }
    let before = Family::BOTH.map(|family| entries(&judged.lab, family).1);
    leave(&mut judged, &mut lasting);
    for (lasting, of_others) in lasting.iter_mut().zip(before) {
        let (lab, family) = (&judged.lab, lasting.family);
        lasting.assert_have(lab, lab.addresses_of(family).node_uplink);
        let line = "connections that were given an address which has left the node are ended";
        judged.daemon.wait_for_log(line).unwrap();
        let (given, others) = entries(lab, family);
        assert_eq!(given, []);
        // The node's own, the client's, two with addresses of others, and one at least with the second choice.
        assert!(of_others.len() > 4, "{of_others:#?}");
        for entry in of_others {
            assert!(others.contains(&entry), "{entry:#?} is not in {others:#?}");
        }
    }
}

fn delete_first_choices(judged: &Judged) {
    for family in Family::BOTH {
        let first = first_choice(family);
        address(&judged.lab.node, "delete", first, "uplink0", "");
    }
}

/// Another one is chosen, and the address still stands: connections go on with it.
fn deprecate_first_choices(judged: &Judged, lasting: &mut [Lasting]) {
    for lasting in lasting {
        let (lab, family) = (&judged.lab, lasting.family);
        let first = first_choice(family);
        address(&lab.node, "change", first, "uplink0", "preferred_lft 0");
        assert_comes_to_be(judged, family, lab.addresses_of(family).node_uplink);
        lasting.assert_have(lab, first);
    }
}

#[test]
fn connections_end_with_the_address_that_they_were_given() {
    assert_connections_end(|judged, lasting| {
        deprecate_first_choices(judged, lasting);
        delete_first_choices(judged);
    });
}

#[test]
fn connections_whose_address_leaves_while_no_daemon_runs_end_when_the_next_one_has_started() {
    assert_connections_end(|judged, _| {
        judged.daemon.kill().unwrap();
        delete_first_choices(judged);
        judged.daemon.kill_and_restart(DAEMON).unwrap();
    });
}

/// One that it would not give itself.
#[test]
fn connections_end_with_the_address_that_the_daemon_before_gave_them() {
    assert_connections_end(|judged, lasting| {
        deprecate_first_choices(judged, lasting);
        judged.daemon.kill_and_restart(DAEMON).unwrap();
        judged
            .daemon
            .wait_for_log("rules written once more")
            .unwrap();
        delete_first_choices(judged);
    });
}

#[test]
fn connections_end_while_the_table_of_the_other_family_is_owned_by_another() {
    let lab = lab();
    let mut owner = Nft::host().session(&lab.node).unwrap();
    let table = format!("add table ip6 {TABLE} {{ flags owner; }}");
    owner.say(&table).unwrap();
    let mut daemon = Daemon::start(DAEMON, &lab.node, CONFIGURATION, &[]).unwrap();
    daemon.wait_for_table_of(Family::V4, LIMIT).unwrap();
    let judged = Judged::of(daemon, lab, &[]);
    let (lab, first) = (&judged.lab, first_choice(Family::V4));
    Nft::host().apply(&lab.outside, NO_RESETS).unwrap();
    address(&lab.node, "add", first, "uplink0", "");
    assert_comes_to_be(&judged, Family::V4, first);
    let mut lasting = Lasting::begin(lab, Family::V4);
    lasting.assert_have(lab, first);
    address(&lab.node, "delete", first, "uplink0", "");
    lasting.assert_have(lab, lab.addresses_of(Family::V4).node_uplink);
    owner.end().unwrap();
}
