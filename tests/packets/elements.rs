//! The elements of a set, read by nfnetlink, are those that nft lists, whichever nft wrote them.

use std::net::IpAddr;

use ipnet::IpNet;
use nix::sys::socket::SockFlag;
use non_masquerade_daemon::kernel::netlink::{Elements, Netlink};
use non_masquerade_daemon::ruleset::Family;
use serde_json::Value;

use crate::support::netns::{Namespace, succeed};
use crate::support::nft::Nft;

/// Adjacent intervals, the first address and the last one, single addresses, prefixes, ranges, what counts and what does
/// not.
const ELEMENTS: [(Family, &str); 2] = [
    (
        Family::Ip,
        r#"0.0.0.0/8 comment "0.0.0.0/8", 10.0.0.0/9 counter packets 7 bytes 9 comment "a", 10.128.0.0/9 comment "b",
        192.0.2.1, 192.0.2.2 comment "c", 192.0.2.3-192.0.2.9, 198.51.100.0/24 counter packets 5000000000 bytes 1,
        224.0.0.0/3 comment "224.0.0.0/3""#,
    ),
    (
        Family::Ip6,
        r#"::/128, ::1 comment "loopback", fd00::/9 comment "fd00::/9", fd80::/9 counter packets 3 bytes 1,
        fe80::-fe80::17 comment "range", ff00::/8 comment "ff00::/8""#,
    ),
];

fn read(namespace: &Namespace, family: Family, set: &str, has_intervals: bool) -> Elements {
    namespace.run(|| {
        let netlink = Netlink::open(0, SockFlag::empty()).unwrap();
        netlink.elements(family, "t", set, has_intervals).unwrap()
    })
}

/// First address, last address, comment and count.
type Seen = (IpAddr, IpAddr, Option<String>, Option<u64>);

fn seen(elements: Elements) -> Vec<Seen> {
    assert_eq!(elements.strange, 0);
    let seen = elements.readable.into_iter();
    seen.map(|e| (e.first, e.last, e.comment, e.connections))
        .collect()
}

/// The same as nft's JSON has it.
fn listed(nft: &Nft, namespace: &Namespace, family: Family) -> Vec<Seen> {
    let mut list = nft.command(namespace);
    let output = succeed(list.args(["-j", "list", "set", family.name(), "t", "s"])).unwrap();
    let listing: Value = serde_json::from_slice(&output.stdout).unwrap();
    let objects = listing["nftables"].as_array().unwrap();
    let set = objects.iter().find_map(|object| object.get("set")).unwrap();
    let elements = set["elem"].as_array().unwrap().iter();
    elements.map(of_json).collect()
}

fn of_json(listed: &Value) -> Seen {
    let whole = listed.get("elem");
    let value = whole.map_or(listed, |whole| &whole["val"]);
    let address = |value: &Value| -> IpAddr { value.as_str().unwrap().parse().unwrap() };
    let (first, last) = if let Some(range) = value.get("range") {
        (address(&range[0]), address(&range[1]))
    } else if let Some(prefix) = value.get("prefix") {
        let length = u8::try_from(prefix["len"].as_u64().unwrap()).unwrap();
        let prefix = IpNet::new(address(&prefix["addr"]), length).unwrap();
        (prefix.network(), prefix.broadcast())
    } else {
        (address(value), address(value))
    };
    let member = |key: &str| whole.and_then(|whole| whole.get(key));
    let comment = member("comment").map(|comment| comment.as_str().unwrap().to_owned());
    let packets = member("counter").map(|counter| counter["packets"].as_u64().unwrap());
    (first, last, comment, packets)
}

fn address_type(family: Family) -> &'static str {
    match family {
        Family::Ip => "ipv4_addr",
        Family::Ip6 => "ipv6_addr",
    }
}

fn each_nft_lists_what_is_read(writer: &Nft, readers: &[Nft]) {
    let namespace = Namespace::new().unwrap();
    for (family, elements) in ELEMENTS {
        let (name, address_type) = (family.name(), address_type(family));
        let counted = "flags interval; counter;";
        let set = format!(
            "add table {name} t; add set {name} t s {{ type {address_type}; {counted} elements = {{ {elements} }} }}"
        );
        writer.apply(&namespace, &set).unwrap();
        let read = seen(read(&namespace, family, "s", true));
        assert!(read.iter().all(|(.., packets)| packets.is_some()));
        assert!(read.iter().any(|(.., packets)| *packets > Some(0)));
        for reader in readers {
            assert_eq!(read, listed(reader, &namespace, family), "{reader:?}");
        }
    }
}

#[test]
fn the_host_s_nft_lists_what_is_read() {
    each_nft_lists_what_is_read(&Nft::host(), &[Nft::host()]);
}

#[test]
fn a_set_without_intervals_has_single_addresses() {
    let namespace = Namespace::new().unwrap();
    let set =
        "add table ip t; add set ip t s { type ipv4_addr; elements = { 10.0.0.1, 10.0.0.9 } }";
    Nft::host().apply(&namespace, set).unwrap();
    let single = |address: &str| -> Seen {
        let address = address.parse().unwrap();
        (address, address, None, None)
    };
    assert_eq!(
        seen(read(&namespace, Family::Ip, "s", false)),
        [single("10.0.0.1"), single("10.0.0.9")]
    );
}

#[test]
fn what_is_no_lasting_interval_of_addresses_is_strange() {
    let namespace = Namespace::new().unwrap();
    for (set, strange) in [
        (
            "type ipv4_addr; flags interval, timeout; elements = { 10.0.0.0/8, 11.0.0.0/8 timeout 1h }",
            1,
        ),
        (
            "type ipv4_addr . inet_service; flags interval; elements = { 10.0.0.0/8 . 80-90 }",
            1,
        ),
        (
            "type ipv4_addr; flags interval; elements = { 10.0.0.0/8, * comment \"all\" }",
            1,
        ),
        (
            "type ipv4_addr; limit rate 1/second; elements = { 10.0.0.1, 10.0.0.2 }",
            2,
        ),
        ("type ifname; elements = { \"eth0\" }", 1),
        (
            "type inet_service; flags interval; elements = { 1-9, 20 }",
            2,
        ),
    ] {
        let table = format!(
            "add table ip t; delete table ip t; add table ip t; add set ip t s {{ {set} }}"
        );
        Nft::host().apply(&namespace, &table).unwrap();
        let elements = read(&namespace, Family::Ip, "s", set.contains("interval"));
        assert_eq!(elements.strange, strange, "{set}: {elements:?}");
    }
}

#[test]
fn a_set_that_is_not_there_has_no_elements() {
    let namespace = Namespace::new().unwrap();
    let elements = read(&namespace, Family::Ip, "s", true);
    assert_eq!(elements, Elements::default());
}

/// A piece of a dump holds some 300 elements.
#[test]
fn a_set_of_many_pieces_is_read_whole() {
    let namespace = Namespace::new().unwrap();
    let elements: Vec<String> = (0..1_000)
        .map(|n| format!("10.{}.{}.0/24 comment \"{n}\"", n / 100, n % 100 * 2))
        .collect();
    let set = format!(
        "add table ip t\nadd set ip t s {{ type ipv4_addr; flags interval; elements = {{ {} }} }}",
        elements.join(", ")
    );
    Nft::host().apply(&namespace, &set).unwrap();
    let read = seen(read(&namespace, Family::Ip, "s", true));
    assert_eq!(read.len(), 1_000);
    assert_eq!(read, listed(&Nft::host(), &namespace, Family::Ip));
}

/// Read with Debian 13's libnftables as well as the host's, and written by either.
mod needs_root {
    use super::*;

    #[test]
    fn debian_13_s_nft_lists_what_is_read() {
        // The host's nft may die of what Debian 13's writes.
        each_nft_lists_what_is_read(&Nft::debian_13(), &[Nft::debian_13()]);
        each_nft_lists_what_is_read(&Nft::host(), &[Nft::host(), Nft::debian_13()]);
    }
}
