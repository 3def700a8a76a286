//! Arguments as Go's programs take them, made into what clap wants.
//!
//! Manifests written for ip-masq-agent hold Go's spellings (package flag: one dash or two) and the
//! flags of klog. The command is put first, so that options before it and behind it are one list:
//! clap lets the list behind a command replace that before it.

use std::borrow::Cow;
use std::ffi::OsString;
use std::time::Duration;

use crate::config::duration::parse_resync_interval;

/// klog's flags (k8s.io/klog/v2, `InitFlags`), and whether each stands without a value.
const KLOG_FLAGS: [(&str, bool); 14] = [
    ("v", false),
    ("vmodule", false),
    ("stderrthreshold", false),
    ("log_dir", false),
    ("log_file", false),
    ("log_file_max_size", false),
    ("log_backtrace_at", false),
    ("logtostderr", true),
    ("alsologtostderr", true),
    ("add_dir_header", true),
    ("skip_headers", true),
    ("skip_log_headers", true),
    ("one_output", true),
    ("legacy_stderr_threshold_behavior", true),
];

/// Arguments for clap.
pub(super) struct Normal {
    pub(super) arguments: Vec<OsString>,
    /// klog's flags, as written.
    pub(super) klog_flags: Vec<String>,
}

/// A boolean as Go's `strconv.ParseBool` takes it.
pub(super) fn boolean(written: &str) -> Result<bool, String> {
    match written {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("write true or false".to_owned()),
    }
}

/// A duration as Go writes it, or whole seconds, which are what ip-masq-agent-v2 takes (package flag, `Int`).
pub(super) fn resync_interval(written: &str) -> Result<Duration, String> {
    let is_bare = !written.is_empty() && written.bytes().all(|byte| byte.is_ascii_digit());
    let duration = if is_bare {
        Cow::Owned(format!("{written}s"))
    } else {
        Cow::Borrowed(written)
    };
    parse_resync_interval(&duration).map_err(|error| format!("{error}; {}", error.remedy()))
}

/// `program [OPTIONS] [COMMAND] [OPTIONS] [ARGUMENTS]` → `program COMMAND OPTIONS ARGUMENTS`.
pub(super) fn normal(
    arguments: impl IntoIterator<Item = OsString>,
    command: &clap::Command,
) -> Normal {
    let mut remaining = arguments.into_iter();
    let program = remaining.next();
    let mut kept: Vec<OsString> = Vec::new();
    let mut klog_flags = Vec::new();
    let mut options: Vec<OsString> = Vec::new();
    let mut words: Vec<OsString> = Vec::new();
    while let Some(argument) = remaining.next() {
        let Some(flag) = argument.to_str().and_then(Flag::of) else {
            let is_end_of_options = argument == "--";
            kept.push(argument.clone());
            words.push(argument);
            if is_end_of_options {
                words.extend(remaining);
                break;
            }
            continue;
        };
        if let Some(stands_alone) = flag.of_klog() {
            klog_flags.push(argument.to_string_lossy().into_owned());
            if !stands_alone && flag.value.is_none() {
                remaining.next();
            }
            continue;
        }
        let Some(takes_value) = takes_value(command, flag.name) else {
            // Whether the next word is its value or the command is not to be told: clap names it.
            let as_written = program
                .into_iter()
                .chain(kept)
                .chain([argument])
                .chain(remaining);
            return Normal {
                arguments: as_written.collect(),
                klog_flags,
            };
        };
        let has_value = flag.value.is_some();
        options.push(flag.for_clap().into());
        kept.push(argument);
        if takes_value && !has_value {
            let value = remaining.next();
            kept.extend(value.clone());
            options.extend(value);
        }
    }
    let sorted = command_first(options, words);
    Normal {
        arguments: program.into_iter().chain(sorted).collect(),
        klog_flags,
    }
}

/// The command, `run` where there is none and no help is asked for; the options; the command's arguments.
fn command_first(
    options: Vec<OsString>,
    mut words: Vec<OsString>,
) -> impl Iterator<Item = OsString> {
    let asks_for_help = |option: &OsString| {
        ["--help", "-h", "--version", "-V"]
            .iter()
            .any(|help| option == help)
    };
    let command = if words.first().is_some_and(|word| word != "--") {
        Some(words.remove(0))
    } else {
        (!options.iter().any(asks_for_help)).then(|| OsString::from("run"))
    };
    command.into_iter().chain(options).chain(words)
}

/// `-name`, `--name`, `-name=value` or `--name=value`.
struct Flag<'a> {
    name: &'a str,
    value: Option<&'a str>,
}

impl<'a> Flag<'a> {
    fn of(argument: &'a str) -> Option<Self> {
        let flag = argument.strip_prefix("--").or(argument.strip_prefix('-'))?;
        if flag.is_empty() {
            return None;
        }
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (flag, None),
        };
        Some(Self { name, value })
    }

    /// Whether it is one of klog's, and stands without a value.
    fn of_klog(&self) -> Option<bool> {
        let name = self.name.replace('-', "_");
        let found = KLOG_FLAGS.iter().find(|(klog, _)| *klog == name);
        found.map(|&(_, stands_alone)| stands_alone)
    }

    /// One dash before a short name, two before a long one.
    fn for_clap(&self) -> String {
        let dashes = if self.name.chars().count() == 1 {
            "-"
        } else {
            "--"
        };
        match self.value {
            Some(value) => format!("{dashes}{}={value}", self.name),
            None => format!("{dashes}{}", self.name),
        }
    }
}

/// Whether the option takes the next argument for its value; `None`: there is no such option.
fn takes_value(command: &clap::Command, name: &str) -> Option<bool> {
    if ["help", "h", "version", "V"].contains(&name) {
        return Some(false);
    }
    let all = [command].into_iter().chain(command.get_subcommands());
    let option = all
        .flat_map(clap::Command::get_arguments)
        .find(|argument| argument.get_long() == Some(name))?;
    Some(option.get_action().takes_values() && !option.is_require_equals_set())
}
