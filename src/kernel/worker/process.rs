//! The worker's own side.

use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, BufWriter, Write};

use nix::sys::prctl;
use nix::sys::signal::{SigHandler, Signal, signal};

use super::{Answer, Request, WORKER_NAME};
use crate::kernel::capability;
use crate::kernel::libnftables::{Context, ContextError};
use crate::kernel::sys;

/// What a request may leave allocated for the next one, in bytes.
const KEPT_BYTES: usize = 64 * 1024;

/// Why a worker ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The signals could not be set up.
    #[error("the worker cannot set up its signals: {0}")]
    Signals(#[source] nix::Error),
    /// No context.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// Standard input.
    #[error("the worker cannot read its requests: {0}")]
    Read(#[source] io::Error),
    /// No request, or not one of ours.
    #[error("the worker was sent what is no request: {0}")]
    Request(#[source] serde_json::Error),
    /// A NUL in the document.
    #[error("the worker was sent a document with a NUL in it: {0}")]
    Nul(#[from] std::ffi::NulError),
    /// Standard output.
    #[error("the worker cannot write its answer: {0}")]
    Write(#[source] io::Error),
}

/// Answers requests until standard input ends, as it does when the daemon goes.
///
/// # Errors
/// Where the process cannot be set up, or its streams carry something else.
pub fn serve() -> Result<(), ServeError> {
    set_up_process().map_err(ServeError::Signals)?;
    // Without the capability libnftables says so itself, to each request.
    let _ = capability::raise_net_admin();
    let mut context = Context::new()?;
    let mut requests = BufReader::new(io::stdin().lock());
    let mut answers = BufWriter::new(io::stdout().lock());
    let mut line = Vec::new();
    loop {
        line.clear();
        line.shrink_to(KEPT_BYTES);
        let length = requests.read_until(b'\n', &mut line);
        if length.map_err(ServeError::Read)? == 0 {
            return Ok(());
        }
        let request: Request<'_> = serde_json::from_slice(&line).map_err(ServeError::Request)?;
        let document = request.document.get();
        let said = if request.is_dry_run {
            context.check_str(document)?
        } else {
            context.run_str(document)?
        };
        let answer = Answer {
            id: request.id,
            succeeded: said.succeeded,
            output: Cow::Borrowed(&said.output),
            error: Cow::Borrowed(&said.error),
        };
        serde_json::to_writer(&mut answers, &answer)
            .map_err(|error| ServeError::Write(error.into()))?;
        answers
            .write_all(b"\n")
            .and_then(|()| answers.flush())
            .map_err(ServeError::Write)?;
        // Most of the time the worker waits, and what libnftables has freed is not needed for that.
        sys::give_freed_memory_back();
    }
}

fn set_up_process() -> nix::Result<()> {
    prctl::set_name(WORKER_NAME)?;
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
