//! The command line as a user meets it: output, exit code, environment; without any privilege.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::Command;

use crate::DAEMON;
use crate::support::daemon::TemporaryDirectory;
use crate::support::outcome::Outcome;

fn daemon(arguments: &str) -> Command {
    let mut command = Command::new(DAEMON);
    command.args(arguments.split_whitespace());
    command
}

fn file(directory: &TemporaryDirectory, text: &str) -> PathBuf {
    let path = directory.path().join("config");
    fs::write(&path, text).unwrap();
    path
}

fn check(text: &str) -> Outcome {
    let directory = TemporaryDirectory::new().unwrap();
    Outcome::of(daemon("check").arg(file(&directory, text)))
}

#[test]
fn check_warns_of_a_file_that_says_nothing() {
    for text in ["", "# enforce: true\n"] {
        let silent = check(text);
        assert_eq!(silent.code, 0, "{}", silent.errors);
        assert!(
            silent
                .errors
                .contains("config: no key in it, so that it says nothing; write keys"),
            "{}",
            silent.errors
        );
    }
    assert_eq!(check("enforce: true").errors, "");
}

#[test]
fn check_prints_the_effective_policy() {
    let good = check("nonMasqueradeCIDRs: [10.0.0.0/8, 10.1.0.0/16]\nresyncInterval: 1h15m30.5s\n");
    assert_eq!(good.code, 0, "{}", good.errors);
    assert_eq!(
        good.output,
        "The configuration is good.\n\
         \n\
         IPv4 traffic, by the longest prefix that contains its destination:\n\
         \x20 10.0.0.0/8      keeps its source address\n\
         \x20 10.1.0.0/16     keeps its source address\n\
         \x20 169.254.0.0/16  keeps its source address (link-local, RFC 3927; masqLinkLocal: false)\n\
         \x20 any other       is masqueraded\n\
         \n\
         IPv6 traffic is left alone (enableIPv6: false).\n\
         \n\
         Traffic bound for a LOCAL address is left alone.\n\
         Other NAT rules that come first may masquerade what is to keep its source address (enforce: false).\n\
         Source ports of what is masqueraded: fully random.\n\
         \n\
         File and kernel are compared every 4530.5s.\n"
    );
    assert_eq!(good.errors, "");
}

#[test]
fn check_of_an_absent_configuration_means_the_defaults_but_a_named_file_must_be_there() {
    let nowhere = TemporaryDirectory::new().unwrap();
    let absent = nowhere.path().join("absent/config");
    let defaults = Outcome::of(daemon("check --config").arg(&absent));
    assert_eq!(defaults.code, 0);
    assert!(
        defaults.output.contains("there is no file"),
        "{}",
        defaults.output
    );
    let named = Outcome::of(daemon("check").arg(&absent));
    assert_eq!(named.code, 3);
    assert!(
        named.errors.contains("there is no file"),
        "{}",
        named.errors
    );
}

#[test]
fn all_errors_of_a_file_come_at_once_with_exit_code_3() {
    let bad = check(
        "nonMasqueradeCidr: []\nnonMasqueradeCIDRs:\n  - 10.0.0.1/8\n  - fd00::/8\n  -\nmasqLinkLocal: maybe\nresyncInterval: 60\n",
    );
    assert_eq!(bad.code, 3);
    assert_eq!(bad.output, "");
    let lines: Vec<&str> = bad.errors.lines().collect();
    assert_eq!(lines.len(), 6, "{}", bad.errors);
    for (line, expected) in [
        (0, "config:1: nonMasqueradeCidr: unknown key"),
        (1, "use 10.0.0.0/8"),
        (2, "config:4: nonMasqueradeCIDRs"),
        (3, "an empty item"),
        (4, "config:6: masqLinkLocal"),
        (5, "60s"),
    ] {
        assert!(
            lines.get(line).is_some_and(|l| l.contains(expected)),
            "{expected}: {}",
            bad.errors
        );
    }
}

#[test]
fn several_files_and_directories_are_judged_together() {
    let directory = TemporaryDirectory::new().unwrap();
    let (a, b) = (directory.path().join("a"), directory.path().join("b"));
    fs::write(
        &a,
        "nonMasqueradeCIDRs: [192.0.2.0/24]\nmasqLinkLocal: true\n",
    )
    .unwrap();
    fs::write(
        &b,
        "nonMasqueradeCIDRs: [198.51.100.0/24]\nmasqLinkLocal: false\n",
    )
    .unwrap();
    let paths = format!("{}:{}", a.display(), b.display());
    for command in [
        daemon("check --config").arg(&a).arg("--config").arg(&b),
        daemon("check --config").arg(directory.path()),
        daemon("check").arg(&a).arg(&b),
        daemon("check").arg(directory.path()),
        daemon("check").env("NON_MASQUERADE_DAEMON_CONFIG", paths),
    ] {
        let good = Outcome::of(command);
        assert_eq!(good.code, 0, "{command:?}: {}", good.errors);
        for cidr in ["  192.0.2.0/24 ", "  198.51.100.0/24 "] {
            assert!(good.output.contains(cidr), "{command:?}: {}", good.output);
        }
        assert_eq!(
            good.errors,
            format!(
                "warning: {}:2: masqLinkLocal: false: without effect, because this key is true in {}:2; \
                 write the same in both files, or leave the key out of one\n",
                b.display(),
                a.display()
            ),
            "{command:?}"
        );
    }
    fs::write(&b, "resyncInterval: 1\nmasqueradeCIDRs: [192.0.2.0/24]").unwrap();
    fs::write(&a, "nonMasqueradeCIDRs: [192.0.2.0/24]\ncidrLimits: 1").unwrap();
    let bad = Outcome::of(daemon("check").arg(directory.path()));
    assert_eq!(
        (bad.code, bad.errors.lines().count()),
        (3, 3),
        "{}",
        bad.errors
    );
    let absent = Outcome::of(daemon("check").arg(&a).arg(directory.path().join("absent")));
    assert_eq!(absent.code, 3);
    assert!(
        absent.errors.contains("there is no file"),
        "{}",
        absent.errors
    );
}

#[test]
fn ipv6_and_port_ranges_come_from_flags_and_the_environment() {
    let directory = TemporaryDirectory::new().unwrap();
    let path = file(&directory, "nonMasqueradeCIDRs: ['fd00::/8']");
    let check = |arguments: &str, environment: &[(&str, &str)]| {
        let mut command = daemon(arguments);
        Outcome::of(command.arg(&path).envs(environment.iter().copied()))
    };
    let off = check("check", &[]);
    assert_eq!(off.code, 3);
    assert!(off.errors.contains("give --enable-ipv6"), "{}", off.errors);
    assert_eq!(check("check --enable-ipv6", &[]).code, 0);
    let variable = "NON_MASQUERADE_DAEMON_ENABLE_IPV6";
    assert_eq!(check("check", &[(variable, "true")]).code, 0);
    assert_eq!(
        check("check --enable-ipv6=false", &[(variable, "1")]).code,
        3
    );
    assert_eq!(check("check", &[(variable, "")]).code, 3);
    let variable = "NON_MASQUERADE_DAEMON_TO_PORTS";
    let ports = check(
        "check --enable-ipv6",
        &[(variable, "1024-29999,32768-65535")],
    );
    assert_eq!(ports.code, 0, "{}", ports.errors);
    assert_eq!(check("check --enable-ipv6", &[(variable, "")]).code, 0);
    let bad = check("check --enable-ipv6", &[(variable, "2048-1024")]);
    assert_eq!(bad.code, 2);
    assert!(bad.errors.contains("write 1024-2048"), "{}", bad.errors);
}

#[test]
fn render_and_run_once_refuse_a_bad_file_with_exit_code_3() {
    let directory = TemporaryDirectory::new().unwrap();
    let path = file(&directory, "nonMasqueradeCIDRs:\n");
    for arguments in ["render --config", "run --once --config", "--once --config"] {
        let bad = Outcome::of(daemon(arguments).arg(&path));
        assert_eq!(bad.code, 3, "{arguments}: {}", bad.errors);
        assert!(
            bad.errors
                .contains("write [] to masquerade every destination"),
            "{}",
            bad.errors
        );
    }
}

#[test]
fn wrong_arguments_end_with_exit_code_2_and_the_reason() {
    for (arguments, reason) in [
        ("--table nat", "incompatible, use 'nft' tool"),
        ("render --table=security", "iptables-nft"),
        ("--masq-chain enforce", "base chains"),
        ("--no-such-flag", "--no-such-flag"),
        ("chekc", "check"),
        ("--random-fully=maybe", "true or false"),
        ("--http-address 80", "127.0.0.1:19110"),
        ("--log-level loud", "loud"),
    ] {
        let wrong = Outcome::of(&mut daemon(arguments));
        assert_eq!(wrong.code, 2, "{arguments}: {}", wrong.errors);
        assert!(
            wrong.errors.contains(reason),
            "{arguments}: {}",
            wrong.errors
        );
    }
}

/// The program without CAP_NET_ADMIN: where it would run the daemon, it ends with exit code 4.
fn without_capability() -> Command {
    // setpriv(1) of util-linux takes the capability from what it executes.
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-net_admin", "--inh-caps=-net_admin", DAEMON]);
    command
}

#[test]
fn what_go_or_klog_refuses_and_what_is_no_command_never_starts_the_daemon() {
    for (arguments, reason) in [
        (&["-v"][..], "a value is required for '-v <INTEGER>'"),
        (
            &["--v", "check"],
            "'check' for '-v <INTEGER>': write an integer",
        ),
        (&["-v="], "-v"),
        (&["-v2"], "'--v2'"),
        (&["--logtostderr=maybe"], "write true or false"),
        (&["--logtostderr", "false"], "'false'"),
        (&["--stderrthreshold", "LOUD"], "'LOUD'"),
        (&["--log_dir"], "--log-dir <PATH>"),
        (&["--random-fully", "false"], "'false'"),
        (&["-random-fully", "-bogus"], "-bogus' found"),
        (&["--bogus", "run"], "'--bogus' found"),
        (&["-=x"], "unexpected argument"),
        (&["--=x"], "unexpected argument"),
        (&["---x"], "'---x'"),
        (&["---"], "'---'"),
        (&["-"], "'-'"),
        (&[""], "''"),
        (&["chekc"], "'check'"),
        (&["--once", "chekc"], "'check'"),
        (&["run", "now"], "'now'"),
        (&["--", "run"], "'run'"),
    ] {
        let wrong = Outcome::of(without_capability().args(arguments));
        assert_eq!(wrong.code, 2, "{arguments:?}: {}", wrong.errors);
        assert!(
            wrong.errors.contains(reason),
            "{arguments:?}: {}",
            wrong.errors
        );
    }
    for started in [&[][..], &["run"], &["-v", "2"], &["--logtostderr"]] {
        let refused = Outcome::of(without_capability().args(started));
        assert_eq!(refused.code, 4, "{started:?}: {}", refused.errors);
    }
}

#[test]
fn a_path_may_be_any_bytes() {
    let directory = TemporaryDirectory::new().unwrap();
    let path = directory.path().join(OsStr::from_bytes(b"caf\xe9"));
    fs::write(&path, "nonMasqueradeCIDRs: [192.0.2.0/24]").unwrap();
    let mut flag = OsStr::new("--config=").to_owned();
    flag.push(&path);
    let started = Outcome::of(without_capability().arg(&flag));
    assert_eq!(started.code, 4, "{}", started.errors);
    let variable = "NON_MASQUERADE_DAEMON_CONFIG";
    for command in [
        daemon("check").arg(&flag),
        daemon("").arg(&flag).arg("check"),
        daemon("--config").arg(&path).arg("check"),
        daemon("check").arg(&path),
        daemon("check").env(variable, &path),
    ] {
        let good = Outcome::of(command);
        assert_eq!(good.code, 0, "{command:?}: {}", good.errors);
        assert!(good.output.contains("192.0.2.0/24"), "{command:?}");
    }
}

#[test]
fn an_empty_path_in_the_variable_is_refused() {
    for written in ["a:", ":a", "a::b", ":"] {
        let mut command = daemon("check");
        let wrong = Outcome::of(command.env("NON_MASQUERADE_DAEMON_CONFIG", written));
        assert_eq!(wrong.code, 2, "{written}: {}", wrong.errors);
        let reason = format!("NON_MASQUERADE_DAEMON_CONFIG={written}: an empty path");
        assert!(wrong.errors.contains(&reason), "{}", wrong.errors);
    }
    let none = Outcome::of(daemon("check").env("NON_MASQUERADE_DAEMON_CONFIG", ""));
    assert_eq!(none.code, 0, "{}", none.errors);
}

#[test]
fn options_come_from_the_environment_and_the_command_line_counts_more() {
    let render = |arguments: &str, environment: &[(&str, &str)]| {
        let rendered = Outcome::of(daemon(arguments).envs(environment.iter().copied()));
        assert_eq!(rendered.code, 0, "{}", rendered.errors);
        rendered.output
    };
    let environment = [
        ("NON_MASQUERADE_DAEMON_TABLE", "from-environment"),
        ("NON_MASQUERADE_DAEMON_RANDOM_FULLY", "F"),
        ("NON_MASQUERADE_DAEMON_NOMASQ_ALL_RESERVED_RANGES", "1"),
        ("NON_MASQUERADE_DAEMON_MASQ_CHAIN", ""),
    ];
    let rendered = render("render --config /nonexistent", &environment);
    assert!(rendered.contains("from-environment"));
    assert!(!rendered.contains("fully-random"));
    // The end of 100.64.0.0/10.
    assert!(rendered.contains("100.127.255.255"));
    assert!(
        rendered.contains(r#""target":"non-masquerade-daemon""#),
        "an empty variable is none"
    );
    let rendered = render(
        "render --table t --random-fully --config /nonexistent",
        &environment,
    );
    assert!(rendered.contains(r#""table":"t""#) && rendered.contains("fully-random"));
    let directory = TemporaryDirectory::new().unwrap();
    let path = file(&directory, "nonMasqueradeCIDRs: [192.0.2.0/24]");
    let config = [("NON_MASQUERADE_DAEMON_CONFIG", path.to_str().unwrap())];
    assert!(render("render", &config).contains("192.0.2.255"));
}

#[test]
fn a_slip_in_the_environment_is_said() {
    let unknown = "NON_MASQUERADE_DAEMON_ENABLE_IPV_6";
    let of_a_service = "NON_MASQUERADE_DAEMON_SERVICE_HOST";
    let environment = [(unknown, "true"), (of_a_service, "192.0.2.1")];
    let taken = Outcome::of(daemon("check --config /nonexistent").envs(environment));
    assert_eq!(taken.code, 0, "{}", taken.errors);
    assert_eq!(taken.errors.lines().count(), 1, "{}", taken.errors);
    assert!(taken.errors.contains(unknown), "{}", taken.errors);
    for (option, value) in [
        ("ENABLE_IPV6", "maybe"),
        ("TABLE", "nat"),
        ("TO_PORTS", "0"),
    ] {
        let variable = format!("NON_MASQUERADE_DAEMON_{option}");
        let refused = Outcome::of(daemon("check").env(&variable, value));
        assert_eq!(refused.code, 2, "{}", refused.errors);
        assert!(refused.errors.contains(&variable), "{}", refused.errors);
    }
    let typed = Outcome::of(daemon("check --table nat").env("NON_MASQUERADE_DAEMON_TABLE", "t"));
    assert!(!typed.errors.contains("_TABLE"), "{}", typed.errors);
}

#[test]
fn the_flags_of_ip_masq_agent_s_manifests_are_taken_with_one_warning() {
    let arguments = "check --masq-chain=IP-MASQ --nomasq-all-reserved-ranges -random-fully=true --v=2 \
                     --logtostderr=true -stderrthreshold INFO --resync-interval=30 --config /nonexistent";
    let taken = Outcome::of(&mut daemon(arguments));
    assert_eq!(taken.code, 0, "{}", taken.errors);
    assert_eq!(taken.errors.lines().count(), 1, "{}", taken.errors);
    assert!(taken.output.contains("every 30s"), "{}", taken.output);
    assert!(
        taken
            .errors
            .contains("have: -v --logtostderr --stderrthreshold"),
        "{}",
        taken.errors
    );
}

#[test]
fn help_names_each_command_option_and_variable() {
    let help = Outcome::of(&mut daemon("--help"));
    assert_eq!(help.code, 0);
    for word in [
        "run",
        "check",
        "render",
        "--config",
        "--table",
        "--masq-chain",
        "--random-fully",
        "--enable-ipv6",
        "--to-ports",
        "NON_MASQUERADE_DAEMON_TO_PORTS",
        "--nomasq-all-reserved-ranges",
        "--http-address",
        "--log-format",
        "--log-level",
        "NON_MASQUERADE_DAEMON_MASQ_CHAIN",
        "/etc/config/non-masquerade-daemon",
    ] {
        assert!(help.output.contains(word), "{word}: {}", help.output);
    }
    assert!(!help.output.contains("nft-worker"));
    let version = Outcome::of(&mut daemon("--version"));
    assert_eq!(
        version.output,
        format!("non-masquerade-daemon {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn output_that_nobody_reads_is_no_crash() {
    let closed = Command::new("sh")
        .args([
            "-c",
            "exec 3>&1; { $0 render --config /nonexistent; echo $? >&3; } | true",
            DAEMON,
        ])
        .output()
        .unwrap();
    let code = String::from_utf8(closed.stdout).unwrap();
    assert!(["0\n", "1\n"].contains(&code.as_str()), "{code}");
}

#[test]
fn without_cap_net_admin_run_ends_with_exit_code_4_and_the_remedy() {
    let no_capability =
        Outcome::of(without_capability().args(["run", "--once", "--config", "/nonexistent"]));
    assert_eq!(no_capability.code, 4, "{}", no_capability.errors);
    for words in [
        "CAP_NET_ADMIN is missing",
        "securityContext.capabilities.add: [NET_ADMIN]",
    ] {
        let said = &no_capability.errors;
        assert!(said.contains(words), "{said}");
    }
    // Commands that need no privilege have none.
    let check = Outcome::of(without_capability().args(["check", "--config", "/nonexistent"]));
    assert_eq!(check.code, 0);
}

/// What flags and several files say together, `check` prints as one file that says the same.
#[test]
fn all_that_was_configured_is_printed_as_one_file() {
    let directory = TemporaryDirectory::new().unwrap();
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    write(
        "a",
        "sourceCIDRs: [10.244.0.0/16]\noutputInterfaces: [eth0]\ncidrLimit: 2\n",
    );
    write(
        "b",
        "masqLinkLocal: yes\nmasqueradeCIDRs: [10.1.0.0/16]\noutputInterfaces: ['*']\ncidrLimit: 2\n",
    );
    let check = |arguments: &str| {
        let checked = Outcome::of(daemon(arguments).current_dir(directory.path()));
        checked.assert_code(0);
        checked
    };
    let yaml = check("check --to-ports 5000-9999 --enable-ipv6 --format yaml a b");
    assert!(
        yaml.errors.contains("warning: b:1: masqLinkLocal"),
        "{}",
        yaml.errors
    );
    assert_eq!(
        yaml.output,
        "nonMasqueradeCIDRs:\n- 10.0.0.0/8\n- 172.16.0.0/12\n- 192.168.0.0/16\n\
         masqueradeCIDRs:\n- 10.1.0.0/16\nsourceCIDRs:\n- 10.244.0.0/16\noutputInterfaces:\n- eth0\n- '*'\n\
         snatAddressCIDRs: []\nmasqNodeTraffic: true\nmasqLinkLocal: true\nmasqLinkLocalIPv6: false\nenableIPv6: true\n\
         randomFully: true\ntoPorts: 5000-9999\nenforce: false\ndropInvalid: false\nexistingConnections: keep\nresyncInterval: 60s\n"
    );
    let json = check("check --to-ports 5000-9999 --enable-ipv6 --format json a b");
    write("yaml", &yaml.output);
    write("json", &json.output);
    let meaning = |files: &str| {
        let checked = check(&format!("check --to-ports 5000-9999 --enable-ipv6 {files}"));
        checked.output.split_once("\n\n").unwrap().1.to_owned()
    };
    assert_eq!(meaning("yaml"), meaning("a b"));
    assert_eq!(meaning("json"), meaning("a b"));
}
