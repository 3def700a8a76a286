//! `completions`: what completes the command line in a shell.

use clap::{Arg, ArgAction, Command, CommandFactory, ValueHint};
use clap_complete::{Generator, generate, shells};

use super::{ExitStatus, print};
use crate::cli::{Cli, Shell};

/// Prints the script of a shell.
pub(super) fn completions(shell: Shell) -> ExitStatus {
    print(&match shell {
        Shell::Bash => with_one_name(&script(shells::Bash)),
        Shell::Zsh => script(shells::Zsh),
        Shell::Fish => script(shells::Fish),
    })
}

/// clap_complete 4.6 knows a command by two names where the program's has a hyphen, and then completes nothing behind it (clap-rs/clap 6421).
fn with_one_name(script: &str) -> String {
    let command = Cli::command();
    let name = command.get_name();
    script.replace(&name.replace('-', "__subcmd__"), &name.replace('-', "__"))
}

fn script(generator: impl Generator) -> String {
    let in_words = |command: Command| command.mut_args(in_words);
    let mut command = in_words(Cli::command()).mut_subcommands(in_words);
    let name = command.get_name().to_owned();
    let mut written = Vec::new();
    generate(generator, &mut command, name, &mut written);
    String::from_utf8_lossy(&written).into_owned()
}

/// The argument as shells understand it, which complete one word at a time: behind an option whose value stands in the same
/// word (`--enable-ipv6=true`) comes the command, not a value, and only a path is completed by what the directory holds.
fn in_words(argument: Arg) -> Arg {
    if argument.is_require_equals_set() {
        let flag = argument.require_equals(false).num_args(0);
        return flag.action(ArgAction::SetTrue);
    }
    let is_anything = argument.get_value_hint() == ValueHint::Unknown;
    if is_anything && argument.get_possible_values().is_empty() {
        return argument.value_hint(ValueHint::Other);
    }
    argument
}
