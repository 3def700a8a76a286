//! What the commands do, one file each.

mod bars;
mod check;
mod cleanup;
mod completions;
mod connections;
mod daemon_says;
mod daemons;
mod doctor;
mod explain;
mod features;
mod holder;
mod legacy_nat;
mod listed_rules;
mod look;
mod man;
pub mod other_nat;
mod pods;
mod proc;
mod render;
mod run;
mod status;
mod terminal;
mod uplinks;

use std::io::{self, BufWriter, Write};

use tracing::{error, warn};

use crate::cli::{Command, Options, Parsed};
use crate::config::Config;
use crate::config_source::{self, LoadError, Loaded};
use crate::kernel::capability::{self, NetAdmin};
use crate::kernel::routing;
use crate::policy::Policy;
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
    let Parsed {
        cli,
        klog_flags,
        unknown_variables,
    } = parsed;
    logging::start(&cli.options);
    if !klog_flags.is_empty() {
        warn!(
            "klog's flags have no effect here, --log-level and --log-format have: {}",
            klog_flags.join(" ")
        );
    }
    if !unknown_variables.is_empty() {
        warn!(
            "the environment names what is no option: {}; --help lists the variables",
            unknown_variables.join(" ")
        );
    }
    if cli.command != (Command::Run { once: false }) {
        startup_signals::release();
    }
    match cli.command {
        Command::Run { once: false } => run::daemon(&cli.options),
        Command::Run { once: true } => run::once(&cli.options),
        Command::Check { format, files } => check::check(&cli.options, &files, format),
        Command::Render => render::render(&cli.options),
        Command::Explain {
            from,
            format,
            destinations,
        } => explain::explain(&cli.options, from, &destinations, format),
        Command::Status { format } => status::status(&cli.options, format),
        Command::Connections(asked) => connections::connections(&cli.options, &asked),
        Command::Cleanup => cleanup::cleanup(&cli.options),
        Command::Doctor { format } => doctor::doctor(&cli.options, format),
        Command::Completions { shell } => completions::completions(shell),
        Command::Man => man::man(),
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

/// Says on standard error what is to be known beside what is printed.
fn print_notes(notes: &[String]) {
    for note in notes {
        let _ = writeln!(io::stderr(), "{note}");
    }
}

/// Prints a value as JSON.
fn print_json(value: &impl serde::Serialize) -> ExitStatus {
    let mut output = BufWriter::new(io::stdout().lock());
    let written = serde_json::to_writer_pretty(&mut output, value).map_err(io::Error::from);
    match written
        .and_then(|()| output.write_all(b"\n"))
        .and_then(|()| output.flush())
    {
        Ok(()) => ExitStatus::Done,
        Err(error) => failed(&format!("standard output cannot be written: {error}")),
    }
}

/// Says on standard error why a command has failed.
fn failed(why: &str) -> ExitStatus {
    // Where standard error is closed, the exit code says it.
    let _ = writeln!(io::stderr(), "{why}");
    ExitStatus::Failed
}

/// The configuration that `--config` names.
fn load(options: &Options) -> Result<Loaded, LoadError> {
    config_source::load_patiently(&options.config, &options.flags())
}

/// The configuration and what it means on this machine. Warnings, or what is wrong with it, are said.
fn load_here(options: &Options) -> Result<(Loaded, Policy), ExitStatus> {
    let loaded = load(options).map_err(|error| bad_configuration(&error))?;
    print_warnings(&loaded.warnings);
    let policy = policy_here(&loaded.config);
    print_warnings_here(&policy);
    Ok((loaded, policy))
}

/// Says what is likely not meant by the policy on this machine.
fn print_warnings_here(policy: &Policy) {
    print_warnings(&policy.warnings());
    match uplinks::warnings(policy) {
        Ok(warnings) => print_warnings(&warnings),
        Err(error) => {
            let why = format!("the routes of this machine cannot be read: {error}");
            print_warnings(&[why]);
        }
    }
}

/// What the configuration means on this machine.
fn policy_here(config: &Config) -> Policy {
    let policy = Policy::new(config);
    match routing::addresses_within(&policy.snat_cidrs()) {
        Ok(addresses) => policy.on_node(&addresses),
        Err(error) => {
            let why = format!("the addresses of this machine cannot be read: {error}");
            print_warnings(&[why]);
            policy
        }
    }
}

/// Raises CAP_NET_ADMIN, or says what is to be done.
fn require_net_admin() -> Result<(), ExitStatus> {
    let missing = match capability::raise_net_admin() {
        Ok(NetAdmin::Effective | NetAdmin::Raised) => return Ok(()),
        Ok(NetAdmin::Missing) => capability::remedy(),
        Err(error) => Err(error),
    };
    match missing {
        Ok(remedy) => error!("CAP_NET_ADMIN is missing: {remedy}"),
        Err(error) => error!("the capabilities of this process cannot be read: {error}"),
    }
    Err(ExitStatus::NotPermitted)
}
