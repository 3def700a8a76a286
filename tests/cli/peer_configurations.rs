//! Configuration files of ip-masq-agent and ip-masq-agent-v2: what becomes of each there and here.
//!
//! What becomes of a file there is written by hand, from the semantics of their sources (`syncConfig`, `validate`,
//! `syncMasqRules` of kubernetes-sigs/ip-masq-agent e300086 and Azure/ip-masq-agent-v2 45758a6; yaml.v2 and
//! encoding/json below them). Files of their own tests and samples are among them.

mod cases;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use ipnet::IpNet;
use non_masquerade_daemon::cli;
use non_masquerade_daemon::config::{Config, Flags};
use non_masquerade_daemon::config_source::{self, LoadError, Loaded};
use non_masquerade_daemon::policy::Policy;
use non_masquerade_daemon::policy::prefix_table::Verdict;

use crate::support::daemon::TemporaryDirectory;
use cases::{Case, Here, Peer, There, cases};

/// What the agent and the daemon are started with, less what only one of them knows.
fn flags(case: &Case) -> Flags {
    let words = ["non-masquerade-daemon"]
        .into_iter()
        .chain(case.flags.split_whitespace());
    let parsed = cli::parse(words.map(OsString::from)).unwrap();
    parsed.cli.options.flags()
}

/// The files where the peer looks for them: ip-masq-agent for one file, ip-masq-agent-v2 in a directory. A text that
/// is none makes a sub-directory.
fn load(case: &Case, directory: &TemporaryDirectory) -> Result<Loaded, LoadError> {
    let config = directory.path().join("config");
    if !case.files.is_empty() {
        fs::create_dir(&config).unwrap();
    }
    for (name, text) in case.files {
        match text {
            Some(text) => fs::write(config.join(name), text).unwrap(),
            None => fs::create_dir(config.join(name)).unwrap(),
        }
    }
    let path: PathBuf = match case.peer {
        Peer::Agent => config.join("ip-masq-agent"),
        Peer::AgentV2 => config,
    };
    config_source::load(&[path], &flags(case)).map_err(|failure| failure.error)
}

/// Whether traffic to `destination` keeps its source address.
fn exempts(config: &Config, destination: IpAddr) -> bool {
    let decided_by = Policy::new(config).decision(destination);
    decided_by.is_some_and(|entry| entry.origin.verdict() == Verdict::NonMasquerade)
}

/// Both sides of both edges of each prefix, and the ends of both families.
fn destinations<'a>(prefixes: impl Iterator<Item = &'a IpNet>) -> BTreeSet<IpAddr> {
    let ends: [IpNet; 2] = ["0.0.0.0/0", "::/0"].map(|all| all.parse().unwrap());
    prefixes
        .copied()
        .chain(ends)
        .flat_map(|prefix| match prefix {
            IpNet::V4(prefix) => {
                let (first, last) = (u32::from(prefix.network()), u32::from(prefix.broadcast()));
                [first.wrapping_sub(1), first, last, last.wrapping_add(1)]
                    .map(|address| IpAddr::V4(Ipv4Addr::from(address)))
            }
            IpNet::V6(prefix) => {
                let (first, last) = (u128::from(prefix.network()), u128::from(prefix.broadcast()));
                [first.wrapping_sub(1), first, last, last.wrapping_add(1)]
                    .map(|address| IpAddr::V6(Ipv6Addr::from(address)))
            }
        })
        .collect()
}

fn parsed(cidrs: &[&str]) -> Vec<IpNet> {
    cidrs.iter().map(|cidr| cidr.parse().unwrap()).collect()
}

/// That the daemon keeps the source address to exactly the destinations in `cidrs`. A family that is off is left
/// alone, as by the peers.
#[track_caller]
fn assert_exempt(case: &Case, loaded: &Loaded, cidrs: &[&str]) {
    let expected = parsed(cidrs);
    let config = &loaded.config;
    for destination in destinations(expected.iter().chain(&config.non_masquerade_cidrs)) {
        if destination.is_ipv6() && !config.enable_ipv6 {
            continue;
        }
        assert_eq!(
            exempts(config, destination),
            expected.iter().any(|cidr| cidr.contains(&destination)),
            "{}: {destination}",
            case.name
        );
    }
}

#[track_caller]
fn assert_refused(case: &Case, loaded: Result<Loaded, LoadError>, said: &str) {
    let Err(error) = loaded else {
        panic!("{}: {loaded:?}", case.name);
    };
    assert!(error.to_string().contains(said), "{}: {error}", case.name);
}

#[test]
fn each_file_means_here_what_it_means_there_or_differs_on_purpose() {
    for case in cases() {
        let directory = TemporaryDirectory::new().unwrap();
        let loaded = load(case, &directory);
        match (&case.here, &case.there) {
            (Here::Same { warnings }, There::Exempt(cidrs)) => {
                let loaded = loaded.unwrap_or_else(|error| panic!("{}: {error}", case.name));
                assert_exempt(case, &loaded, cidrs);
                assert_eq!(
                    loaded.warnings.len(),
                    *warnings,
                    "{}: {:?}",
                    case.name,
                    loaded.warnings
                );
            }
            (Here::Same { .. }, There::Refused) => panic!("{}: say why it is refused", case.name),
            (Here::Refused { said }, There::Refused)
            | (Here::RefusedOnPurpose { said, .. }, There::Exempt(_)) => {
                assert_refused(case, loaded, said);
            }
            (Here::ExemptOnPurpose { cidrs, .. }, _) => {
                let loaded = loaded.unwrap_or_else(|error| panic!("{}: {error}", case.name));
                assert_exempt(case, &loaded, cidrs);
            }
            (Here::Refused { .. }, There::Exempt(_))
            | (Here::RefusedOnPurpose { .. }, There::Refused) => {
                panic!("{}: the row does not fit itself", case.name)
            }
        }
    }
}

#[test]
fn each_difference_is_on_purpose_and_stands_in_the_readme() {
    let readme = include_str!("../../README.md");
    let (_, section) = readme.split_once("### What differs from").unwrap();
    let (section, _) = section.split_once("\n### ").unwrap();
    for case in cases() {
        if let Here::RefusedOnPurpose { row, .. } | Here::ExemptOnPurpose { row, .. } = case.here {
            assert!(
                section.contains(&format!("\n| {row} |")),
                "{}: {row}",
                case.name
            );
        }
    }
}

#[test]
fn there_are_as_many_files_as_the_readme_says() {
    let names: BTreeSet<&str> = cases().map(|case| case.name).collect();
    assert_eq!(names.len(), cases().count());
    assert!(include_str!("../../README.md").contains(&format!("holds {} files", names.len())));
}

#[test]
fn the_resync_interval_of_a_file_counts() {
    for (name, seconds) in [
        ("all keys of its test", 5),
        ("only resyncInterval", 300),
        ("JSON with escapes", 300),
        ("the sample configuration", 60),
        ("a file with resyncInterval", 30),
    ] {
        let case = cases().find(|case| case.name == name).unwrap();
        let loaded = load(case, &TemporaryDirectory::new().unwrap()).unwrap();
        assert_eq!(loaded.config.resync_interval.as_secs(), seconds, "{name}");
    }
}
