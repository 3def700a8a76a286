//! A worker that runs, as the daemon sees it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::ffi::CStr;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde::ser::Error as _;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;
use tracing::warn;

use super::error::WorkerError;
use super::{Answer, Mode, Request, WORKER_ARGUMENT};
use crate::kernel::libnftables::Said;

/// A long request may take a second longer for so many bytes: 100,000 elements are 9 MB and take 5 s.
const BYTES_PER_SECOND: usize = 256 * 1024;
/// How long a worker whose output has ended may take to end itself.
pub(super) const ENDING: Duration = Duration::from_millis(500);
/// What is kept of a dead worker's last words, in bytes.
const LAST_WORDS_BYTES: usize = 4 * 1024;

/// A worker that runs. Dropped, it is killed.
pub(super) struct Running {
    child: Child,
    dialogue: Dialogue,
    last_words: LastWords,
    last_id: u64,
}

/// What it is asked and answers.
struct Dialogue {
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// What it says besides, on its standard error.
struct LastWords {
    errors: ChildStderr,
    /// The end of it.
    said: VecDeque<u8>,
}

/// Why an exchange gave no answer.
pub(super) enum Exchange {
    /// A stream is at its end.
    Over,
    /// A document cannot be written, or the answer not be understood.
    Wrong(WorkerError),
    /// Nothing came, or nothing was taken, for so long.
    Late(Duration),
}

/// The document, unless it would be taken for several.
fn one_line<D: AsRef<str>>(document: D) -> serde_json::Result<D> {
    if document.as_ref().contains('\n') {
        return Err(serde_json::Error::custom("it has several lines"));
    }
    Ok(document)
}

/// How long a worker may take for so many bytes.
fn deadline_for(bytes: usize, deadline: Duration) -> Duration {
    let seconds = u64::try_from(bytes / BYTES_PER_SECOND).unwrap_or(u64::MAX);
    deadline.saturating_add(Duration::from_secs(seconds))
}

async fn in_time<T>(
    deadline: Duration,
    step: impl Future<Output = io::Result<T>>,
) -> Result<T, Exchange> {
    match timeout(deadline, step).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(_broken)) => Err(Exchange::Over),
        Err(_elapsed) => Err(Exchange::Late(deadline)),
    }
}

impl Running {
    pub(super) fn start(program: &PathBuf, name: &CStr) -> io::Result<Self> {
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
            dialogue: Dialogue {
                requests: child.stdin.take().ok_or_else(missing)?,
                answers: BufReader::new(child.stdout.take().ok_or_else(missing)?),
            },
            last_words: LastWords {
                errors: child.stderr.take().ok_or_else(missing)?,
                said: VecDeque::new(),
            },
            child,
            last_id: 0,
        })
    }

    /// Whether it has ended, and how.
    pub(super) fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Waits until it has ended.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Sends the request and its documents, and gives what libnftables said to each that it ran.
    ///
    /// Each wait ends after `deadline`, and later for a long request. A worker that hangs is found by one of them: it takes
    /// no more than fits into the pipe, or does not answer.
    pub(super) async fn exchange<D: AsRef<str>>(
        &mut self,
        mode: Mode,
        documents: impl ExactSizeIterator<Item = serde_json::Result<D>>,
        deadline: Duration,
    ) -> Result<Vec<Said>, Exchange> {
        self.last_id += 1;
        let request = Request {
            id: self.last_id,
            mode,
            documents: documents.len(),
        };
        // What it said while it did what was asked before is not why it dies of this.
        self.last_words.said.clear();
        tokio::select! {
            biased;
            answer = self.dialogue.exchange(&request, documents, deadline) => answer,
            never = self.last_words.take_all() => match never {},
        }
    }

    /// What became of a worker whose stream is at its end.
    pub(super) async fn end(mut self) -> WorkerError {
        let status = match timeout(ENDING, self.child.wait()).await {
            Ok(Ok(status)) => status,
            Ok(Err(error)) => return WorkerError::Wait(error),
            Err(_elapsed) => {
                self.kill().await;
                return WorkerError::Answer("it closed its output".to_owned());
            }
        };
        // What it said is a courtesy: without it the status stands for itself.
        let _ = timeout(ENDING, async { while self.last_words.take_some().await {} }).await;
        let said = Vec::from(self.last_words.said);
        WorkerError::Ended {
            status,
            said: String::from_utf8_lossy(&said).into_owned(),
        }
    }

    pub(super) async fn kill(&mut self) {
        if let Err(error) = self.child.kill().await {
            warn!("the worker cannot be killed: {error}");
        }
    }
}

impl LastWords {
    /// Takes what it says as long as it runs. Where nobody did, a worker that has filled the pipe would hang: libnftables
    /// 1.0.6 says something each time that it lists a rule with a chain in it.
    async fn take_all(&mut self) -> Infallible {
        while self.take_some().await {}
        std::future::pending().await
    }

    /// False: it says no more.
    async fn take_some(&mut self) -> bool {
        // Small: it is part of each future that asks the worker something.
        let mut piece = [0; 256];
        let read = self.errors.read(&mut piece).await.unwrap_or_default();
        self.said.extend(piece.iter().take(read));
        let old = self.said.len().saturating_sub(LAST_WORDS_BYTES);
        self.said.drain(..old);
        read > 0
    }
}

impl Dialogue {
    async fn exchange<D: AsRef<str>>(
        &mut self,
        request: &Request,
        documents: impl Iterator<Item = serde_json::Result<D>>,
        deadline: Duration,
    ) -> Result<Vec<Said>, Exchange> {
        let bytes = self.send(request, documents, deadline).await?;
        self.answer_to(request, deadline_for(bytes, deadline)).await
    }

    /// Says how many bytes were sent.
    async fn send<D: AsRef<str>>(
        &mut self,
        request: &Request,
        documents: impl Iterator<Item = serde_json::Result<D>>,
        deadline: Duration,
    ) -> Result<usize, Exchange> {
        let unwritten = |error| Exchange::Wrong(WorkerError::Request(error));
        let mut lines = serde_json::to_vec(request).map_err(unwritten)?;
        lines.push(b'\n');
        let mut bytes = 0;
        for document in documents {
            let document = document.and_then(one_line).map_err(unwritten)?;
            lines.extend_from_slice(document.as_ref().as_bytes());
            lines.push(b'\n');
            bytes += lines.len();
            in_time(
                deadline_for(bytes, deadline),
                self.requests.write_all(&lines),
            )
            .await?;
            lines.clear();
        }
        Ok(bytes)
    }

    async fn answer_to(
        &mut self,
        request: &Request,
        deadline: Duration,
    ) -> Result<Vec<Said>, Exchange> {
        let mut line = Vec::new();
        in_time(deadline, self.answers.read_until(b'\n', &mut line)).await?;
        if !line.ends_with(b"\n") {
            return Err(Exchange::Over);
        }
        let wrong = |what: String| Exchange::Wrong(WorkerError::Answer(what));
        let answer: Answer<'_> =
            serde_json::from_slice(&line).map_err(|error| wrong(error.to_string()))?;
        if answer.id != request.id {
            return Err(wrong(format!(
                "number {} in place of {}",
                answer.id, request.id
            )));
        }
        let said = answer.said.into_iter().map(|words| Said {
            succeeded: words.succeeded,
            output: words.output.into_owned(),
            error: words.error.into_owned(),
        });
        Ok(said.collect())
    }
}
