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
use crate::support::wait_until;

/// Generous: only a test that fails waits so long.
const LIMIT: Duration = Duration::from_secs(5);
const LINE: &str = "existing connections follow the policy";
const BEFORE: &str = "nonMasqueradeCIDRs: [10.0.0.0/8, 172.16.0.0/12]\n";
/// 172.16.0.0/12 is exempt no more, and 1.0.0.0/8 is.
const AFTER: &str = "nonMasqueradeCIDRs: [10.0.0.0/8, 1.0.0.0/8]\n";

fn start(existing_connections: &str) -> Judged {
    let configuration = format!("{BEFORE}existingConnections: {existing_connections}\n");
    let judged = Judged::start(DAEMON, &configuration, &[]).unwrap();
    judged.daemon.wait_for_log("applied and read back").unwrap();
    begin_connections(&judged.lab);
    judged
}

/// To what is exempt before and after, what is masqueraded before and after, and what becomes the other.
fn begin_connections(lab: &Lab) {
    let probe = Probe::from_pod(lab).unwrap();
    for to in [[10, 1, 0, 1], [8, 8, 8, 8], [172, 20, 0, 1], [1, 1, 1, 1]] {
        for protocol in Protocol::ALL {
            probe.seen_source(protocol, IpAddr::from(to)).unwrap();
        }
    }
}

/// Waits until the last line says that so many were ended.
#[track_caller]
fn wait_until_ended(judged: &Judged, lines_before: usize, number: usize) {
    let said = format!("{LINE}: {number} that it treats otherwise now were ended");
    let is_said = || lines(judged) > lines_before && judged.daemon.log().contains(&said);
    let waited = wait_until(LIMIT, is_said);
    assert!(waited.is_ok(), "{number}: {}", judged.daemon.log());
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
fn what_was_masqueraded_and_is_left_alone_now_is_ended() {
    let judged = start("follow");
    let kept = [[10, 1, 0, 1], [172, 20, 0, 1]];
    let before = kept.map(|to| entries(&judged.lab, to));
    let other_sources = "sourceCIDRs: [10.9.0.0/16]\nexistingConnections: follow\n";
    judged.change(&format!("{BEFORE}{other_sources}")).unwrap();
    wait_until_ended(&judged, 0, 2 * Protocol::ALL.len());
    for masqueraded in [[8, 8, 8, 8], [1, 1, 1, 1]] {
        assert_eq!(entries(&judged.lab, masqueraded), []);
    }
    assert_eq!(kept.map(|to| entries(&judged.lab, to)), before);
}

/// The other family's table is never what the file asks for.
#[test]
fn connections_follow_while_the_table_of_the_other_family_is_owned_by_another() {
    let judged = start("follow");
    let mut owner = Nft::host().session(&judged.lab.node).unwrap();
    let table = format!("add table ip6 {TABLE} {{ flags owner; }}");
    owner.say(&table).unwrap();
    let with_ipv6 = "enableIPv6: true\nexistingConnections: follow\n";
    let turned = 2 * Protocol::ALL.len();
    for (number, list) in [AFTER, BEFORE].into_iter().enumerate() {
        judged.change(&format!("{list}{with_ipv6}")).unwrap();
        wait_until_ended(&judged, number, turned);
        for to in [[172, 20, 0, 1], [1, 1, 1, 1]] {
            assert_eq!(entries(&judged.lab, to), []);
        }
        begin_connections(&judged.lab);
    }
    owner.end().unwrap();
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
