//! What the commands do, one file each.

mod check;
mod doctor;
mod render;
mod run;

use std::io::{self, Write};

use tracing::warn;

use crate::cli::{Command, Options, Parsed};
use crate::config_source::LoadError;
use crate::{logging, startup_signals};

/// What the program's end says to its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// Done.
    Done = 0,
    /// Failed.
    Failed = 1,
    /// Wrong arguments.
    WrongArguments = 2,
    /// Bad configuration.
    BadConfiguration = 3,
    /// CAP_NET_ADMIN is missing.
    NotPermitted = 4,
}

impl From<ExitStatus> for std::process::ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status as u8)
    }
}

/// Does what the command line asks for.
#[must_use]
pub fn execute(parsed: Parsed) -> ExitStatus {
    let Parsed { cli, klog_flags } = parsed;
    logging::start(&cli.options);
    if !klog_flags.is_empty() {
        warn!(
            "klog's flags have no effect here, --log-level and --log-format have: {}",
            klog_flags.join(" ")
        );
    }
    if cli.command != (Command::Run { once: false }) {
        startup_signals::release();
    }
    match cli.command {
        Command::Run { once: false } => run::daemon(&cli.options),
        Command::Run { once: true } => run::once(&cli.options),
        Command::Check { files } => check::check(&cli.options, &files),
        Command::Render => render::render(&cli.options),
        Command::Doctor { format } => doctor::doctor(&cli.options, format),
    }
}

/// Tells on standard error why the configuration is not good.
fn bad_configuration(error: &LoadError) -> ExitStatus {
    // Where standard error is closed, the exit code says it.
    let _ = writeln!(io::stderr(), "{error}");
    ExitStatus::BadConfiguration
}

/// Writes to standard output.
fn print(text: &str) -> ExitStatus {
    let mut output = io::stdout().lock();
    match output
        .write_all(text.as_bytes())
        .and_then(|()| output.flush())
    {
        Ok(()) => ExitStatus::Done,
        Err(error) => {
            let _ = writeln!(io::stderr(), "standard output cannot be written: {error}");
            ExitStatus::Failed
        }
    }
}

/// Says on standard error what is odd about the configuration.
fn print_warnings(warnings: &[impl std::fmt::Display]) {
    for warning in warnings {
        let _ = writeln!(io::stderr(), "warning: {warning}");
    }
}

/// The configuration that `--config` names.
fn load(options: &Options) -> Result<crate::config_source::Loaded, LoadError> {
    crate::config_source::load_patiently(&options.config, &options.flags())
}
