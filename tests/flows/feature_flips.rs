//! No new flow of either family is mistreated while the daemon turns features on and off.

use std::time::{Duration, Instant};

use crate::DAEMON;
use crate::support::flows::{Counts, Flows};
use crate::support::judged::Judged;
use crate::support::netlink::generation;
use crate::support::turn::one_at_a_time;
use nix::sys::signal::{Signal, kill};

/// Flows a second that are sent, both families together.
const RATE: u32 = 26_000;
/// Flows to exempt destinations that a test must have seen each second.
const LEAST_RATE: f64 = 20_000.0;
const FLIP_EVERY: Duration = Duration::from_millis(8);

/// What all versions with IPv6 have.
const DUAL_STACK: &str = "
enableIPv6: true
nonMasqueradeCIDRs: [10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 'fd00::/8']
";

/// Features that treat the flows of [`flows`] alike, each with the keys that turn it on.
const FEATURES: [&str; 9] = [
    "enforce: true\n",
    "dropInvalid: true\n",
    "outputInterfaces: [uplink*]\n",
    "snatAddressCIDRs: [192.0.2.0/24, '2001:db8::/64']\n",
    "sourceCIDRs: [10.244.0.0/16, 'fd00:10:244::/48']\n",
    "sourceCIDRs: [10.0.0.0/8, 192.0.2.1/32, 'fd00::/8', '2001:db8::/64']\n",
    "masqNodeTraffic: false\n",
    "toPorts: 20000-29999,40000-59999\n",
    "randomFully: false\n",
];

/// The same destinations, by other lists.
const OTHER_LISTS: &str = "
enableIPv6: true
nonMasqueradeCIDRs: [10.0.0.0/9, 10.128.0.0/9, 172.16.0.0/12, 192.168.0.0/16, 100.0.0.0/8, 'fc00::/7', '2001:db8::/32']
masqueradeCIDRs: [100.64.0.0/10, 'fc00::/8', '2001:db8:8000::/33']
masqLinkLocal: true
masqLinkLocalIPv6: true
";

const WITHOUT_IPV6: &str = "
nonMasqueradeCIDRs: [10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16]
";

/// Destinations that all versions exempt, and destinations that all masquerade.
fn flows() -> Flows {
    let exempt = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fd00::/8"];
    let masqueraded = ["100.64.0.0/10", "2001:db8:8000::/33"];
    Flows {
        rate: RATE,
        keep_source: exempt.map(|prefix| prefix.parse().unwrap()).to_vec(),
        masqueraded: masqueraded.map(|prefix| prefix.parse().unwrap()).to_vec(),
    }
}

/// Every feature alone and off again, some together, and all of them, with both lists.
fn versions() -> Vec<String> {
    let mut versions = Vec::new();
    for lists in [DUAL_STACK, OTHER_LISTS] {
        for feature in FEATURES {
            versions.push(format!("{lists}{feature}"));
            versions.push(lists.to_owned());
        }
        versions.push(format!("{lists}{}{}", FEATURES[0], FEATURES[1]));
        versions.push(format!("{lists}{}{}", FEATURES[0], FEATURES[2]));
        versions.push(format!("{lists}{}{}", FEATURES[5], FEATURES[6]));
        versions.push(format!("{lists}{}{}", FEATURES[3], FEATURES[7]));
        let all: String = [0, 1, 2, 3, 5, 6, 7]
            .map(|number| FEATURES[number])
            .concat();
        versions.push(format!("{lists}{all}"));
    }
    versions
}

/// Files by which flows of the pod to exempt destinations keep their source: by the list, because the pod is no source, or
/// because the rest is exempt.
fn reasons() -> Vec<String> {
    let reasons = [
        DUAL_STACK,
        "enableIPv6: true\nnonMasqueradeCIDRs: []\nsourceCIDRs: [10.245.0.0/16, 'fd00:10:245::/48']\n",
        "
enableIPv6: true
nonMasqueradeCIDRs: [0.0.0.0/0, '::/0']
masqueradeCIDRs: [100.64.0.0/10, '2001:db8:8000::/33']
sourceCIDRs: [10.244.0.0/16, 'fd00:10:244::/48']
",
        "enableIPv6: true\nnonMasqueradeCIDRs: []\nsourceCIDRs: [10.245.1.2/32]\nenforce: true\n",
    ];
    reasons.map(str::to_owned).to_vec()
}

/// Flips through the versions under flows for some time.
fn flip_under_flows(
    mut judged: Judged,
    versions: &[String],
    flows: Flows,
    time: Duration,
) -> Counts {
    let _turn = one_at_a_time();
    let before = generation(&judged.lab.node).unwrap();
    let running = flows.start(&judged.lab).unwrap();
    let started = Instant::now();
    let mut flips = 0_u32;
    while started.elapsed() < time {
        flips += 1;
        let version = &versions[flips as usize % versions.len()];
        judged.change(version).unwrap();
        let due = FLIP_EVERY * flips;
        std::thread::sleep(due.saturating_sub(started.elapsed()));
    }
    let counts = running.stop(&judged.lab).unwrap();
    let commits = generation(&judged.lab.node).unwrap().wrapping_sub(before);
    println!("{flips} flips, {commits} commits; {counts}");
    assert!(!judged.daemon.has_ended(), "{}", judged.daemon.log());
    // The daemon may take several flips at once, but not ignore them.
    assert!(commits >= flips / 5, "{commits} commits of {flips} flips");
    // The last version is in force.
    judged.assert_comes_to_follow(&versions[flips as usize % versions.len()]);
    counts
}

#[test]
fn features_that_flip_mistreat_no_flow_of_either_family() {
    let judged = Judged::start(DAEMON, DUAL_STACK, &[]).unwrap();
    let counts = flip_under_flows(judged, &versions(), flows(), Duration::from_secs(9));
    counts.assert_no_flow_was_mistreated();
    counts.assert_enough_arrived(LEAST_RATE);
    assert!(counts.by_ipv6 * 5 >= counts.received * 2, "{counts}");
}

/// Without its table IPv6 keeps its source everywhere: of IPv6 only exempt destinations are treated alike throughout.
#[test]
fn ipv6_that_flips_mistreats_no_flow_of_ipv4_and_none_to_exempt_destinations_of_ipv6() {
    let versions = [DUAL_STACK, WITHOUT_IPV6, OTHER_LISTS, WITHOUT_IPV6].map(str::to_owned);
    let mut flows = flows();
    flows.masqueraded.retain(|prefix| prefix.addr().is_ipv4());
    let judged = Judged::start(DAEMON, DUAL_STACK, &[]).unwrap();
    let counts = flip_under_flows(judged, &versions, flows, Duration::from_secs(5));
    counts.assert_no_flow_was_mistreated();
    counts.assert_enough_arrived(LEAST_RATE);
    assert!(counts.by_ipv6 * 5 >= counts.received * 2, "{counts}");
}

/// Lists and rules change together, and what lies between two versions nobody asked for.
#[test]
fn flows_that_keep_their_source_for_changing_reasons_keep_it_in_between() {
    let mut flows = flows();
    // Left alone by half of the versions.
    flows.masqueraded.clear();
    let judged = Judged::start(DAEMON, DUAL_STACK, &[]).unwrap();
    let counts = flip_under_flows(judged, &reasons(), flows, Duration::from_secs(5));
    counts.assert_no_flow_was_mistreated();
    counts.assert_enough_arrived(LEAST_RATE);
    assert!(counts.by_ipv6 * 5 >= counts.received * 2, "{counts}");
}

/// Also where the change is cut short, at any moment, and what it left is taken up by the next daemon or worker.
#[test]
fn flows_that_keep_their_source_for_changing_reasons_keep_it_whoever_is_killed() {
    const KILLS: usize = 150;
    let _turn = one_at_a_time();
    let mut judged = Judged::start(DAEMON, DUAL_STACK, &[]).unwrap();
    let mut flows = flows();
    flows.masqueraded.clear();
    let running = flows.start(&judged.lab).unwrap();
    let reasons = reasons();
    // Spread over the length of a change, and the same in each run.
    let mut moment = 1_u64;
    for number in 0..KILLS {
        let version = &reasons[number % reasons.len()];
        judged.daemon.replace_configuration(version).unwrap();
        moment = moment
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_micros((moment >> 33) % 12_000));
        match judged.daemon.worker() {
            Some(worker) if number % 2 == 0 => {
                // It may have ended since.
                let _ = kill(worker, Signal::SIGKILL);
            }
            _ => judged.daemon.kill_and_restart(DAEMON).unwrap(),
        }
    }
    judged.assert_comes_to_follow(&reasons[(KILLS - 1) % reasons.len()]);
    let counts = running.stop(&judged.lab).unwrap();
    println!("{KILLS} kills; {counts}");
    counts.assert_no_flow_was_mistreated();
    counts.assert_enough_arrived(LEAST_RATE);
    assert!(counts.by_ipv6 * 5 >= counts.received * 2, "{counts}");
}

/// In the root of Debian 13, which only root can make.
mod needs_root {
    use super::*;

    #[test]
    fn features_that_flip_mistreat_no_flow_with_the_libnftables_of_debian_13() {
        let judged = Judged::start_on_debian_13(DAEMON, DUAL_STACK).unwrap();
        let counts = flip_under_flows(judged, &versions(), flows(), Duration::from_secs(6));
        counts.assert_no_flow_was_mistreated();
        counts.assert_enough_arrived(LEAST_RATE);
        assert!(counts.by_ipv6 * 5 >= counts.received * 2, "{counts}");
    }
}
