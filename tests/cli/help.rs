//! The help of the program and of each command, held to goldens. `make golden` rewrites them: look at the difference.

use std::process::Command;

use crate::DAEMON;
use crate::cli::golden;
use crate::support::outcome::Outcome;

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
    // What goes on in a further line stands deeper.
    let names = listed.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let names = names.filter(|name| !name.is_empty());
    names
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_help_of_the_program_and_of_each_command_is_the_golden() {
    golden::compare("help/non-masquerade-daemon.txt", &help(&["--help"]));
    let commands = commands();
    for command in [
        "run",
        "check",
        "render",
        "explain",
        "status",
        "doctor",
        "cleanup",
        "completions",
        "man",
    ] {
        assert!(
            commands.iter().any(|listed| listed == command),
            "{commands:?}"
        );
    }
    for command in commands {
        let golden = format!("help/{command}.txt");
        golden::compare(&golden, &help(&[&command, "--help"]));
    }
}
