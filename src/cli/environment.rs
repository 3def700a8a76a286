//! Options from the environment.

use std::ffi::OsStr;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, Error};

/// With which the name of each variable begins.
const PREFIX: &str = "NON_MASQUERADE_DAEMON_";

/// What Kubernetes sets in a pod for a Service of the daemon's name, after [`PREFIX`].
const OF_A_SERVICE: [&str; 2] = ["SERVICE_", "PORT"];

/// Takes variables that are empty for ones that are not set: manifests cannot take a variable away.
pub(super) fn without_empty_variables(command: Command) -> Command {
    command.mut_args(|argument| match value_of(&argument) {
        Some(value) if value.is_empty() => argument.env(None::<&str>),
        _ => argument,
    })
}

/// The variables that look like an option's and are none's, so that a slip in a manifest does not go unseen.
pub(super) fn unknown_variables(command: &Command) -> Vec<String> {
    let is_known = |name: &str| {
        let mut known = command.get_arguments().filter_map(Arg::get_env);
        known.any(|known| known == name)
    };
    let is_unknown = |name: &String| {
        let ours = name.strip_prefix(PREFIX);
        ours.is_some_and(|rest| !OF_A_SERVICE.iter().any(|start| rest.starts_with(start)))
            && !is_known(name)
    };
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let mut unknown: Vec<String> = names.filter(is_unknown).collect();
    unknown.sort();
    unknown
}

/// The paths that a variable holds, separated by ':'.
///
/// # Errors
/// Where one of them is empty: a slip, which would otherwise be a file of no name.
pub(super) fn paths(
    variable: &str,
    written: &OsStr,
    mut command: Command,
) -> Result<Vec<PathBuf>, Error> {
    let paths: Vec<PathBuf> = std::env::split_paths(written).collect();
    if paths.iter().any(|path| path.as_os_str().is_empty()) {
        let reason = format!(
            "{variable}={}: an empty path; write one ':' between two paths, and none at the ends",
            written.to_string_lossy()
        );
        return Err(command.error(ErrorKind::InvalidValue, reason));
    }
    Ok(paths)
}

/// The error, which knows options only, with the variable that the wrong value stands in.
pub(super) fn naming_the_variable(mut error: Error, mut command: Command) -> Error {
    // Before that its arguments have no text.
    command.build();
    let of = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        _ => None,
    };
    let (option, written) = (of(ContextKind::InvalidArg), of(ContextKind::InvalidValue));
    let is_meant = |argument: &&Arg| {
        Some(argument.to_string()) == option
            && value_of(argument)
                .is_some_and(|value| Some(&*value.to_string_lossy()) == written.as_deref())
    };
    if let Some(name) = command
        .get_arguments()
        .find(is_meant)
        .and_then(Arg::get_env)
    {
        let tip = format!("the environment has it: {}", name.to_string_lossy());
        let tip = ContextValue::StyledStrs(vec![tip.into()]);
        error.insert(ContextKind::Suggested, tip);
    }
    error
}

fn value_of(argument: &Arg) -> Option<std::ffi::OsString> {
    argument.get_env().and_then(std::env::var_os)
}
