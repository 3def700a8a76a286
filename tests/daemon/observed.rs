//! What the kernel says of a table: its rules stay the same bytes while elements and counts change, and change with
//! whatever else does.

use std::net::UdpSocket;

use nix::sys::socket::SockFlag;
use non_masquerade_daemon::kernel::netlink::Netlink;
use non_masquerade_daemon::kernel::observed::Observed;
use non_masquerade_daemon::ruleset::{AddressField, Family, names};

use crate::support::netns::Namespace;
use crate::support::nft::Nft;

const TABLE: &str = "add table ip t; add counter ip t masqueraded
    add set ip t non-masquerade-cidrs-1 { type ipv4_addr; flags interval; counter; }
    add chain ip t c { type filter hook output priority 0; }
    add rule ip t c ip daddr @non-masquerade-cidrs-1 counter name masqueraded";

fn observed(namespace: &Namespace) -> Option<Observed> {
    namespace.run(|| {
        let netlink = Netlink::open(0, SockFlag::empty()).unwrap();
        Observed::read(&netlink, Family::Ip, "t", ["c"].into_iter()).unwrap()
    })
}

fn table() -> (Namespace, Observed) {
    let namespace = Namespace::new().unwrap();
    Nft::host().apply(&namespace, TABLE).unwrap();
    let observed = observed(&namespace).unwrap();
    let [chains, sets, counters] = [
        observed.chains.len(),
        observed.sets.len(),
        observed.counters.len(),
    ];
    assert_eq!((chains, sets, counters), (1, 1, 1));
    assert_eq!((observed.rules.len(), observed.others.len()), (1, 0));
    (namespace, observed)
}

/// Rules that seemed to change would be written again and again.
#[test]
fn elements_and_counts_change_nothing_else() {
    let (namespace, before) = table();
    let elements =
        "add element ip t non-masquerade-cidrs-1 { 10.0.0.0/8, 127.0.0.0/8 comment \"a\" }";
    Nft::host().apply(&namespace, elements).unwrap();
    namespace.run(|| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..3 {
            socket.send_to(b"x", socket.local_addr().unwrap()).unwrap();
        }
    });
    let mut after = observed(&namespace).unwrap();
    assert_eq!(after.masqueraded(), Some(3));
    let counts: Vec<_> = after.sets[0]
        .elements
        .iter()
        .map(|e| e.connections)
        .collect();
    assert_eq!(counts, [Some(0), Some(3)]);
    after.counters[0].packets = 0;
    after.sets[0].elements.clear();
    assert_eq!(after, before);
}

#[test]
fn whatever_else_changes_is_seen() {
    for change in [
        "add chain ip t d",
        "add set ip t d { type ipv4_addr; }",
        "add counter ip t d",
        "add quota ip t d { 10 mbytes }",
        "add map ip t d { type ipv4_addr : verdict; }",
        "add chain ip t c { policy drop; }",
        "add table ip t { flags dormant; }",
        "add rule ip t c ip saddr { 1.2.3.4, 5.6.7.8 } accept",
        "flush chain ip t c; add rule ip t c ip daddr @non-masquerade-cidrs-1 counter name masqueraded comment \"k\"",
        // It is listed as the rule that was there.
        "flush chain ip t c; add rule ip t c meta protocol ip6 ip daddr @non-masquerade-cidrs-1 counter name masqueraded",
        "flush chain ip t c; delete set ip t non-masquerade-cidrs-1
         add set ip t non-masquerade-cidrs-1 { type ipv4_addr; flags interval; }
         add rule ip t c ip daddr @non-masquerade-cidrs-1 counter name masqueraded",
        "delete chain ip t c",
    ] {
        let (namespace, before) = table();
        Nft::host().apply(&namespace, change).unwrap();
        assert_ne!(observed(&namespace), Some(before), "{change}");
    }
}

/// Whatever the rule does with it: it cannot be deleted then.
#[test]
fn a_rule_that_names_a_set_is_found_by_the_whole_name() {
    let (namespace, before) = table();
    let in_use = names::numbered(names::EXEMPT_SET, 1);
    let named = before.names_in_rules();
    assert!(named.contain(&in_use));
    for other in ["non-masquerade-cidrs", "non-masquerade-cidrs-", "cidrs-2"] {
        assert!(!named.contain(other), "{other}");
    }
    let second =
        "add set ip t non-masquerade-cidrs-12 { type ipv4_addr; flags interval; counter; }";
    Nft::host().apply(&namespace, second).unwrap();
    let after = observed(&namespace).unwrap();
    let found = after.set_in_use(AddressField::Destination).unwrap();
    assert_eq!(found.name, in_use);
    assert!(!after.names_in_rules().contain("non-masquerade-cidrs-12"));
}

#[test]
fn there_is_none_of_what_is_not_there() {
    let (namespace, _) = table();
    Nft::host().apply(&namespace, "delete table ip t").unwrap();
    assert_eq!(observed(&namespace), None);
}
