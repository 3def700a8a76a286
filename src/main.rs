//! argv → logging → command → exit code, nothing else.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::process::ExitCode;

use non_masquerade_daemon::cli;
use non_masquerade_daemon::commands::{self, ExitStatus};
use non_masquerade_daemon::kernel::serve;
use non_masquerade_daemon::startup_signals;

fn main() -> ExitCode {
    startup_signals::hold();
    let mut arguments = std::env::args_os().skip(1);
    let is_worker = arguments
        .next()
        .is_some_and(|argument| argument == serve::WORKER_ARGUMENT);
    if is_worker {
        return serve(arguments.next().as_deref());
    }
    match cli::parse(std::env::args_os()) {
        Ok(parsed) => commands::execute(parsed).into(),
        Err(error) => {
            // Where neither stream can be written, the exit code says it.
            let _ = error.print();
            u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
        }
    }
}

/// The worker has no log of its own: its last words reach the daemon's.
fn serve(name: Option<&OsStr>) -> ExitCode {
    startup_signals::release();
    match serve::serve(name) {
        Ok(()) => ExitStatus::Done.into(),
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitStatus::Failed.into()
        }
    }
}
