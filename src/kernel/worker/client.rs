//! The daemon's side of the worker.

use std::ffi::CStr;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::value::RawValue;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;
use tracing::warn;

use super::{Answer, COMMAND_WORKER_NAME, Mode, Request, WORKER_ARGUMENT, WORKER_NAME};
use crate::kernel::libnftables::Said;

/// How long a short request may take at first.
const FIRST_DEADLINE: Duration = Duration::from_secs(5);
/// A long request may take a second longer for so many bytes: 100,000 elements are 9 MB and take 5 s.
const BYTES_PER_SECOND: usize = 256 * 1024;
/// A deadline that was missed is doubled up to this: on a node that gives the daemon a hundredth of
/// a core, a deadline that never grows would kill each worker before it is done.
const LONGEST_DEADLINE: Duration = Duration::from_secs(640);
/// How long a worker whose output has ended may take to end itself.
const ENDING: Duration = Duration::from_millis(500);
/// What is kept of a dead worker's last words, in bytes.
const LAST_WORDS_BYTES: u64 = 4 * 1024;

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
    /// A document that is not JSON.
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
        words => format!("; it said: {}", words.replace('\n', " / ")),
    }
}

/// The worker, started when it is first needed and replaced when it ends or hangs.
pub struct Worker {
    program: PathBuf,
    name: &'static CStr,
    running: Option<Running>,
    /// How many were started.
    number: u32,
    deadline: Duration,
    /// Of the requests since the last success.
    longest: Duration,
}

struct Running {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    errors: ChildStderr,
    last_id: u64,
}

impl Worker {
    /// A worker that runs `program nft-worker`; none is started yet.
    #[must_use]
    pub fn new(program: PathBuf) -> Self {
        Self {
            program,
            name: WORKER_NAME,
            running: None,
            number: 0,
            deadline: FIRST_DEADLINE,
            longest: Duration::ZERO,
        }
    }

    /// The same for a command that runs once; see [`COMMAND_WORKER_NAME`].
    #[must_use]
    pub fn of_a_command(program: PathBuf) -> Self {
        Self {
            name: COMMAND_WORKER_NAME,
            ..Self::new(program)
        }
    }

    /// Which worker this is, counted from the first. Its socket, and all that the socket owns, ends with it.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Whether it has been started, and has not been seen to end.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Waits until the worker, which nothing is asked of, has ended; says how. For ever where there is none.
    pub async fn ended(&mut self) -> String {
        let Some(running) = &mut self.running else {
            return std::future::pending().await;
        };
        let ended = match running.child.wait().await {
            Ok(status) => how_it_ended(status),
            Err(error) => format!("cannot be waited for: {error}"),
        };
        self.running = None;
        ended
    }

    /// Ends the worker, so that nothing is owned by its socket any more when this returns. It waits half a second at
    /// most: one that is in the middle of a commit ends when the kernel is done with that.
    pub async fn close(mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = timeout(ENDING, running.kill()).await;
        }
    }

    /// Has libnftables run `document`.
    ///
    /// # Errors
    /// Where there is no answer, and no worker any more. Whether the document took effect is then
    /// unknown: read back. What libnftables refuses is an answer.
    pub async fn run(&mut self, document: &str) -> Result<Said, WorkerError> {
        only(self.request(&[raw(document)?], Mode::Full).await?)
    }

    /// The same, and what `document` lists has no elements of named sets and maps: of 10,000, libnftables makes 1.3 MB of
    /// JSON in 120 ms.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn run_tersely(&mut self, document: &str) -> Result<Said, WorkerError> {
        only(self.request(&[raw(document)?], Mode::Terse).await?)
    }

    /// Has libnftables run `documents` up to the first that it refuses, and gives what it said to each: one exchange
    /// costs as much as a small transaction.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn run_all(&mut self, documents: &[Box<RawValue>]) -> Result<Vec<Said>, WorkerError> {
        let documents: Vec<&RawValue> = documents.iter().map(AsRef::as_ref).collect();
        self.request(&documents, Mode::Full).await
    }

    /// Has libnftables and the kernel judge `document`, and apply nothing of it.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn check(&mut self, document: &RawValue) -> Result<Said, WorkerError> {
        only(self.request(&[document], Mode::DryRun).await?)
    }

    async fn request(
        &mut self,
        documents: &[&RawValue],
        mode: Mode,
    ) -> Result<Vec<Said>, WorkerError> {
        let bytes: usize = documents.iter().map(|document| document.get().len()).sum();
        let seconds = u64::try_from(bytes / BYTES_PER_SECOND).unwrap_or(u64::MAX);
        let deadline = self.deadline.saturating_add(Duration::from_secs(seconds));
        // Out of `self` while the request is under way: dropped at any point, it is killed.
        let mut running = self.take_running()?;
        let asked = Instant::now();
        match timeout(deadline, running.exchange(documents, mode)).await {
            Ok(Ok(said)) => {
                self.longest = self.longest.max(asked.elapsed());
                self.running = Some(running);
                Ok(said)
            }
            Ok(Err(Exchange::Over)) => Err(running.end().await),
            Ok(Err(Exchange::Wrong(error))) => Err(error),
            Err(_elapsed) => {
                self.deadline = (self.deadline * 2).min(LONGEST_DEADLINE);
                running.kill().await;
                Err(WorkerError::Hung { deadline })
            }
        }
    }

    /// All that was asked for has been done: the next request that misses its deadline is the first one again. What took
    /// long has as much time as it needs, or each pass over a large table would begin with the end of a worker.
    pub fn succeeded(&mut self) {
        let needed = std::mem::take(&mut self.longest);
        if needed.is_zero() {
            return; // Nothing was asked for.
        }
        self.deadline = FIRST_DEADLINE.max(2 * needed).min(LONGEST_DEADLINE);
    }

    fn take_running(&mut self) -> Result<Running, WorkerError> {
        if let Some(mut running) = self.running.take() {
            match running.child.try_wait().map_err(WorkerError::Wait)? {
                None => return Ok(running),
                // Nothing was asked of it, so nothing has failed.
                Some(status) => warn!(
                    "the worker {} while it was idle; it is replaced",
                    how_it_ended(status)
                ),
            }
        }
        let started =
            Running::start(&self.program, self.name).map_err(|error| WorkerError::Start {
                program: self.program.clone(),
                error,
            })?;
        self.number = self.number.wrapping_add(1);
        Ok(started)
    }
}

fn raw(document: &str) -> Result<&RawValue, WorkerError> {
    serde_json::from_str(document).map_err(WorkerError::Request)
}

fn only(said: Vec<Said>) -> Result<Said, WorkerError> {
    let missing = || WorkerError::Answer("it holds none".to_owned());
    said.into_iter().next().ok_or_else(missing)
}

/// Why an exchange gave no answer.
enum Exchange {
    /// A stream is at its end.
    Over,
    /// The answer is not to be understood.
    Wrong(WorkerError),
}

impl Running {
    fn start(program: &PathBuf, name: &CStr) -> io::Result<Self> {
        let mut child = Command::new(program)
            .arg0(name.to_string_lossy().as_ref())
            .arg(WORKER_ARGUMENT)
            .arg(name.to_string_lossy().as_ref())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let missing = || io::Error::other("a standard stream is missing");
        Ok(Self {
            requests: child.stdin.take().ok_or_else(missing)?,
            answers: BufReader::new(child.stdout.take().ok_or_else(missing)?),
            errors: child.stderr.take().ok_or_else(missing)?,
            child,
            last_id: 0,
        })
    }

    async fn exchange(
        &mut self,
        documents: &[&RawValue],
        mode: Mode,
    ) -> Result<Vec<Said>, Exchange> {
        self.last_id += 1;
        let id = self.last_id;
        let request = Request {
            id,
            mode,
            documents: documents.to_vec(),
        };
        let mut line = serde_json::to_vec(&request)
            .map_err(|error| Exchange::Wrong(WorkerError::Request(error)))?;
        line.push(b'\n');
        let sent = self.requests.write_all(&line).await;
        sent.map_err(|_broken| Exchange::Over)?;
        line.clear();
        match self.answers.read_until(b'\n', &mut line).await {
            Ok(1..) if line.ends_with(b"\n") => {}
            _ => return Err(Exchange::Over),
        }
        let wrong = |what: String| Exchange::Wrong(WorkerError::Answer(what));
        let answer: Answer<'_> =
            serde_json::from_slice(&line).map_err(|error| wrong(error.to_string()))?;
        if answer.id != id {
            return Err(wrong(format!("number {} in place of {id}", answer.id)));
        }
        let said = answer.said.into_iter().map(|words| Said {
            succeeded: words.succeeded,
            output: words.output.into_owned(),
            error: words.error.into_owned(),
        });
        Ok(said.collect())
    }

    /// What became of a worker whose stream is at its end.
    async fn end(mut self) -> WorkerError {
        let status = match timeout(ENDING, self.child.wait()).await {
            Ok(Ok(status)) => status,
            Ok(Err(error)) => return WorkerError::Wait(error),
            Err(_elapsed) => {
                self.kill().await;
                return WorkerError::Answer("it closed its output".to_owned());
            }
        };
        let mut said = Vec::new();
        // What it said is a courtesy: without it the status stands for itself.
        let _ = timeout(
            ENDING,
            (&mut self.errors)
                .take(LAST_WORDS_BYTES)
                .read_to_end(&mut said),
        )
        .await;
        WorkerError::Ended {
            status,
            said: String::from_utf8_lossy(&said).into_owned(),
        }
    }

    async fn kill(&mut self) {
        if let Err(error) = self.child.kill().await {
            warn!("the worker cannot be killed: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A program in place of the worker, removed when dropped.
    struct Script(PathBuf);

    impl Script {
        fn new(name: &str, text: &str) -> Self {
            let path = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
            fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            Self(path)
        }
    }

    impl Drop for Script {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    /// A retry begins with a short request: that it has an answer does not mean that the long one has time enough.
    #[test]
    fn a_missed_deadline_stays_longer_until_all_has_succeeded() {
        let hangs = Script::new("hanging-worker", "exec sleep 60");
        let answer = r#"{"id":1,"said":[{"succeeded":true,"output":"","error":""}]}"#;
        let answers = Script::new(
            "answering-worker",
            &format!("read line; echo '{answer}'; read line"),
        );
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut worker = Worker::new(hangs.0.clone());
            let first = Duration::from_millis(50);
            worker.deadline = first;
            let missed = worker.run("{}").await;
            assert!(matches!(missed, Err(WorkerError::Hung { deadline }) if deadline == first));
            worker.program = answers.0.clone();
            worker.deadline = 100 * worker.deadline;
            assert!(worker.run("{}").await.unwrap().succeeded);
            assert_eq!(worker.deadline, 200 * first);
            worker.succeeded();
            assert_eq!(worker.deadline, FIRST_DEADLINE);
        });
    }

    /// libnftables 1.0.6 lists a set of 100,000 elements in seconds, on whatever machine.
    #[test]
    fn what_takes_long_each_time_has_the_time_that_it_takes() {
        let mut worker = Worker::new(PathBuf::new());
        worker.longest = 2 * FIRST_DEADLINE;
        worker.succeeded();
        assert_eq!(worker.deadline, 4 * FIRST_DEADLINE);
        worker.succeeded();
        assert_eq!(worker.deadline, 4 * FIRST_DEADLINE, "nothing was asked for");
        worker.longest = Duration::from_millis(1);
        worker.succeeded();
        assert_eq!(worker.deadline, FIRST_DEADLINE);
    }
}
