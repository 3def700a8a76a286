//! Commands run as they stand, in a namespace. What a test cannot have, a cluster, a container tool, systemd, is stood in
//! for by the programs in `stand_ins`.

use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::DAEMON;
use crate::packaging::pages::SAMPLE;
use crate::packaging::pages::page::{Block, Page, TESTS, code_in, repository};
use crate::packaging::pages::promises::source_of;
use crate::support::daemon::{Daemon, TemporaryDirectory};
use crate::support::netns::{Namespace, succeed};

/// The test `moving_over` runs them, where there is something for them to delete.
const HELD_ELSEWHERE: [&str; 1] = ["iptables-save "];

/// All blocks of commands.
pub(crate) fn blocks() -> Vec<Block> {
    let pages = Page::all();
    let blocks = pages.iter().flat_map(Page::blocks);
    blocks.filter(|block| block.language == "sh").collect()
}

/// A directory with what the repository's has, and a built program.
fn working_directory() -> TemporaryDirectory {
    let directory = TemporaryDirectory::new().unwrap();
    for name in ["Makefile", "daemon-config", "manifests"] {
        symlink(repository().join(name), directory.path().join(name)).unwrap();
    }
    for place in ["target/release", "bin"] {
        let place = directory.path().join(place);
        fs::create_dir_all(&place).unwrap();
        symlink(DAEMON, place.join("non-masquerade-daemon")).unwrap();
    }
    directory
}

fn path_with_stand_ins(directory: &Path) -> std::ffi::OsString {
    let stand_ins = repository().join("tests/packaging/pages/stand_ins");
    let others = env::var_os("PATH").unwrap();
    let first: [PathBuf; 2] = [stand_ins, directory.join("bin")];
    env::join_paths(first.into_iter().chain(env::split_paths(&others))).unwrap()
}

#[test]
fn each_block_of_commands_runs_as_it_stands() {
    let is_held_elsewhere =
        |block: &Block| HELD_ELSEWHERE.iter().any(|of| block.text.starts_with(of));
    let blocks = blocks();
    assert_eq!(
        blocks
            .iter()
            .filter(|block| is_held_elsewhere(block))
            .count(),
        1
    );
    for block in blocks.iter().filter(|block| !is_held_elsewhere(block)) {
        let namespace = Namespace::new().unwrap();
        let directory = working_directory();
        let mut shell = namespace.command("sh");
        shell
            .args(["-euc", &block.text])
            .current_dir(directory.path());
        shell.env("PATH", path_with_stand_ins(directory.path()));
        // In a cluster, the daemon runs already.
        let daemon = block.text.contains(" exec ").then(|| {
            let daemon = Daemon::start(DAEMON, &namespace, SAMPLE, &[]).unwrap();
            daemon.wait_for_log("applied and read back").unwrap();
            shell.env("NON_MASQUERADE_DAEMON_CONFIG", daemon.config_file());
            daemon
        });
        succeed(&mut shell).unwrap_or_else(|error| panic!("{}: {error}", block.page));
        drop(daemon);
    }
}

/// So that the test above can fail.
#[test]
fn a_command_that_is_wrong_fails() {
    for wrong in [
        "make no-such-target",
        "kubectl --namespace=kube-system exec POD -- non-masquerade-daemon stats",
        "target/release/non-masquerade-daemon check daemon-config/configuration",
        "sudo systemctl restart non-masquerade-deamon",
    ] {
        let directory = working_directory();
        let mut shell = Namespace::new().unwrap().command("sh");
        shell.args(["-euc", wrong]).current_dir(directory.path());
        shell.env("PATH", path_with_stand_ins(directory.path()));
        assert!(succeed(&mut shell).is_err(), "{wrong}");
    }
}

/// `cargo` is stood in for too: a test that runs tests would wait for itself.
#[test]
fn tests_that_the_pages_run_are_there() {
    let rows = Page::of(TESTS).table("program");
    let programs: Vec<&str> = rows.iter().flat_map(|row| code_in(&row[0])).collect();
    let blocks = blocks();
    let lines = blocks.iter().flat_map(|block| block.text.lines());
    let tests: Vec<&str> = lines
        .filter_map(|line| line.strip_prefix("cargo test --locked --test "))
        .collect();
    assert_eq!(tests.len(), 3);
    for words in tests {
        let (program, filter) = words.split_once(' ').unwrap_or((words, ""));
        assert!(programs.contains(&program), "{program}");
        let tests = repository().join("tests");
        if let Some(module) = filter.strip_suffix("::") {
            assert!(
                source_of(&tests, &format!("{module}.rs")).is_some(),
                "{module}"
            );
        } else if !filter.is_empty() {
            let flips = fs::read_to_string(source_of(&tests, "flips.rs").unwrap()).unwrap();
            assert!(flips.contains(&format!("fn {filter}(")), "{filter}");
        }
    }
}
