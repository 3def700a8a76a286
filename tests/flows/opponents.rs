//! Others on the node that make it hard: big sets beside the table, one who changes it all the time, a second daemon,
//! objects that cannot be deleted. None of them makes the daemon slow, loud or rude, and packets are treated as the file
//! says.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::DAEMON;
use crate::support::daemon::{Daemon, TemporaryDirectory, WAIT_LIMIT};
use crate::support::flows::{Counts, Flows};
use crate::support::judged::Judged;
use crate::support::lab::{Family, Lab};
use crate::support::listing::Listing;
use crate::support::netns::succeed;
use crate::support::nft::{Nft, TABLE};
use crate::support::opponent::{self, Opponent};
use crate::support::probe::{Probe, Protocol};
use crate::support::turn::one_at_a_time;
use crate::support::{http, unnameable, wait_until};

const CONFIGURATION: &str = "nonMasqueradeCIDRs: [10.0.0.0/8]\n";
/// What a second daemon has, which treats the same flows alike.
const OTHER_CONFIGURATION: &str = "nonMasqueradeCIDRs: [10.0.0.0/8, 198.51.100.0/24]\n";
const SECOND_PORT: u16 = http::PORT + 1;

/// How long others make it hard.
const HARD_TIME: Duration = Duration::from_secs(10);
/// So long after they have stopped, all is well.
const RECOVERY: Duration = Duration::from_secs(30);
/// Lines that a daemon may log from its start to its end, whoever works against it.
const MOST_LINES: usize = 60;
/// A table may be repaired so often at once, and so often a second from then on.
const REPAIRS_AT_ONCE: f64 = 100.0;
const REPAIRS_A_SECOND: f64 = 10.0;

/// To destinations that each daemon here treats alike.
fn flows() -> Flows {
    Flows {
        rate: 10_000,
        keep_source: vec!["10.0.0.0/8".parse().unwrap()],
        masqueraded: vec!["100.64.0.0/10".parse().unwrap()],
    }
}

fn assert_no_flow_was_mistreated(counts: &Counts) {
    counts.assert_no_flow_was_mistreated();
    assert!(counts.exempt_rate() > 5_000.0, "{counts}");
}

fn listing(lab: &Lab) -> Listing {
    Listing::of(Family::V4, &lab.node).unwrap()
}

/// What the daemon that serves at this port says of itself, and whether it is ready.
fn readiness(lab: &Lab, port: u16) -> (bool, String) {
    let answer = http::get_from(&lab.node, port, "/readyz").unwrap();
    (answer.status == 200, answer.body)
}

#[track_caller]
fn assert_comes_to_be_ready(lab: &Lab, port: u16) {
    let ready = wait_until(RECOVERY, || readiness(lab, port).0);
    assert!(ready.is_ok(), "{}", readiness(lab, port).1);
}

#[track_caller]
fn assert_log_is_short(daemon: &Daemon) {
    let log = daemon.log();
    let lines = log.lines().count();
    let beginning: Vec<&str> = log.lines().take(MOST_LINES).collect();
    assert!(lines <= MOST_LINES, "{lines}: {}", beginning.join("\n"));
}

mod big_neighbours {
    use super::*;

    /// Intervals of the neighbour. `BLOCKLIST_INTERVALS` may say 200000, as real blocklists have.
    const INTERVALS: u32 = 50_000;
    /// CIDRs of the daemon's file, of which one changes.
    const CIDRS: u32 = 64;
    /// Changes of which the median counts.
    const CHANGES: u8 = 7;
    /// One changed CIDR takes at most so many times as long as without the neighbour, and so much more.
    const TIMES: u32 = 3;
    const MORE: Duration = Duration::from_millis(10);
    /// A set that others have emptied is full again.
    const REFILLED_WITHIN: Duration = Duration::from_secs(1);
    /// Of the worker, at any time.
    const MOST_KIBIBYTES: u64 = 64 * 1024;
    /// Only a test that fails waits so long.
    const CHANGE_LIMIT: Duration = Duration::from_secs(60);

    /// An address of the only CIDR in which the files of two numbers differ.
    fn changing(number: u8) -> Ipv4Addr {
        Ipv4Addr::new(100, 64, number, 1)
    }

    fn configuration(number: u8) -> String {
        let rest = (1..CIDRS).map(|n| format!("  - 10.{n}.0.0/16\n"));
        let rest: String = rest.collect();
        format!("nonMasqueradeCIDRs:\n{rest}  - 100.64.{number}.0/24\n")
    }

    /// How long it takes until packets to this address keep their source.
    fn time_until_exempt(lab: &Lab, probe: &Probe<'_>, address: Ipv4Addr) -> Duration {
        let started = Instant::now();
        let pod = IpAddr::from(lab.addresses.pod);
        let exempt = wait_until(CHANGE_LIMIT, || {
            probe.seen_source(Protocol::Udp, address).unwrap().ip() == pod
        });
        exempt.unwrap();
        started.elapsed()
    }

    /// The median of some changes of the file, numbered from `first`.
    fn time_of_a_change(judged: &Judged, first: u8) -> Duration {
        let probe = Probe::from_pod(&judged.lab).unwrap();
        let mut times: Vec<Duration> = (first..first + CHANGES)
            .map(|number| {
                let text = configuration(number);
                judged.daemon.replace_configuration(&text).unwrap();
                let time = time_until_exempt(&judged.lab, &probe, changing(number));
                // What follows the change is no part of the next one.
                thread::sleep(Duration::from_millis(100));
                time
            })
            .collect();
        times.sort();
        times[times.len() / 2]
    }

    fn settle_beside(lab: &Lab, directory: &Path) {
        let intervals = std::env::var("BLOCKLIST_INTERVALS");
        let intervals = intervals.map_or(INTERVALS, |number| number.parse().unwrap());
        // Every other /24, so that none can be joined to the next one.
        let first = Ipv4Addr::new(11, 0, 0, 0).to_bits();
        let elements = (0..intervals).map(|n| Ipv4Addr::from_bits(first + n * 512));
        let elements: Vec<String> = elements.map(|address| format!("{address}/24")).collect();
        let text = format!(
            "table ip blocklist {{\n\tset blocked {{\n\t\ttype ipv4_addr\n\t\tflags interval\n\t\telements = {{ {} }}\n\t}}\n}}\n",
            elements.join(",\n")
        );
        let file = directory.join("blocklist.nft");
        fs::write(&file, text).unwrap();
        succeed(lab.node.command("nft").arg("-f").arg(file)).unwrap();
    }

    /// The most memory that its worker has ever had.
    fn most_kibibytes(daemon: &Daemon) -> u64 {
        let worker = daemon.worker().unwrap();
        let status = fs::read_to_string(format!("/proc/{worker}/status")).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .unwrap();
        let number = line.trim().trim_end_matches(" kB").parse();
        number.unwrap()
    }

    /// Where the daemon owns the table, others can empty it between two owners only.
    fn time_until_an_emptied_set_is_full(judged: &Judged, address: Ipv4Addr) -> Duration {
        let probe = Probe::from_pod(&judged.lab).unwrap();
        let set = listing(&judged.lab).exempt_set().to_owned();
        let empties = || opponent::empty(&judged.lab.node, &set);
        if empties().is_err() {
            judged.daemon.between_two_workers(empties).unwrap();
        }
        time_until_exempt(&judged.lab, &probe, address)
    }

    fn a_big_set_of_others_costs_nothing(judged: &Judged) {
        let _turn = one_at_a_time();
        let directory = TemporaryDirectory::new().unwrap();
        let alone = time_of_a_change(judged, 1);
        settle_beside(&judged.lab, directory.path());
        // It commits, and the daemon looks.
        thread::sleep(Duration::from_secs(1));
        let beside = time_of_a_change(judged, 100);
        let worker_has = most_kibibytes(&judged.daemon);
        let last = changing(100 + CHANGES - 1);
        let emptied = time_until_an_emptied_set_is_full(judged, last);
        let next_worker_has = most_kibibytes(&judged.daemon);
        let found = format!(
            "alone {alone:?}, beside {beside:?}, {worker_has} KiB; emptied for {emptied:?}, {next_worker_has} KiB"
        );
        println!("{found}");
        assert!(beside <= TIMES * alone + MORE, "{found}");
        assert!(emptied <= REFILLED_WITHIN, "{found}");
        assert!(worker_has.max(next_worker_has) < MOST_KIBIBYTES, "{found}");
    }

    /// In a user namespace, libnftables cannot send so many elements at once.
    mod needs_root {
        use super::*;

        #[test]
        fn a_big_set_of_others_makes_no_change_slower_or_larger() {
            let judged = Judged::start(DAEMON, &configuration(0), &[]).unwrap();
            a_big_set_of_others_costs_nothing(&judged);
        }

        #[test]
        fn a_big_set_of_others_makes_no_change_of_an_owned_table_slower_or_larger() {
            let judged = Judged::start_on_debian_13(DAEMON, &configuration(0)).unwrap();
            a_big_set_of_others_costs_nothing(&judged);
        }
    }
}

/// Whether the daemon that serves at this port is not ready, and says that it is for this process.
fn blames(lab: &Lab, port: u16, process: &str) -> bool {
    let (is_ready, said) = readiness(lab, port);
    !is_ready && said.contains(process)
}

/// To a set of its own too, which it makes again each time that it is gone.
#[test]
fn one_who_adds_elements_all_the_time_is_borne_named_and_outlived() {
    let _turn = one_at_a_time();
    let judged = Judged::start(DAEMON, CONFIGURATION, &[]).unwrap();
    let lab = &judged.lab;
    assert_comes_to_be_ready(lab, http::PORT);
    let before = listing(lab).handle();
    let flows = flows().start(lab).unwrap();
    let started = Instant::now();
    let opponent = Opponent::start(&lab.node).unwrap();
    thread::sleep(HARD_TIME);
    let blamed = wait_until(Duration::from_secs(1), || {
        blames(lab, http::PORT, opponent::NAME)
    });
    let said = readiness(lab, http::PORT);
    let repairs = http::metric(&lab.node, "drift_repairs_total{family=\"ip\"}").unwrap();
    let most = REPAIRS_AT_ONCE + REPAIRS_A_SECOND * started.elapsed().as_secs_f64();
    let commits = opponent.stop().unwrap();
    assert_comes_to_be_ready(lab, http::PORT);
    let counts = flows.stop(lab).unwrap();
    println!("{commits} commits, {repairs} repairs; {counts}; {said:?}");
    judged.assert_comes_to_follow(CONFIGURATION);
    assert!(commits > 1_000, "{commits}");
    assert_eq!(listing(lab).handle(), before, "{}", judged.daemon.log());
    assert_no_flow_was_mistreated(&counts);
    assert!(blamed.is_ok(), "{said:?}");
    assert!(repairs <= most, "{repairs} of {most}");
    assert_log_is_short(&judged.daemon);
}

/// On a host without owners. Each undoes what the other has done, until it has had enough.
#[test]
fn two_daemons_name_each_other_and_the_one_that_is_left_is_well() {
    let _turn = one_at_a_time();
    let lab = Lab::new().unwrap();
    let start = |configuration, port| {
        let address = format!("127.0.0.1:{port}");
        let arguments = ["--http-address", address.as_str()];
        let daemon = Daemon::start(DAEMON, &lab.node, configuration, &arguments).unwrap();
        let serves = || http::get_from(&lab.node, port, "/healthz").is_ok();
        wait_until(WAIT_LIMIT, || serves() && daemon.worker().is_some()).unwrap();
        daemon
    };
    let first = start(CONFIGURATION, http::PORT);
    assert_comes_to_be_ready(&lab, http::PORT);
    let before = listing(&lab).handle();
    let flows = flows().start(&lab).unwrap();
    let second = start(OTHER_CONFIGURATION, SECOND_PORT);
    let blames_worker_of = |other: &Daemon, port| {
        let named = |worker| blames(&lab, port, &format!("nmd-nft-worker (pid {worker})"));
        other.worker().is_some_and(named)
    };
    // The one that has changed the table last may think that all is well, until it looks again.
    let blamed = wait_until(2 * HARD_TIME, || {
        blames_worker_of(&second, http::PORT) || blames_worker_of(&first, SECOND_PORT)
    });
    thread::sleep(HARD_TIME);
    let said = [http::PORT, SECOND_PORT].map(|port| readiness(&lab, port));
    assert_log_is_short(&first);
    assert_log_is_short(&second);
    assert!(second.terminate().unwrap().success());
    assert_comes_to_be_ready(&lab, http::PORT);
    let counts = flows.stop(&lab).unwrap();
    println!("{counts}; {said:?}");
    assert_eq!(listing(&lab).handle(), before);
    assert_no_flow_was_mistreated(&counts);
    assert!(blamed.is_ok(), "{said:?}");
    Judged::of(first, lab, &[]).assert_comes_to_follow(CONFIGURATION);
}

mod held_objects {
    use super::*;

    /// libnftables cannot delete objects of these names; some are made before all others, and some after them.
    const UNNAMEABLE: [&str; 2] = ["timeout", "s; delete table ip neighbour"];
    /// One of each kind, with names that sort before and after those.
    const OTHERS: &str = "
        add limit ip TABLE foreign-limit { rate 10/second }
        add quota ip TABLE foreign-quota { 10 mbytes }
        add counter ip TABLE foreign-counter
        add synproxy ip TABLE foreign-synproxy { mss 1460; wscale 7; }
        add synproxy ip TABLE zz-foreign { mss 1460; wscale 7; }
        add ct timeout ip TABLE zz-foreign-timeout { protocol tcp; policy = { established: 100 }; }
        add set ip TABLE zz-foreign-set { type ipv4_addr; elements = { 192.0.2.9 } }
        add map ip TABLE zz-foreign-map { type ipv4_addr : verdict; }
        add chain ip TABLE zz-foreign-chain
        add rule ip TABLE zz-foreign-chain ip daddr @zz-foreign-set counter
    ";
    /// What can be deleted is gone.
    const DELETED_WITHIN: Duration = Duration::from_secs(2);
    /// The daemon may try in vain as often as it wants.
    const HELD_FOR: Duration = Duration::from_secs(8);

    fn plant(lab: &Lab) -> std::io::Result<()> {
        unnameable::plant(&lab.node, TABLE, UNNAMEABLE[0])?;
        Nft::host().apply(&lab.node, &OTHERS.replace("TABLE", TABLE))?;
        unnameable::plant(&lab.node, TABLE, UNNAMEABLE[1])
    }

    fn are_held(lab: &Lab) -> bool {
        let listing = listing(lab).0;
        let mut names = UNNAMEABLE.iter();
        names.any(|name| listing.contains(&format!("synproxy {name} ")))
    }

    fn remove_by_hand(judged: &Judged) {
        let hand = || {
            for object in UNNAMEABLE {
                // The daemon may have found a way.
                let _ = unnameable::remove(&judged.lab.node, TABLE, object);
            }
            assert!(!are_held(&judged.lab));
            Ok(())
        };
        judged.daemon.between_two_workers(hand).unwrap();
    }

    fn what_can_be_deleted_is(judged: &Judged) {
        let _turn = one_at_a_time();
        let lab = &judged.lab;
        assert_comes_to_be_ready(lab, http::PORT);
        let before = listing(lab).handle();
        let flows = flows().start(lab).unwrap();
        judged.daemon.between_two_workers(|| plant(lab)).unwrap();
        let planted = Instant::now();
        let deleted = wait_until(DELETED_WITHIN, || !listing(lab).0.contains("foreign"));
        while planted.elapsed() < HELD_FOR {
            let (is_ready, said) = readiness(lab, http::PORT);
            assert!(!is_ready || !are_held(lab), "{said}");
            thread::sleep(Duration::from_millis(50));
        }
        let after = listing(lab);
        assert!(deleted.is_ok(), "{}\n{}", after.0, judged.daemon.log());
        assert_eq!(after.handle(), before, "{}", judged.daemon.log());
        assert_log_is_short(&judged.daemon);
        remove_by_hand(judged);
        assert_comes_to_be_ready(lab, http::PORT);
        assert_no_flow_was_mistreated(&flows.stop(lab).unwrap());
        judged.assert_comes_to_follow(CONFIGURATION);
    }

    #[test]
    fn an_object_that_cannot_be_deleted_keeps_no_other_from_going() {
        what_can_be_deleted_is(&Judged::start(DAEMON, CONFIGURATION, &[]).unwrap());
    }

    mod needs_root {
        use super::*;

        #[test]
        fn an_object_that_cannot_be_deleted_keeps_no_other_from_going_in_an_owned_table() {
            what_can_be_deleted_is(&Judged::start_on_debian_13(DAEMON, CONFIGURATION).unwrap());
        }
    }
}
