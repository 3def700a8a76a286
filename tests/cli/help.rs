//! The help of the program and of each command, held to goldens. `make golden` rewrites them: look at the difference.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::DAEMON;
use crate::support::outcome::Outcome;

/// Set by `make golden`.
const REWRITE: &str = "REWRITE_GOLDENS";

/// As a user sees it whose environment says nothing of the daemon, where the width of the terminal is not known.
fn help(arguments: &[&str]) -> String {
    let help = Outcome::of(Command::new(DAEMON).args(arguments).env_clear());
    help.assert_code(0);
    help.output
}

/// The commands that the help of the program lists.
fn commands() -> Vec<String> {
    let help = help(&["--help"]);
    let (_, listed) = help.split_once("Commands:\n").unwrap();
    let listed = listed.lines().take_while(|line| !line.is_empty());
    let names = listed.filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next());
    let names = names.filter(|name| name.starts_with(char::is_alphabetic));
    names
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

fn compare(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/help/{name}.txt"));
    if std::env::var_os(REWRITE).is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, actual).unwrap();
        return;
    }
    let expected = fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{name}: {error}; `make golden` writes it"));
    assert!(
        expected == actual,
        "the help of {name} differs.\nexpected:\n{expected}\nactual:\n{actual}"
    );
}

#[test]
fn the_help_of_the_program_and_of_each_command_is_the_golden() {
    compare("non-masquerade-daemon", &help(&["--help"]));
    let commands = commands();
    for command in [
        "run", "check", "render", "explain", "status", "doctor", "cleanup",
    ] {
        assert!(
            commands.iter().any(|listed| listed == command),
            "{commands:?}"
        );
    }
    for command in commands {
        compare(&command, &help(&[&command, "--help"]));
    }
}
