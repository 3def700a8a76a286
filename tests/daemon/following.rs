//! `existingConnections: follow`: a changed policy ends the connections that it treats otherwise, and no others.

use std::net::IpAddr;
use std::time::Duration;

use non_masquerade_daemon::kernel::conntrack::{Conntrack, Entry, Filter};
use non_masquerade_daemon::ruleset::Family;

use crate::DAEMON;
use crate::support::judged::Judged;
use crate::support::lab::Lab;
use crate::support::nft::{Nft, TABLE};
use crate::support::probe::{Probe, Protocol};

const LINE: &str = "existing connections follow the policy";
const BEFORE: &str = "nonMasqueradeCIDRs: [10.0.0.0/8, 172.16.0.0/12]\n";
/// 172.16.0.0/12 is exempt no more, and 1.0.0.0/8 is.
const AFTER: &str = "nonMasqueradeCIDRs: [10.0.0.0/8, 1.0.0.0/8]\n";

fn start(existing_connections: &str) -> Judged {
    let configuration = format!("{BEFORE}existingConnections: {existing_connections}\n");
    let judged = Judged::start(DAEMON, &configuration, &[]).unwrap();
    judged.daemon.wait_for_log("applied and read back").unwrap();
    // What is exempt before and after, what is masqueraded before and after, and what becomes the other.
    let probe = Probe::from_pod(&judged.lab).unwrap();
    for to in [[10, 1, 0, 1], [8, 8, 8, 8], [172, 20, 0, 1], [1, 1, 1, 1]] {
        for protocol in Protocol::ALL {
            probe.seen_source(protocol, IpAddr::from(to)).unwrap();
        }
    }
    judged
}

/// Those that were there before: nothing of them is another entry's.
fn entries(lab: &Lab, to: [u8; 4]) -> Vec<Entry> {
    let to = Some(IpAddr::from(to).into());
    let filter = Filter {
        to,
        ..Filter::default()
    };
    let mut found = Vec::new();
    lab.node.run(|| {
        let conntrack = Conntrack::open().unwrap();
        conntrack
            .dump(Family::Ip, &filter, |entry| found.push(entry))
            .unwrap();
    });
    found.sort_by_key(|entry| entry.protocol);
    found
}

fn lines(judged: &Judged) -> usize {
    judged.daemon.log().matches(LINE).count()
}

#[test]
fn what_a_change_turns_is_ended_and_nothing_else() {
    let judged = start("follow");
    let lab = &judged.lab;
    let unchanged = [[10, 1, 0, 1], [8, 8, 8, 8]];
    let before = unchanged.map(|to| entries(lab, to));
    let rule = format!("add rule ip {TABLE} {TABLE} accept");
    if Nft::host().apply(&lab.node, &rule).is_ok() {
        judged
            .daemon
            .wait_for_log("repaired and read back")
            .unwrap();
    }
    assert_eq!(lines(&judged), 0, "neither a start nor a repair ends any");
    judged
        .change(&format!("{AFTER}existingConnections: follow\n"))
        .unwrap();
    let all = 2 * Protocol::ALL.len();
    judged
        .daemon
        .wait_for_log(&format!(
            "{LINE}: {all} that it treats otherwise now were ended"
        ))
        .unwrap();
    for turned in [[172, 20, 0, 1], [1, 1, 1, 1]] {
        assert_eq!(entries(lab, turned), []);
    }
    assert_eq!(unchanged.map(|to| entries(lab, to)), before);
    judged.assert_comes_to_follow(AFTER);
    assert_eq!(lines(&judged), 1);
}

#[test]
fn without_it_connections_keep_their_treatment() {
    let judged = start("keep");
    judged.change(AFTER).unwrap();
    judged.assert_comes_to_follow(AFTER);
    std::thread::sleep(Duration::from_millis(200));
    for to in [[172, 20, 0, 1], [1, 1, 1, 1]] {
        assert!(entries(&judged.lab, to).len() >= Protocol::ALL.len());
    }
    assert_eq!(lines(&judged), 0);
}
