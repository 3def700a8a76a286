//! However often the file and the table change, the daemon and its worker stay as large as they were.
//!
//! `make soak` makes 100,000 changes, `make test` fewer: [`CHANGES`].

use std::ffi::CString;
use std::process::Command;
use std::time::{Duration, Instant};

use super::watched::Watched;
use crate::DAEMON;
use crate::support::foreign_hands::on_the_set_in_use;
use crate::support::http::get;
use crate::support::netns::Namespace;
use crate::support::nft::TABLE;
use crate::support::process;
use crate::support::wait_until;
use non_masquerade_daemon::kernel::libnftables::{Context, Mode};

/// How many changes to make, in the environment.
const CHANGES: &str = "SOAK_CHANGES";
const CHANGES_IN_TESTS: u32 = 2_000;
/// Allocators and caches have what they keep after so many.
const WARM_UP: u32 = 1_000;
/// How much both processes together may grow after that.
const MOST_GROWTH_KIBIBYTES: i64 = 512;
/// The metrics are asked for once in so many changes.
const SCRAPE_EVERY: u32 = 50;
/// Rarer than the daemon has repairs to give: someone who changes the table again and again waits for them.
const REPAIR_EVERY: u32 = 40;
const PATIENCE: Duration = Duration::from_secs(10);
/// A connection has been closed on both sides, and a repair has ended.
const CALM: Duration = Duration::from_millis(500);

/// What others do to the table. Each leaves it such that the daemon has something to repair.
const HANDS: [&str; 5] = [
    "delete table ip TABLE",
    "flush chain ip TABLE postrouting",
    "flush set ip TABLE non-masquerade-cidrs-1",
    "add rule ip TABLE TABLE accept",
    "add element ip TABLE non-masquerade-cidrs-1 { 8.8.8.0/24 }",
];

/// Rules change with these, lists do not.
const FEATURES: [&str; 4] = [
    "enforce: true\n",
    "randomFully: false\n",
    "toPorts: 20000-29999,40000-59999\n",
    "sourceCIDRs: [10.244.0.0/16]\nmasqNodeTraffic: false\n",
];

/// What is in force while sizes are taken: no [`file`] is like it.
const AT_REST: &str = "nonMasqueradeCIDRs: [10.0.0.0/8]\n";

fn changes() -> u32 {
    match std::env::var(CHANGES) {
        Ok(number) => number.parse().unwrap(),
        Err(_) => CHANGES_IN_TESTS,
    }
}

/// The file of this number: each differs from the one before, one in four in its rules as well.
fn file(number: u32) -> String {
    let mut text = String::from("nonMasqueradeCIDRs:\n  - 10.0.0.0/8\n  - 192.168.0.0/16\n");
    for n in 0..1 + number % 60 {
        text += &format!("  - 198.51.{}.{n}/32\n", number % 200);
    }
    if number.is_multiple_of(4) {
        text += FEATURES[(number / 4) as usize % FEATURES.len()];
    }
    text
}

/// What a process has for itself.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Size {
    /// Its own memory: nobody else's program, library or test changes it.
    private_kibibytes: u64,
    descriptors: usize,
}

/// The daemon's and its worker's, when they have nothing to do.
fn sizes(watched: &Watched) -> [Size; 2] {
    std::thread::sleep(CALM);
    let worker = watched.daemon.worker().unwrap();
    [watched.daemon.process_id(), worker].map(|process| Size {
        private_kibibytes: process::private_kibibytes(process).unwrap(),
        descriptors: process::descriptors(process).unwrap(),
    })
}

/// A file change or, where `is_repaired`, once in so many a repair.
fn change(
    watched: &mut Watched,
    namespace: &Namespace,
    hand: &mut Context,
    number: u32,
    is_repaired: bool,
) {
    if !is_repaired || !number.is_multiple_of(REPAIR_EVERY) {
        watched.swap(&file(number)).unwrap();
        return;
    }
    let text = HANDS[(number / REPAIR_EVERY) as usize % HANDS.len()].replace("TABLE", TABLE);
    let text = on_the_set_in_use(&text, namespace).unwrap();
    let before = repairs(namespace);
    let said = hand.run(&CString::new(text).unwrap(), Mode::Full);
    assert!(said.succeeded, "{}", said.error);
    // The log sums up what is alike.
    wait_until(PATIENCE, || repairs(namespace) > before).unwrap();
}

/// How many there were so far.
fn repairs(namespace: &Namespace) -> u64 {
    let metrics = get(namespace, "/metrics").unwrap().body;
    let name = "non_masquerade_daemon_drift_repairs_total{family=\"ip\"} ";
    let repairs = metrics.lines().find_map(|line| line.strip_prefix(name));
    repairs.map_or(0, |repairs| repairs.parse().unwrap())
}

fn soak(command: Command, namespace: &Namespace, is_repaired: bool) {
    let (mut watched, _) = Watched::start_as(command, namespace, AT_REST).unwrap();
    let worker = watched.daemon.worker();
    let changes = changes();
    assert!(changes > WARM_UP, "{CHANGES} is at most {WARM_UP}");
    let started = Instant::now();
    // In the daemon's namespace: a context has its socket where it is made.
    let [before, after] = namespace.run(|| {
        let mut hand = Context::new().unwrap();
        let mut before = None;
        for number in 1..=WARM_UP + changes {
            change(&mut watched, namespace, &mut hand, number, is_repaired);
            if number.is_multiple_of(SCRAPE_EVERY) {
                assert_eq!(get(namespace, "/metrics").unwrap().status, 200);
            }
            if number == WARM_UP || number == WARM_UP + changes {
                watched.swap(AT_REST).unwrap();
                let now = sizes(&watched);
                before.get_or_insert(now);
            }
        }
        [before.unwrap(), sizes(&watched)]
    });
    let took = started.elapsed().as_secs_f64();
    println!("{changes} changes after {WARM_UP} to warm up, in {took:.0} s");
    let mut growth = 0;
    for (name, before, after) in [
        ("daemon", before[0], after[0]),
        ("worker", before[1], after[1]),
    ] {
        println!(
            "{name}: {} KiB of its own, then {}; {} descriptors, then {}",
            before.private_kibibytes,
            after.private_kibibytes,
            before.descriptors,
            after.descriptors
        );
        assert_eq!(before.descriptors, after.descriptors, "{name}");
        let grown = after.private_kibibytes.cast_signed() - before.private_kibibytes.cast_signed();
        growth += grown.max(0);
    }
    assert!(growth <= MOST_GROWTH_KIBIBYTES, "{growth} KiB");
    // Another one would be small again.
    assert_eq!(watched.daemon.worker(), worker);
}

#[test]
fn changes_of_lists_and_rules_and_repairs_leave_memory_and_descriptors_as_they_were() {
    let namespace = Namespace::new().unwrap();
    soak(namespace.command(DAEMON), &namespace, true);
}

/// In the root of Debian 13, which only root can make.
mod needs_root {
    use super::*;
    use crate::support::nft::debian_13_root;

    /// As the daemon of the test, its files where they are outside.
    const ENTER_ROOT: &str = r#"
root=$0 program=$1
mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --bind /run "$root/run"
mount --bind "$(dirname "$program")" "$root/mnt"
shift
exec chroot "$root" "/mnt/$(basename "$program")" "$@"
"#;

    /// Nobody else can change a table that is owned.
    #[test]
    fn changes_of_an_owned_table_leave_memory_and_descriptors_as_they_were() {
        let namespace = Namespace::new().unwrap();
        let mut command = namespace.command("unshare");
        command.args(["--mount", "sh", "-ceu", ENTER_ROOT]);
        command.arg(debian_13_root()).arg(DAEMON);
        soak(command, &namespace, false);
    }
}
