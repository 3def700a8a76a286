//! Why a request to the worker has no answer.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::Signal;

/// Why a request has no answer. The worker is gone then; the next request starts another one.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// It did not start.
    #[error("the worker {} did not start: {error}; is /proc mounted?", .program.display())]
    Start {
        /// What was to be run.
        program: PathBuf,
        /// Why it was not.
        #[source]
        error: io::Error,
    },
    /// A document that cannot be written as JSON in one line.
    #[error("the worker's request cannot be written: {0}")]
    Request(#[source] serde_json::Error),
    /// It was killed, crashed, or libnftables called `exit()`.
    #[error("the worker {}{}", how_it_ended(*.status), last_words(.said))]
    Ended {
        /// How.
        status: ExitStatus,
        /// The end of its standard error.
        said: String,
    },
    /// It hung.
    #[error("the worker gave no answer within {} s and was killed; the next one gets longer", .deadline.as_secs())]
    Hung {
        /// How long it had.
        deadline: Duration,
    },
    /// It cannot be waited for.
    #[error("the worker cannot be waited for: {0}")]
    Wait(#[source] io::Error),
    /// It answered something else.
    #[error("the worker's answer is not one to the request: {0}")]
    Answer(String),
}

/// What libnftables ("Memory allocation failure") and Rust's `handle_alloc_error` say before they end the process.
const NO_MEMORY: &str = "emory allocation";

impl WorkerError {
    /// It crashed, and not for want of memory: what it was asked for is the cause, and would be again. An `exit()` is no
    /// crash: of a listing, libnftables calls it where memory or a netlink socket is not to be had.
    #[must_use]
    pub fn is_a_crash(&self) -> bool {
        let Self::Ended { status, said } = self else {
            return false;
        };
        // SIGKILL is also how the kernel ends processes where memory is short.
        let crashed = status
            .signal()
            .is_some_and(|signal| signal != Signal::SIGKILL as i32);
        crashed && !said.contains(NO_MEMORY)
    }
}

pub(super) fn how_it_ended(status: ExitStatus) -> String {
    match (status.signal().map(Signal::try_from), status.code()) {
        (Some(Ok(Signal::SIGSEGV)), _) => "crashed inside of libnftables (SIGSEGV): libnftables \
             before 1.1.4 does so where a set of any table on the host was written by a newer nftables; \
             update libnftables or remove that set"
            .to_owned(),
        (Some(Ok(signal)), _) => format!("was killed by {signal}"),
        (Some(Err(_)), _) => format!("was killed: {status}"),
        (None, Some(code)) => format!(
            "ended with exit status {code}: libnftables ends its caller where memory or a netlink socket is not to be had"
        ),
        (None, None) => format!("ended: {status}"),
    }
}

fn last_words(said: &str) -> String {
    match said.trim() {
        "" => String::new(),
        words => format!("; it said: {}", words.replace('\n', " / ")),
    }
}
