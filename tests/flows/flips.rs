//! No new flow is mistreated while the daemon changes the kernel.
//!
//! Atomic for a reader is not atomic for packets: what a transaction does to new flows shows only at
//! tens of thousands of them a second.

use std::time::{Duration, Instant};

use crate::DAEMON;
use crate::support::daemon::Daemon;
use crate::support::flows::Flows;
use crate::support::lab::Lab;
use crate::support::netlink::generation;
use crate::support::netns::succeed;
use crate::support::nft::{Nft, TABLE};
use crate::support::turn::one_at_a_time;
use crate::support::{time_factor, wait_until};
use nix::sys::signal::{Signal, kill};

/// Two files that treat the destinations of [`flows`] alike and cover them differently.
const VERSIONS: [&str; 2] = [
    "
nonMasqueradeCIDRs:
  - 10.0.0.0/8
  - 172.16.0.0/13
  - 172.24.0.0/13
  - 192.168.0.0/16
  - 198.51.100.0/24
",
    "
nonMasqueradeCIDRs:
  - 9.0.0.0/8
  - 10.0.0.0/9
  - 10.128.0.0/10
  - 10.192.0.0/10
  - 172.16.0.0/12
  - 192.168.0.0/16
  - 192.168.128.0/17
  - 203.0.113.0/24
",
];

/// Flows to exempt destinations that a test must have seen each second.
const LEAST_RATE: f64 = 20_000.0;
/// Flows a second that are sent. Seven of eight go to exempt destinations.
const RATE: u32 = 26_000;
const FLIP_EVERY: Duration = Duration::from_millis(5);
const FLIP_TIME: Duration = Duration::from_secs(10);
const DELETIONS: u32 = 100;
const KILLS: u32 = 200;
/// A table that was deleted must be back within this time.
const CREATION_LIMIT: Duration = Duration::from_secs(2);

/// Destinations that both versions exempt, and one prefix that both masquerade.
fn flows() -> Flows {
    let exempt = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"];
    Flows {
        rate: RATE,
        keep_source: exempt.map(|prefix| prefix.parse().unwrap()).to_vec(),
        masqueraded: vec!["100.64.0.0/10".parse().unwrap()],
    }
}

fn start(lab: &Lab) -> Daemon {
    let mut daemon = Daemon::start(DAEMON, &lab.node, VERSIONS[0], &[]).unwrap();
    daemon.wait_for_table().unwrap();
    daemon
}

/// How the daemon learns of a new file.
#[derive(Clone, Copy, PartialEq)]
enum Nudge {
    Signal,
    FileEvent,
}

#[test]
fn a_file_that_flips_mistreats_no_flow() {
    let lab = Lab::new().unwrap();
    let daemon = start(&lab);
    flip_under_flows(&lab, daemon, Nudge::Signal);
}

#[test]
fn a_file_that_flips_unannounced_mistreats_no_flow() {
    let lab = Lab::new().unwrap();
    let daemon = start(&lab);
    flip_under_flows(&lab, daemon, Nudge::FileEvent);
}

fn flip_under_flows(lab: &Lab, mut daemon: Daemon, nudge: Nudge) {
    let _turn = one_at_a_time();
    let before = generation(&lab.node).unwrap();
    let flows = flows().start(lab).unwrap();
    let started = Instant::now();
    let flip_every = FLIP_EVERY * time_factor();
    for flip in 1_u32.. {
        let due = flip_every * flip;
        if due > FLIP_TIME {
            break;
        }
        let version = VERSIONS[flip as usize % 2];
        daemon.replace_configuration(version).unwrap();
        if nudge == Nudge::Signal {
            daemon.reload().unwrap();
        }
        std::thread::sleep(due.saturating_sub(started.elapsed()));
    }
    let counts = flows.stop(lab).unwrap();
    let commits = generation(&lab.node).unwrap().wrapping_sub(before);
    println!("{commits} commits; {counts}");
    assert!(!daemon.has_ended(), "{}", daemon.log());
    // The daemon may take several flips at once, but not ignore them.
    let flips = FLIP_TIME.as_millis() / flip_every.as_millis();
    assert!(
        u128::from(commits) >= flips / 10,
        "{commits} commits\n{}",
        daemon.log()
    );
    counts.assert_no_flow_was_mistreated();
    counts.assert_enough_arrived(LEAST_RATE);
}

/// At any moment a kill leaves the old or the new rules, and the next daemon adopts them.
#[test]
fn kills_at_any_moment_mistreat_no_flow() {
    let lab = Lab::new().unwrap();
    let daemon = start(&lab);
    kill_under_flows(&lab, daemon, Duration::from_millis(12));
}

/// Moments are spread over `span`, the length of a start and a reload, and the same in each run.
fn kill_under_flows(lab: &Lab, mut daemon: Daemon, span: Duration) {
    let _turn = one_at_a_time();
    let flows = flows().start(lab).unwrap();
    let mut moment = 1_u64;
    for number in 0..KILLS {
        daemon
            .replace_configuration(VERSIONS[number as usize % 2])
            .unwrap();
        moment = moment
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let microseconds = u64::try_from(span.as_micros()).unwrap();
        std::thread::sleep(Duration::from_micros((moment >> 33) % microseconds));
        match daemon.worker() {
            Some(worker) if number % 2 == 0 => {
                // It may have ended since.
                let _ = kill(worker, Signal::SIGKILL);
            }
            _ => daemon.kill_and_restart(DAEMON).unwrap(),
        }
    }
    let counts = flows.stop(lab).unwrap();
    println!("{KILLS} kills; {counts}");
    counts.assert_no_flow_was_mistreated();
    counts.assert_enough_arrived(LEAST_RATE);
    // What is left is whole, and the last daemon brings it in step.
    let last = VERSIONS[(KILLS as usize - 1) % 2];
    let sign = if last.contains("203.0.113.0/24") {
        "203.0.113.0/24"
    } else {
        "198.51.100.0/24"
    };
    wait_until(CREATION_LIMIT, || {
        let text = Nft::host().list_table_text(&lab.node, TABLE);
        text.is_ok_and(|text| text.contains(sign) && text.contains("jump"))
    })
    .unwrap();
}

#[test]
fn a_table_that_is_deleted_and_created_anew_mistreats_no_flow() {
    let _turn = one_at_a_time();
    let lab = Lab::new().unwrap();
    let mut daemon = start(&lab);
    // Without the table nothing is masqueraded: only exempt destinations are treated alike throughout.
    let flows = Flows {
        masqueraded: Vec::new(),
        ..flows()
    };
    let flows = flows.start(&lab).unwrap();
    for _ in 0..DELETIONS {
        succeed(
            lab.node
                .command("nft")
                .args(["delete", "table", "ip", TABLE]),
        )
        .unwrap();
        daemon.reload().unwrap();
        daemon.wait_for_table_within(CREATION_LIMIT).unwrap();
    }
    let counts = flows.stop(&lab).unwrap();
    println!("{DELETIONS} deletions; {counts}");
    counts.assert_no_flow_was_mistreated();
    counts.assert_enough_arrived(LEAST_RATE);
}

/// In the root of Debian 13, which only root can make.
mod needs_root {
    use super::*;

    #[test]
    fn a_file_that_flips_mistreats_no_flow_with_the_libnftables_of_debian_13() {
        let lab = Lab::new().unwrap();
        let mut daemon = Daemon::start_on_debian_13(DAEMON, &lab.node, VERSIONS[0], &[]).unwrap();
        daemon.wait_for_table().unwrap();
        flip_under_flows(&lab, daemon, Nudge::Signal);
    }

    /// The owner ends with its worker, and the next one adopts the table.
    #[test]
    fn kills_at_any_moment_mistreat_no_flow_where_the_table_is_owned() {
        let lab = Lab::new().unwrap();
        let mut daemon = Daemon::start_on_debian_13(DAEMON, &lab.node, VERSIONS[0], &[]).unwrap();
        daemon.wait_for_table().unwrap();
        daemon.wait_for_log("the table is owned").unwrap();
        // Entering the root takes some 20 ms of a start.
        kill_under_flows(&lab, daemon, Duration::from_millis(40));
    }
}
