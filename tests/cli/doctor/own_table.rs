//! libnftables, the kernel's features, and the daemon's own table.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::CHECKS;
use super::report::{Report, run};
use crate::DAEMON;
use crate::support::daemon::{Daemon, TemporaryDirectory, WAIT_LIMIT};
use crate::support::netlink::generation;
use crate::support::netns::{Namespace, succeed};
use crate::support::nft::{Nft, Session, TABLE};
use crate::support::picky::Picky;
use crate::support::{poison, wait_until};

/// What `run --once` leaves: a table that nobody owns.
fn apply(namespace: &Namespace, arguments: &[&str]) {
    let mut once = namespace.command(DAEMON);
    once.args(["run", "--once", "--config=/nonexistent/config"]);
    succeed(once.args(arguments)).unwrap();
}

/// The doctor whose worker is a picky one: `/proc/self/exe` is that, and the rest of /proc is where it was.
fn report_with(namespace: &Namespace, picky: Picky<'_>) -> Report {
    let directory = TemporaryDirectory::new().unwrap();
    let worker = picky.install(directory.path()).unwrap();
    report_by(namespace, &worker)
}

fn report_by(namespace: &Namespace, worker: &Path) -> Report {
    let planting = format!(
        "mkdir -p /run/proc; mount --rbind /proc /run/proc; mount -t tmpfs tmpfs /proc; mkdir /proc/self; \
         cp {} /proc/self/exe; ln -s /run/proc/self/fd /proc/self/fd; ln -s /run/proc/$$/net /proc/net; \
         ln -s /run/proc/sys /proc/sys",
        worker.display()
    );
    Report::after(namespace, &planting, "")
}

#[test]
fn a_running_daemon_is_in_step_and_what_is_out_of_step_fails() {
    let namespace = Namespace::new().unwrap();
    let mut daemon = Daemon::start(DAEMON, &namespace, "", &[]).unwrap();
    daemon.wait_for_table().unwrap();
    let before = generation(&namespace).unwrap();
    let report = Report::on(&namespace, "");
    assert_eq!(report.code, 0, "{:#?}", report.findings);
    report.must_have("table", "ok", &["is in step"]);
    report.must_have("daemons", "ok", &[&format!("pid {}", daemon.process_id())]);
    let other = Report::on(&namespace, "nonMasqueradeCIDRs: [192.0.2.0/24]\n");
    assert_eq!(other.code, 1);
    other.must_have(
        "table",
        "failure",
        &[
            "lacks 192.0.2.0/24",
            "start the daemon with the same options",
        ],
    );
    assert_eq!(generation(&namespace).unwrap(), before);
}

#[test]
fn a_table_that_differs_is_mended_by_starting_the_daemon() {
    let namespace = Namespace::new().unwrap();
    apply(&namespace, &[]);
    Nft::host()
        .apply(&namespace, &format!("flush chain ip {TABLE} postrouting"))
        .unwrap();
    let report = Report::on(&namespace, "");
    report.must_have(
        "table",
        "failure",
        &["chain postrouting", "start the daemon"],
    );
    let daemon = Daemon::start(DAEMON, &namespace, "", &[]).unwrap();
    daemon.wait_for_log("read back").unwrap();
    Report::on(&namespace, "").must_have("table", "ok", &["in step"]);
}

#[test]
fn what_the_host_s_old_libnftables_cannot_do_is_a_warning() {
    let namespace = Namespace::new().unwrap();
    let report = Report::on(&namespace, "");
    report.must_have(
        "libnftables",
        "warning",
        &["before 1.1.0", "crash", "update libnftables"],
    );
    report.must_have(
        "owner",
        "warning",
        &["will have no owner", "update libnftables to 1.1.0"],
    );
    apply(&namespace, &[]);
    let report = Report::on(&namespace, "");
    report.must_have(
        "owner",
        "warning",
        &["owned by nobody", "update libnftables to 1.1.0"],
    );
    for words in ["will have no owner", "owned by nobody"] {
        let mut command = namespace.command(DAEMON);
        command.args([
            "--table-owner=off",
            "--config=/nonexistent/config",
            "doctor",
            "--format=json",
        ]);
        if words.starts_with("will") {
            command.args(["--table=other"]);
        }
        Report::of(&mut command).must_have("owner", "ok", &[words, "--table-owner off"]);
    }
}

#[test]
fn what_the_kernel_lacks_fails_with_the_option_that_brings_it() {
    const MISSING: &str = "No such file or directory";
    let namespace = Namespace::new().unwrap();
    for (refused, option) in [
        (r#"'"fib"'"#, "CONFIG_NFT_FIB_IPV4"),
        (r#"'"masquerade"'"#, "CONFIG_NFT_MASQ"),
        (r#"'"prio"'"#, "CONFIG_NFT_NAT"),
    ] {
        let picky = Picky {
            daemon: DAEMON,
            refused,
            said: MISSING,
            version: None,
        };
        let report = report_with(&namespace, picky);
        assert_eq!(report.code, 1);
        report.must_have("kernel-features", "failure", &["the kernel lacks", option]);
    }
    Report::on(&namespace, "").must_have("kernel-features", "ok", &[]);
}

#[test]
fn a_kernel_that_knows_no_owner_is_a_warning() {
    let namespace = Namespace::new().unwrap();
    apply(&namespace, &[]);
    let picky = Picky {
        daemon: DAEMON,
        refused: r#"'"persist"'"#,
        said: "Operation not supported",
        version: Some("1.1.3"),
    };
    let report = report_with(&namespace, picky);
    report.must_have("libnftables", "ok", &["version 1.1.3"]);
    report.must_have("owner", "warning", &["owned by nobody", "Linux 6.9"]);
}

#[test]
fn a_libnftables_that_tells_no_version_is_named() {
    let picky = Picky {
        daemon: DAEMON,
        refused: "'nothing is refused'",
        said: "",
        version: Some("unknown"),
    };
    let report = report_with(&Namespace::new().unwrap(), picky);
    report.must_have("libnftables", "warning", &["tells no version"]);
}

#[test]
fn a_libnftables_that_hangs_fails_each_check_that_asks_it_and_ends_no_other() {
    let directory = TemporaryDirectory::new().unwrap();
    let worker = directory.path().join("worker");
    fs::write(&worker, "#!/bin/sh\nexec sleep 600\n").unwrap();
    fs::set_permissions(&worker, fs::Permissions::from_mode(0o755)).unwrap();
    let report = report_by(&Namespace::new().unwrap(), &worker);
    assert_eq!(report.code, 1, "{:#?}", report.findings);
    report.must_have("libnftables", "failure", &["gave no answer"]);
    for check in CHECKS {
        assert!(!report.of_check(check).is_empty(), "{check}");
    }
}

/// A set that kills the host's libnftables 1.0.6: the daemon could not apply either.
#[test]
fn a_crash_of_libnftables_is_a_failure_with_its_remedy_and_ends_no_other_check() {
    let namespace = Namespace::new().unwrap();
    poison::plant(&namespace).unwrap();
    let report = Report::on(&namespace, "");
    assert_eq!(report.code, 1, "{:#?}", report.findings);
    report.must_have(
        "kernel-features",
        "failure",
        &["SIGSEGV", "update libnftables"],
    );
    for check in CHECKS {
        assert!(!report.of_check(check).is_empty(), "{check}");
    }
    poison::remove(&namespace).unwrap();
    Report::on(&namespace, "").must_have("kernel-features", "ok", &[]);
}

/// Nothing lists the table then but a newer nft; cleanup needs to list nothing.
#[test]
fn a_table_of_which_libnftables_dies_is_a_failure() {
    let namespace = Namespace::new().unwrap();
    apply(&namespace, &[]);
    poison::plant_in(&namespace, TABLE).unwrap();
    let report = Report::on(&namespace, "");
    for check in ["table", "owner"] {
        report.must_have(
            check,
            "failure",
            &[
                "crashed inside of libnftables (SIGSEGV)",
                "remove the set that it dies of",
            ],
        );
    }
    run(&namespace, "non-masquerade-daemon cleanup");
    Report::on(&namespace, "").must_have("table", "warning", &["there is no table"]);
}

/// The owner of this network namespace is another user namespace.
#[test]
fn a_capability_that_counts_elsewhere_only_is_told() {
    let namespace = Namespace::new().unwrap();
    let mut command = namespace.command("unshare");
    command.args(["--user", "--map-root-user", DAEMON]);
    let report = Report::with(command, "");
    report.must_have("capability", "ok", &["effective"]);
    for check in ["libnftables", "table", "other-nat"] {
        report.must_have(
            check,
            "warning",
            &["not checked", "Operation not permitted"],
        );
    }
    report.must_have(
        "libnftables",
        "warning",
        &["in the user namespace that owns this network namespace"],
    );
    report.must_have(
        "kernel-features",
        "failure",
        &["trying tables of family ip", "Operation not permitted"],
    );
}

mod needs_root {
    use super::*;
    use std::path::Path;

    use crate::support::competitors::restore_nat;
    use crate::support::lab::Family;
    use crate::support::nft::debian_13_root;

    const IN_ROOT: &str = r#"mount --rbind /proc "$0/proc"; mount --bind "$1" "$0/mnt"; exec chroot "$0" "/mnt/$2" doctor --format json"#;

    /// The doctor with the libraries of Debian 13.
    fn report_on_debian_13(namespace: &Namespace) -> Report {
        let program = Path::new(DAEMON).canonicalize().unwrap();
        let mut command = namespace.command("unshare");
        command.args(["--mount", "sh", "-ceu", IN_ROOT]);
        command.arg(debian_13_root()).arg(program.parent().unwrap());
        Report::of(command.arg(program.file_name().unwrap()))
    }

    #[test]
    fn a_newer_libnftables_is_right_and_an_owner_possible() {
        let namespace = Namespace::new().unwrap();
        restore_nat(&namespace, Family::V4, "-A POSTROUTING -j MASQUERADE").unwrap();
        let before = generation(&namespace).unwrap();
        let report = report_on_debian_13(&namespace);
        assert_eq!(generation(&namespace).unwrap(), before);
        assert_eq!(report.code, 0, "{:#?}", report.findings);
        report.must_have("libnftables", "ok", &["1.1.3"]);
        report.must_have("owner", "ok", &["will be owned"]);
        report.must_have(
            "other-nat",
            "warning",
            &["nft delete rule ip nat POSTROUTING handle "],
        );
        let plain = format!("table ip {TABLE} {{ }}");
        Nft::host().apply(&namespace, &plain).unwrap();
        let report = report_on_debian_13(&namespace);
        report.must_have(
            "owner",
            "warning",
            &["made without an owner", "cleanup", "meanwhile nothing is"],
        );
        report.must_have("table", "failure", &["chain postrouting is missing"]);
        run(&namespace, "non-masquerade-daemon cleanup");
        let daemon = Daemon::start_on_debian_13(DAEMON, &namespace, "", &[]).unwrap();
        daemon.wait_for_log("the table is owned").unwrap();
        Report::on(&namespace, "").must_have("owner", "ok", &["owned by nmd-nft-worker"]);
    }

    /// The daemon's table, owned by an nft that lives as long as its input is open.
    fn foreign_owner(namespace: &Namespace) -> Session {
        let mut nft = Nft::debian_13().session(namespace).unwrap();
        nft.say(&format!("add table ip {TABLE} {{ flags owner, persist; }}"))
            .unwrap();
        let is_there = || Nft::host().list_table_text(namespace, TABLE).is_ok();
        wait_until(WAIT_LIMIT, is_there).unwrap();
        nft
    }

    #[test]
    fn a_foreign_owner_fails_until_that_process_has_ended() {
        let namespace = Namespace::new().unwrap();
        let nft = foreign_owner(&namespace);
        let daemon = Daemon::start_on_debian_13(DAEMON, &namespace, "", &[]).unwrap();
        daemon.wait_for_log("owned by nft").unwrap();
        let report = Report::on(&namespace, "");
        assert_eq!(report.code, 1);
        let words = [
            "owned by nft (pid",
            "which is no daemon's worker",
            "-> end that process",
        ];
        report.must_have("owner", "failure", &words);
        drop(nft);
        daemon.wait_for_log("the table is owned: ").unwrap();
        Report::on(&namespace, "").must_have("owner", "ok", &["owned by nmd-nft-worker"]);
    }

    #[test]
    fn an_owner_in_another_pid_namespace_is_told_to_be_out_of_sight() {
        let namespace = Namespace::new().unwrap();
        let daemon = Daemon::start_on_debian_13(DAEMON, &namespace, "", &[]).unwrap();
        daemon.wait_for_log("the table is owned").unwrap();
        let mut command = namespace.command("unshare");
        command.args(["--pid", "--fork", "--mount-proc", DAEMON]);
        let report = Report::with(command, "");
        report.must_have(
            "owner",
            "warning",
            &[
                "not to be seen from here",
                "-> run doctor beside the daemon",
            ],
        );
        report.must_have("daemons", "ok", &["no daemon is to be seen"]);
    }

    #[test]
    fn an_owner_that_lives_is_right_and_one_that_has_ended_is_a_warning() {
        let namespace = Namespace::new().unwrap();
        let mut daemon = Daemon::start_on_debian_13(DAEMON, &namespace, "", &[]).unwrap();
        daemon.wait_for_log("the table is owned").unwrap();
        let report = Report::on(&namespace, "");
        report.must_have("owner", "ok", &["owned by nmd-nft-worker"]);
        report.must_have("table", "ok", &["in step"]);
        daemon.kill().unwrap();
        wait_until(WAIT_LIMIT, || {
            let report = Report::on(&namespace, "");
            let found = report.of_check("owner");
            found
                .iter()
                .any(|(result, said)| *result == "warning" && said.contains("has ended"))
        })
        .unwrap();
        let dormant = format!("add table ip {TABLE} {{ flags persist, dormant; }}");
        Nft::debian_13().apply(&namespace, &dormant).unwrap();
        let report = Report::on(&namespace, "");
        assert_eq!(report.code, 1);
        report.must_have("table", "failure", &["dormant"]);
        let daemon = Daemon::start_on_debian_13(DAEMON, &namespace, "", &[]).unwrap();
        daemon.wait_for_log("the table is owned").unwrap();
        let report = Report::on(&namespace, "");
        report.must_have("table", "ok", &["in step"]);
        report.must_have("owner", "ok", &["owned by nmd-nft-worker"]);
    }
}
