//! What a node has in bad times: lost notifications, a clock that jumps, files that cost much, a log that is full. The
//! daemon lives, and goes on repairing the last good policy.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use crate::DAEMON;
use crate::support::daemon::{Daemon, TemporaryDirectory};
use crate::support::foreign_hands::{Stop, neighbour_commits};
use crate::support::hostile_files::HOSTILE;
use crate::support::netns::Namespace;
use crate::support::nft::{Nft, TABLE};
use crate::support::process;
use crate::support::wait_until;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use non_masquerade_daemon::config::MAX_FILE_BYTES;

/// Generous: the promise is milliseconds, the resync interval a minute.
const LIMIT: Duration = Duration::from_secs(5);
const CONFIGURATION: &str = "nonMasqueradeCIDRs: [10.0.0.0/8]\n";
/// A repair that is easy to see.
const FLUSH: &str = "flush chain ip non-masquerade-daemon postrouting";

fn start(configuration: &str) -> (Namespace, Daemon) {
    let namespace = Namespace::new().unwrap();
    let daemon = Daemon::start(DAEMON, &namespace, configuration, &[]).unwrap();
    daemon.wait_for_log("applied and read back").unwrap();
    (namespace, daemon)
}

fn text(namespace: &Namespace) -> String {
    let listed = Nft::host().list_table_text(namespace, TABLE);
    listed.unwrap_or_default()
}

#[track_caller]
fn assert_repairs(namespace: &Namespace, daemon: &Daemon) {
    Nft::host().apply(namespace, FLUSH).unwrap();
    wait_until(LIMIT, || text(namespace).contains("jump"))
        .unwrap_or_else(|error| panic!("{error}\n{}", daemon.log()));
}

/// Notifications that were lost for want of room in netlink sockets of this namespace, proc_net(5): the column `Drops`.
fn lost_notifications(namespace: &Namespace) -> u64 {
    let sockets = namespace.run(|| fs::read_to_string("/proc/thread-self/net/netlink").unwrap());
    let drops = sockets
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().nth(8)?.parse::<u64>().ok());
    drops.sum()
}

#[test]
fn lost_notifications_mean_a_look() {
    let (namespace, daemon) = start(CONFIGURATION);
    kill(daemon.process_id(), Signal::SIGSTOP).unwrap();
    Nft::host().apply(&namespace, FLUSH).unwrap();
    neighbour_commits(&namespace, 2_000, Duration::ZERO, &AtomicBool::new(true));
    let lost = lost_notifications(&namespace);
    assert!(lost > 0, "ENOBUFS was not brought about");
    kill(daemon.process_id(), Signal::SIGCONT).unwrap();
    daemon.wait_for_log("repaired and read back").unwrap();
    assert!(text(&namespace).contains("jump"));
    assert_repairs(&namespace, &daemon);
}

/// What waits for the wall clock stands still or fires when that is set. epoll_wait(2) and pselect(2) wait for a length
/// of time, which the kernel measures by CLOCK_MONOTONIC.
#[test]
fn no_deadline_is_on_the_wall_clock() {
    let namespace = Namespace::new().unwrap();
    let directory = TemporaryDirectory::new().unwrap();
    let trace = directory.path().join("trace");
    let mut strace = namespace.command("strace");
    // -D: the daemon stays this process's child.
    strace.args(["-D", "-f", "-qq", "-o"]).arg(&trace);
    strace.arg(DAEMON);
    let configuration = format!("{CONFIGURATION}resyncInterval: 100ms\n");
    let daemon =
        Daemon::start_logging_to(Stdio::null(), strace, &namespace, &configuration).unwrap();
    wait_until(LIMIT, || text(&namespace).contains("jump")).unwrap();
    for n in 0..5 {
        thread::sleep(Duration::from_millis(150));
        Nft::host().apply(&namespace, FLUSH).unwrap();
        let changed = format!("nonMasqueradeCIDRs: [192.0.2.{n}/32]\nresyncInterval: 100ms\n");
        daemon.replace_configuration(&changed).unwrap();
    }
    // A retry has a deadline as well.
    kill(daemon.worker().unwrap(), Signal::SIGKILL).unwrap();
    thread::sleep(Duration::from_millis(300));
    daemon.terminate().unwrap();
    let calls = fs::read_to_string(&trace).unwrap();
    let called = |name: &str| calls.matches(&format!(" {name}(")).count();
    assert!(called("epoll_wait") >= 20, "{calls}");
    for wall_clock in [
        "timerfd_create",
        "timer_create",
        "setitimer",
        "alarm",
        "nanosleep",
        "clock_nanosleep",
    ] {
        assert_eq!(called(wall_clock), 0, "{wall_clock}");
    }
    assert!(!calls.contains("FUTEX_CLOCK_REALTIME"));
}

/// Each file is judged in time, and what foreign hands do meanwhile is undone.
#[test]
fn hostile_files_are_judged_in_time_while_a_neighbour_commits() {
    // A second, in the optimised build (`cargo bench --bench hostile_files`). This one takes up to four times as long;
    // CPU time, because tests run beside one another.
    const PROMISE: Duration = Duration::from_secs(4);
    // The slowest ones, and a few of the others.
    const SLOWEST: [&str; 4] = [
        "known key, other case",
        "anchors on items",
        "good list, flow, one line",
        "as dense as is taken, flow",
    ];
    let (namespace, daemon) = start(CONFIGURATION);
    let cpu_time = || process::cpu_time(daemon.process_id()).unwrap();
    let go_on = AtomicBool::new(true);
    let chosen = HOSTILE
        .iter()
        .enumerate()
        .filter(|(number, file)| number % 20 == 0 || SLOWEST.contains(&file.name));
    thread::scope(|scope| {
        let _ends_with_this = Stop(&go_on);
        scope.spawn(|| neighbour_commits(&namespace, 100_000, Duration::from_millis(10), &go_on));
        for (_, file) in chosen {
            // A list of half a million CIDRs is for the benchmark: here the file is judged, not applied.
            let mut bytes = file.bytes(MAX_FILE_BYTES - 3);
            bytes.extend(b"\n]:");
            let path = daemon.config_file().with_extension("hostile");
            fs::write(&path, bytes).unwrap();
            let (judged, before) = (bad_files(&daemon), cpu_time());
            let started = Instant::now();
            fs::rename(&path, daemon.config_file()).unwrap();
            wait_until(3 * PROMISE, || bad_files(&daemon) > judged).unwrap();
            let (wall, cpu) = (started.elapsed(), cpu_time() - before);
            println!("{cpu:>9.3?} CPU {wall:>9.3?} wall  {}", file.name);
            assert!(cpu < PROMISE, "{}: {cpu:?}", file.name);
            assert_repairs(&namespace, &daemon);
        }
    });
}

fn bad_files(daemon: &Daemon) -> usize {
    let log = daemon.log();
    log.matches("the configuration is bad: the last good one stays in force")
        .count()
}

#[test]
fn a_file_that_cannot_be_read_leaves_the_last_good_policy_in_force_and_under_repair() {
    let (namespace, daemon) = start(CONFIGURATION);
    let file = daemon.config_file();
    fs::remove_file(&file).unwrap();
    // root reads a file of any mode, but no directory as one file.
    let is_root_s = nix::unistd::geteuid().is_root();
    if is_root_s {
        nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap();
    } else {
        fs::write(&file, CONFIGURATION).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
    }
    daemon
        .wait_for_log("the last good one stays in force")
        .unwrap();
    assert_repairs(&namespace, &daemon);
    assert!(text(&namespace).contains("10.0.0.0/8") && !text(&namespace).contains("172.16"));
    fs::remove_file(&file).unwrap();
    fs::write(&file, "nonMasqueradeCIDRs: [192.0.2.0/24]").unwrap();
    wait_until(LIMIT, || text(&namespace).contains("192.0.2.0/24")).unwrap();
}

/// prlimit(1), of what it may open from now on.
fn limit_descriptors(process: Pid, limit: &str) {
    let mut prlimit = Command::new("prlimit");
    prlimit.args(["--pid", &process.to_string()]);
    prlimit.arg(format!("--nofile={limit}:"));
    assert!(prlimit.status().unwrap().success());
}

/// Nothing tells that a descriptor is free again, and the next resync comes in a minute.
#[test]
fn a_file_for_which_no_descriptor_was_free_is_read_soon_after_one_is() {
    let (namespace, daemon) = start(CONFIGURATION);
    limit_descriptors(daemon.process_id(), "0");
    daemon
        .replace_configuration("nonMasqueradeCIDRs: [192.0.2.0/24]")
        .unwrap();
    daemon.wait_for_log("Too many open files").unwrap();
    thread::sleep(Duration::from_millis(500));
    limit_descriptors(daemon.process_id(), "1024");
    wait_until(LIMIT, || text(&namespace).contains("192.0.2.0/24"))
        .unwrap_or_else(|error| panic!("{error}\n{}", daemon.log()));
    assert_eq!(bad_files(&daemon), 1, "{}", daemon.log());
}

/// poll(2) refuses to watch more descriptors than may be open, be it one.
#[test]
fn a_worker_that_may_open_nothing_goes_on() {
    let (namespace, daemon) = start(CONFIGURATION);
    let worker = daemon.worker().unwrap();
    limit_descriptors(worker, "0");
    for n in 0..3 {
        daemon
            .replace_configuration(&format!("nonMasqueradeCIDRs: [192.0.2.{n}/32]"))
            .unwrap();
        let address = format!("192.0.2.{n}");
        wait_until(LIMIT, || text(&namespace).contains(&address)).unwrap();
        assert_repairs(&namespace, &daemon);
        // Idle for a while.
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(daemon.worker(), Some(worker), "{}", daemon.log());
}

#[test]
fn a_log_that_cannot_be_written_does_not_stop_the_daemon() {
    let namespace = Namespace::new().unwrap();
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let command = namespace.command(DAEMON);
    let daemon = Daemon::start_logging_to(full, command, &namespace, CONFIGURATION).unwrap();
    wait_until(LIMIT, || text(&namespace).contains("10.0.0.0/8")).unwrap();
    daemon
        .replace_configuration("nonMasqueradeCIDRs: [192.0.2.0/24]")
        .unwrap();
    wait_until(LIMIT, || text(&namespace).contains("192.0.2.0/24")).unwrap();
    assert_repairs(&namespace, &daemon);
}
