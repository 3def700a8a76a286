//! A table that the daemon owns: others cannot change it, it outlives its owner, and the next daemon adopts it.
//!
//! The flags take libnftables 1.1.0; Debian 12's 1.0.6 drops them, so most of this needs Debian 13's root.

use std::time::{Duration, Instant};

use crate::DAEMON;
use crate::support::daemon::Daemon;
use crate::support::foreign_hands::{are_undone_and_named, foreign_hands, on_the_set_in_use};
use crate::support::netlink::generation;
use crate::support::netns::{Namespace, succeed};
use crate::support::nft::{Nft, TABLE, without_set_numbers};
use crate::support::{time_factor, wait_until};
use nix::sys::signal::{Signal, kill};

/// Generous: the promise is milliseconds, the resync interval a minute.
const LIMIT: Duration = Duration::from_secs(5);
const CONFIGURATION: &str = "nonMasqueradeCIDRs: [10.0.0.0/8]\n";
const ADOPTED: &str = "adopted, in step, rules written once more and read back";
const OWNED: &str = "the table is owned: other processes cannot change it";

/// With the nft that knows all flags.
fn text(namespace: &Namespace) -> String {
    let listed = Nft::debian_13().list_table_text(namespace, TABLE);
    listed.unwrap_or_default()
}

fn flags(namespace: &Namespace) -> String {
    let text = text(namespace);
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("flags ow").map(|_| line.trim()));
    let orphan = text.lines().any(|line| line == "\tflags persist");
    match (line, orphan) {
        (Some(line), _) => line.to_owned(),
        (None, true) => "flags persist".to_owned(),
        (None, false) => "no flags".to_owned(),
    }
}

/// The table without what tells who owns it, and which of two sets its rules look up.
fn contents(namespace: &Namespace) -> String {
    let text = text(namespace);
    let contents = text.lines().skip(1);
    let contents = contents
        .filter(|line| !line.starts_with("\tflags ") && !line.starts_with("\tcomment"))
        .collect::<Vec<_>>()
        .join("\n");
    without_set_numbers(&contents)
}

fn start(namespace: &Namespace, arguments: &[&str]) -> Daemon {
    let daemon = Daemon::start_on_debian_13(DAEMON, namespace, CONFIGURATION, arguments).unwrap();
    daemon.wait_for_log("the table ").unwrap();
    daemon
}

/// What an ended daemon leaves.
fn leave_behind(namespace: &Namespace, arguments: &[&str]) {
    let daemon = start(namespace, arguments);
    assert!(daemon.terminate().unwrap().success());
    // Its worker, which owns the table, ends a moment later.
    wait_until(LIMIT, || !flags(namespace).contains("owner")).unwrap();
}

mod needs_root {
    use super::*;

    #[test]
    fn no_foreign_hand_changes_an_owned_table() {
        let namespace = Namespace::new().unwrap();
        let daemon = start(&namespace, &[]);
        daemon.wait_for_log(OWNED).unwrap();
        assert_eq!(flags(&namespace), "flags owner,persist");
        let expected = text(&namespace);
        let before = generation(&namespace).unwrap();
        let mut refused = 0;
        for hand in foreign_hands() {
            let applied = Nft::host().apply(&namespace, &hand);
            if hand == "flush ruleset" {
                applied.unwrap();
            } else {
                let error = applied.expect_err(&hand).to_string();
                assert!(error.contains("Operation not permitted"), "{hand}: {error}");
                refused += 1;
            }
            assert_eq!(text(&namespace), expected, "{hand}");
        }
        assert!(refused >= 20);
        // The flush alone is a commit, of nothing.
        assert!(generation(&namespace).unwrap().wrapping_sub(before) <= 1);
        assert!(!daemon.log().contains("repaired"), "{}", daemon.log());
    }

    /// Between two owners anyone may change it: it is repaired like any other.
    #[test]
    fn what_a_foreign_hand_does_between_two_owners_is_undone() {
        let namespace = Namespace::new().unwrap();
        let mut daemon = start(&namespace, &[]);
        let expected = contents(&namespace);
        for hand in foreign_hands() {
            daemon.kill().unwrap();
            wait_until(LIMIT, || flags(&namespace) == "flags persist").unwrap();
            let hand = on_the_set_in_use(&hand, &namespace).unwrap();
            // Debian 12's nft cannot make a `persist` table dormant: it writes no such flag.
            let is_possible = Nft::host().apply(&namespace, &hand).is_ok();
            assert!(is_possible || hand.contains("dormant"), "{hand}");
            daemon.kill_and_restart(DAEMON).unwrap();
            let undone = wait_until(LIMIT, || {
                flags(&namespace) == "flags owner,persist" && contents(&namespace) == expected
            });
            undone.unwrap_or_else(|error| {
                panic!("{hand}: {error}\n{}\n{}", text(&namespace), daemon.log())
            });
        }
    }

    /// As with Debian 12's libnftables, in tests/daemon/events.rs.
    #[test]
    fn without_an_owner_whatever_a_foreign_hand_does_is_undone_and_named() {
        let namespace = Namespace::new().unwrap();
        let start = || {
            let daemon = start(&namespace, &["--table-owner", "off"]);
            assert_eq!(flags(&namespace), "no flags");
            daemon
        };
        are_undone_and_named(&namespace, start, || contents(&namespace));
    }

    #[test]
    fn a_table_whose_owner_has_ended_is_adopted_in_place() {
        let namespace = Namespace::new().unwrap();
        leave_behind(&namespace, &[]);
        assert_eq!(flags(&namespace), "flags persist");
        let before = generation(&namespace).unwrap();
        let daemon = start(&namespace, &[]);
        daemon.wait_for_log(ADOPTED).unwrap();
        assert_eq!(flags(&namespace), "flags owner,persist");
        // The claim, and the rules, which nobody of ours is known to have written.
        assert_eq!(generation(&namespace).unwrap(), before + 2);
    }

    #[test]
    fn a_dormant_table_whose_owner_has_ended_is_adopted_and_woken() {
        for arguments in [&[][..], &["--table-owner", "off"]] {
            let namespace = Namespace::new().unwrap();
            leave_behind(&namespace, &[]);
            let expected = contents(&namespace);
            let hand = format!("add table ip {TABLE} {{ flags dormant,persist; }}");
            Nft::debian_13().apply(&namespace, &hand).unwrap();
            assert_ne!(flags(&namespace), "flags persist");
            let daemon = start(&namespace, arguments);
            daemon.wait_for_log("the table is dormant").unwrap();
            assert!(!text(&namespace).contains("dormant"));
            assert_eq!(contents(&namespace), expected);
        }
    }

    #[test]
    fn a_table_that_was_made_without_an_owner_stays_so() {
        let namespace = Namespace::new().unwrap();
        leave_behind(&namespace, &["--table-owner", "off"]);
        let before = generation(&namespace).unwrap();
        let daemon = start(&namespace, &[]);
        daemon
            .wait_for_log("the table was made without an owner")
            .unwrap();
        assert_eq!(flags(&namespace), "no flags");
        // The rules, which nobody of ours is known to have written.
        assert_eq!(generation(&namespace).unwrap(), before + 1);
        Nft::host()
            .apply(&namespace, &format!("delete table ip {TABLE}"))
            .unwrap();
        daemon.wait_for_log(OWNED).unwrap();
        assert_eq!(flags(&namespace), "flags owner,persist");
    }

    #[test]
    fn switched_off_the_owner_s_table_is_used_as_it_is() {
        let namespace = Namespace::new().unwrap();
        leave_behind(&namespace, &[]);
        let daemon = start(&namespace, &["--table-owner", "off"]);
        daemon
            .replace_configuration("nonMasqueradeCIDRs: [192.0.2.0/24]\n")
            .unwrap();
        daemon.wait_for_log("lacks 192.0.2.0").unwrap();
        assert_eq!(flags(&namespace), "flags persist");
    }

    /// As after a step back to an older image.
    #[test]
    fn a_libnftables_without_table_flags_uses_the_owner_s_table() {
        let namespace = Namespace::new().unwrap();
        leave_behind(&namespace, &[]);
        let configuration = "nonMasqueradeCIDRs: [192.0.2.0/24]\n";
        let daemon = Daemon::start(DAEMON, &namespace, configuration, &[]).unwrap();
        daemon.wait_for_log("lacks 192.0.2.0").unwrap();
        daemon.wait_for_log("the table has no owner").unwrap();
        let hand = format!("flush chain ip {TABLE} postrouting");
        Nft::host().apply(&namespace, &hand).unwrap();
        daemon.wait_for_log("changed by nft").unwrap();
        assert!(!daemon.log().contains("ERROR"), "{}", daemon.log());
    }

    #[test]
    fn a_second_daemon_waits_names_the_owner_and_takes_over_when_it_ends() {
        let namespace = Namespace::new().unwrap();
        let first = start(&namespace, &[]);
        first.wait_for_log(OWNED).unwrap();
        let worker = first.worker().unwrap();
        let second = Daemon::start_on_debian_13(
            DAEMON,
            &namespace,
            "nonMasqueradeCIDRs: [192.0.2.0/24]\n",
            &[],
        )
        .unwrap();
        let owner = format!("owned by nmd-nft-worker (pid {worker}), netlink port ");
        second.wait_for_log(&owner).unwrap();
        let before = generation(&namespace).unwrap();
        std::thread::sleep(Duration::from_millis(2_500));
        assert_eq!(second.log().matches("owned by").count(), 1);
        assert_eq!(generation(&namespace).unwrap(), before);
        assert!(first.terminate().unwrap().success());
        let ended = Instant::now();
        second.wait_for_log(OWNED).unwrap();
        assert!(ended.elapsed() < Duration::from_millis(1_500) * time_factor());
        assert!(text(&namespace).contains("192.0.2.0/24"));
    }

    #[test]
    fn once_fails_against_another_owner_and_otherwise_leaves_a_table_to_be_adopted() {
        let namespace = Namespace::new().unwrap();
        let mut other = Nft::host().session(&namespace).unwrap();
        other
            .say(&format!("add table ip {TABLE} {{ flags owner; }}"))
            .unwrap();
        wait_until(LIMIT, || text(&namespace).contains("owner")).unwrap();
        let mut once = namespace.command(DAEMON);
        let output = once
            .args(["run", "--once", "--config", "/nowhere"])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(&format!("owned by nft (pid {})", other.id())));
        other.end().unwrap();
        succeed(
            namespace
                .command(DAEMON)
                .args(["--once", "--config", "/nowhere"]),
        )
        .unwrap();
    }

    #[test]
    fn a_killed_worker_s_table_is_owned_again_at_once() {
        let namespace = Namespace::new().unwrap();
        let daemon = start(&namespace, &[]);
        daemon.wait_for_log(OWNED).unwrap();
        kill(daemon.worker().unwrap(), Signal::SIGKILL).unwrap();
        let killed = Instant::now();
        daemon.wait_for_log(ADOPTED).unwrap();
        assert!(killed.elapsed() < Duration::from_millis(500));
        assert_eq!(flags(&namespace), "flags owner,persist");
    }
}
