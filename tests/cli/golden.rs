//! Goldens: a configuration file, the JSON that `render` makes of it, and the table as the real nft
//! lists it once the daemon has applied it; one listing for each version of libnftables. And files that are bad (`bad/`) or odd
//! (`odd/`), each with all that is said of it.
//!
//! `make golden` rewrites them.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::DAEMON;
use crate::support::daemon::{Daemon, TemporaryDirectory};
use crate::support::lab::Family;
use crate::support::netns::{Namespace, succeed};
use crate::support::nft::{Nft, TABLE};
use non_masquerade_daemon::config::{Finding, Flags, judge};

/// Set by `make golden`.
const REWRITE: &str = "REWRITE_GOLDENS";

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// The configuration files, each with the name that its goldens have.
fn configurations() -> Vec<(String, PathBuf)> {
    configurations_in("")
}

fn configurations_in(subdirectory: &str) -> Vec<(String, PathBuf)> {
    let mut found: Vec<(String, PathBuf)> = fs::read_dir(directory().join(subdirectory))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .map(|path| {
            (
                path.file_stem().unwrap().to_string_lossy().into_owned(),
                path,
            )
        })
        .collect();
    found.sort();
    assert!(found.len() >= 4, "{found:?}");
    found
}

/// Fails unless this is what the golden of that name holds.
#[track_caller]
pub(super) fn compare(golden: &str, actual: &str) {
    let path = directory().join(golden);
    if std::env::var_os(REWRITE).is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, actual).unwrap();
        return;
    }
    let expected = fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{golden}: {error}; `make golden` writes it"));
    assert!(
        expected == actual,
        "{golden} differs.\nexpected:\n{expected}\nactual:\n{actual}"
    );
}

/// What is rendered and applied depends on the node's addresses where `snatAddressCIDRs` asks for them.
fn node() -> Namespace {
    let node = Namespace::new().unwrap();
    node.ip("address add 192.0.2.1/32 dev lo").unwrap();
    node.ip("address add 2001:db8::1/128 dev lo nodad").unwrap();
    node
}

fn render(configuration: &Path) -> String {
    let mut command = node().command(DAEMON);
    let output = succeed(command.args(["render", "--config"]).arg(configuration));
    String::from_utf8(output.unwrap().stdout).unwrap()
}

/// The daemon's tables, `ip6` where there is one.
fn tables(nft: &Nft, namespace: &Namespace) -> String {
    let ip = nft.list_table_text(namespace, TABLE).unwrap();
    let ip6 = nft.list_table_text_of(Family::V6, namespace, TABLE);
    let both = [ip, ip6.unwrap_or_default()].concat();
    // Who owns a table is told where /proc is mounted.
    let lines = both
        .lines()
        .map(|line| match line.split_once(" # progname") {
            Some((line, _)) => format!("{line}\n"),
            None => format!("{line}\n"),
        });
    lines.collect()
}

/// `nftables v1.0.6 (…)` → `1.0.6`
fn version(nft: &Nft, namespace: &Namespace) -> String {
    let output = succeed(nft.command(namespace).arg("--version")).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace()
        .nth(1)
        .unwrap()
        .trim_start_matches('v')
        .to_owned()
}

#[test]
fn render_prints_each_golden() {
    for (name, configuration) in configurations() {
        let document: serde_json::Value = serde_json::from_str(&render(&configuration)).unwrap();
        let mut pretty = serde_json::to_string_pretty(&document).unwrap();
        pretty.push('\n');
        compare(&format!("{name}.json"), &pretty);
    }
}

fn lines(findings: &[Finding]) -> String {
    let lines = findings.iter().map(|finding| format!("{finding}\n"));
    lines.collect()
}

#[test]
fn each_bad_file_is_said_to_be_what_it_is() {
    for (name, path) in configurations_in("bad") {
        let bytes = fs::read(&path).unwrap();
        let Err(bad) = judge("f", &bytes, &Flags::default()) else {
            panic!("{name} is good");
        };
        compare(&format!("bad/{name}.txt"), &lines(&bad.errors));
    }
}

#[test]
fn what_is_odd_about_a_good_file_is_said() {
    for (name, path) in configurations_in("odd") {
        let bytes = fs::read(&path).unwrap();
        let judged = judge("f", &bytes, &Flags::default());
        let judged = judged.unwrap_or_else(|errors| panic!("{name}: {errors}"));
        compare(&format!("odd/{name}.txt"), &lines(&judged.warnings));
    }
}

#[test]
fn nft_lists_each_golden() {
    for (name, configuration) in configurations() {
        let namespace = node();
        let mut once = namespace.command(DAEMON);
        succeed(once.args(["--once", "--config"]).arg(&configuration)).unwrap();
        let text = tables(&Nft::host(), &namespace);
        let version = version(&Nft::host(), &namespace);
        compare(&format!("{name}.{version}.nft"), &text);
    }
}

/// `nft -j -f -` of what `render` prints gives the same table, less what the portable form cannot say.
#[test]
fn nft_takes_what_render_prints() {
    for (name, configuration) in configurations() {
        let applied = node();
        let mut once = applied.command(DAEMON);
        succeed(once.args(["--once", "--config"]).arg(&configuration)).unwrap();
        let rendered = Namespace::new().unwrap();
        let mut nft = rendered
            .command("nft")
            .args(["-j", "-f", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        nft.stdin
            .take()
            .unwrap()
            .write_all(render(&configuration).as_bytes())
            .unwrap();
        assert!(nft.wait().unwrap().success(), "{name}");
        let list = |namespace| {
            let text = tables(&Nft::host(), namespace);
            let typeofs = [("ip", "ipv4_addr"), ("ip6", "ipv6_addr")];
            typeofs.iter().fold(text, |text, (family, portable)| {
                text.replace(
                    &format!("typeof {family} daddr"),
                    &format!("type {portable}"),
                )
                .replace(
                    &format!("typeof {family} saddr"),
                    &format!("type {portable}"),
                )
            })
        };
        assert_eq!(list(&rendered), list(&applied), "{name}");
    }
}

#[test]
fn render_needs_neither_a_file_nor_a_privilege() {
    let nowhere = TemporaryDirectory::new().unwrap();
    let missing = nowhere.path().join("absent/config");
    assert_eq!(render(&missing), render(&directory().join("defaults.yaml")));
}

/// In the root of Debian 13, which only root can make.
mod needs_root {
    use super::*;

    #[test]
    fn the_nft_of_debian_13_lists_each_golden() {
        for (name, configuration) in configurations() {
            let namespace = node();
            let text = fs::read_to_string(&configuration).unwrap();
            let mut daemon = Daemon::start_on_debian_13(DAEMON, &namespace, &text, &[]).unwrap();
            daemon.wait_for_table().unwrap();
            daemon.wait_for_log("table ip: the table is owned").unwrap();
            if name == "everything" {
                daemon
                    .wait_for_log("table ip6: the table is owned")
                    .unwrap();
            }
            let listed = tables(&Nft::debian_13(), &namespace);
            let version = version(&Nft::debian_13(), &namespace);
            compare(&format!("{name}.{version}.nft"), &listed);
        }
    }
}
