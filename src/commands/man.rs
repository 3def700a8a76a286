//! `man`: the manual page. It is one page for all commands, because who opens it looks for a word in it.

use clap::builder::{PossibleValue, StyledStr};
use clap::{Arg, Command, CommandFactory};
use roff::{Roff, bold, roman};

use super::{ExitStatus, failed, print};
use crate::cli::Cli;
use crate::config::{self, Flags};
use crate::in_words;

const FILES: &str = "\
/etc/config/non-masquerade-daemon, or what --config names, is the configuration, YAML or JSON. Every key is optional; these \
are the defaults, without flags:";

const AFTER_THE_DEFAULTS: &str = "\
A changed file counts within milliseconds. A bad one changes nothing: the last good configuration stays in force. The \
command check says what is wrong with a file, and what a good one means.

README.md and daemon-config/README.md in the directory share/doc/non-masquerade-daemon explain each key.";

const ENVIRONMENT: &str = "\
Each option of every command also comes from its variable, which the list above names; the command line counts first. An \
empty variable counts as not set.

RUST_LOG chooses the log level where --log-level does not. With NO_COLOR set to anything, or with TERM set to dumb, a \
terminal gets no colours.";

const SIGNALS: &str = "\
SIGHUP makes the daemon read the configuration and compare the tables at once. SIGTERM and SIGINT end it; the tables stay, \
so that traffic is treated as before, and the next start takes them over. The command cleanup removes them.";

const SEE_ALSO: [&str; 4] = ["nft(8)", "conntrack(8)", "iptables(8)", "systemctl(1)"];

/// roff would leave an argument without quotes out.
const NO_DATE: &str = "\"\"";

/// Prints the page.
pub(super) fn man() -> ExitStatus {
    match defaults() {
        Ok(defaults) => print(&page(&defaults)),
        Err(error) => failed(&format!("the defaults cannot be told: {error}")),
    }
}

/// The file that says what no file does.
fn defaults() -> Result<String, Box<dyn std::error::Error>> {
    let judged = config::judge_together(&[], &Flags::default())?;
    Ok(serde_yaml::to_string(&judged.config)?)
}

fn page(defaults: &str) -> String {
    let mut program = Cli::command().disable_help_subcommand(true);
    // The commands as they are by themselves, without the options of every command.
    let commands: Vec<Command> = program.get_subcommands().cloned().collect();
    program.build();
    let name = program.get_name();
    let mut page = Roff::new();
    let version = format!("{name} {}", program.get_version().unwrap_or_default());
    page.control("TH", [&*name.to_uppercase(), "8", NO_DATE, &version]);
    page.control("SH", ["NAME"]);
    page.text([roman(format!("{name} - {}", told(program.get_about())))]);
    page.control("SH", ["SYNOPSIS"]);
    page.text([bold(name), roman(" [OPTIONS] [COMMAND]")]);
    page.control("SH", ["DESCRIPTION"]);
    paragraphs(&mut page, &told(program.get_long_about()));
    page.control("SH", ["COMMANDS"]);
    for command in commands {
        command_told(&mut page, command.disable_help_flag(true));
    }
    page.control("SH", ["OPTIONS"]);
    options(&mut page, program.get_arguments());
    page.control("SH", ["FILES"]);
    paragraphs(&mut page, FILES);
    page.control("PP", []);
    verbatim(&mut page, defaults.lines());
    page.control("PP", []);
    paragraphs(&mut page, AFTER_THE_DEFAULTS);
    page.control("SH", ["ENVIRONMENT"]);
    paragraphs(&mut page, ENVIRONMENT);
    page.control("SH", ["SIGNALS"]);
    paragraphs(&mut page, SIGNALS);
    page.control("SH", ["EXIT STATUS"]);
    verbatim(
        &mut page,
        told(program.get_after_long_help()).lines().skip(1),
    );
    page.control("SH", ["SEE ALSO"]);
    page.text([roman(SEE_ALSO.join(", "))]);
    page.render()
}

fn command_told(page: &mut Roff, mut command: Command) {
    command.build();
    let usage = command.render_usage().to_string();
    page.control("SS", [usage.trim_start_matches("Usage: ")]);
    let (long, short) = (command.get_long_about(), command.get_about());
    paragraphs(page, &told(long.or(short)));
    options(page, command.get_arguments());
    if let Some(examples) = command.get_after_long_help() {
        page.control("PP", []);
        verbatim(page, examples.to_string().lines());
    }
}

/// Each as its help has it, but in sentences.
fn options<'a>(page: &mut Roff, arguments: impl Iterator<Item = &'a Arg>) {
    for argument in arguments {
        page.control("TP", []);
        let short = argument.get_short();
        let short = short.map_or_else(String::new, |short| format!("-{short}, "));
        page.text([bold(format!("{short}{argument}"))]);
        let mut said = ended(&told(argument.get_long_help().or(argument.get_help())));
        let values = argument.get_possible_values();
        if !values.is_empty() {
            let names = in_words::all(values.iter().map(PossibleValue::get_name), ", ");
            said += &format!(" One of: {names}.");
        }
        for default in argument
            .get_default_values()
            .iter()
            .filter(|value| !value.is_empty())
        {
            said += &format!(" Default: {}.", default.display());
        }
        if let Some(variable) = argument.get_env() {
            said += &format!(" Environment: {}.", variable.display());
        }
        page.text([roman(said)]);
    }
}

/// A text with an empty line between two paragraphs.
fn paragraphs(page: &mut Roff, text: &str) {
    for (index, paragraph) in text.split("\n\n").enumerate() {
        if index > 0 {
            page.control("PP", []);
        }
        page.text([roman(ended(&paragraph.replace('\n', " ")))]);
    }
}

fn verbatim<'a>(page: &mut Roff, lines: impl Iterator<Item = &'a str>) {
    page.control("nf", []);
    for line in lines {
        page.text([roman(line)]);
    }
    page.control("fi", []);
}

/// The help of options and commands has no full stop at its end.
fn ended(said: &str) -> String {
    match said.ends_with(['.', ':']) {
        true => said.to_owned(),
        false => format!("{said}."),
    }
}

fn told(text: Option<&StyledStr>) -> String {
    text.map(ToString::to_string).unwrap_or_default()
}
