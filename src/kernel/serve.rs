//! The worker: a process of its own that alone talks to nf_tables.
//!
//! libnftables may call `exit()` inside of its caller (an over-long comment, no memory, no socket)
//! and may crash it (one set of another table, written by nftables ≥ 1.1.2, makes 1.0.6 call a NULL
//! pointer on any apply). In a process of its own each of these is an error value. The process is
//! long-lived rather than forked per call, because the netlink socket of its one context is what
//! owns the table.
//!
//! The daemon writes requests to the worker's standard input, the worker answers on its standard output, a line of JSON
//! each. Before it enters libnftables it says on standard error what it is about to do.

use std::ffi::{CStr, OsStr};
use std::io::{self, BufRead, Write};
use std::os::unix::ffi::OsStrExt;

use nix::sys::prctl;
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::unistd::{Whence, ftruncate, lseek};
use serde::{Deserialize, Serialize};

use super::capability;
use super::error::KernelError;
use super::ffi::give_freed_memory_back;
use super::libnftables::{Mode, Said};
use super::pass::{Kernel, PassReport, PassRequest};

/// The argument that makes the program a worker; the next one is its name.
pub const WORKER_ARGUMENT: &str = "nft-worker";

/// The worker's name in ps(1); `TASK_COMM_LEN` leaves 15 bytes, prctl(2).
pub const WORKER_NAME: &CStr = c"nmd-nft-worker";

/// The worker's name where it is a command's: to a daemon what it commits is anyone's change.
pub const COMMAND_WORKER_NAME: &CStr = c"nmd-nft-command";

/// What the worker is asked.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// A pass over the tables.
    Pass(Box<PassRequest>),
    /// A document for libnftables, which a command wants listed or judged.
    Take(String, Mode),
}

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// To [`Request::Pass`].
    Pass(PassReport),
    /// To [`Request::Take`].
    Said(Said),
    /// The request could not be done at all.
    Failed(KernelError),
}

/// Why a worker ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The signals could not be set up.
    #[error("the worker cannot set up its signals: {0}")]
    Signals(#[source] nix::Error),
    /// Standard input.
    #[error("the worker cannot read its requests: {0}")]
    Read(#[source] io::Error),
    /// No request, or not one of ours.
    #[error("the worker was sent what is no request: {0}")]
    Request(#[source] serde_json::Error),
    /// Standard output.
    #[error("the worker cannot write its answer: {0}")]
    Write(#[source] io::Error),
}

/// Answers requests until standard input ends, as it does when the daemon goes; `name` is what ps(1) shows.
///
/// # Errors
/// Where the process cannot be set up, or its streams carry something else.
pub fn serve(name: Option<&OsStr>) -> Result<(), ServeError> {
    set_up_process(name).map_err(ServeError::Signals)?;
    // Without the capability the kernel says so itself, to each request.
    let _ = capability::raise_net_admin();
    let mut kernel = None;
    let mut requests = io::stdin().lock();
    let mut answers = io::stdout().lock();
    loop {
        let mut line = String::new();
        requests.read_line(&mut line).map_err(ServeError::Read)?;
        // A daemon that is killed while it writes leaves a line that is cut.
        if !line.ends_with('\n') {
            return Ok(());
        }
        forget_what_was_said();
        let request = serde_json::from_str(&line).map_err(ServeError::Request)?;
        let answer = answer(&mut kernel, request).unwrap_or_else(Answer::Failed);
        let mut answer =
            serde_json::to_vec(&answer).map_err(|error| ServeError::Write(error.into()))?;
        answer.push(b'\n');
        answers
            .write_all(&answer)
            .and_then(|()| answers.flush())
            .map_err(ServeError::Write)?;
        drop(answer);
        // Nobody waits for it.
        give_freed_memory_back();
    }
}

/// `kernel`: none is opened yet. Where none can be, as without the kernel's module, the next request tries again.
fn answer(kernel: &mut Option<Kernel>, request: Request) -> Result<Answer, KernelError> {
    let kernel = match kernel {
        Some(kernel) => kernel,
        closed => closed.insert(Kernel::new()?),
    };
    Ok(match request {
        Request::Pass(request) => Answer::Pass(kernel.pass(*request)),
        Request::Take(document, mode) => Answer::Said(kernel.take(&document, mode)?),
    })
}

/// Standard error is the daemon's file in memory, which would grow: libnftables 1.0.6 says something each time that it
/// lists a rule with a chain in it. It is none where a person has started the worker.
fn forget_what_was_said() {
    if ftruncate(io::stderr(), 0).is_ok() {
        let _ = lseek(io::stderr(), 0, Whence::SeekSet);
    }
}

fn set_up_process(name: Option<&OsStr>) -> nix::Result<()> {
    let is_command = name.is_some_and(|name| name.as_bytes() == COMMAND_WORKER_NAME.to_bytes());
    prctl::set_name(if is_command {
        COMMAND_WORKER_NAME
    } else {
        WORKER_NAME
    })?;
    // A worker that hangs in libnftables does not see its standard input end. Set here, not before
    // exec: exec of a file with capabilities clears it (prctl(2)).
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    // A signal to the whole group or control group is the daemon's to judge, which may still want
    // to finish what it does.
    for ignored in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: no handler function is installed, and there is one thread.
        unsafe { signal(ignored, SigHandler::SigIgn) }?;
    }
    Ok(())
}
