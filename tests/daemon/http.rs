//! `/healthz`, `/readyz`, `/configuration` and `/metrics` of the running daemon, and that nobody who asks can disturb it.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, TcpListener};
use std::time::{Duration, Instant};

use crate::DAEMON;
use crate::support::daemon::{Daemon, TemporaryDirectory};
use crate::support::http::{self, PORT, connect, exchange, get, metric, nonsense};
use crate::support::lab::Lab;
use crate::support::netns::Namespace;
use crate::support::nft::{Nft, TABLE};
use crate::support::probe::{Probe, Protocol};
use crate::support::wait_until;
use nix::sys::signal::{Signal, kill};

const LIMIT: Duration = Duration::from_secs(5);

fn start(configuration: &str, arguments: &[&str]) -> (Namespace, Daemon) {
    let namespace = Namespace::new().unwrap();
    let daemon = Daemon::start(DAEMON, &namespace, configuration, arguments).unwrap();
    daemon.wait_for_log("applied and read back").unwrap();
    (namespace, daemon)
}

fn list(cidr: &str) -> String {
    format!("nonMasqueradeCIDRs: [{cidr}]\n")
}

fn exempts(namespace: &Namespace, cidr: &str) -> bool {
    let text = Nft::host().list_table_text(namespace, TABLE);
    text.is_ok_and(|text| crate::support::nft::exempts(&text, cidr))
}

#[track_caller]
fn wait_for_metric(namespace: &Namespace, name: &str, expected: f64) {
    wait_until(LIMIT, || {
        metric(namespace, name).is_ok_and(|v| v == expected)
    })
    .unwrap_or_else(|error| {
        panic!(
            "{name}, not {expected}: {error}: {:?}",
            metric(namespace, name)
        )
    });
}

/// Waits for this status of `/readyz`; gives the reasons.
#[track_caller]
fn wait_for_readiness(namespace: &Namespace, status: u16) -> String {
    let mut last = None;
    let waited = wait_until(LIMIT, || {
        last = get(namespace, "/readyz").ok();
        last.as_ref().is_some_and(|answer| answer.status == status)
    });
    match (waited, last) {
        (Ok(()), Some(answer)) => answer.body,
        (error, last) => panic!("not {status}: {error:?}: {last:?}"),
    }
}

#[test]
fn files_that_disagree_about_a_boolean_are_both_named_in_the_log_and_are_no_reason() {
    let other = TemporaryDirectory::new().unwrap();
    let other = other.path().join("other");
    fs::write(&other, "enforce: false\n").unwrap();
    let arguments = ["--config", other.to_str().unwrap()];
    let (namespace, daemon) = start("enforce: true\n", &arguments);
    assert_eq!(wait_for_readiness(&namespace, 200), "ready\n");
    let log = daemon.log();
    let warnings: Vec<&str> = log.lines().filter(|line| line.contains(" WARN ")).collect();
    let [warning] = warnings.as_slice() else {
        panic!("not one warning: {log}");
    };
    for file in [&daemon.config_file(), &other] {
        assert!(warning.contains(file.to_str().unwrap()), "{warning}");
    }
    assert!(warning.contains("enforce"), "{warning}");
}

/// Connections to three destinations, counted by the test.
struct Traffic<'lab> {
    node: &'lab Namespace,
    probe: Probe<'lab>,
    masqueraded: u32,
    exempt: u32,
}

impl Traffic<'_> {
    fn send(&mut self, masqueraded: u32, exempt: u32) {
        for (count, destination) in [(masqueraded, [203, 0, 113, 9]), (exempt, [10, 96, 0, 10])] {
            for number in 0..count {
                let protocol = if number % 2 == 0 {
                    Protocol::Tcp
                } else {
                    Protocol::Udp
                };
                self.probe
                    .seen_source(protocol, Ipv4Addr::from(destination))
                    .unwrap();
            }
        }
        self.masqueraded += masqueraded;
        self.exempt += exempt;
    }

    #[track_caller]
    fn assert_counted(&self) {
        let name = |verdict| format!("connections_total{{family=\"ip\",verdict=\"{verdict}\"}}");
        wait_for_metric(self.node, &name("masquerade"), self.masqueraded.into());
        wait_for_metric(self.node, &name("non_masquerade"), self.exempt.into());
        let by_cidr = "cidr_connections_total{family=\"ip\",cidr=\"10.0.0.0/8\"}";
        wait_for_metric(self.node, by_cidr, self.exempt.into());
    }
}

#[test]
fn connections_are_counted_as_sent_and_never_backwards_whatever_becomes_of_the_table() {
    let lab = Lab::new().unwrap();
    let arguments = ["--metrics-per-cidr"];
    let daemon = Daemon::start(DAEMON, &lab.node, &list("10.0.0.0/8"), &arguments).unwrap();
    daemon.wait_for_log("applied and read back").unwrap();
    let mut traffic = Traffic {
        node: &lab.node,
        probe: Probe::from_pod(&lab).unwrap(),
        masqueraded: 0,
        exempt: 0,
    };
    traffic.assert_counted();
    traffic.send(7, 5);
    traffic.assert_counted();
    // Another policy: the CIDR is split, so that its elements are new ones.
    let split = list("10.0.0.0/8") + "masqueradeCIDRs: [10.1.0.0/16]\n";
    daemon.replace_configuration(&split).unwrap();
    daemon.wait_for_log("+1 −0 masqueraded CIDRs").unwrap();
    daemon
        .wait_for_log("set non-masquerade-cidrs-1 has")
        .unwrap();
    traffic.assert_counted();
    traffic.send(2, 3);
    traffic.assert_counted();
    // The table goes, and all its counters with it.
    let hand = "delete table ip non-masquerade-daemon";
    Nft::host().apply(&lab.node, hand).unwrap();
    daemon.wait_for_log("repaired and read back").unwrap();
    traffic.assert_counted();
    traffic.send(4, 9);
    traffic.assert_counted();
    wait_for_metric(&lab.node, "drift_repairs_total{family=\"ip\"}", 1.0);
    // The worker goes, and what it knew with it.
    kill(daemon.worker().unwrap(), Signal::SIGKILL).unwrap();
    wait_for_metric(&lab.node, "worker_restarts_total", 1.0);
    traffic.send(1, 2);
    traffic.assert_counted();
}

#[test]
fn the_metrics_tell_what_the_daemon_did() {
    let (namespace, daemon) = start(
        "enableIPv6: true\nnonMasqueradeCIDRs: [10.0.0.0/8, fd00::/8]",
        &[],
    );
    let page = get(&namespace, "/metrics").unwrap();
    assert_eq!(page.status, 200);
    assert!(
        page.head
            .contains("content-type: text/plain; version=0.0.4; charset=utf-8"),
        "{page:?}"
    );
    assert!(!page.body.contains("cidr_connections"), "{page:?}");
    let version = env!("CARGO_PKG_VERSION");
    let build = format!("build_info{{version=\"{version}\",libnftables=\"1.");
    assert!(page.body.contains(&build), "{page:?}");
    for family in ["ip", "ip6"] {
        wait_for_metric(&namespace, &format!("in_step{{family=\"{family}\"}}"), 1.0);
        wait_for_metric(
            &namespace,
            &format!("exempt_cidrs{{family=\"{family}\"}}"),
            2.0,
        );
        let syncs = format!("syncs_total{{family=\"{family}\",result=\"success\"}}");
        wait_for_metric(&namespace, &syncs, 1.0);
    }
    wait_for_metric(&namespace, "sync_duration_seconds_count", 1.0);
    wait_for_metric(&namespace, "config_loads_total{result=\"success\"}", 1.0);
    let loaded = metric(&namespace, "config_last_good_load_timestamp_seconds").unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    assert!(
        (now.unwrap().as_secs_f64() - loaded).abs() < 60.0,
        "{loaded}"
    );
    daemon.replace_configuration("nonMasqueradeCIDRs:").unwrap();
    // Each reading counts, and one rename may be read more than once.
    let failures = "config_loads_total{result=\"failure\"}";
    wait_until(LIMIT, || {
        metric(&namespace, failures).is_ok_and(|loads| (1.0..5.0).contains(&loads))
    })
    .unwrap();
    daemon.replace_configuration(&list("10.0.0.0/8")).unwrap();
    wait_for_metric(
        &namespace,
        "syncs_total{family=\"ip\",result=\"success\"}",
        2.0,
    );
    // IPv6 is off again.
    let page = get(&namespace, "/metrics").unwrap().body;
    assert!(!page.contains("in_step{family=\"ip6\"}"), "{page}");
}

/// Another chain masquerades first what is exempt.
#[test]
fn connections_that_contradict_the_policy_are_counted_at_the_first_scrape_and_not_at_each() {
    let lab = Lab::new().unwrap();
    let other = r"table ip other {
        chain early {
            type nat hook postrouting priority srcnat - 5;
            ip daddr 10.9.0.1 masquerade
        }
    }";
    Nft::host().apply(&lab.node, other).unwrap();
    let daemon = Daemon::start(DAEMON, &lab.node, &list("10.0.0.0/8"), &[]).unwrap();
    daemon.wait_for_log("applied and read back").unwrap();
    let probe = Probe::from_pod(&lab).unwrap();
    for protocol in Protocol::ALL {
        for to in [[10, 9, 0, 1], [10, 1, 0, 1], [1, 1, 1, 1]] {
            probe.seen_source(protocol, IpAddr::from(to)).unwrap();
        }
    }
    let counted = f64::from(u8::try_from(Protocol::ALL.len()).unwrap());
    for is_first in [true, false] {
        for (kind, expected) in [
            ("masqueraded_though_exempt", counted),
            ("kept_though_to_be_masqueraded", 0.0),
            ("other_address", 0.0),
        ] {
            let name = format!("contradicting_connections{{family=\"ip\",kind=\"{kind}\"}}");
            let told = metric(&lab.node, &name).unwrap();
            assert_eq!(told, expected, "{kind}, first: {is_first}");
        }
        let again = probe.seen_source(Protocol::Udp, Ipv4Addr::new(10, 9, 0, 1));
        again.unwrap();
    }
    // IPv6 is off.
    let page = get(&lab.node, "/metrics").unwrap().body;
    let of_ip6 = "contradicting_connections{family=\"ip6\"";
    assert!(!page.contains(of_ip6), "{page}");
}

#[test]
fn without_a_policy_no_connection_contradicts_it() {
    let namespace = Namespace::new().unwrap();
    let bad = "nonMasqueradeCIDRs: [192.0.2.1/24]";
    let daemon = Daemon::start(DAEMON, &namespace, bad, &[]).unwrap();
    wait_for_metric(&namespace, "config_loads_total{result=\"failure\"}", 1.0);
    let is_told = || {
        let page = get(&namespace, "/metrics").unwrap().body;
        page.contains("contradicting_connections{")
    };
    assert!(!is_told());
    daemon.replace_configuration(&list("192.0.2.0/24")).unwrap();
    daemon.wait_for_log("applied and read back").unwrap();
    wait_until(LIMIT, is_told).unwrap();
}

#[test]
fn a_scrape_writes_nothing_and_is_no_sync() {
    let (namespace, _daemon) = start("", &[]);
    let before = crate::support::netlink::generation(&namespace).unwrap();
    for _ in 0..3 {
        get(&namespace, "/metrics").unwrap();
        std::thread::sleep(Duration::from_millis(1_100));
    }
    wait_for_metric(&namespace, "sync_duration_seconds_count", 1.0);
    assert_eq!(
        crate::support::netlink::generation(&namespace).unwrap(),
        before
    );
}

/// The daemon reads the counters by itself: nothing that a scrape asks for holds up a repair.
#[test]
fn scrapes_ask_nothing_of_the_worker() {
    let (namespace, daemon) = start("", &[]);
    // The worker gives memory back after its answer.
    std::thread::sleep(Duration::from_millis(200));
    let [_, before] = daemon.wakeups();
    for _ in 0..200 {
        assert_eq!(get(&namespace, "/metrics").unwrap().status, 200);
    }
    let [_, after] = daemon.wakeups();
    assert_eq!(after, before);
}

/// Reading the counters of a long list takes a while.
#[test]
fn a_scrape_of_many_elements_holds_up_nothing_else() {
    let cidrs = (0..20_000).map(|n| format!("{}/32", Ipv4Addr::from_bits(0x0a00_0000 + 2 * n)));
    let cidrs: Vec<String> = cidrs.collect();
    let (namespace, daemon) = start(&list(&cidrs.join(",")), &[]);
    let scrape = || {
        let mut scrape = connect(&namespace).unwrap();
        let request = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n";
        scrape.write_all(request).unwrap();
        scrape
    };
    let is_overtaken = || {
        let mut scrape = scrape();
        assert_eq!(get(&namespace, "/healthz").unwrap().status, 200);
        scrape.set_nonblocking(true).unwrap();
        let answered = scrape.read(&mut [0]);
        let is_overtaken = answered.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        scrape.set_nonblocking(false).unwrap();
        scrape.read_to_end(&mut Vec::new()).unwrap();
        is_overtaken
    };
    assert!((0..20).any(|_| is_overtaken()));
    let _unanswered = scrape();
    let ended = daemon.terminate_within(Duration::from_secs(1)).unwrap();
    assert!(ended.success(), "{ended}");
}

#[test]
fn ready_follows_the_file_and_the_table() {
    let namespace = Namespace::new().unwrap();
    let bad = "nonMasqueradeCIDRs: [192.0.2.1/24]";
    let daemon = Daemon::start(DAEMON, &namespace, bad, &[]).unwrap();
    // A file that was just written may still be being written.
    daemon
        .wait_for_log("the configuration is bad: nothing is changed")
        .unwrap();
    let reasons = wait_for_readiness(&namespace, 503);
    assert!(
        reasons.starts_with("the configuration is bad: nothing is changed until it is good: "),
        "{reasons}"
    );
    assert!(reasons.contains("use 192.0.2.0/24"), "{reasons}");
    assert_eq!(get(&namespace, "/healthz").unwrap().status, 200);
    assert_eq!(get(&namespace, "/configuration").unwrap().status, 503);
    daemon.replace_configuration(&list("192.0.2.0/24")).unwrap();
    assert_eq!(wait_for_readiness(&namespace, 200), "ready\n");
    assert!(exempts(&namespace, "192.0.2.0/24"));
    daemon.replace_configuration(bad).unwrap();
    let reasons = wait_for_readiness(&namespace, 503);
    assert!(
        reasons.starts_with("the configuration is bad: the last good one stays in force: "),
        "{reasons}"
    );
    assert_eq!(reasons.lines().count(), 1, "{reasons}");
    let in_force = get(&namespace, "/configuration").unwrap();
    let exempt = "\"nonMasqueradeCIDRs\":[\"192.0.2.0/24\"]";
    assert!(
        in_force.status == 200 && in_force.body.contains(exempt),
        "{in_force:?}"
    );
    // What is in force is repaired all the same.
    Nft::host()
        .apply(&namespace, "delete table ip non-masquerade-daemon")
        .unwrap();
    daemon.wait_for_log("repaired and read back").unwrap();
    wait_for_metric(&namespace, "in_step{family=\"ip\"}", 1.0);
    daemon.replace_configuration(&list("192.0.2.0/24")).unwrap();
    assert_eq!(wait_for_readiness(&namespace, 200), "ready\n");
}

#[test]
fn not_ready_while_another_owns_the_table_and_ready_when_that_ends() {
    let namespace = Namespace::new().unwrap();
    let mut owner = Nft::host().session(&namespace).unwrap();
    owner
        .say(&format!("add table ip {TABLE} {{ flags owner; }}"))
        .unwrap();
    let owned = || {
        let text = Nft::host().list_table_text(&namespace, TABLE);
        text.is_ok_and(|text| text.contains("owner"))
    };
    wait_until(LIMIT, owned).unwrap();
    let _daemon = Daemon::start(DAEMON, &namespace, &list("192.0.2.0/24"), &[]).unwrap();
    let expected = format!("table ip: the table is owned by nft (pid {})", owner.id());
    wait_until(LIMIT, || {
        get(&namespace, "/readyz").is_ok_and(|a| a.status == 503 && a.body.contains(&expected))
    })
    .unwrap();
    wait_for_metric(&namespace, "in_step{family=\"ip\"}", 0.0);
    owner.end().unwrap();
    assert_eq!(wait_for_readiness(&namespace, 200), "ready\n");
}

#[test]
fn what_is_not_there_is_not_found_and_nothing_can_be_changed() {
    let (namespace, _daemon) = start("", &[]);
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        ("GET /metrics/x HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        ("GET /healthz?a=b HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("GET /healthz HTTP/1.0\r\n\r\n", 200),
        ("POST /healthz HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("DELETE /metrics HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    ] {
        let answer = exchange(&namespace, request.as_bytes()).unwrap();
        assert_eq!(answer.status, status, "{request}: {answer:?}");
    }
    let head = exchange(&namespace, b"HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert!(
        head.status == 200 && head.body.is_empty() && head.head.contains("content-length: "),
        "{head:?}"
    );
}

#[test]
fn no_client_disturbs_the_daemon() {
    let (namespace, daemon) = start(&list("192.0.2.0/32"), &[]);
    let done = std::sync::atomic::AtomicBool::new(false);
    let is_done = || done.load(std::sync::atomic::Ordering::Relaxed);
    std::thread::scope(|scope| {
        // One byte a second, of the request and of the answer.
        for _ in 0..8 {
            scope.spawn(|| {
                while !is_done() {
                    let Ok(mut stream) = connect(&namespace) else {
                        continue;
                    };
                    for byte in b"GET /metrics HTTP/1.1\r\n" {
                        if is_done() || stream.write_all(&[*byte]).is_err() {
                            break;
                        }
                        std::thread::sleep(Duration::from_secs(1));
                    }
                }
            });
            scope.spawn(|| {
                while !is_done() {
                    let Ok(mut stream) = connect(&namespace) else {
                        continue;
                    };
                    let asked = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
                    while asked.is_ok() && !is_done() && matches!(stream.read(&mut [0]), Ok(1)) {
                        std::thread::sleep(Duration::from_secs(1));
                    }
                }
            });
        }
        scope.spawn(|| {
            while !is_done() {
                for said in nonsense() {
                    // It may be cut off before it has said all.
                    if let Ok(answer) = exchange(&namespace, &said) {
                        assert!(
                            (400..500).contains(&answer.status) || answer.status == 505,
                            "{answer:?}"
                        );
                    }
                }
            }
        });
        let idle: Vec<_> = (0..500).map(|_| connect(&namespace).unwrap()).collect();
        let undisturbed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            is_undisturbed(&namespace, &daemon);
        }));
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        drop(idle);
        undisturbed.unwrap();
    });
}

#[track_caller]
fn is_undisturbed(namespace: &Namespace, daemon: &Daemon) {
    for number in 1..30_u8 {
        let cidr = format!("192.0.2.{number}/32");
        daemon.replace_configuration(&list(&cidr)).unwrap();
        let changed = Instant::now();
        wait_until(LIMIT, || exempts(namespace, &cidr)).unwrap();
        // nft itself takes its time to tell, with all the others on this machine.
        assert!(
            changed.elapsed() < Duration::from_secs(1),
            "{:?}",
            changed.elapsed()
        );
        Nft::host()
            .apply(
                namespace,
                "flush chain ip non-masquerade-daemon postrouting",
            )
            .unwrap();
        let repairs = "drift_repairs_total{family=\"ip\"}";
        wait_for_metric(namespace, repairs, number.into());
        assert_eq!(get(namespace, "/healthz").unwrap().body, "ok\n");
        assert_eq!(get(namespace, "/metrics").unwrap().status, 200);
        let descriptors = fs::read_dir(format!("/proc/{}/fd", daemon.process_id()));
        let descriptors = descriptors.unwrap().count();
        assert!(descriptors < 60, "{descriptors} open descriptors");
    }
}

/// As by `nc -N`.
#[test]
fn who_has_no_more_to_send_gets_an_answer() {
    let (namespace, _daemon) = start("", &[]);
    for page in ["/healthz", "/metrics"] {
        let mut stream = connect(&namespace).unwrap();
        write!(stream, "GET {page} HTTP/1.0\r\n\r\n").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.0 200 OK"), "{page}: {answer}");
    }
}

#[test]
fn a_silent_connection_is_ended() {
    let (namespace, _daemon) = start("", &[]);
    let mut silent = connect(&namespace).unwrap();
    silent
        .set_read_timeout(Some(Duration::from_secs(12)))
        .unwrap();
    let started = Instant::now();
    // 408, or nothing.
    let _ = silent.read_to_end(&mut Vec::new());
    assert!(
        started.elapsed() < Duration::from_secs(11),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn a_port_that_is_taken_is_said_once_and_served_when_it_is_free() {
    let namespace = Namespace::new().unwrap();
    let taken = namespace.run(|| TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)).unwrap());
    let daemon = Daemon::start(DAEMON, &namespace, &list("192.0.2.0/32"), &[]).unwrap();
    daemon.wait_for_log("applied and read back").unwrap();
    daemon
        .wait_for_log("cannot be served on 127.0.0.1:19110")
        .unwrap();
    std::thread::sleep(Duration::from_millis(1_500));
    daemon.replace_configuration(&list("192.0.2.1/32")).unwrap();
    wait_until(LIMIT, || exempts(&namespace, "192.0.2.1/32")).unwrap();
    assert_eq!(daemon.log().matches("cannot be served").count(), 1);
    drop(taken);
    wait_until(Duration::from_secs(20), || {
        get(&namespace, "/healthz").is_ok()
    })
    .unwrap();
    daemon.wait_for_log("serving /metrics").unwrap();
}

#[test]
fn switched_off_nothing_is_served() {
    let (namespace, daemon) = start("", &["--http-address=off"]);
    assert!(http::connect(&namespace).is_err());
    assert!(!daemon.log().contains("serving"), "{}", daemon.log());
}

/// There is no other user in a user namespace.
mod needs_root {
    use std::process::Stdio;

    use super::*;
    use crate::support::daemon::limited_to_processes;

    #[test]
    fn a_scrape_at_the_limit_of_processes_does_not_end_the_daemon() {
        let namespace = Namespace::new().unwrap();
        let directory = TemporaryDirectory::new().unwrap();
        // The daemon and its worker.
        let limits = (65532, 2);
        let limited = limited_to_processes(&namespace, &directory, DAEMON, limits).unwrap();
        let _daemon = Daemon::start_logging_to(Stdio::null(), limited, &namespace, "").unwrap();
        wait_for_readiness(&namespace, 200);
        for _ in 0..4 {
            let page = get(&namespace, "/metrics").unwrap();
            assert_eq!(page.status, 200, "{}", page.body);
        }
        wait_for_readiness(&namespace, 200);
    }
}
