//! klog's flags, which stand in many manifests. They have no effect here, but what klog refuses is refused: a slip in a
//! manifest must not start a daemon.

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::go_arguments::{boolean, dashed};

/// The flags of k8s.io/klog and k8s.io/klog/v2 (`InitFlags`), with '-' as pflag's users write it.
const FLAGS: [(&str, Kind); 15] = [
    ("v", Kind::Level),
    ("vmodule", Kind::LevelOfModules),
    ("logtostderr", Kind::Boolean),
    ("alsologtostderr", Kind::Boolean),
    ("alsologtostderrthreshold", Kind::Severity),
    ("stderrthreshold", Kind::Severity),
    ("legacy-stderr-threshold-behavior", Kind::Boolean),
    ("log-backtrace-at", Kind::SourceLine),
    ("log-dir", Kind::Path),
    ("log-file", Kind::Path),
    ("log-file-max-size", Kind::Size),
    ("skip-headers", Kind::Boolean),
    ("skip-log-headers", Kind::Boolean),
    ("add-dir-header", Kind::Boolean),
    ("one-output", Kind::Boolean),
];

/// What a flag takes, as `Set` of its type in klog.go reads it.
#[derive(Clone, Copy)]
enum Kind {
    Boolean,
    Level,
    LevelOfModules,
    Path,
    Severity,
    Size,
    SourceLine,
}

/// The command, which takes these flags too.
pub(super) fn with_flags(command: Command) -> Command {
    command.args(FLAGS.map(|(name, kind)| kind.argument(name)))
}

/// Those that the command line has.
pub(super) fn given(matches: &ArgMatches) -> Vec<String> {
    let names = FLAGS.iter().map(|(name, _)| *name);
    let given = names.filter(|name| matches.contains_id(name));
    given
        .map(|name| format!("{}{name}", dashed(name)))
        .collect()
}

impl Kind {
    fn argument(self, name: &'static str) -> Arg {
        let argument = Arg::new(name).value_name(self.value_name());
        let argument = argument.value_parser(self.parser());
        let argument = match name {
            "v" => argument.short('v'),
            long => argument.long(long),
        };
        let argument = match self {
            Self::Boolean => argument
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true"),
            _ => argument,
        };
        argument.action(ArgAction::Set).global(true).hide(true)
    }

    fn value_name(self) -> &'static str {
        match self {
            Self::Boolean => "BOOL",
            Self::Level => "INTEGER",
            Self::LevelOfModules => "FILE=N,...",
            Self::Path => "PATH",
            Self::Severity => "SEVERITY",
            Self::Size => "MEGABYTES",
            Self::SourceLine => "FILE:LINE",
        }
    }

    fn parser(self) -> ValueParser {
        match self {
            Self::Boolean => ValueParser::new(boolean),
            Self::Level => ValueParser::new(level),
            Self::LevelOfModules => ValueParser::new(level_of_modules),
            Self::Path => ValueParser::os_string(),
            Self::Severity => ValueParser::new(severity),
            Self::Size => ValueParser::new(size),
            Self::SourceLine => ValueParser::new(source_line),
        }
    }
}

fn level(written: &str) -> Result<i32, String> {
    let level = written.parse();
    level.map_err(|_| "write an integer, such as 2".to_owned())
}

fn severity(written: &str) -> Result<(), String> {
    let names = ["INFO", "WARNING", "ERROR", "FATAL"];
    let is_known = names.iter().any(|name| name.eq_ignore_ascii_case(written));
    match is_known || level(written).is_ok() {
        true => Ok(()),
        false => Err("write INFO, WARNING, ERROR, FATAL or a number".to_owned()),
    }
}

fn size(written: &str) -> Result<u64, String> {
    let size = written.parse();
    size.map_err(|_| "write a number of megabytes, such as 1800".to_owned())
}

/// An empty part is none, as from a comma at the end.
fn level_of_modules(written: &str) -> Result<(), String> {
    let is_good = |part: &str| match part.split_once('=') {
        Some((pattern, written)) => {
            !pattern.is_empty() && level(written).is_ok_and(|level| level >= 0)
        }
        None => part.is_empty(),
    };
    match written.split(',').all(is_good) {
        true => Ok(()),
        false => Err("write file names and levels, such as main=2,net*=1".to_owned()),
    }
}

fn source_line(written: &str) -> Result<(), String> {
    let place = written.split_once(':');
    let is_good = |(file, line): (&str, &str)| {
        file.contains('.') && line.parse::<i64>().is_ok_and(|line| line > 0)
    };
    match place.is_some_and(is_good) {
        true => Ok(()),
        false => Err("write a file and a line, such as main.go:10".to_owned()),
    }
}
