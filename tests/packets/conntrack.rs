//! The conntrack table as packets have filled it: read, narrowed, deleted from, and heard of.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::time::Duration;

use nix::sys::socket::SockFlag;
use non_masquerade_daemon::kernel::conntrack::{Conntrack, Entry, Events, Filter};
use non_masquerade_daemon::ruleset::Family as Wanted;

use crate::support::flows::Flows;
use crate::support::lab::{Family, Lab};
use crate::support::nft::Nft;
use crate::support::probe::{Probe, Protocol};

/// What comes from the pod is in zone 7; to masqueraded destinations it leaves with the node's address.
const RULES: &str = r"
table inet lab {
    chain zones {
        type filter hook prerouting priority raw;
        iifname pod0 ct original zone set 7
    }
    chain postrouting {
        type nat hook postrouting priority srcnat;
        ip daddr 1.0.0.0/8 masquerade
        ip6 daddr 2606::/16 masquerade
    }
}";

fn lab() -> Lab {
    let lab = Lab::new().unwrap();
    Nft::host().apply(&lab.node, RULES).unwrap();
    lab
}

fn destinations(family: Family) -> [IpAddr; 2] {
    match family {
        Family::V4 => ["10.0.0.1", "1.1.1.1"],
        Family::V6 => ["fd00::1", "2606::1"],
    }
    .map(|address| address.parse().unwrap())
}

fn dump(lab: &Lab, family: Family, filter: &Filter) -> Vec<Entry> {
    let family = match family {
        Family::V4 => Wanted::Ip,
        Family::V6 => Wanted::Ip6,
    };
    lab.node.run(|| {
        let mut entries = Vec::new();
        let conntrack = Conntrack::open().unwrap();
        conntrack
            .dump(family, filter, |entry| entries.push(entry))
            .unwrap();
        entries
    })
}

/// One connection of each protocol to each destination.
fn fill(lab: &Lab, family: Family) {
    let probe = Probe::from_pod(lab).unwrap();
    for destination in destinations(family) {
        for protocol in Protocol::ALL {
            probe.seen_source(protocol, destination).unwrap();
        }
    }
}

#[test]
fn every_protocol_and_family_is_read_narrowed_and_deleted() {
    let lab = lab();
    for family in Family::BOTH {
        fill(&lab, family);
        let own = lab.addresses_of(family);
        let [kept, masqueraded] = destinations(family);
        let of = |to: IpAddr| Filter {
            to: Some(to.into()),
            ..Filter::default()
        };
        for (to, seen_source) in [(kept, own.pod), (masqueraded, own.node_uplink)] {
            let found = dump(&lab, family, &of(to));
            let protocols: BTreeSet<u8> = found.iter().map(|entry| entry.protocol).collect();
            assert_eq!(protocols.len(), Protocol::ALL.len(), "{found:?}");
            for entry in &found {
                assert_eq!(
                    (entry.original.source, entry.original.destination),
                    (own.pod, to)
                );
                assert_eq!(
                    (entry.reply.source, entry.reply.destination),
                    (to, seen_source)
                );
                assert_eq!((entry.zone, entry.started), (7, None));
                assert!(entry.original.source_port.is_some(), "{entry:?}");
            }
        }
        let tcp = Filter {
            protocol: Some(6),
            ..of(masqueraded)
        };
        assert_eq!(dump(&lab, family, &tcp).len(), 1);
        let delete = |entry: &Entry| {
            lab.node
                .run(|| Conntrack::open().unwrap().delete(entry))
                .unwrap()
        };
        let all = dump(&lab, family, &Filter::default());
        for entry in dump(&lab, family, &of(masqueraded)) {
            assert!(delete(&entry), "{entry:?}");
            assert!(!delete(&entry), "it has gone: {entry:?}");
        }
        assert!(dump(&lab, family, &of(masqueraded)).is_empty());
        let left = dump(&lab, family, &Filter::default()).len();
        assert_eq!(left, all.len() - Protocol::ALL.len(), "and no other");
    }
}

#[test]
fn new_connections_are_heard_of_and_lost_ones_counted() {
    let lab = lab();
    let probe = Probe::from_pod(&lab).unwrap();
    let events = lab
        .node
        .run(|| Events::subscribe(SockFlag::SOCK_NONBLOCK))
        .unwrap();
    for family in Family::BOTH {
        let [_, masqueraded] = destinations(family);
        probe.seen_source(Protocol::Udp, masqueraded).unwrap();
        let entry = events.next().unwrap().unwrap();
        let seen_source = lab.addresses_of(family).node_uplink;
        assert_eq!(
            (entry.reply.source, entry.reply.destination),
            (masqueraded, seen_source)
        );
    }
    assert_eq!(events.lost().unwrap(), 0);
}

/// Nobody reads while more come than the socket holds.
#[test]
fn each_connection_is_heard_of_or_counted_as_lost() {
    let lab = lab();
    let events = lab
        .node
        .run(|| Events::subscribe(SockFlag::SOCK_NONBLOCK))
        .unwrap();
    let flows = Flows {
        rate: 20_000,
        keep_source: vec!["10.0.0.0/8".parse().unwrap()],
        masqueraded: vec!["2606::/16".parse().unwrap()],
    };
    let seen = flows.run_for(&lab, Duration::from_secs(1)).unwrap();
    let mut heard = 0;
    loop {
        match events.next() {
            Ok(Some(_)) => heard += 1,
            Ok(None) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    let lost = usize::try_from(events.lost().unwrap()).unwrap();
    println!("{seen}: {heard} heard of, {lost} lost");
    assert!(lost > 0, "the socket held all");
    let (received, sent) = (seen.received, seen.sent);
    assert!((received..=sent).contains(&(heard + lost).try_into().unwrap()));
}
