//! The tables equal what the program says of itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use clap::{Arg, CommandFactory};
use non_masquerade_daemon::cli::Cli;

use crate::DAEMON;
use crate::packaging::pages::page::{
    CONFIGURATION, FRONT, Page, RUNNING, TESTS, code_in, repository,
};
use crate::support::daemon::Daemon;
use crate::support::http::get;
use crate::support::netns::{Namespace, succeed};
use crate::support::outcome::Outcome;

const VARIABLE: &str = "NON_MASQUERADE_DAEMON_";
const METRIC: &str = "non_masquerade_daemon_";

/// The code of each row's first cell.
fn named(rows: &[Vec<String>]) -> Vec<&str> {
    rows.iter().flat_map(|row| code_in(&row[0])).collect()
}

/// The row of a flag, but for what it means.
fn row_of(flag: &Arg) -> [String; 3] {
    let values = flag.get_possible_values();
    let value = match flag.get_value_names().unwrap() {
        [name] if name == "FORMAT" => {
            let names: Vec<&str> = values.iter().map(|value| value.get_name()).collect();
            names.join("|")
        }
        names => names.join(" "),
    };
    let is_optional = flag
        .get_num_args()
        .is_some_and(|number| number.min_values() == 0);
    let name = flag.get_long().unwrap();
    let flag_and_value = if is_optional {
        format!("`--{name}[={value}]`")
    } else {
        format!("`--{name} {value}`")
    };
    let variable = flag.get_env().unwrap().to_str().unwrap();
    let defaults = flag
        .get_default_values()
        .iter()
        .map(|value| value.to_str().unwrap());
    let default = defaults.collect::<Vec<_>>().join(" ");
    let default = match default.as_str() {
        "" => String::new(),
        default => format!("`{default}`"),
    };
    let variable = variable.strip_prefix(VARIABLE).unwrap();
    [flag_and_value, format!("`{variable}`"), default]
}

#[test]
fn the_table_of_flags_is_the_help() {
    let command = Cli::command();
    let flags = command
        .get_arguments()
        .filter(|flag| flag.get_env().is_some());
    let mut expected: BTreeSet<[String; 3]> = flags.map(row_of).collect();
    let rows = Page::of(CONFIGURATION).table("flag");
    for row in &rows {
        let mut told: [String; 3] = row[..3].to_vec().try_into().unwrap();
        if told[0].starts_with("`--log-level") {
            // Its default is what another variable says.
            assert_eq!(told[2], "`RUST_LOG`, or else `info`");
            told[2] = String::new();
        }
        assert!(expected.remove(&told), "{told:?} is none of {expected:#?}");
    }
    assert!(expected.is_empty(), "{expected:#?}");
}

#[test]
fn the_table_of_commands_is_the_help() {
    let command = Cli::command();
    let visible = command
        .get_subcommands()
        .filter(|command| !command.is_hide_set());
    let commands: BTreeMap<&str, bool> = visible
        .map(|command| {
            let mut arguments = command.get_arguments();
            let has_format = arguments.any(|argument| argument.get_id() == "format");
            (command.get_name(), has_format)
        })
        .collect();
    let rows = Page::of(FRONT).table("command");
    let told = rows
        .iter()
        .map(|row| (code_in(&row[0])[0], row[3] == "yes"));
    assert_eq!(told.collect::<BTreeMap<_, _>>(), commands);
}

/// Each version says what it changed, and what is new in it is there.
#[test]
fn what_this_version_changed_is_told() {
    let page = Page::of(RUNNING);
    let section = page.section("## Updates");
    let heading = format!(" to {}\n", env!("CARGO_PKG_VERSION"));
    let (_, told) = section.split_once(&heading).unwrap();
    let (_, new) = told.split_once("\nNew are\n").unwrap();
    let help = Outcome::of(Command::new(DAEMON).arg("--help")).output;
    let check = Command::new(DAEMON)
        .args(["check", "--format", "yaml"])
        .output();
    let keys = String::from_utf8(check.unwrap().stdout).unwrap();
    let metrics = Page::of(RUNNING).table(&format!("metric `{METRIC}…`"));
    let metrics = named(&metrics);
    let schemas = ["status", "doctor"].map(|name| {
        let path = format!("manifests/schemas/{name}.schema.json");
        fs::read_to_string(repository().join(path)).unwrap()
    });
    let schemas = schemas.concat();
    for code in code_in(new) {
        let word = code.split(' ').next().unwrap();
        let is_there = help.contains(&format!("\n  {word} "))
            || keys.contains(&format!("\n{word}: "))
            || metrics.contains(&word)
            || (word.starts_with('/') && help.contains(word))
            || schemas.contains(&format!("\"{word}\""));
        assert!(is_there, "{code}");
    }
}

#[test]
fn the_table_of_exit_codes_is_the_help() {
    let help = Outcome::of(Command::new(DAEMON).arg("--help")).output;
    let (_, codes) = help.split_once("Exit codes:\n").unwrap();
    let codes = codes
        .lines()
        .map(|line| line.trim().split_once("  ").unwrap());
    let rows = Page::of(CONFIGURATION).table("exit code");
    assert_eq!(codes.clone().count(), rows.len());
    for ((code, meaning), row) in codes.zip(&rows) {
        assert_eq!(row[0], code);
        let (first, more) = meaning.split_once("; ").unwrap_or((meaning, ""));
        assert!(row[1].starts_with(first), "{meaning}: {row:?}");
        let more = more.replace("status:", "`status`:");
        assert!(row[1].contains(&more), "{meaning}: {row:?}");
    }
    // Which command ends with which.
    for command in Cli::command().get_subcommands() {
        let long = command.get_long_about().map(ToString::to_string);
        let long = long.unwrap_or_default();
        let Some((_, codes)) = long.split_once("Exit code ") else {
            continue;
        };
        for (code, row) in [("3", &rows[3][1]), ("4", &rows[4][1])] {
            let has_it = codes.split([' ', ':']).any(|word| word == code);
            let names = |word: &&str| word.split(' ').next() == Some(command.get_name());
            let is_named = code_in(row).iter().any(names);
            assert_eq!(is_named, has_it, "{code} of {}: {row}", command.get_name());
        }
    }
}

/// The default of a key where it is no flag's, as the front page has it in its file.
#[test]
fn the_defaults_of_keys_are_those_of_the_front_page() {
    let blocks = Page::of(FRONT).blocks();
    let block = blocks
        .iter()
        .find(|block| block.text.starts_with("nonMasq"))
        .unwrap();
    let file: BTreeMap<String, serde_yaml::Value> = serde_yaml::from_str(&block.text).unwrap();
    let rows = Page::of(CONFIGURATION).table("key");
    for row in &rows {
        let [key] = code_in(&row[0])[..] else {
            panic!("{row:?}");
        };
        assert!(block.text.contains(&format!("{key}: ")), "{key}");
        if let [default] = code_in(&row[2])[..]
            && !default.starts_with("--")
        {
            let default: serde_yaml::Value = serde_yaml::from_str(default).unwrap();
            assert_eq!(file.get(key), Some(&default), "{key}");
        }
    }
    let check = |name: &str, text: &str| {
        let path = std::env::temp_dir().join(format!("pages-{}-{name}", std::process::id()));
        fs::write(&path, text).unwrap();
        let checked = Outcome::of(Command::new(DAEMON).arg("check").arg(&path).env_clear());
        fs::remove_file(path).unwrap();
        checked.assert_code(0);
        checked.output.split_once("\n\n").unwrap().1.to_owned()
    };
    assert_eq!(check("written", &block.text), check("empty", ""));
}

/// The names of a metric's labels, but for a histogram's own.
fn labels_of(sample: &str) -> BTreeSet<&str> {
    let Some((_, labels)) = sample.split_once('{') else {
        return BTreeSet::new();
    };
    let names = labels
        .split("\",")
        .filter_map(|label| label.split_once('='));
    let names = names.map(|(name, _)| name.trim_start_matches(','));
    names.filter(|name| *name != "le").collect()
}

#[test]
fn the_table_of_metrics_is_the_page_of_metrics() {
    let namespace = Namespace::new().unwrap();
    let daemon = Daemon::start(DAEMON, &namespace, "", &["--metrics-per-cidr"]).unwrap();
    daemon.wait_for_log("applied and read back").unwrap();
    let page = get(&namespace, "/metrics").unwrap().body;
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let mut metrics: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in types {
        let (name, _) = line.split_once(' ').unwrap();
        let samples = page.lines().filter(|line| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with(['{', ' ', '_']))
        });
        let labels = samples.flat_map(labels_of).collect();
        metrics.insert(name.strip_prefix(METRIC).unwrap(), labels);
    }
    let rows = Page::of(RUNNING).table(&format!("metric `{METRIC}…`"));
    let told = rows.iter().map(|row| {
        let labels = code_in(&row[1]).into_iter().collect();
        (code_in(&row[0])[0], labels)
    });
    assert_eq!(told.collect::<BTreeMap<_, BTreeSet<_>>>(), metrics);
}

#[test]
fn the_table_of_paths_is_what_is_served() {
    let namespace = Namespace::new().unwrap();
    let daemon = Daemon::start(DAEMON, &namespace, "", &[]).unwrap();
    daemon.wait_for_log("serving").unwrap();
    let unknown = get(&namespace, "/nowhere").unwrap().body;
    let words = unknown.split([' ', ',', '\n']);
    let served: BTreeSet<&str> = words.filter(|word| word.starts_with('/')).collect();
    let rows = Page::of(RUNNING).table("path");
    assert_eq!(named(&rows).into_iter().collect::<BTreeSet<_>>(), served);
}

#[test]
fn each_component_and_overlay_is_named() {
    let page = Page::of(RUNNING);
    let section = page.section("### Components and overlays");
    for kind in ["components", "overlays"] {
        for entry in fs::read_dir(repository().join("manifests").join(kind)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let path = format!("`{kind}/{name}`");
            assert!(section.contains(&path), "{path}");
        }
    }
    let rows = page.table("in `manifests`");
    for path in named(&rows) {
        let is_there = repository().join("manifests").join(path).is_dir();
        assert!(
            is_there || path == "manifests" || path == "resources" || !path.contains('/'),
            "{path}"
        );
    }
}

#[test]
fn the_table_of_make_is_its_help() {
    let mut help = Command::new("make");
    help.args(["--silent", "help"]).current_dir(repository());
    let help = String::from_utf8(succeed(&mut help).unwrap().stdout).unwrap();
    let lines = help.lines().filter_map(|line| line.strip_prefix("make "));
    let targets: BTreeSet<&str> = lines.filter_map(|line| line.split(' ').next()).collect();
    let rows = Page::of(TESTS).table("command");
    let of_make = rows.iter().filter(|row| row[0].starts_with("`make"));
    let told = of_make.flat_map(|row| code_in(&row[0]));
    let told: BTreeSet<&str> = told.map(|code| code.trim_start_matches("make ")).collect();
    assert_eq!(told, targets);
}
