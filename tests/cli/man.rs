//! The manual page, held to a golden, and to what a reader looks for in it.

use std::path::Path;
use std::process::Command;

use clap::CommandFactory;
use non_masquerade_daemon::cli::Cli;

use crate::DAEMON;
use crate::cli::golden;
use crate::support::netns::succeed;
use crate::support::outcome::Outcome;

const GOLDEN: &str = "man/non-masquerade-daemon.8";

fn page() -> String {
    // What the environment says is not the default.
    let mut man = Command::new(DAEMON);
    man.arg("man").env("NON_MASQUERADE_DAEMON_TABLE", "another");
    String::from_utf8(succeed(&mut man).unwrap().stdout).unwrap()
}

fn mandoc(arguments: &[&str]) -> String {
    let mut mandoc = Command::new("mandoc");
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    mandoc.args(arguments).arg(goldens.join(GOLDEN));
    // Its exit code counts faults.
    Outcome::of(&mut mandoc).output
}

#[test]
fn the_page_is_the_golden() {
    golden::compare(GOLDEN, &page());
}

/// It has no date: the version says how old it is.
#[test]
fn mandoc_takes_it_and_misses_its_date_alone() {
    let said = mandoc(&["-Tlint", "-Wwarning"]);
    let [fault] = said.lines().collect::<Vec<_>>().try_into().unwrap();
    assert!(fault.contains("WARNING: missing date"), "{fault}");
}

#[test]
fn each_command_option_variable_default_and_exit_code_is_in_it() {
    // In as long lines as there are.
    let shown = mandoc(&["-Tascii", "-Owidth=800"]);
    let shown = without_bold(&shown);
    let command = Cli::command();
    for subcommand in command.get_subcommands() {
        let heading = format!("\n   {}", subcommand.get_name());
        assert!(shown.contains(&heading), "{heading}");
        for argument in subcommand.get_arguments() {
            let name = argument.get_long().map(|long| format!("--{long}"));
            let name = name.unwrap_or_else(|| argument.get_value_names().unwrap()[0].to_string());
            assert!(shown.contains(&name), "{name}");
        }
    }
    for argument in command.get_arguments() {
        let name = format!("--{}", argument.get_long().unwrap());
        let heading = |line: &str| {
            let behind = line.trim_start().strip_prefix(&name);
            behind.is_some_and(|behind| behind.starts_with([' ', '[']))
        };
        let mut lines = shown.lines().skip_while(|line| !heading(line));
        let said = lines.nth(1).unwrap();
        let variable = argument.get_env().unwrap().to_str().unwrap();
        assert!(
            said.ends_with(&format!("Environment: {variable}.")),
            "{said}"
        );
        for default in argument.get_default_values() {
            let default = default.to_str().unwrap();
            let told = format!("Default: {default}. ");
            assert!(default.is_empty() || said.contains(&told), "{said}");
        }
    }
    let codes = command.get_after_long_help().unwrap().to_string();
    for code in codes.lines().skip(1) {
        assert!(shown.contains(code.trim()), "{code}");
    }
}

/// A bold letter is that letter, a backspace, and the letter again.
fn without_bold(text: &str) -> String {
    let mut plain = String::new();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if characters.peek() == Some(&'\u{8}') {
            characters.next();
        } else {
            plain.push(character);
        }
    }
    plain
}
