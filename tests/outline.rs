//! What the kernel says of a table stays the same while elements and counts change, and with nothing else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // what cannot be set up is a failure

mod support;

use std::net::UdpSocket;

use nix::sys::socket::SockFlag;
use non_masquerade_daemon::kernel::netlink::{Netlink, Outline};
use non_masquerade_daemon::ruleset::Family;

use support::netns::Namespace;
use support::nft::Nft;

const TABLE: &str = "add table ip t; add counter ip t o; add set ip t s { type ipv4_addr; flags interval; counter; };
    add chain ip t c { type filter hook output priority 0; }; add rule ip t c ip daddr @s counter name o";

fn outline(namespace: &Namespace) -> Option<Outline> {
    namespace.run(|| {
        let netlink = Netlink::open(0, SockFlag::empty()).unwrap();
        netlink.outline(Family::Ip, "t", ["c"]).unwrap()
    })
}

fn table() -> (Namespace, Outline) {
    let namespace = Namespace::new().unwrap();
    Nft::host().apply(&namespace, TABLE).unwrap();
    let outline = outline(&namespace).unwrap();
    assert!(outline.declarations.are_all());
    assert_eq!(outline.rules.len(), 1);
    (namespace, outline)
}

#[test]
fn elements_and_counts_change_nothing_else() {
    let (namespace, before) = table();
    let elements = "add element ip t s { 10.0.0.0/8, 127.0.0.0/8 comment \"a\" }";
    Nft::host().apply(&namespace, elements).unwrap();
    namespace.run(|| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..3 {
            socket.send_to(b"x", socket.local_addr().unwrap()).unwrap();
        }
    });
    let after = outline(&namespace).unwrap();
    assert_eq!(after.declarations, before.declarations);
    assert_eq!(after.rules, before.rules);
    assert_eq!(after.counters[0].packets, 3);
    assert_eq!(after.counters[0].name, "o");
}

#[test]
fn whatever_else_changes_is_seen() {
    for change in [
        "add chain ip t d",
        "add set ip t d { type ipv4_addr; }",
        "add counter ip t d",
        "add quota ip t d { 10 mbytes }",
        "add chain ip t c { policy drop; }",
        "add rule ip t c ip saddr { 1.2.3.4, 5.6.7.8 } accept",
        "flush chain ip t c; add rule ip t c ip daddr @s counter name o comment \"k\"",
        "flush chain ip t c; delete set ip t s; add set ip t s { type ipv4_addr; flags interval; }; add rule ip t c ip daddr @s counter name o",
        "delete chain ip t c",
    ] {
        let (namespace, before) = table();
        Nft::host().apply(&namespace, change).unwrap();
        assert_ne!(outline(&namespace), Some(before), "{change}");
    }
}

#[test]
fn there_is_none_of_what_is_not_there() {
    let (namespace, _) = table();
    Nft::host().apply(&namespace, "delete table ip t").unwrap();
    assert_eq!(outline(&namespace), None);
}
