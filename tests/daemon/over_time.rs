//! The daemon over time: reload, resync, bad files, the end.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::DAEMON;
use crate::support::daemon::Daemon;
use crate::support::netlink::generation;
use crate::support::netns::{Namespace, succeed};
use crate::support::nft::{Nft, TABLE};
use crate::support::wait_until;

const LIMIT: Duration = Duration::from_secs(5);

fn start(configuration: &str) -> (Namespace, Daemon) {
    let namespace = Namespace::new().unwrap();
    let mut daemon = Daemon::start(DAEMON, &namespace, configuration, &[]).unwrap();
    daemon.wait_for_table().unwrap();
    (namespace, daemon)
}

fn exempts(namespace: &Namespace, cidr: &str) -> bool {
    let text = Nft::host()
        .list_table_text(namespace, TABLE)
        .unwrap_or_default();
    crate::support::nft::exempts(&text, cidr)
}

fn wait_for(namespace: &Namespace, cidr: &str) -> io::Result<()> {
    wait_until(LIMIT, || exempts(namespace, cidr))
}

#[test]
fn sighup_reloads_the_file() {
    let (namespace, daemon) = start("nonMasqueradeCIDRs: [10.0.0.0/8]");
    daemon
        .replace_configuration("nonMasqueradeCIDRs: [192.0.2.0/24]")
        .unwrap();
    daemon.reload().unwrap();
    wait_for(&namespace, "192.0.2.0/24").unwrap();
    assert!(!exempts(&namespace, "10.0.0.0/8"));
}

#[test]
fn a_resync_follows_the_file_and_mends_the_kernel() {
    let (namespace, daemon) = start("nonMasqueradeCIDRs: [10.0.0.0/8]\nresyncInterval: 100ms");
    let changed = "nonMasqueradeCIDRs: [192.0.2.0/24]\nresyncInterval: 100ms";
    daemon.replace_configuration(changed).unwrap();
    wait_for(&namespace, "192.0.2.0/24").unwrap();
    Nft::host().apply(&namespace, "flush ruleset").unwrap();
    wait_for(&namespace, "192.0.2.0/24").unwrap();
}

#[test]
fn a_resync_in_step_writes_nothing_and_starts_no_process() {
    let (namespace, daemon) = start("resyncInterval: 100ms");
    daemon.wait_for_log("applied and read back").unwrap();
    let generation_before = generation(&namespace).unwrap();
    let worker = daemon.worker();
    let processes_before = last_process_id();
    let some_resyncs = || {
        let before = daemon.wakeups()[0];
        wait_until(LIMIT, || daemon.wakeups()[0] >= before + 5).unwrap();
    };
    some_resyncs();
    assert_eq!(generation(&namespace).unwrap(), generation_before);
    assert_eq!(daemon.worker(), worker);
    // Other tests start processes at the same time: only the daemon's children count.
    let children = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let id: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        (id > processes_before && parent(id) == Some(daemon.process_id().as_raw())).then_some(id)
    });
    assert_eq!(children.count(), 0);
}

fn last_process_id() -> i32 {
    let loadavg = fs::read_to_string("/proc/loadavg").unwrap();
    loadavg.split_whitespace().last().unwrap().parse().unwrap()
}

fn parent(process: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(1)?
        .parse()
        .ok()
}

#[test]
fn a_bad_file_never_changes_the_kernel_and_the_last_good_policy_is_mended() {
    let (namespace, daemon) = start("nonMasqueradeCIDRs: [192.0.2.0/24]\nresyncInterval: 100ms");
    let before = generation(&namespace).unwrap();
    daemon
        .replace_configuration("nonMasqueradeCIDRs: [192.0.2.1/24]")
        .unwrap();
    daemon.reload().unwrap();
    daemon
        .wait_for_log("the last good one stays in force")
        .unwrap();
    assert_eq!(generation(&namespace).unwrap(), before);
    Nft::host()
        .apply(&namespace, "delete table ip non-masquerade-daemon")
        .unwrap();
    wait_for(&namespace, "192.0.2.0/24").unwrap();
    // Said once, however often it is read.
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(
        daemon.log().matches("use 192.0.2.0/24").count(),
        1,
        "{}",
        daemon.log()
    );
    let good = "nonMasqueradeCIDRs: [198.51.100.0/24]\nresyncInterval: 100ms";
    daemon.replace_configuration(good).unwrap();
    wait_for(&namespace, "198.51.100.0/24").unwrap();
    daemon
        .wait_for_log("the configuration is good again")
        .unwrap();
}

#[test]
fn a_bad_file_at_first_start_writes_nothing_and_leaves_an_earlier_table() {
    let namespace = Namespace::new().unwrap();
    let daemon = Daemon::start(DAEMON, &namespace, "nonMasqueradeCIDRs:", &[]).unwrap();
    daemon
        .wait_for_log("nothing is changed until it is good")
        .unwrap();
    assert!(Nft::host().list_table_text(&namespace, TABLE).is_err());
    daemon
        .replace_configuration("nonMasqueradeCIDRs: [192.0.2.0/24]")
        .unwrap();
    daemon.reload().unwrap();
    wait_for(&namespace, "192.0.2.0/24").unwrap();
    assert!(daemon.terminate().unwrap().success());
    let before = generation(&namespace).unwrap();
    let next = Daemon::start(DAEMON, &namespace, "nonMasqueradeCIDRs: null", &[]).unwrap();
    next.wait_for_log("nothing is changed until it is good")
        .unwrap();
    assert!(exempts(&namespace, "192.0.2.0/24"));
    assert_eq!(generation(&namespace).unwrap(), before);
}

#[test]
fn a_file_that_goes_means_the_defaults_after_a_second_and_not_before() {
    let (namespace, daemon) = start("nonMasqueradeCIDRs: [192.0.2.0/24]");
    fs::remove_file(daemon.config_file()).unwrap();
    let gone = Instant::now();
    daemon.reload().unwrap();
    wait_for(&namespace, "10.0.0.0/8").unwrap();
    assert!(gone.elapsed() >= Duration::from_secs(1));
}

#[test]
fn a_half_written_file_is_not_taken_for_an_empty_one() {
    let (namespace, daemon) = start("nonMasqueradeCIDRs: [192.0.2.0/24]");
    let mut editor = OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(daemon.config_file())
        .unwrap();
    daemon.reload().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(exempts(&namespace, "192.0.2.0/24") && !exempts(&namespace, "10.0.0.0/8"));
    editor
        .write_all(b"nonMasqueradeCIDRs: [198.51.100.0/24]")
        .unwrap();
    drop(editor);
    wait_for(&namespace, "198.51.100.0/24").unwrap();
    assert!(!daemon.log().contains("10.0.0.0/8"), "{}", daemon.log());
}

#[test]
fn sigterm_and_sigint_leave_the_rules() {
    let (namespace, daemon) = start("");
    assert_eq!(daemon.terminate().unwrap().code(), Some(0));
    assert!(exempts(&namespace, "10.0.0.0/8"));
    let mut next = Daemon::start(DAEMON, &namespace, "", &[]).unwrap();
    next.wait_for_log("policy").unwrap();
    nix::sys::signal::kill(next.process_id(), nix::sys::signal::Signal::SIGINT).unwrap();
    wait_until(Duration::from_secs(1), || next.has_ended()).unwrap();
    assert!(exempts(&namespace, "10.0.0.0/8"));
}

#[test]
fn signals_right_after_the_start_are_not_lost() {
    let namespace = Namespace::new().unwrap();
    for _ in 0..20 {
        let mut daemon = Daemon::start(DAEMON, &namespace, "", &[]).unwrap();
        daemon.wait_for_log("starts").unwrap();
        daemon.reload().unwrap();
        daemon.wait_for_table().unwrap();
        assert_eq!(daemon.terminate().unwrap().code(), Some(0));
    }
}

/// Rules of which it is not known that one of ours has written them may match otherwise than they are listed.
#[test]
fn the_next_daemon_adopts_the_table_and_writes_its_rules_once_more() {
    let (namespace, mut daemon) = start("");
    daemon.wait_for_log("applied and read back").unwrap();
    daemon.kill().unwrap();
    let before = generation(&namespace).unwrap();
    let next = Daemon::start(DAEMON, &namespace, "", &[]).unwrap();
    next.wait_for_log("in step, rules written once more and read back")
        .unwrap();
    assert_eq!(generation(&namespace).unwrap(), before + 1);
}

#[test]
fn another_masq_chain_takes_the_place_of_the_one_before() {
    let (namespace, daemon) = start("");
    daemon.terminate().unwrap();
    let arguments = ["--masq-chain=IP-MASQ-AGENT", "--random-fully=false"];
    let next = Daemon::start(DAEMON, &namespace, "", &arguments).unwrap();
    next.wait_for_log("applied and read back").unwrap();
    let text = Nft::host().list_table_text(&namespace, TABLE).unwrap();
    assert!(text.contains("jump IP-MASQ-AGENT"), "{text}");
    assert!(!text.contains("chain non-masquerade-daemon"), "{text}");
    assert!(!text.contains("fully-random"), "{text}");
}

#[test]
fn a_log_that_nobody_reads_does_not_stop_the_daemon() {
    let namespace = Namespace::new().unwrap();
    let directory = crate::support::daemon::TemporaryDirectory::new().unwrap();
    let path = directory.path().join("config");
    let version = |n: usize| format!("nonMasqueradeCIDRs: [192.0.2.{n}/32]");
    fs::write(&path, version(0)).unwrap();
    let mut child = namespace
        .command(DAEMON)
        .args(["run", "--config"])
        .arg(&path)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let process = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    wait_for(&namespace, "192.0.2.0/32").unwrap();
    // Each reload logs some 300 bytes; a pipe holds 64 KiB, pipe(7).
    let done = (0..400).try_for_each(|n| {
        let new = path.with_extension("new");
        fs::write(&new, version(n % 200))?;
        fs::rename(new, &path)?;
        nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGHUP)?;
        std::thread::sleep(Duration::from_millis(10));
        io::Result::Ok(())
    });
    let followed = wait_for(&namespace, "192.0.2.199/32");
    child.kill().unwrap();
    child.wait().unwrap();
    done.unwrap();
    followed.unwrap();
}

/// A worker that is still there owns the table still, where tables can be owned: a `cleanup` that comes next would fail.
#[test]
fn run_once_ends_after_its_worker() {
    let namespace = Namespace::new().unwrap();
    let own = succeed(namespace.command("readlink").arg("/proc/self/ns/net")).unwrap();
    let own = String::from_utf8(own.stdout).unwrap();
    for _ in 0..20 {
        let mut once = namespace.command(DAEMON);
        succeed(once.args(["run", "--once", "--config", "/nowhere"])).unwrap();
        let left = fs::read_dir("/proc").unwrap().flatten().find(|process| {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            let namespace = fs::read_link(process.path().join("ns/net")).unwrap_or_default();
            name == "nmd-nft-worker\n" && namespace.as_os_str() == own.trim_end()
        });
        assert!(left.is_none(), "{left:?}");
    }
}
