//! `cleanup`: the daemon's tables go, others stay, and what is put back is told.

use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use crate::DAEMON;
use crate::support::daemon::{Daemon, WAIT_LIMIT};
use crate::support::foreign_hands::{Stop, neighbour_commits};
use crate::support::lab::Family;
use crate::support::netns::{Namespace, succeed};
use crate::support::nft::{Nft, TABLE};
use crate::support::outcome::{Outcome, without_net_admin, words};
use crate::support::{poison, time_factor, wait_until};
use nix::sys::signal::{Signal, kill};

const NOTHING: &str = "nothing to remove: there is no table of the daemon\n";
const LIMIT: Duration = Duration::from_secs(5);

fn daemon(namespace: &Namespace, arguments: &str) -> Outcome {
    Outcome::of(&mut words(namespace.command(DAEMON), arguments))
}

fn apply(namespace: &Namespace, arguments: &str) {
    daemon(
        namespace,
        &format!("run --once --config /nonexistent/config {arguments}"),
    )
    .assert_code(0);
}

fn tables(namespace: &Namespace) -> String {
    let output = succeed(Nft::host().command(namespace).args(["list", "tables"])).unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn both_families_tables_go_and_a_second_time_there_is_nothing_to_do() {
    let namespace = Namespace::new().unwrap();
    apply(&namespace, "--enable-ipv6");
    let first = daemon(&namespace, "cleanup");
    first.assert_code(0);
    assert_eq!(
        first.output,
        format!("removed table ip {TABLE}\nremoved table ip6 {TABLE}\n")
    );
    assert_eq!(tables(&namespace), "");
    let second = daemon(&namespace, "cleanup");
    second.assert_code(0);
    assert_eq!(
        (second.output.as_str(), second.errors.as_str()),
        (NOTHING, "")
    );
}

#[test]
fn tables_that_an_earlier_name_has_left_go_and_others_stay() {
    let namespace = Namespace::new().unwrap();
    apply(&namespace, "--table old --enable-ipv6");
    apply(&namespace, "");
    let others = "add table ip nat; add chain ip nat POSTROUTING { type nat hook postrouting priority 100; }; \
                  add table ip half; add set ip half non-masquerade-cidrs { type ipv4_addr; }; \
                  add table inet i; add counter inet i masqueraded";
    Nft::host().apply(&namespace, others).unwrap();
    let cleaned = daemon(&namespace, "cleanup");
    cleaned.assert_code(0);
    assert_eq!(
        cleaned.output,
        format!("removed table ip {TABLE}\nremoved table ip old\nremoved table ip6 old\n")
    );
    assert_eq!(
        tables(&namespace),
        "table ip nat\ntable ip half\ntable inet i\n"
    );
}

/// Whatever stands in it: it has the daemon's name.
#[test]
fn a_damaged_table_of_the_chosen_name_goes_too() {
    let namespace = Namespace::new().unwrap();
    apply(&namespace, "--table mine");
    let hand = "flush table ip mine; delete counter ip mine masqueraded";
    Nft::host().apply(&namespace, hand).unwrap();
    let other_name = daemon(&namespace, "cleanup");
    assert_eq!(other_name.output, NOTHING);
    let by_name = daemon(&namespace, "cleanup --table mine");
    by_name.assert_code(0);
    assert_eq!(by_name.output, "removed table ip mine\n");
}

#[test]
fn what_a_running_daemon_puts_back_is_a_failure_that_names_its_worker() {
    let namespace = Namespace::new().unwrap();
    let mut running = Daemon::start(DAEMON, &namespace, "", &[]).unwrap();
    running.wait_for_table().unwrap();
    let failed = daemon(&namespace, "cleanup");
    failed.assert_code(1);
    let worker = running.worker().unwrap();
    let expected = format!(
        "table ip {TABLE} is back: nmd-nft-worker (pid {worker} of the host) has put it there again; stop the daemon first\n"
    );
    assert_eq!(failed.errors, expected);
    assert_eq!(failed.output, "");
    // To the daemon it was a change like any other.
    running
        .wait_for_log("changed by nmd-cleanup (pid ")
        .unwrap();
    assert!(running.terminate().unwrap().success());
    daemon(&namespace, "cleanup").assert_code(0);
    assert_eq!(tables(&namespace), "");
}

/// The daemon then looks only every 250 ms.
#[test]
fn what_a_daemon_puts_back_late_beside_a_busy_neighbour_is_a_failure_too() {
    let namespace = Namespace::new().unwrap();
    let mut running = Daemon::start(DAEMON, &namespace, "", &[]).unwrap();
    running.wait_for_table().unwrap();
    let go_on = AtomicBool::new(true);
    thread::scope(|scope| {
        let _stop = Stop(&go_on);
        scope.spawn(|| neighbour_commits(&namespace, 100_000, Duration::from_millis(1), &go_on));
        for _ in 0..6 {
            // Until its waits are the longest: 10 ms, doubled each time.
            thread::sleep(Duration::from_millis(600));
            let failed = daemon(&namespace, "cleanup");
            failed.assert_code(1);
            assert!(
                failed.errors.contains("is back: nmd-nft-worker"),
                "{failed:?}"
            );
            running.wait_for_table().unwrap();
        }
    });
}

#[test]
fn a_daemon_that_is_busy_for_long_is_told_to_be_there() {
    let namespace = Namespace::new().unwrap();
    let mut running = Daemon::start(DAEMON, &namespace, "", &[]).unwrap();
    running.wait_for_table().unwrap();
    let id = running.process_id();
    kill(id, Signal::SIGSTOP).unwrap();
    let failed = daemon(&namespace, "cleanup");
    failed.assert_code(1);
    let expected = format!(
        "a daemon (pid {id}) runs in this network namespace and may put the tables back: stop it, then run cleanup again\n"
    );
    assert_eq!(failed.errors, expected);
    kill(id, Signal::SIGCONT).unwrap();
    running.wait_for_table().unwrap();
}

/// A set that kills libnftables 1.0.6, and with it the host's nft.
#[test]
fn beside_a_foreign_set_that_kills_libnftables_the_tables_go_all_the_same() {
    let namespace = Namespace::new().unwrap();
    apply(&namespace, "--enable-ipv6");
    apply(&namespace, "--table old");
    poison::plant(&namespace).unwrap();
    let cleaned = daemon(&namespace, "cleanup");
    cleaned.assert_code(0);
    let expected =
        format!("removed table ip {TABLE}\nremoved table ip old\nremoved table ip6 {TABLE}\n");
    assert_eq!(cleaned.output, expected);
    poison::remove(&namespace).unwrap();
    assert_eq!(tables(&namespace), "");
}

/// Beside the thousands of chains of a kube-proxy, a listing takes longer than the worker is given. Without /proc there is
/// no worker at all.
#[test]
fn no_table_is_listed_to_find_the_daemon_s() {
    let namespace = Namespace::new().unwrap();
    apply(&namespace, "--enable-ipv6");
    apply(&namespace, "--table old");
    let others = "add table ip no-set; add counter ip no-set masqueraded; \
                  add table ip a-map; add counter ip a-map masqueraded; \
                  add map ip a-map non-masquerade-cidrs { type ipv4_addr : ipv4_addr; }; \
                  add table ip counters; add counter ip counters masqueraded; \
                  add map ip counters non-masquerade-cidrs { type ipv4_addr : counter; }; \
                  add table ip no-counter; add set ip no-counter non-masquerade-cidrs { type ipv4_addr; }; \
                  add quota ip no-counter masqueraded { over 1 mbytes }";
    Nft::host().apply(&namespace, others).unwrap();
    let mut command = namespace.command("unshare");
    let script = "mount -t tmpfs tmpfs /proc; exec \"$@\"";
    command.args(["--mount", "sh", "-ceu", script, "sh", DAEMON, "cleanup"]);
    let cleaned = Outcome::of(&mut command);
    cleaned.assert_code(0);
    assert_eq!(
        cleaned.output,
        format!("removed table ip {TABLE}\nremoved table ip old\nremoved table ip6 {TABLE}\n")
    );
    assert_eq!(
        tables(&namespace),
        "table ip no-set\ntable ip a-map\ntable ip counters\ntable ip no-counter\n"
    );
}

/// Has this command clean up, and nft put the table back so long after it has gone; `pause` is for sleep(1).
fn assert_names_who_puts_it_back(namespace: &Namespace, pause: &str, cleanup: &mut Command) {
    let waits = format!(
        "while nft list table ip {TABLE} > /dev/null 2>&1; do sleep 0.01; done; sleep {pause}; exec nft add table ip {TABLE}"
    );
    let mut restorer = namespace
        .command("sh")
        .args(["-c", &waits])
        .spawn()
        .unwrap();
    let failed = Outcome::of(cleanup);
    restorer.wait().unwrap();
    failed.assert_code(1);
    let expected = format!("is back: nft (pid {} of the host)", restorer.id());
    assert!(failed.errors.contains(&expected), "{}", failed.errors);
}

#[test]
fn whoever_else_puts_it_back_is_named_too() {
    let namespace = Namespace::new().unwrap();
    apply(&namespace, "");
    let cleanup = &mut words(namespace.command(DAEMON), "cleanup");
    assert_names_who_puts_it_back(&namespace, "0", cleanup);
}

/// Each request takes 700 ms: the table comes back when the first look, 200 ms after its end, is on its way.
#[test]
fn whoever_else_puts_it_back_during_a_look_is_named_too() {
    let namespace = Namespace::new().unwrap();
    apply(&namespace, "");
    let mut strace = namespace.command("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null"]);
    strace.args(["-e", "inject=sendto:delay_enter=700000", DAEMON, "cleanup"]);
    assert_names_who_puts_it_back(&namespace, "0.5", &mut strace);
}

#[test]
fn without_cap_net_admin_it_is_exit_code_4_and_all_stays() {
    let namespace = Namespace::new().unwrap();
    apply(&namespace, "");
    let refused = Outcome::of(without_net_admin(&namespace, DAEMON).arg("cleanup"));
    refused.assert_code(4);
    assert!(
        refused.errors.contains("CAP_NET_ADMIN is missing"),
        "{}",
        refused.errors
    );
    assert_eq!(tables(&namespace), format!("table ip {TABLE}\n"));
}

/// Ownership takes libnftables 1.1.0: Debian 13's root, which only root can make.
mod needs_root {
    use super::*;

    #[test]
    fn an_owned_table_stays_and_its_owner_is_named_while_leftovers_go() {
        let namespace = Namespace::new().unwrap();
        apply(&namespace, "--table old");
        let mut running =
            Daemon::start_on_debian_13(DAEMON, &namespace, "enableIPv6: true\n", &[]).unwrap();
        running.wait_for_table_of(Family::V6, WAIT_LIMIT).unwrap();
        running
            .wait_for_log("table ip6: the table is owned")
            .unwrap();
        let failed = daemon(&namespace, "cleanup");
        failed.assert_code(1);
        let worker = running.worker().unwrap();
        for family in ["ip", "ip6"] {
            let expected = format!(
                "table {family} {TABLE} is owned by nmd-nft-worker (pid {worker}), the worker of a running daemon "
            );
            let lines = failed.errors.lines();
            let mut of_family = lines.filter(|line| line.starts_with(&expected));
            let is_remedied = of_family.any(|line| line.ends_with(": stop it first"));
            assert!(is_remedied, "{}", failed.errors);
        }
        assert_eq!(failed.output, "removed table ip old\n");
        assert!(running.terminate().unwrap().success());
        // Nobody owns a table whose owner has ended.
        let cleaned = || daemon(&namespace, "cleanup").code == 0;
        wait_until(LIMIT, cleaned).unwrap();
        assert_eq!(tables(&namespace), "");
    }

    /// In a pid namespace of its own, where the owner is not to be seen.
    fn unseeing(namespace: &Namespace, arguments: &str) -> Command {
        let mut command = namespace.command("unshare");
        command.args(["--pid", "--fork", "--mount-proc", DAEMON]);
        words(command, arguments)
    }

    /// What becomes of `command` while the owner of the table goes on for a moment, longer than the command takes to start.
    fn while_the_owner_ends(namespace: &Namespace, end: Signal, mut command: Command) -> Outcome {
        let running = Daemon::start_on_debian_13(DAEMON, namespace, "", &[]).unwrap();
        running.wait_for_log("the table is owned").unwrap();
        thread::scope(|scope| {
            let outcome = scope.spawn(|| Outcome::of(&mut command));
            thread::sleep(Duration::from_millis(400));
            kill(running.process_id(), end).unwrap();
            outcome.join().unwrap()
        })
    }

    #[test]
    fn the_end_of_an_owner_that_is_ending_or_not_to_be_seen_is_waited_for() {
        let namespace = Namespace::new().unwrap();
        let seeing = words(namespace.command(DAEMON), "cleanup");
        for command in [seeing, unseeing(&namespace, "cleanup")] {
            let cleaned = while_the_owner_ends(&namespace, Signal::SIGTERM, command);
            cleaned.assert_code(0);
            assert_eq!(cleaned.output, format!("removed table ip {TABLE}\n"));
            assert_eq!(tables(&namespace), "");
        }
    }

    #[test]
    fn run_once_waits_for_the_end_of_an_owner_that_is_ending_or_not_to_be_seen() {
        let namespace = Namespace::new().unwrap();
        let once = "run --once --config /nonexistent/config";
        let seeing = words(namespace.command(DAEMON), once);
        for command in [seeing, unseeing(&namespace, once)] {
            while_the_owner_ends(&namespace, Signal::SIGKILL, command).assert_code(0);
        }
    }

    #[test]
    fn an_owner_that_does_not_end_is_told_within_two_seconds() {
        let namespace = Namespace::new().unwrap();
        let running = Daemon::start_on_debian_13(DAEMON, &namespace, "", &[]).unwrap();
        running.wait_for_log("the table is owned").unwrap();
        let began = Instant::now();
        let failed = Outcome::of(&mut unseeing(&namespace, "cleanup"));
        failed.assert_code(1);
        assert!(failed.errors.contains("not to be seen"), "{failed:?}");
        assert!(began.elapsed() < Duration::from_secs(2) * time_factor());
    }
}
