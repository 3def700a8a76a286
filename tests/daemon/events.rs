//! The kernel follows the file, and foreign hands are undone, without a signal and before any resync.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::DAEMON;
use crate::support::daemon::{Daemon, TemporaryDirectory};
use crate::support::foreign_hands::are_undone_and_named;
use crate::support::http::metric;
use crate::support::netlink::generation;
use crate::support::netns::Namespace;
use crate::support::nft::{Nft, TABLE, exempts as listed_exempts, without_set_numbers};
use crate::support::volume::Volume;
use crate::support::{time_factor, wait_until};

/// Generous: the promise is milliseconds, the resync interval a minute.
const LIMIT: Duration = Duration::from_secs(5);

fn start(configuration: &str) -> (Namespace, Daemon) {
    let namespace = Namespace::new().unwrap();
    let daemon = Daemon::start(DAEMON, &namespace, configuration, &[]).unwrap();
    daemon.wait_for_log("applied and read back").unwrap();
    (namespace, daemon)
}

fn text(namespace: &Namespace) -> String {
    Nft::host()
        .list_table_text(namespace, TABLE)
        .unwrap_or_default()
}

/// What the table does: which of two sets its rules look up makes no difference.
fn contents(namespace: &Namespace) -> String {
    without_set_numbers(&text(namespace))
}

fn exempts(namespace: &Namespace, cidr: &str) -> bool {
    listed_exempts(&text(namespace), cidr)
}

#[track_caller]
fn wait_for(namespace: &Namespace, cidr: &str) {
    wait_until(LIMIT, || exempts(namespace, cidr))
        .unwrap_or_else(|error| panic!("{cidr}: {error}\n{}", text(namespace)));
}

fn list(cidr: &str) -> String {
    format!("nonMasqueradeCIDRs: [{cidr}]\n")
}

#[test]
fn each_way_to_change_the_file_is_followed() {
    let (namespace, daemon) = start(&list("192.0.2.0/24"));
    let file = daemon.config_file();
    daemon.replace_configuration(&list("192.0.2.1/32")).unwrap();
    wait_for(&namespace, "192.0.2.1/32");
    fs::write(&file, list("192.0.2.2/32")).unwrap();
    wait_for(&namespace, "192.0.2.2/32");
    let mut editor = OpenOptions::new().append(true).open(&file).unwrap();
    editor.write_all(b"masqLinkLocal: true\n").unwrap();
    drop(editor);
    wait_until(LIMIT, || !text(&namespace).contains("link-local")).unwrap();
    fs::remove_file(&file).unwrap();
    let gone = Instant::now();
    wait_for(&namespace, "10.0.0.0/8");
    assert!(gone.elapsed() >= Duration::from_secs(1));
    fs::write(&file, list("192.0.2.3/32")).unwrap();
    wait_for(&namespace, "192.0.2.3/32");
    // A bad file is no change; a good one after it is.
    fs::write(&file, "nonMasqueradeCIDRs:\n").unwrap();
    daemon
        .wait_for_log("the last good one stays in force")
        .unwrap();
    assert!(exempts(&namespace, "192.0.2.3/32"));
    fs::write(&file, list("192.0.2.4/32")).unwrap();
    wait_for(&namespace, "192.0.2.4/32");
}

#[test]
fn an_editor_that_moves_the_file_away_does_not_bring_the_defaults() {
    let (namespace, daemon) = start(&list("192.0.2.0/24"));
    let file = daemon.config_file();
    for n in 1..20 {
        // As vim does with `backupcopy=no`.
        fs::rename(&file, file.with_extension("bak")).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        fs::write(&file, list(&format!("192.0.2.{n}/32"))).unwrap();
        wait_for(&namespace, &format!("192.0.2.{n}/32"));
    }
    assert!(!daemon.log().contains("10.0.0.0/8"), "{}", daemon.log());
}

/// Also where no file was good yet: an earlier run's table stays until one is.
#[test]
fn a_bad_file_at_the_start_that_is_moved_away_does_not_bring_the_defaults() {
    let (namespace, mut daemon) = start(&list("192.0.2.0/24"));
    let file = daemon.config_file();
    for n in 1..10 {
        fs::write(&file, "nonMasqueradeCIDRs:\n").unwrap();
        daemon.kill_and_restart(DAEMON).unwrap();
        wait_until(LIMIT, || {
            let words = "the configuration is bad: nothing is changed until it is good";
            daemon.log().matches(words).count() == n
        })
        .unwrap();
        fs::rename(&file, file.with_extension("bak")).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        fs::write(&file, list(&format!("192.0.2.{n}/32"))).unwrap();
        wait_for(&namespace, &format!("192.0.2.{n}/32"));
    }
    assert!(!daemon.log().contains("10.0.0.0/8"), "{}", daemon.log());
}

/// Each piece is told, and none of them but the last can be read.
#[test]
fn a_slow_writer_is_waited_for() {
    let (namespace, daemon) = start(&list("192.0.2.0/24"));
    fs::write(daemon.config_file(), "").unwrap();
    for piece in ["nonMasqueradeCIDRs: [", "198.51.", "100.0", "/24", "]"] {
        std::thread::sleep(Duration::from_millis(30));
        assert!(exempts(&namespace, "192.0.2.0/24"));
        append(&daemon, piece);
    }
    wait_for(&namespace, "198.51.100.0/24");
    let log = daemon.log();
    assert!(!log.contains("bad") && !log.contains("10.0.0.0/8"), "{log}");
}

#[test]
fn a_writer_that_stalls_is_said_to_have_left_a_bad_file_and_followed_when_it_goes_on() {
    let (namespace, daemon) = start(&list("192.0.2.0/24"));
    fs::write(daemon.config_file(), "nonMasqueradeCIDRs: [").unwrap();
    daemon
        .wait_for_log("the last good one stays in force")
        .unwrap();
    assert!(exempts(&namespace, "192.0.2.0/24"));
    append(&daemon, "198.51.100.0/24]");
    wait_for(&namespace, "198.51.100.0/24");
    assert!(!daemon.log().contains("10.0.0.0/8"), "{}", daemon.log());
}

fn append(daemon: &Daemon, text: &str) {
    let mut file = OpenOptions::new()
        .append(true)
        .open(daemon.config_file())
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// A daemon that is not given a file of its own. Dropped, it is killed.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // An error here says that it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_with(namespace: &Namespace, file: &Path, log: impl Into<Stdio>) -> Process {
    let mut command = namespace.command(DAEMON);
    command.args(["run", "--config"]).arg(file).stderr(log);
    Process(command.spawn().unwrap())
}

#[test]
fn a_config_map_volume_is_followed_from_before_it_is_mounted() {
    let namespace = Namespace::new().unwrap();
    let directory = TemporaryDirectory::new().unwrap();
    let mount_point = directory.path().join("etc/config");
    let _daemon = start_with(&namespace, &mount_point.join("config"), Stdio::null());
    wait_for(&namespace, "10.0.0.0/8");
    fs::create_dir_all(&mount_point).unwrap();
    let volume = Volume(mount_point.clone());
    for n in 0..30 {
        volume
            .publish(&format!("v{n}"), &list(&format!("192.0.2.{n}/32")))
            .unwrap();
        wait_for(&namespace, &format!("192.0.2.{n}/32"));
    }
    fs::remove_dir_all(&mount_point).unwrap();
    wait_for(&namespace, "10.0.0.0/8");
    fs::create_dir_all(&mount_point).unwrap();
    volume.publish("again", &list("198.51.100.0/24")).unwrap();
    wait_for(&namespace, "198.51.100.0/24");
}

#[test]
fn files_of_a_directory_that_are_added_changed_and_removed_are_followed() {
    let namespace = Namespace::new().unwrap();
    let directory = TemporaryDirectory::new().unwrap();
    let configurations = directory.path().join("etc/config");
    let _daemon = start_with(&namespace, &configurations, Stdio::null());
    wait_for(&namespace, "10.0.0.0/8");
    fs::create_dir_all(&configurations).unwrap();
    fs::write(configurations.join("a"), list("192.0.2.1/32")).unwrap();
    wait_for(&namespace, "192.0.2.1/32");
    fs::write(configurations.join("b"), list("192.0.2.2/32")).unwrap();
    wait_for(&namespace, "192.0.2.2/32");
    assert!(exempts(&namespace, "192.0.2.1/32"));
    fs::write(configurations.join("a"), list("192.0.2.3/32")).unwrap();
    wait_for(&namespace, "192.0.2.3/32");
    let there = directory.path().join("there");
    fs::create_dir(&there).unwrap();
    fs::write(there.join("file"), list("192.0.2.4/32")).unwrap();
    symlink("../../there/file", configurations.join("c")).unwrap();
    wait_for(&namespace, "192.0.2.4/32");
    fs::write(there.join("file"), list("192.0.2.5/32")).unwrap();
    wait_for(&namespace, "192.0.2.5/32");
    fs::remove_file(configurations.join("b")).unwrap();
    wait_until(LIMIT, || !exempts(&namespace, "192.0.2.2/32")).unwrap();
    assert!(exempts(&namespace, "192.0.2.3/32") && exempts(&namespace, "192.0.2.5/32"));
}

#[test]
fn a_directory_that_is_a_config_map_volume_with_two_keys_is_followed() {
    let namespace = Namespace::new().unwrap();
    let (mounted, logs) = (
        TemporaryDirectory::new().unwrap(),
        TemporaryDirectory::new().unwrap(),
    );
    let volume = Volume(mounted.path().into());
    let publish = |n: u8| {
        let (provider, user) = (format!("192.0.2.{n}/32"), format!("198.51.100.{n}/32"));
        let texts = [("provider", list(&provider)), ("user", list(&user))];
        volume.publish_all(&format!("v{n}"), &texts).unwrap();
        [provider, user]
    };
    publish(0);
    let log = logs.path().join("log");
    let file = fs::File::create(&log).unwrap();
    let _daemon = start_with(&namespace, mounted.path(), file);
    wait_for(&namespace, "192.0.2.0/32");
    for n in 1..30 {
        let [provider, user] = publish(n);
        wait_for(&namespace, &provider);
        assert!(exempts(&namespace, &user), "{}", text(&namespace));
    }
    // Both files were of one version each time.
    let log = fs::read_to_string(log).unwrap();
    let policies: Vec<&str> = log.lines().filter(|l| l.contains("policy:")).collect();
    assert_eq!(policies.len(), 30, "{log}");
    for (n, policy) in policies.iter().enumerate() {
        let both = [format!("192.0.2.{n}/32"), format!("198.51.100.{n}/32")];
        assert!(both.iter().all(|cidr| policy.contains(cidr)), "{policy}");
    }
}

#[test]
fn a_link_to_a_file_elsewhere_is_followed() {
    let namespace = Namespace::new().unwrap();
    let directory = TemporaryDirectory::new().unwrap();
    let (here, there) = (
        directory.path().join("here"),
        directory.path().join("there"),
    );
    fs::create_dir_all(&here).unwrap();
    fs::create_dir_all(&there).unwrap();
    fs::write(there.join("file"), list("192.0.2.0/24")).unwrap();
    symlink("../there/file", here.join("config")).unwrap();
    let _daemon = start_with(&namespace, &here.join("config"), Stdio::null());
    wait_for(&namespace, "192.0.2.0/24");
    fs::write(there.join("file"), list("192.0.2.1/32")).unwrap();
    wait_for(&namespace, "192.0.2.1/32");
}

#[test]
fn whatever_a_foreign_hand_does_is_undone_and_named() {
    let namespace = Namespace::new().unwrap();
    let start = || {
        let daemon = Daemon::start(DAEMON, &namespace, &list("10.0.0.0/8"), &[]).unwrap();
        daemon.wait_for_log("read back").unwrap();
        daemon
    };
    are_undone_and_named(&namespace, start, || contents(&namespace));
}

/// Each libnftables dies of listing a comment that is not UTF-8; an `auto-merge` set joins what is to stay apart, and 1.0.6
/// does not tell that it is one.
#[test]
fn what_libnftables_cannot_mend_is_made_anew() {
    let (namespace, daemon) = start("nonMasqueradeCIDRs: [10.0.0.0/9, 10.128.0.0/9]");
    let expected = contents(&namespace);
    let hands: [&[u8]; 2] = [
        b"add rule ip TABLE postrouting accept comment \"\xff\"; flush chain ip TABLE TABLE ",
        b"flush chain ip TABLE TABLE; delete set ip TABLE SET ; add set ip TABLE SET { type ipv4_addr; flags interval; auto-merge; counter; }",
    ];
    for hand in hands {
        let set = Nft::host().exempt_set(&namespace).unwrap() + " ";
        // Not all of it is UTF-8.
        let words = hand.split_inclusive(|byte| *byte == b' ');
        let bytes: Vec<u8> = words
            .flat_map(|word| match word {
                b"TABLE " => &b"non-masquerade-daemon "[..],
                b"TABLE; " => &b"non-masquerade-daemon; "[..],
                b"SET " => set.as_bytes(),
                other => other,
            })
            .copied()
            .collect();
        let file = daemon.config_file().with_extension("nft");
        fs::write(&file, &bytes).unwrap();
        let applied = namespace
            .command("nft")
            .arg("-f")
            .arg(&file)
            .output()
            .unwrap();
        assert!(applied.status.success(), "{applied:?}");
        let shown = String::from_utf8_lossy(hand);
        wait_until(LIMIT, || contents(&namespace) == expected).unwrap_or_else(|error| {
            panic!("{shown}: {error}\n{}\n{}", text(&namespace), daemon.log())
        });
    }
}

/// libnftables takes the dependency for needless, so that it lists the rule as the daemon's; and the rule never matches.
#[test]
fn a_rule_that_only_looks_like_the_daemon_s_is_undone() {
    let (namespace, daemon) = start(&list("10.0.0.0/8"));
    let before = contents(&namespace);
    let set = Nft::host().exempt_set(&namespace).unwrap();
    let rules = Nft::host().list_table_json(&namespace, TABLE).unwrap();
    let handle = rules
        .iter()
        .filter_map(|object| object.get("rule"))
        .find(|rule| rule["comment"] == "keep the source address")
        .map(|rule| rule["handle"].clone())
        .unwrap();
    let hand = format!(
        "replace rule ip {TABLE} {TABLE} handle {handle} meta protocol ip6 ip daddr @{set} return \
         comment \"keep the source address\""
    );
    for repairs in 1..=3 {
        let hand = match repairs {
            1 => hand.clone(),
            _ => format!("flush chain ip {TABLE} postrouting"),
        };
        Nft::host().apply(&namespace, &hand).unwrap();
        wait_until(LIMIT, || {
            daemon.log().matches("repaired").count() == repairs
        })
        .unwrap();
        assert_eq!(contents(&namespace), before);
    }
    assert!(
        daemon.log().contains("changed by nft (pid"),
        "{}",
        daemon.log()
    );
}

#[test]
fn counters_that_are_reset_are_no_drift() {
    let (namespace, daemon) = start(&list("10.0.0.0/8"));
    Nft::host()
        .apply(&namespace, "reset counters table ip non-masquerade-daemon")
        .unwrap();
    let before = generation(&namespace).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(generation(&namespace).unwrap(), before);
    assert!(!daemon.log().contains("repaired"), "{}", daemon.log());
}

#[test]
fn a_noisy_neighbour_costs_few_looks_and_slows_no_repair() {
    let namespace = Namespace::new().unwrap();
    let daemon = Daemon::start(DAEMON, &namespace, &list("10.0.0.0/8"), &[]).unwrap();
    daemon.wait_for_log("applied and read back").unwrap();
    let looks = || daemon.wakeups()[1];
    let mut neighbour = Nft::host().session(&namespace).unwrap();
    let before = looks();
    let started = Instant::now();
    let mut repaired = Vec::new();
    for n in 0..300 {
        neighbour
            .say("add table ip neighbour; delete table ip neighbour")
            .unwrap();
        if n % 100 == 99 {
            Nft::host()
                .apply(
                    &namespace,
                    "flush chain ip non-masquerade-daemon postrouting",
                )
                .unwrap();
            let flushed = Instant::now();
            wait_until(LIMIT, || text(&namespace).contains("jump")).unwrap();
            repaired.push(flushed.elapsed());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let seconds = started.elapsed().as_secs_f64();
    let looks = looks() - before;
    neighbour.end().unwrap();
    // Five looks a second, and what each repair asks for.
    assert!(
        (looks as f64) < 10.0 * seconds + 30.0,
        "{looks} looks in {seconds} s"
    );
    assert!(
        repaired.iter().all(|time| *time < Duration::from_secs(1)),
        "{repaired:?}"
    );
}

/// Its retries come every second: what happens to the other table is not to wait for them.
#[test]
fn what_others_do_to_one_table_is_undone_at_once_while_the_other_one_fails() {
    let namespace = Namespace::new().unwrap();
    let mut owner = Nft::host().session(&namespace).unwrap();
    owner
        .say(&format!("add table ip6 {TABLE} {{ flags owner; }}"))
        .unwrap();
    let file = "enableIPv6: true\nnonMasqueradeCIDRs: [10.0.0.0/8, fd00::/8]\n";
    let daemon = Daemon::start(DAEMON, &namespace, file, &[]).unwrap();
    daemon.wait_for_log("owned by nft").unwrap();
    std::thread::sleep(Duration::from_secs(1));
    let mut hand = Nft::host().session(&namespace).unwrap();
    let mut slowest = Duration::ZERO;
    let repairs = || metric(&namespace, "drift_repairs_total{family=\"ip\"}").unwrap_or_default();
    for _ in 0..40 {
        let before = repairs();
        for more in [1.0, 2.0] {
            let flushed = Instant::now();
            hand.say(&format!("flush chain ip {TABLE} postrouting"))
                .unwrap();
            wait_until(LIMIT, || repairs() >= before + more).unwrap();
            slowest = slowest.max(flushed.elapsed());
        }
    }
    assert!(
        slowest < Duration::from_millis(600) * time_factor(),
        "{slowest:?}"
    );
    owner.end().unwrap();
    hand.end().unwrap();
}

#[test]
fn a_table_that_another_owns_is_named_and_taken_over_when_the_owner_ends() {
    let namespace = Namespace::new().unwrap();
    let mut owner = Nft::host().session(&namespace).unwrap();
    owner
        .say(&format!("add table ip {TABLE} {{ flags owner; }}"))
        .unwrap();
    wait_until(LIMIT, || text(&namespace).contains("owner")).unwrap();
    let daemon = Daemon::start(DAEMON, &namespace, &list("192.0.2.0/24"), &[]).unwrap();
    daemon
        .wait_for_log(&format!("owned by nft (pid {})", owner.id()))
        .unwrap();
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(
        daemon.log().matches("owned by").count(),
        1,
        "{}",
        daemon.log()
    );
    owner.end().unwrap();
    wait_for(&namespace, "192.0.2.0/24");
}

/// As a daemon leaves it that is killed between claiming the table and filling it, or before it has made more than sets.
#[test]
fn a_begun_table_of_a_family_that_is_off_is_taken_away_and_another_s_stays() {
    let namespace = Namespace::new().unwrap();
    let ip6 = || Nft::host().list_table_text_of(crate::support::lab::Family::V6, &namespace, TABLE);
    let begun = "set non-masquerade-cidrs-1 { type ipv6_addr; flags interval; counter; elements = { fd00::/8 }; }\n";
    for (contents, stays) in [
        ("", false),
        (begun, false),
        ("set another-s { type ipv6_addr; }\n", true),
        ("chain another-s { }\n", true),
    ] {
        Nft::host()
            .apply(&namespace, &format!("table ip6 {TABLE} {{\n{contents}}}"))
            .unwrap();
        let file = list("192.0.2.0/24");
        let daemon = Daemon::start(DAEMON, &namespace, &file, &[]).unwrap();
        daemon
            .wait_for_log("what others change in it is undone")
            .unwrap();
        assert_eq!(ip6().is_ok(), stays, "{}", daemon.log());
    }
}

#[test]
fn nothing_wakes_the_daemon_between_resyncs() {
    // The second one listens to addresses.
    for more in ["", "snatAddressCIDRs: [127.0.0.0/8, 192.0.2.0/24]\n"] {
        let (_namespace, daemon) = start(&format!("{}\n{more}", list("10.0.0.0/8")));
        std::thread::sleep(Duration::from_millis(200));
        let before = daemon.wakeups();
        std::thread::sleep(Duration::from_secs(2));
        assert_eq!(daemon.wakeups(), before, "{more}");
    }
}
