//! Arguments as Go's programs take them, made into what clap wants.
//!
//! Manifests written for ip-masq-agent hold Go's spellings (package flag: one dash or two; pflag: `_` for `-`). The command
//! is put first, so that options before it and behind it are one list: clap lets the list behind a command replace that
//! before it.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::iter;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use crate::config::duration::parse_resync_interval;

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

/// `program [OPTIONS] [COMMAND] [OPTIONS] [ARGUMENTS]` → `program COMMAND ARGUMENTS OPTIONS`, each option with its value.
pub(super) fn normal(
    arguments: impl IntoIterator<Item = OsString>,
    command: &clap::Command,
) -> Vec<OsString> {
    let mut remaining = arguments.into_iter();
    let program = remaining.next();
    let sorted = Sorted::read(remaining, command).in_order();
    program.into_iter().chain(sorted).collect()
}

/// With how many dashes clap takes an option of this name.
pub(super) fn dashed(name: &str) -> &'static str {
    // Three dashes are no short name, and must not become the two that end the options.
    let is_short = name.chars().count() == 1 && name != "-";
    if is_short { "-" } else { "--" }
}

/// What stands behind the program's name.
#[derive(Default)]
struct Sorted {
    /// The command and its arguments.
    words: Vec<OsString>,
    options: Vec<OsString>,
    /// From `--` on.
    behind: Vec<OsString>,
    help: Option<OsString>,
    version: Option<OsString>,
}

impl Sorted {
    fn read(mut remaining: impl Iterator<Item = OsString>, command: &clap::Command) -> Self {
        let mut sorted = Self::default();
        while let Some(argument) = remaining.next() {
            if argument == "--" {
                sorted.behind = iter::once(argument).chain(remaining).collect();
                break;
            }
            let Some(flag) = Flag::of(&argument) else {
                sorted.words.push(argument);
                continue;
            };
            let mut option = flag.for_clap();
            match (flag.name.as_str(), flag.takes_value(command)) {
                ("h" | "help", _) => sorted.help = Some(option),
                ("V" | "version", _) => sorted.version = Some(option),
                (_, Some(takes_value)) => {
                    if takes_value
                        && flag.value.is_none()
                        && let Some(value) = remaining.next()
                    {
                        option.push("=");
                        option.push(value);
                    }
                    sorted.options.push(option);
                }
                (_, None) => {
                    // Whether the next word is its value or the command cannot be told: clap complains of this one.
                    sorted.options.push(option);
                    break;
                }
            }
        }
        sorted
    }

    /// `run` where there is no command. Help and version are told whatever else stands beside them.
    fn in_order(mut self) -> Vec<OsString> {
        if let Some(help) = self.help {
            self.words.truncate(1);
            self.words.push(help);
            return self.words;
        }
        if let Some(version) = self.version {
            return vec![version];
        }
        if self.words.is_empty() {
            self.words.push("run".into());
        }
        [self.words, self.options, self.behind].concat()
    }
}

/// `-name`, `--name`, `-name=value` or `--name=value`.
struct Flag<'a> {
    name: String,
    value: Option<&'a OsStr>,
}

impl<'a> Flag<'a> {
    fn of(argument: &'a OsStr) -> Option<Self> {
        let bytes = argument.as_bytes();
        let flag = bytes.strip_prefix(b"--").or(bytes.strip_prefix(b"-"))?;
        let mut parts = flag.splitn(2, |byte| *byte == b'=');
        let name = parts.next().filter(|_| !flag.is_empty())?;
        Some(Self {
            name: String::from_utf8_lossy(name).replace('_', "-"),
            value: parts.next().map(OsStr::from_bytes),
        })
    }

    /// One dash before a short name, two before a long one.
    fn for_clap(&self) -> OsString {
        let mut option = OsString::from(format!("{}{}", dashed(&self.name), self.name));
        if let Some(value) = self.value {
            option.push("=");
            option.push(value);
        }
        option
    }

    /// Whether the next argument is its value where it has none; `None`: there is no such option.
    fn takes_value(&self, command: &clap::Command) -> Option<bool> {
        let all = [command].into_iter().chain(command.get_subcommands());
        let option = all
            .flat_map(clap::Command::get_arguments)
            .find(|argument| {
                let short = argument.get_short().map(String::from);
                argument.get_long() == Some(&self.name) || short.as_ref() == Some(&self.name)
            })?;
        Some(option.get_action().takes_values() && !option.is_require_equals_set())
    }
}
