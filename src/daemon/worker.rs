//! The worker as its daemon, or a command, sees it: started when it is first needed, replaced when it has ended, killed when
//! it gives no answer. No second one starts before the first is gone, for it may own the table.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;
use tracing::{debug, info, warn};

use crate::kernel::error::KernelError;
use crate::kernel::libnftables::{Mode, Said};
use crate::kernel::ownership::TableOwner;
use crate::kernel::pass::{PassReport, PassRequest};
use crate::kernel::serve::{Answer, COMMAND_WORKER_NAME, Request, WORKER_ARGUMENT, WORKER_NAME};
use crate::ruleset::{Family, Tables};

/// The program itself, whatever became of the file it was started from, proc(5).
pub const OWN_PROGRAM: &str = "/proc/self/exe";

/// How long a short request may take at first.
const FIRST_DEADLINE: Duration = Duration::from_secs(5);
/// A command asks once, where the daemon tries again.
const DEADLINE_OF_A_COMMAND: Duration = Duration::from_secs(20);
/// A deadline that was missed is doubled up to this: on a node that gives the daemon a hundredth of
/// a core, a deadline that never grows would kill each worker before it is done.
const LONGEST_DEADLINE: Duration = Duration::from_secs(640);
/// A long request may take a second longer for so many bytes: 100,000 elements are 6 MB and take 5 s.
const BYTES_PER_SECOND: usize = 256 * 1024;
/// How long a worker that was killed, or whose output has ended, may take to end.
const ENDING: Duration = Duration::from_millis(500);
/// What is kept of a dead worker's last words, in bytes.
const LAST_WORDS_BYTES: i64 = 4 * 1024;
/// What libnftables ("Memory allocation failure") and Rust's `handle_alloc_error` say before they end the process.
const NO_MEMORY: &str = "emory allocation";
/// EAGAIN: there may be no more processes, fork(2).
pub const PROCESS_LIMIT: io::ErrorKind = io::ErrorKind::WouldBlock;

/// Why a request has no answer. The next request starts another worker.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// It did not start.
    #[error("the worker {} did not start: {}{error}", .program.display(), why_it_did_not_start(.error))]
    Start {
        /// What was to be run.
        program: PathBuf,
        /// Why it was not.
        #[source]
        error: io::Error,
    },
    /// The request cannot be written.
    #[error("the worker's request cannot be written: {0}")]
    Request(#[source] serde_json::Error),
    /// It was killed, crashed, or libnftables called `exit()`.
    #[error("the worker {}{}", how_it_ended(*.status), last_words(.said))]
    Ended {
        /// How.
        status: ExitStatus,
        /// The end of its standard error: what it was about to do, and what libnftables said.
        said: String,
    },
    /// It hung.
    #[error("the worker gave no answer within {} s and was killed{}; the next one gets longer", .deadline.as_secs(), last_words(.said))]
    Hung {
        /// How long it had.
        deadline: Duration,
        /// The end of its standard error.
        said: String,
    },
    /// It was killed, and is there still.
    #[error(
        "the worker (pid {process_id}) was killed and does not end: it is stuck in the kernel; nothing can be changed before it is gone"
    )]
    Stuck {
        /// In this pid namespace.
        process_id: u32,
    },
    /// It cannot be waited for.
    #[error("the worker cannot be waited for: {0}")]
    Wait(#[source] io::Error),
    /// It answered something else.
    #[error("the worker's answer is not one to the request: {0}")]
    Answer(String),
    /// It could not do what it was asked for.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

impl WorkerError {
    /// It crashed, and not for want of memory: what it was asked for is the cause, and would be again.
    #[must_use]
    pub fn is_a_crash(&self) -> bool {
        let Self::Ended { status, said } = self else {
            return false;
        };
        // SIGKILL is also how the kernel ends processes where memory is short.
        let signal = status.signal();
        signal.is_some_and(|signal| signal != Signal::SIGKILL as i32) && !said.contains(NO_MEMORY)
    }
}

/// The worker.
pub struct Worker {
    program: PathBuf,
    name: &'static CStr,
    process: Option<Process>,
    /// The tables that the process knows.
    tables: Option<Arc<Tables>>,
    starts: u32,
    least_deadline: Duration,
    deadline: Duration,
}

/// A worker that runs. Dropped, it is killed.
struct Process {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    standard_error: File,
    is_killed: bool,
}

impl Worker {
    /// A worker that runs `program nft-worker`; none is started yet.
    #[must_use]
    pub fn new(program: PathBuf) -> Self {
        Self {
            program,
            name: WORKER_NAME,
            process: None,
            tables: None,
            starts: 0,
            least_deadline: FIRST_DEADLINE,
            deadline: FIRST_DEADLINE,
        }
    }

    /// The program itself for a command that runs once; see [`COMMAND_WORKER_NAME`].
    #[must_use]
    pub fn of_a_command() -> Self {
        Self {
            name: COMMAND_WORKER_NAME,
            least_deadline: DEADLINE_OF_A_COMMAND,
            deadline: DEADLINE_OF_A_COMMAND,
            ..Self::new(PathBuf::from(OWN_PROGRAM))
        }
    }

    /// How many have been started.
    #[must_use]
    pub fn starts(&self) -> u32 {
        self.starts
    }

    /// Of the one that runs, or has ended and was not waited for yet.
    pub(super) fn process_id(&self) -> Option<Pid> {
        let id = self.process.as_ref()?.child.id()?;
        i32::try_from(id).ok().map(Pid::from_raw)
    }

    /// Has it make the kernel's tables these, and only compare those of families that are not in `repairs`.
    ///
    /// # Errors
    /// Where there is no answer. Whether anything took effect is then unknown.
    pub async fn pass(
        &mut self,
        tables: &Arc<Tables>,
        repairs: Vec<Family>,
        table_owner: TableOwner,
    ) -> Result<PassReport, WorkerError> {
        let process = self.take_process()?;
        let are_known = self.tables.as_ref() == Some(tables);
        let request = Request::Pass(Box::new(PassRequest {
            tables: (!are_known).then(|| Tables::clone(tables)),
            repairs,
            table_owner,
        }));
        match self.ask(process, &request).await? {
            Answer::Pass(report) => {
                self.tables = Some(Arc::clone(tables));
                Ok(report)
            }
            other => Err(of_another_kind(&other)),
        }
    }

    /// Has libnftables take a document.
    ///
    /// # Errors
    /// Where there is no answer. What libnftables refuses is an answer.
    pub async fn take(&mut self, document: &str, mode: Mode) -> Result<Said, WorkerError> {
        let process = self.take_process()?;
        let request = Request::Take(document.to_owned(), mode);
        match self.ask(process, &request).await? {
            Answer::Said(said) => Ok(said),
            other => Err(of_another_kind(&other)),
        }
    }

    /// The process has a place in here again when it may go on, or is stuck.
    async fn ask(
        &mut self,
        mut process: Process,
        request: &Request,
    ) -> Result<Answer, WorkerError> {
        let mut line = serde_json::to_vec(request).map_err(WorkerError::Request)?;
        line.push(b'\n');
        let bytes = u64::try_from(line.len() / BYTES_PER_SECOND).unwrap_or(u64::MAX);
        let deadline = self.deadline.saturating_add(Duration::from_secs(bytes));
        let asked = Instant::now();
        let error = match timeout(deadline, process.exchange(&line)).await {
            Ok(Ok(Some(answer))) => {
                self.process = Some(process);
                if let Answer::Failed(error) = answer {
                    return Err(WorkerError::Kernel(error));
                }
                // What takes long has as much time as it needs, or each pass would begin with the end of a worker.
                self.deadline = self
                    .least_deadline
                    .max(2 * asked.elapsed())
                    .min(LONGEST_DEADLINE);
                return Ok(answer);
            }
            Ok(Err(error)) => WorkerError::Answer(error.to_string()),
            Ok(Ok(None)) => match timeout(ENDING, process.child.wait()).await {
                Ok(Ok(status)) => {
                    let said = process.last_words();
                    return Err(WorkerError::Ended { status, said });
                }
                Ok(Err(error)) => WorkerError::Wait(error),
                Err(_elapsed) => WorkerError::Answer("it closed its output".to_owned()),
            },
            Err(_elapsed) => {
                self.deadline = (self.deadline * 2).min(LONGEST_DEADLINE);
                let said = process.last_words();
                WorkerError::Hung { deadline, said }
            }
        };
        if process.kill().await {
            return Err(error);
        }
        // This is told before all else.
        let error = process.stuck();
        self.process = Some(process);
        Err(error)
    }

    /// Takes the one that runs, or starts one where there is none.
    ///
    /// # Errors
    /// Where there is one that was killed, and is there still.
    fn take_process(&mut self) -> Result<Process, WorkerError> {
        if let Some(process) = &mut self.process {
            match process.child.try_wait().map_err(WorkerError::Wait)? {
                None if process.is_killed => return Err(process.stuck()),
                Some(status) => {
                    process.say_that_it_ended(status);
                    self.process = None;
                }
                None => {}
            }
        }
        if let Some(process) = self.process.take() {
            return Ok(process);
        }
        let started = Process::start(&self.program, self.name);
        let started = started.map_err(|error| WorkerError::Start {
            program: self.program.clone(),
            error,
        })?;
        self.tables = None;
        self.starts = self.starts.saturating_add(1);
        Ok(started)
    }

    /// Waits until the worker, of which nothing is asked, has ended, also one that is stuck. For ever where there is none.
    pub async fn ended(&mut self) {
        let Some(process) = &mut self.process else {
            return std::future::pending().await;
        };
        match process.child.wait().await {
            Ok(status) => process.say_that_it_ended(status),
            Err(error) => warn!("{}", WorkerError::Wait(error)),
        }
        self.process = None;
    }

    /// Ends the worker, so that nothing is owned by its socket any more when this returns, if it ends in time: one that is
    /// in the middle of a commit ends when the kernel is done with that.
    pub async fn close(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().await;
        }
    }
}

impl Process {
    fn start(program: &PathBuf, name: &CStr) -> io::Result<Self> {
        // No pipe: nobody has to read it in time.
        let standard_error = File::from(memfd_create(c"standard error", MFdFlags::MFD_CLOEXEC)?);
        let append = FcntlArg::F_SETFL(OFlag::O_APPEND);
        fcntl(&standard_error, append)?;
        let mut child = Command::new(program)
            .arg0(name.to_string_lossy().as_ref())
            .arg(WORKER_ARGUMENT)
            .arg(name.to_string_lossy().as_ref())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(standard_error.try_clone()?)
            .kill_on_drop(true)
            .spawn()?;
        let missing = || io::Error::other("a standard stream is missing");
        Ok(Self {
            requests: child.stdin.take().ok_or_else(missing)?,
            answers: BufReader::new(child.stdout.take().ok_or_else(missing)?),
            child,
            standard_error,
            is_killed: false,
        })
    }

    /// `None`: a stream is at its end.
    async fn exchange(&mut self, request: &[u8]) -> serde_json::Result<Option<Answer>> {
        let mut line = Vec::new();
        let is_over = self.requests.write_all(request).await.is_err()
            || self.answers.read_until(b'\n', &mut line).await.is_err();
        if is_over || !line.ends_with(b"\n") {
            return Ok(None);
        }
        serde_json::from_slice(&line).map(Some)
    }

    /// Kills it, and tells whether it has ended soon after.
    async fn kill(&mut self) -> bool {
        self.is_killed = true;
        if let Err(error) = self.child.start_kill() {
            debug!("the worker cannot be killed: {error}");
        }
        timeout(ENDING, self.child.wait()).await.is_ok()
    }

    /// Nothing was asked of it, so nothing has failed.
    fn say_that_it_ended(&self, status: ExitStatus) {
        if self.is_killed {
            info!("the worker that was stuck in the kernel has ended; it is replaced");
        } else {
            let how = how_it_ended(status);
            warn!("the worker {how} while it was idle; it is replaced");
        }
    }

    fn stuck(&self) -> WorkerError {
        WorkerError::Stuck {
            process_id: self.child.id().unwrap_or_default(),
        }
    }

    /// The end of what it has said since it was asked. A courtesy: without it the status stands for itself.
    fn last_words(&mut self) -> String {
        let mut said = Vec::new();
        let tail = SeekFrom::End(-LAST_WORDS_BYTES);
        let at = self.standard_error.seek(tail);
        let _ = at.or_else(|_shorter| self.standard_error.seek(SeekFrom::Start(0)));
        let _ = self.standard_error.read_to_end(&mut said);
        String::from_utf8_lossy(&said).into_owned()
    }
}

fn of_another_kind(answer: &Answer) -> WorkerError {
    WorkerError::Answer(format!("it is to another: {answer:?}"))
}

fn why_it_did_not_start(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "is /proc mounted? ",
        PROCESS_LIMIT => "the limit of processes is reached (podPidsLimit, RLIMIT_NPROC): ",
        _ => "",
    }
}

fn how_it_ended(status: ExitStatus) -> String {
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
        words => format!("; its last words: {}", words.replace('\n', " / ")),
    }
}
