//! Source ports of what is masqueraded: `toPorts` and `randomFully`, by packets of both families.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::DAEMON;
use crate::support::judged::Judged;
use crate::support::lab::Family;
use crate::support::probe::{Flow, PROBE_PORT, Probe, Protocol};
use crate::support::wait_until;

/// Generous: only a test that fails waits so long.
const LIMIT: Duration = Duration::from_secs(4);

const DUAL_STACK: &str = "
enableIPv6: true
nonMasqueradeCIDRs: [10.0.0.0/8, 'fd00::/8']
";
/// A thousand ports and three thousand. No probe is sent from any of them.
const SMALL: RangeInclusive<u16> = 50_000..=50_999;
const LARGE: RangeInclusive<u16> = 60_000..=62_999;
const TO_PORTS: &str = "toPorts: 50000-50999,60000-62999\n";
/// Flows of each protocol and family.
const FLOWS: usize = 240;
/// A quarter of the flows is expected in the small range: 60, with a standard deviation of √(240 · ¼ · ¾) ≈ 6.7. Five
/// of these each way.
const IN_SMALL: RangeInclusive<usize> = 27..=93;

fn start(configuration: &str, arguments: &[&str]) -> Judged {
    Judged::start(DAEMON, configuration, arguments).unwrap()
}

/// A destination that every configuration here masquerades.
fn public(family: Family) -> IpAddr {
    let text = match family {
        Family::V4 => "1.1.1.1",
        Family::V6 => "2606:4700::1",
    };
    text.parse().unwrap()
}

/// Sends flows of the pod to a destination: each with the port that it was sent from and the port that was seen.
fn ports(judged: &Judged, protocol: Protocol, to: IpAddr, flows: usize) -> Vec<(u16, u16)> {
    let probe = Probe::from_pod(&judged.lab).unwrap();
    let pod = judged.lab.addresses_of(Family::of(to)).pod;
    let flow = || {
        let port = judged.lab.unused_port();
        let seen = probe.seen_source_of(Flow {
            protocol,
            from: SocketAddr::new(pod, port),
            to: SocketAddr::new(to, PROBE_PORT),
        });
        (port, seen.unwrap().port())
    };
    (0..flows).map(|_| flow()).collect()
}

fn kept(ports: &[(u16, u16)]) -> usize {
    ports.iter().filter(|(sent, seen)| sent == seen).count()
}

#[track_caller]
fn assert_both_ranges_are_hit_by_their_size(judged: &Judged, protocol: Protocol, family: Family) {
    let ports = ports(judged, protocol, public(family), FLOWS);
    let within = |range: &RangeInclusive<u16>| {
        let seen = ports.iter().filter(|(_, seen)| range.contains(seen));
        seen.count()
    };
    let (small, large) = (within(&SMALL), within(&LARGE));
    assert_eq!(small + large, FLOWS, "{protocol}: {ports:?}");
    assert!(IN_SMALL.contains(&small), "{protocol}: {small} of {FLOWS}");
}

#[track_caller]
fn assert_ports_come_from_the_ranges(judged: &Judged) {
    for family in Family::BOTH {
        for protocol in Protocol::WITH_PORTS {
            assert_both_ranges_are_hit_by_their_size(judged, protocol, family);
        }
    }
}

#[test]
fn source_ports_come_from_the_ranges_of_the_file_each_by_its_size() {
    let configuration = format!("{DUAL_STACK}{TO_PORTS}");
    let judged = start(&configuration, &[]);
    assert_ports_come_from_the_ranges(&judged);
    // Protocols without ports are masqueraded as ever, and exempt traffic not at all.
    judged.assert_follows(&configuration);
    for exempt in ["10.7.0.1", "fd00:7::1"] {
        for protocol in Protocol::WITH_PORTS {
            let ports = ports(&judged, protocol, exempt.parse().unwrap(), 10);
            assert_eq!(kept(&ports), ports.len(), "{protocol}: {ports:?}");
        }
    }
}

#[test]
fn source_ports_come_from_the_ranges_without_full_randomness_too() {
    let judged = start(&format!("{DUAL_STACK}{TO_PORTS}randomFully: false\n"), &[]);
    assert_ports_come_from_the_ranges(&judged);
}

#[test]
fn source_ports_come_from_the_ranges_of_the_flag_unless_the_file_has_others() {
    let flag = ["--to-ports", "50000-50999,60000-62999"];
    assert_ports_come_from_the_ranges(&start(DUAL_STACK, &flag));

    let judged = start(&format!("{DUAL_STACK}toPorts: 40000-40999\n"), &flag);
    for family in Family::BOTH {
        let ports = ports(&judged, Protocol::Udp, public(family), 40);
        let inside = |(_, seen): &(u16, u16)| (40_000..=40_999).contains(seen);
        assert!(ports.iter().all(inside), "{ports:?}");
    }
}

#[test]
fn three_ranges_are_all_hit() {
    let judged = start(
        &format!("{DUAL_STACK}toPorts: 50000-50999,52000-52999,54000-54999\n"),
        &[],
    );
    for family in Family::BOTH {
        let ports = ports(&judged, Protocol::Udp, public(family), FLOWS);
        for first in [50_000, 52_000, 54_000] {
            let range = first..=first + 999;
            let hits = ports
                .iter()
                .filter(|(_, seen)| range.contains(seen))
                .count();
            // A third: 80 with a standard deviation of 7.3; five of these each way.
            assert!((44..=116).contains(&hits), "{hits} in {range:?}");
        }
    }
}

/// Ports are kept where possible: an earlier flow to the same destination may have been given the port at random.
const NEARLY_ALL: usize = 38;

/// Of how many flows to a masqueraded destination the port was kept.
fn kept_of_40(judged: &Judged, protocol: Protocol, family: Family) -> usize {
    kept(&ports(judged, protocol, public(family), 40))
}

#[track_caller]
fn assert_ports_are_kept(judged: &Judged) {
    for family in Family::BOTH {
        for protocol in Protocol::WITH_PORTS {
            let kept = kept_of_40(judged, protocol, family);
            assert!(kept >= NEARLY_ALL, "{protocol}: {kept} of 40");
        }
    }
}

#[track_caller]
fn assert_ports_are_random(judged: &Judged) {
    for family in Family::BOTH {
        for protocol in Protocol::WITH_PORTS {
            // One port in tens of thousands is met again by chance.
            let kept = kept_of_40(judged, protocol, family);
            assert!(kept <= 3, "{protocol}: {kept} of 40");
        }
    }
}

#[test]
fn source_ports_are_random_by_default_and_kept_where_the_file_says_so() {
    let judged = start(DUAL_STACK, &[]);
    assert_ports_are_random(&judged);
    let not_random = format!("{DUAL_STACK}randomFully: false\n");
    judged.change(&not_random).unwrap();
    for family in Family::BOTH {
        wait_until(LIMIT, || {
            kept_of_40(&judged, Protocol::Udp, family) >= NEARLY_ALL
        })
        .unwrap();
    }
    assert_ports_are_kept(&judged);
    judged.assert_follows(&not_random);
    judged.change(DUAL_STACK).unwrap();
    for family in Family::BOTH {
        wait_until(LIMIT, || kept_of_40(&judged, Protocol::Udp, family) <= 3).unwrap();
    }
    assert_ports_are_random(&judged);
}

#[test]
fn source_ports_are_kept_with_the_flag_unless_the_file_says_otherwise() {
    let flag = ["--random-fully=false"];
    assert_ports_are_kept(&start(DUAL_STACK, &flag));
    assert_ports_are_random(&start(&format!("{DUAL_STACK}randomFully: true\n"), &flag));
}

#[test]
fn ranges_can_be_given_and_taken_away_at_run_time() {
    let judged = start(DUAL_STACK, &[]);
    let inside = |family, flows| {
        let ports = ports(&judged, Protocol::Udp, public(family), flows);
        let inside = |(_, seen): &&(u16, u16)| SMALL.contains(seen) || LARGE.contains(seen);
        ports.iter().filter(inside).count()
    };
    for _ in 0..2 {
        judged.change(&format!("{DUAL_STACK}{TO_PORTS}")).unwrap();
        for family in Family::BOTH {
            wait_until(LIMIT, || inside(family, 40) == 40).unwrap();
        }
        assert_ports_come_from_the_ranges(&judged);
        judged.change(DUAL_STACK).unwrap();
        for family in Family::BOTH {
            // By chance one port in sixteen is one of the ranges'.
            wait_until(LIMIT, || inside(family, 40) < 20).unwrap();
        }
    }
}
