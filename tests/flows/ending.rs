//! `connections --end` while thousands of connections begin.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use non_masquerade_daemon::kernel::conntrack::{Conntrack, Entry, Filter};
use non_masquerade_daemon::ruleset::Family;

use crate::DAEMON;
use crate::support::flows::Flows;
use crate::support::judged::Judged;
use crate::support::lab::Lab;
use crate::support::outcome::Outcome;
use crate::support::probe::{Probe, Protocol};

const BEFORE: &str = "enableIPv6: true
nonMasqueradeCIDRs: [10.0.0.0/8, 172.16.0.0/12, 'fd00::/8']
";
/// 172.16.0.0/12 is exempt no more.
const AFTER: &str = "enableIPv6: true
nonMasqueradeCIDRs: [10.0.0.0/8, 'fd00::/8']
";
/// How many connections of TCP there are to each of the two.
const CONNECTIONS: u8 = 50;

/// The entries of TCP to destinations that begin so. An entry that takes the place of another one is not equal to it.
fn entries(lab: &Lab, first_octet: u8) -> Vec<Entry> {
    let filter = Filter {
        protocol: Some(6),
        to: Some(ipnet::Ipv4Net::new_assert(Ipv4Addr::new(first_octet, 0, 0, 0), 8).into()),
        ..Filter::default()
    };
    let mut found = Vec::new();
    lab.node.run(|| {
        let conntrack = Conntrack::open().unwrap();
        let read = |entry| found.push(entry);
        conntrack.dump(Family::Ip, &filter, read).unwrap();
    });
    found.sort_by_key(|entry| entry.reply.source);
    found
}

#[test]
fn what_contradicts_is_ended_under_load_and_nothing_else() {
    let judged = Judged::start(DAEMON, BEFORE, &[]).unwrap();
    let lab = &judged.lab;
    let probe = Probe::from_pod(lab).unwrap();
    for last in 1..=CONNECTIONS {
        for to in [
            Ipv4Addr::new(10, 1, 0, last),
            Ipv4Addr::new(172, 20, 0, last),
        ] {
            probe.seen_source(Protocol::Tcp, IpAddr::from(to)).unwrap();
        }
    }
    drop(probe);
    judged.change(AFTER).unwrap();
    judged.assert_comes_to_follow(AFTER);
    let pod = IpAddr::from(lab.addresses.pod);
    let is_old = |entry: &Entry| entry.reply.destination == pod;
    let (kept, old) = (entries(lab, 10), entries(lab, 172));
    let old = old.into_iter().filter(is_old).count();
    assert_eq!(old, usize::from(CONNECTIONS));
    let prefixes = |texts: [&str; 2]| texts.map(|text| text.parse().unwrap()).to_vec();
    let flows = Flows {
        rate: 20_000,
        keep_source: prefixes(["10.128.0.0/9", "fd00::/16"]),
        masqueraded: prefixes(["100.64.0.0/10", "2001:db8:8000::/33"]),
    };
    let seen = std::thread::scope(|scope| {
        let running = scope.spawn(|| flows.run_for(lab, Duration::from_secs(3)).unwrap());
        std::thread::sleep(Duration::from_secs(1));
        let mut end = lab.node.command(DAEMON);
        end.arg("--config").arg(judged.daemon.config_file());
        let ended = Outcome::of(end.args(["connections", "--end", "--yes"]));
        ended.assert_code(0);
        assert!(ended.output.ends_with("\n50 ended.\n"), "{}", ended.output);
        running.join().unwrap()
    });
    println!("{seen}");
    assert_eq!((seen.wrong_source, seen.not_masqueraded), (0, 0), "{seen}");
    assert!(!entries(lab, 172).iter().any(is_old));
    let left = entries(lab, 10);
    let is_left = |entry: &&Entry| left.iter().any(|left| left.original == entry.original);
    assert_eq!(kept.iter().filter(is_left).count(), kept.len());
}
