//! klog's flags, which stand in many manifests. They have no effect here, but what klog refuses is refused: a slip in a
//! manifest must not start a daemon.

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::go_arguments::{boolean, dashed};
use Kind::{Boolean, Value};

/// The flags of k8s.io/klog and k8s.io/klog/v2 (`InitFlags`), with '-' as pflag's users write it.
const FLAGS: [(&str, Kind); 15] = [
    ("v", LEVEL),
    ("vmodule", LEVELS_OF_FILES),
    ("logtostderr", Boolean),
    ("alsologtostderr", Boolean),
    ("alsologtostderrthreshold", SEVERITY),
    ("stderrthreshold", SEVERITY),
    ("legacy-stderr-threshold-behavior", Boolean),
    ("log-backtrace-at", SOURCE_LINE),
    ("log-dir", PATH),
    ("log-file", PATH),
    ("log-file-max-size", MEGABYTES),
    ("skip-headers", Boolean),
    ("skip-log-headers", Boolean),
    ("add-dir-header", Boolean),
    ("one-output", Boolean),
];

/// What a flag takes, as `Set` of its type in klog.go does.
#[derive(Clone, Copy)]
enum Kind {
    /// Stands alone, too.
    Boolean,
    /// Its name and what to write, in messages, and whether this text is one.
    Value(&'static str, &'static str, fn(&str) -> bool),
}

const LEVEL: Kind = Value("INTEGER", "an integer, such as 2", |text| {
    text.parse::<i32>().is_ok()
});
const LEVELS_OF_FILES: Kind = Value("FILE=N,...", "main=2,net*=1", |text| {
    // A comma at the end does no harm.
    let mut parts = text.split(',').filter(|part| !part.is_empty());
    parts.all(|part| {
        let (file, level) = part.split_once('=').unwrap_or_default();
        !file.is_empty() && level.parse::<i32>().is_ok_and(|level| level >= 0)
    })
});
const MEGABYTES: Kind = Value("MEGABYTES", "a number, such as 1800", |text| {
    text.parse::<u64>().is_ok()
});
const PATH: Kind = Value("PATH", "a path", |_| true);
const SEVERITY: Kind = Value("SEVERITY", "INFO, WARNING, ERROR, FATAL or 0", |text| {
    let mut names = ["INFO", "WARNING", "ERROR", "FATAL"].iter();
    names.any(|name| name.eq_ignore_ascii_case(text)) || text.parse::<i32>().is_ok()
});
const SOURCE_LINE: Kind = Value("FILE:LINE", "main.go:10", |text| {
    let (file, line) = text.split_once(':').unwrap_or_default();
    file.contains('.') && line.parse::<i64>().is_ok_and(|line| line > 0)
});

/// The command, which takes these flags too.
pub(super) fn with_flags(command: Command) -> Command {
    command.args(FLAGS.map(argument))
}

/// Those that the command line has.
pub(super) fn given(matches: &ArgMatches) -> Vec<String> {
    let names = FLAGS.iter().map(|(name, _)| *name);
    let given = names.filter(|name| matches.contains_id(name));
    given
        .map(|name| format!("{}{name}", dashed(name)))
        .collect()
}

fn argument((name, kind): (&'static str, Kind)) -> Arg {
    let argument = Arg::new(name)
        .action(ArgAction::Set)
        .global(true)
        .hide(true);
    let argument = match name {
        "v" => argument.short('v'),
        _ => argument.long(name),
    };
    match kind {
        Boolean => argument
            .value_name("BOOL")
            .value_parser(boolean)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true"),
        Value(value_name, example, takes) => {
            let read = move |text: &str| match takes(text) {
                true => Ok(text.to_owned()),
                false => Err(format!("write {example}")),
            };
            argument.value_name(value_name).value_parser(read)
        }
    }
}
