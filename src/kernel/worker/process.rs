//! The worker's own side.

use std::borrow::Cow;
use std::ffi::{CStr, FromBytesWithNulError, OsStr};
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigHandler, Signal, signal};

use super::{Answer, COMMAND_WORKER_NAME, Mode, Request, WORKER_NAME, Words};
use crate::kernel::capability;
use crate::kernel::libnftables::{Context, ContextError, Said};

/// What a request may leave allocated for the next one, in bytes.
const KEPT_BYTES: usize = 64 * 1024;
/// How long the worker keeps memory for the next request, in milliseconds. The requests of one repair follow each other
/// within a millisecond, and to fault its pages in anew nearly doubles the time of a listing of 64 elements.
const KEPT_MILLISECONDS: u16 = 50;

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
    Nul(#[from] FromBytesWithNulError),
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
    // Without the capability libnftables says so itself, to each request.
    let _ = capability::raise_net_admin();
    let mut context = Context::new()?;
    // Not `io::stdin()`, whose own buffer would hide from poll(2) what has come.
    let standard_input = io::stdin().as_fd().try_clone_to_owned();
    let mut requests = BufReader::new(File::from(standard_input.map_err(ServeError::Read)?));
    let mut answers = BufWriter::new(io::stdout().lock());
    let mut line = Vec::new();
    loop {
        line.clear();
        line.shrink_to(KEPT_BYTES);
        if requests.buffer().is_empty() && !is_sent_soon(requests.get_ref())? {
            line = Vec::new();
            context.give_memory_back();
        }
        if !read_line(&mut requests, &mut line)? {
            return Ok(());
        }
        let request: Request = serde_json::from_slice(&line).map_err(ServeError::Request)?;
        let Some(said) = run_up_to_a_refusal(&mut context, request, &mut requests, &mut line)?
        else {
            return Ok(());
        };
        let words = said.iter().map(|said| Words {
            succeeded: said.succeeded,
            output: Cow::Borrowed(&said.output),
            error: Cow::Borrowed(&said.error),
        });
        let answer = Answer {
            id: request.id,
            said: words.collect(),
        };
        serde_json::to_writer(&mut answers, &answer)
            .map_err(|error| ServeError::Write(error.into()))?;
        answers
            .write_all(b"\n")
            .and_then(|()| answers.flush())
            .map_err(ServeError::Write)?;
    }
}

/// Whether a request, or the end of them, comes within [`KEPT_MILLISECONDS`].
fn is_sent_soon(requests: &File) -> Result<bool, ServeError> {
    let mut watched = [PollFd::new(requests.as_fd(), PollFlags::POLLIN)];
    match poll(&mut watched, KEPT_MILLISECONDS) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::EINTR) => Ok(true),
        // RLIMIT_NOFILE is less than the one descriptor, poll(2): reading it is not limited.
        Err(Errno::EINVAL) => Ok(false),
        Err(error) => Err(ServeError::Read(error.into())),
    }
}

/// Reads a whole line; false: there is none any more.
fn read_line(requests: &mut BufReader<File>, line: &mut Vec<u8>) -> Result<bool, ServeError> {
    line.clear();
    let read = requests.read_until(b'\n', line);
    read.map_err(ServeError::Read)?;
    Ok(line.ends_with(b"\n"))
}

/// What libnftables said to each document that it ran; `None`: standard input ended before the last.
fn run_up_to_a_refusal(
    context: &mut Context,
    request: Request,
    requests: &mut BufReader<File>,
    line: &mut Vec<u8>,
) -> Result<Option<Vec<Said>>, ServeError> {
    let mut all: Vec<Said> = Vec::new();
    for _ in 0..request.documents {
        if !read_line(requests, line)? {
            return Ok(None);
        }
        if all.last().is_some_and(|said| !said.succeeded) {
            continue;
        }
        line.pop();
        line.push(0);
        let document = CStr::from_bytes_with_nul(line)?;
        all.push(match request.mode {
            Mode::Full => context.run(document),
            Mode::Terse => context.run_tersely(document),
            Mode::DryRun => context.check(document),
        });
    }
    Ok(Some(all))
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
