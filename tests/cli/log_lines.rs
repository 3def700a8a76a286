//! What the daemon logs: what it runs on, what changed, in words and as JSON.

use std::time::Duration;

use crate::DAEMON;
use crate::support::daemon::Daemon;
use crate::support::netns::Namespace;
use crate::support::nft::Nft;
use crate::support::outcome::Outcome;
use serde_json::Value;

fn start(configuration: &str, arguments: &[&str]) -> (Namespace, Daemon) {
    let namespace = Namespace::new().unwrap();
    let daemon = Daemon::start(DAEMON, &namespace, configuration, arguments).unwrap();
    daemon.wait_for_log("applied and read back").unwrap();
    (namespace, daemon)
}

#[test]
fn what_a_line_says_in_words_it_does_not_say_again_in_fields() {
    let (namespace, daemon) = start("", &[]);
    flush_postrouting(&namespace);
    daemon.wait_for_log("repaired and read back").unwrap();
    let log = daemon.log();
    let lines = log.lines().filter(|line| line.contains("read back"));
    for line in lines {
        assert!(!line.contains('='), "{line}");
    }
}

fn flush_postrouting(namespace: &Namespace) {
    let hand = "flush chain ip non-masquerade-daemon postrouting";
    Nft::host().apply(namespace, hand).unwrap();
}

#[test]
fn the_start_says_what_the_daemon_runs_on_and_with() {
    let (_namespace, daemon) = start("", &["--table=t", "--to-ports=1024-29999,40000"]);
    daemon.wait_for_log("libnftables 1.").unwrap();
    let log = daemon.log();
    let first = log.lines().next().unwrap();
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    for part in [
        format!("version=\"{}\"", env!("CARGO_PKG_VERSION")),
        format!("kernel=\"{}\"", release.trim()),
        format!("config={:?}", daemon.config_file()),
        "table=\"t\"".to_owned(),
        "table_owner=\"auto\"".to_owned(),
        "to_ports=\"1024-29999,40000\"".to_owned(),
        "http_address=\"127.0.0.1:19110\"".to_owned(),
    ] {
        assert!(first.contains(&part), "{part}\n{log}");
    }
}

#[test]
fn a_change_says_in_one_line_what_changed_and_a_resync_says_nothing() {
    let configuration = "nonMasqueradeCIDRs: [10.0.0.0/8, 192.0.2.0/24]\nresyncInterval: 100ms\n";
    let (_namespace, daemon) = start(configuration, &[]);
    let changed = "nonMasqueradeCIDRs: [10.0.0.0/8, 198.51.100.0/24, 203.0.113.0/24]\nresyncInterval: 100ms\n\
                   randomFully: false\n";
    daemon.replace_configuration(changed).unwrap();
    let words = "policy: +2 −1 exempt CIDRs, randomFully now false; now: keep the source address to 10.0.0.0/8, ";
    daemon.wait_for_log(words).unwrap();
    daemon.wait_for_log("lacks 198.51.100.0").unwrap();
    let lines = daemon.log().lines().count();
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(daemon.log().lines().count(), lines, "{}", daemon.log());
    assert!(!daemon.log().contains("added="), "{}", daemon.log());
}

#[test]
fn as_json_the_same_stands_in_fields() {
    let configuration = "nonMasqueradeCIDRs: [10.0.0.0/8]\n";
    let (namespace, daemon) = start(configuration, &["--log-format=json", "--http-address=off"]);
    daemon
        .replace_configuration("nonMasqueradeCIDRs: [192.0.2.0/24, 198.51.100.0/24]\n")
        .unwrap();
    daemon
        .wait_for_log("set non-masquerade-cidrs-1 lacks")
        .unwrap();
    flush_postrouting(&namespace);
    daemon.wait_for_log("repaired and read back").unwrap();
    let log = daemon.log();
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let with = |words: &str| {
        let is_it = |line: &&Value| line["message"].as_str().unwrap().contains(words);
        lines.iter().rfind(is_it).unwrap()
    };
    let start = with("starts");
    assert_eq!(
        (&start["to_ports"], &start["http_address"]),
        (&"".into(), &"off".into())
    );
    let change = with("policy: ");
    assert_eq!(
        (&change["added"], &change["removed"]),
        (&2.into(), &1.into())
    );
    assert_eq!(change["change"], "+2 −1 exempt CIDRs");
    let applied = with("applied and read back");
    assert_eq!(applied["family"], "ip");
    let repaired = with("repaired and read back");
    assert_eq!(repaired["family"], "ip");
    assert_eq!(repaired["differences"], "chain postrouting has other rules");
    assert!(
        repaired["changed_by"]
            .as_str()
            .unwrap()
            .starts_with("nft (pid "),
        "{log}"
    );
    assert!(
        with("programs the kernel")["libnftables"]
            .as_str()
            .unwrap()
            .starts_with("1.")
    );
}

/// The lines about where the configuration comes from.
fn origins(daemon: &Daemon) -> Vec<String> {
    let log = daemon.log();
    let lines = log.lines().filter(|line| {
        line.contains("the defaults apply") || line.contains("the configuration is that of")
    });
    lines.map(str::to_owned).collect()
}

#[test]
fn that_the_defaults_apply_for_want_of_a_file_is_said_once_and_so_is_the_file_when_it_is_back() {
    let list = "nonMasqueradeCIDRs: [192.0.2.0/24]\n";
    let (_namespace, mut daemon) = start(list, &["--resync-interval=100ms"]);
    let file = daemon.config_file();
    let absent = format!("there is no file {}, so the defaults apply", file.display());
    let read = format!("the configuration is that of {}", file.display());
    assert!(origins(&daemon)[0].ends_with(&read), "{}", daemon.log());
    // As editors do.
    let aside = file.with_extension("aside");
    std::fs::rename(&file, &aside).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    std::fs::rename(&aside, &file).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(origins(&daemon).len(), 1, "{}", daemon.log());
    std::fs::remove_file(&file).unwrap();
    daemon.wait_for_log(&absent).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert!(origins(&daemon)[1].contains(" WARN "), "{}", daemon.log());
    daemon.replace_configuration(list).unwrap();
    daemon.wait_for_log("+1 −3 exempt CIDRs").unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert!(origins(&daemon)[2].ends_with(&read), "{}", daemon.log());
    daemon.replace_configuration("").unwrap();
    daemon
        .wait_for_log("says nothing, so the defaults apply")
        .unwrap();
    daemon.kill_and_restart(DAEMON).unwrap();
    crate::support::wait_until(Duration::from_secs(5), || origins(&daemon).len() == 5).unwrap();
    assert!(origins(&daemon)[4].contains(" INFO "), "{}", daemon.log());
    assert!(
        origins(&daemon)[4].ends_with("says nothing, so the defaults apply"),
        "{}",
        daemon.log()
    );
}

/// CIDRs and ranges whose words fill more than a line.
fn wordy(number: u8) -> String {
    let ipv4 = |list: u8| (0..40).map(move |n| format!("1{list}0.112.{number}.{}/32", 100 + n));
    let ipv6 = |list: u8| {
        (0..40).map(move |n| {
            format!(
                "'fd{list:02x}:1234:5678:9abc:def0:1234:{number:04x}:{:04x}/128'",
                0x1000 + n
            )
        })
    };
    let lists = ["nonMasqueradeCIDRs", "masqueradeCIDRs", "sourceCIDRs"];
    let lists: String = (0..)
        .zip(lists)
        .map(|(list, key)| {
            let cidrs: Vec<String> = ipv4(list).chain(ipv6(list)).collect();
            format!("{key}: [{}]\n", cidrs.join(","))
        })
        .collect();
    let ports: Vec<String> = (0..60)
        .map(|n| format!("{}-{}", 10_000 + 20 * n, 10_010 + 20 * n))
        .collect();
    format!(
        "enableIPv6: true\nenforce: true\n{lists}toPorts: '{}'\n",
        ports.join(",")
    )
}

#[test]
fn as_json_each_line_is_an_object_however_long_and_whatever_was_lost() {
    let (_namespace, daemon) = start(&wordy(1), &["--log-format=json", "--http-address=off"]);
    daemon.replace_configuration(&wordy(2)).unwrap();
    daemon.wait_for_log("lacks 100.112.2.100").unwrap();
    let long_key = "\"".repeat(3_000);
    daemon
        .replace_configuration(&format!("'{long_key}−': 1\n"))
        .unwrap();
    daemon
        .wait_for_log("the last good one stays in force")
        .unwrap();
    let log = daemon.log();
    assert!(log.lines().any(|line| line.contains("[cut]")), "{log}");
    for line in log.lines() {
        let object: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert!(object["message"].is_string(), "{line}");
        assert!(object["level"].is_string(), "{line}");
        assert!(line.len() < 4096, "{}", line.len());
    }
}

#[test]
fn rust_log_chooses_the_lines_where_log_level_does_not_and_what_it_cannot_mean_is_said() {
    let namespace = Namespace::new().unwrap();
    let said = |rust_log: &str, arguments: &[&str]| {
        let mut once = namespace.command(DAEMON);
        once.env("RUST_LOG", rust_log);
        once.args(["run", "--once", "--config=/nonexistent"]);
        let outcome = Outcome::of(once.args(arguments));
        outcome.assert_code(0);
        outcome.errors
    };
    let garbage = "RUST_LOG is not understood, so it is taken for info";
    for (rust_log, arguments, says_the_policy, is_garbage) in [
        ("", &[] as &[&str], true, false),
        ("warn", &[], false, false),
        ("off,non_masquerade_daemon::commands=info", &[], true, false),
        (
            "info,non_masquerade_daemon::commands=warn",
            &[],
            false,
            false,
        ),
        ("warn", &["--log-level=info"], true, false),
        ("info", &["--log-level=warn"], false, false),
        ("x=loud", &[], true, true),
        ("x=loud", &["--log-level=info"], true, false),
    ] {
        let said = said(rust_log, arguments);
        assert_eq!(
            said.contains("policy: "),
            says_the_policy,
            "{rust_log} {arguments:?}: {said}"
        );
        assert_eq!(
            said.contains(garbage),
            is_garbage,
            "{rust_log} {arguments:?}: {said}"
        );
    }
}
