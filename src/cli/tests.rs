//! What command lines mean.

use super::*;

fn parsed(line: &str) -> Parsed {
    let words = ["non-masquerade-daemon"]
        .into_iter()
        .chain(line.split_whitespace());
    parse(words.map(OsString::from)).unwrap_or_else(|error| panic!("{line}: {error}"))
}

fn refused(line: &str) -> String {
    let words = ["non-masquerade-daemon"]
        .into_iter()
        .chain(line.split_whitespace());
    let error = parse(words.map(OsString::from)).unwrap_err();
    assert_eq!(error.exit_code(), 2, "{line}");
    error.to_string()
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn without_a_command_it_runs() {
    assert_eq!(parsed("").cli.command, Command::Run { once: false });
    assert_eq!(parsed("--once").cli.command, Command::Run { once: true });
    assert_eq!(
        parsed("run --once").cli.command,
        Command::Run { once: true }
    );
    assert_eq!(
        parsed("--once run").cli.command,
        Command::Run { once: true }
    );
    assert_eq!(
        parsed("--once=true").cli.command,
        Command::Run { once: true }
    );
    assert_eq!(
        parsed("run --once=F").cli.command,
        Command::Run { once: false }
    );
    assert!(refused("--once check").contains("--once"));
}

#[test]
fn options_stand_before_or_after_the_command() {
    let cli = parsed("--table a check --table b FILE --config x --masq-chain c").cli;
    assert_eq!(cli.options.table, "b");
    assert_eq!(cli.options.masq_chain, "c");
    let files = vec![PathBuf::from("FILE")];
    assert_eq!(
        cli.command,
        Command::Check {
            format: PolicyFormat::Text,
            files
        }
    );
    let with_colon = parsed("--config a:b").cli.options.config;
    assert_eq!(with_colon, [PathBuf::from("a:b")]);
    let before_and_after = parsed("--config a check --config=b").cli.options.config;
    assert_eq!(before_and_after, [PathBuf::from("a"), PathBuf::from("b")]);
    assert_eq!(
        parsed("check").cli.options.config,
        [PathBuf::from(DEFAULT_CONFIG)]
    );
}

#[test]
fn booleans_take_go_s_spellings_and_the_last_counts() {
    for on in ["", "=true", "=1", "=T", "=t", "=TRUE", "=True"] {
        let options = parsed(&format!("--nomasq-all-reserved-ranges{on}"))
            .cli
            .options;
        assert!(options.nomasq_all_reserved_ranges, "{on}");
    }
    for off in ["=false", "=0", "=F", "=f", "=FALSE", "=False"] {
        assert!(
            !parsed(&format!("--random-fully{off}"))
                .cli
                .options
                .random_fully
        );
        assert!(
            !parsed(&format!("-random-fully{off}"))
                .cli
                .options
                .random_fully
        );
    }
    assert!(
        parsed("--random-fully=false --random-fully run")
            .cli
            .options
            .random_fully
    );
    assert!(
        !parsed("--random-fully run --random-fully=0")
            .cli
            .options
            .random_fully
    );
    assert!(refused("--random-fully=yes").contains("yes"));
    assert!(parsed("").cli.options.random_fully);
}

#[test]
fn the_resync_interval_is_a_duration_or_the_seconds_of_ip_masq_agent_v2() {
    let interval = |line| parsed(line).cli.options.flags().resync_interval;
    assert_eq!(interval(""), Flags::default().resync_interval);
    for (line, milliseconds) in [
        ("--v=2 --resync-interval=60", 60_000),
        ("--resync-interval 5 run -resync-interval 90", 90_000),
        ("run --resync-interval=1m30.5s", 90_500),
        ("check --resync-interval 100ms", 100),
    ] {
        assert_eq!(
            interval(line),
            Duration::from_millis(milliseconds),
            "{line}"
        );
    }
    for line in [
        "--resync-interval=0",
        "--resync-interval=99ms",
        "--resync-interval=-5s",
    ] {
        let said = refused(line);
        assert!(
            said.contains("shorter than 100 ms; write a longer"),
            "{said}"
        );
    }
    for line in [
        "--resync-interval=",
        "--resync-interval=1d",
        "--resync-interval=1.5",
    ] {
        assert!(
            refused(line).contains("write a number with ms, s, m or h"),
            "{line}"
        );
    }
}

#[test]
fn ipv6_and_port_ranges_are_flags_of_the_configuration() {
    assert!(!parsed("").cli.options.flags().enable_ipv6);
    assert_eq!(parsed("").cli.options.flags().to_ports, []);
    for on in ["--enable-ipv6", "-enable-ipv6=T", "run --enable-ipv6=1"] {
        assert!(parsed(on).cli.options.flags().enable_ipv6, "{on}");
    }
    let flags = |line| parsed(line).cli.options.flags();
    assert!(!flags("--enable-ipv6 check --enable-ipv6=false").enable_ipv6);
    let ranges = [(1024, 29999), (32768, 65535)].map(|(first, last)| PortRange { first, last });
    for line in [
        "--to-ports 1024-29999,32768-65535",
        "check -to-ports=32768-65535,1024-29999",
        "--to-ports 1 run --to-ports=1024-29999,32768-65535",
    ] {
        assert_eq!(flags(line).to_ports, ranges, "{line}");
    }
    assert_eq!(flags("--to-ports=").to_ports, []);
    assert_eq!(flags("--to-ports 1024 check --to-ports=").to_ports, []);
    let reversed = refused("--to-ports 2048-1024");
    assert!(
        reversed.contains("is reversed; write 1024-2048"),
        "{reversed}"
    );
    assert!(refused("--to-ports=1024-x").contains("write ranges such as"));
}

#[test]
fn klog_s_flags_are_passed_over() {
    let parsed = parsed(
        "--v=2 -v 4 --logtostderr -alsologtostderr=true --vmodule a=1 --log-dir=/x check --stderrthreshold INFO F",
    );
    let files = vec![PathBuf::from("F")];
    assert_eq!(
        parsed.cli.command,
        Command::Check {
            format: PolicyFormat::Text,
            files
        }
    );
    let names = "-v --vmodule --logtostderr --alsologtostderr --stderrthreshold --log-dir";
    assert_eq!(parsed.klog_flags.join(" "), names);
}

#[test]
fn klog_s_flags_take_the_values_that_klog_takes_and_no_others() {
    for (flag, good, bad) in [
        (
            "v",
            &["0", "10", "-1", "+2"][..],
            &["", "check", "1.5", "99999999999"][..],
        ),
        (
            "vmodule",
            &["", "a=1", "a=1,b*=0,"],
            &["a", "a=", "=1", "a=-1", "a=b", "a=1=2"],
        ),
        (
            "stderrthreshold",
            &["INFO", "warning", "Error", "FATAL", "2"],
            &["", "LOUD", "INFO "],
        ),
        ("alsologtostderrthreshold", &["info"], &["x"]),
        (
            "log_backtrace_at",
            &["main.go:10"],
            &["", "main:10", "main.go", "main.go:0", "a.go:x", "a.go:1:2"],
        ),
        ("log_file_max_size", &["0", "1800"], &["", "-1", "1G"]),
        ("log_dir", &["/x", "x=y"], &[]),
        ("log_file", &["/x"], &[]),
        ("logtostderr", &["true", "F"], &["", "maybe", "yes"]),
        ("alsologtostderr", &["1"], &["2"]),
        ("skip_headers", &["T"], &["on"]),
        ("skip_log_headers", &["0"], &["no"]),
        ("add_dir_header", &["FALSE"], &["x"]),
        ("one_output", &["True"], &["x"]),
        ("legacy_stderr_threshold_behavior", &["false"], &["x"]),
    ] {
        let dashed = flag.replace('_', "-");
        for value in good {
            for line in [
                format!("--{flag}={value}"),
                format!("check -{dashed}={value}"),
            ] {
                assert_eq!(parsed(&line).klog_flags.len(), 1, "{line}");
            }
        }
        for value in bad {
            let arguments = [
                "non-masquerade-daemon".to_owned(),
                format!("--{flag}={value}"),
            ];
            let error = parse(arguments.map(OsString::from)).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{flag}={value}");
            assert!(error.to_string().contains(&dashed), "{error}");
        }
    }
    // As Go: what a boolean does not take is the next word, and the value of any other flag may begin with a dash.
    assert!(refused("--logtostderr false").contains("'false'"));
    assert_eq!(parsed("-v -4 check").klog_flags, ["-v"]);
}

#[test]
fn tables_of_iptables_and_names_of_base_chains_are_refused() {
    assert!(refused("--table nat").contains("incompatible"));
    assert!(refused("run --table=filter").contains("iptables-nft"));
    assert!(refused("--masq-chain postrouting").contains("base chains"));
    assert!(refused("--masq-chain enforce").contains("base chains"));
    assert!(refused("--table a{").contains("identifier"));
}

#[test]
fn the_http_address_is_checked() {
    assert_eq!(
        parsed("--http-address off").cli.options.http_address,
        HttpAddress::Off
    );
    assert!(matches!(
        parsed("--http-address=[::1]:80").cli.options.http_address,
        HttpAddress::On(_)
    ));
    assert!(refused("--http-address=localhost").contains("127.0.0.1:19110"));
}

#[test]
fn help_and_version_are_told_wherever_they_stand() {
    for (line, words) in [
        ("-h", "[COMMAND]"),
        ("--help", "[COMMAND]"),
        ("-help", "[COMMAND]"),
        ("help", "[COMMAND]"),
        ("--once -h", "[COMMAND]"),
        ("-h --once --table nat", "[COMMAND]"),
        ("--v=2 --help", "[COMMAND]"),
        ("help check", "check [OPTIONS]"),
        ("check --help", "check [OPTIONS]"),
        ("--help check FILE", "check [OPTIONS]"),
        ("check --table nat FILE -h", "check [OPTIONS]"),
        ("run -h", "run [OPTIONS]"),
        ("--version", "non-masquerade-daemon 0"),
        ("-version", "non-masquerade-daemon 0"),
        ("-V", "non-masquerade-daemon 0"),
        ("check -V FILE", "non-masquerade-daemon 0"),
        ("--once --version", "non-masquerade-daemon 0"),
    ] {
        let arguments = ["non-masquerade-daemon"].into_iter().chain(line.split(' '));
        let error = parse(arguments.map(OsString::from)).unwrap_err();
        assert_eq!(error.exit_code(), 0, "{line}");
        assert!(error.to_string().contains(words), "{line}: {error}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    assert!(refused("chekc").contains("'check'"));
    assert!(refused("chekc --help").contains("'check'"));
    assert!(refused("--tabel x").contains("'--table'"));
    for (line, named) in [
        ("--table x --v=2 --bogus", "'--bogus'"),
        ("-random-fully -bogus", "'--bogus'"),
        ("-random-fully --bogus=1 check", "'--bogus'"),
        ("--bogus check", "'--bogus'"),
        ("check -b", "'-b'"),
        ("-v2", "'--v2'"),
        ("run x", "'x'"),
        ("-- check", "'check'"),
        ("check F --config", "'--config <PATH>'"),
    ] {
        let said = refused(line);
        assert!(said.contains(named), "{line}: {said}");
    }
}

#[test]
fn each_option_written_as_a_key_of_the_file_is_said_to_be_one() {
    let command = Cli::command();
    let options: Vec<&str> = command
        .get_arguments()
        .filter_map(clap::Arg::get_long)
        .collect();
    assert!(options.len() > 10, "{options:?}");
    for option in options.into_iter().filter(|option| *option != "once") {
        let text = format!("{option}: x");
        let bad = crate::config::judge("f", text.as_bytes(), &Flags::default());
        let said = bad.unwrap_err().to_string();
        assert!(!said.contains("remove it"), "{said}");
    }
}
