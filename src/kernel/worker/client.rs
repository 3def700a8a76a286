//! The daemon's side of the worker.

use std::collections::HashMap;
use std::ffi::CStr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::time::timeout;
use tracing::{debug, warn};

use super::error::{WorkerError, how_it_ended};
use super::running::{ENDING, Exchange, Running};
use super::{COMMAND_WORKER_NAME, Mode, WORKER_NAME};
use crate::kernel::libnftables::Said;
use crate::ruleset::Family;

/// How long a short request may take at first.
const FIRST_DEADLINE: Duration = Duration::from_secs(5);
/// A deadline that was missed is doubled up to this: on a node that gives the daemon a hundredth of
/// a core, a deadline that never grows would kill each worker before it is done.
const LONGEST_DEADLINE: Duration = Duration::from_secs(640);

/// strerror(3) of ENOBUFS. The kernel refuses each message of elements, up to 64 KiB, in one that holds it, and libnftables
/// before 1.1.5 makes no room for several. Its socket is out of step then: later answers are taken for those of other
/// requests, and what was committed is said to have failed.
const ANSWERS_LOST: &str = "No buffer space available";

/// The worker, started when it is first needed and replaced when it ends or hangs.
pub struct Worker {
    program: PathBuf,
    name: &'static CStr,
    running: Option<Running>,
    /// How many were started.
    number: u32,
    /// The family that is worked for. Only its own success says that its requests have time enough.
    family: Family,
    patience: HashMap<Family, Patience>,
}

/// How long the requests for a family may take.
struct Patience {
    deadline: Duration,
    /// Of the requests since the last success.
    longest: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            deadline: FIRST_DEADLINE,
            longest: Duration::ZERO,
        }
    }
}

impl Patience {
    fn missed(&mut self) {
        self.deadline = (self.deadline * 2).min(LONGEST_DEADLINE);
    }

    /// What took long has as much time as it needs, or each pass over a large table would begin with the end of a worker.
    fn succeeded(&mut self) {
        let needed = std::mem::take(&mut self.longest);
        if needed.is_zero() {
            return; // Nothing was asked for.
        }
        self.deadline = FIRST_DEADLINE.max(2 * needed).min(LONGEST_DEADLINE);
    }
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
            family: Family::Ip,
            patience: HashMap::new(),
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

    /// The requests from now on are for this family: how long they may take depends on how long its last ones took.
    pub fn work_for(&mut self, family: Family) {
        self.family = family;
    }

    fn patience(&mut self) -> &mut Patience {
        self.patience.entry(self.family).or_default()
    }

    /// Waits until the worker, which nothing is asked of, has ended; says how. For ever where there is none.
    pub async fn ended(&mut self) -> String {
        let Some(running) = &mut self.running else {
            return std::future::pending().await;
        };
        let ended = match running.wait().await {
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
        only(self.request(Mode::Full, [Ok(document)]).await?)
    }

    /// The same, and what `document` lists has no elements of named sets and maps: of 10,000, libnftables makes 1.3 MB of
    /// JSON in 120 ms.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn run_tersely(&mut self, document: &str) -> Result<Said, WorkerError> {
        only(self.request(Mode::Terse, [Ok(document)]).await?)
    }

    /// Has libnftables run `documents` up to the first that it refuses, and gives what it said to each: one exchange
    /// costs as much as a small transaction. Each is written while libnftables runs the one before.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn run_all(
        &mut self,
        documents: impl ExactSizeIterator<Item = serde_json::Result<String>>,
    ) -> Result<Vec<Said>, WorkerError> {
        self.request(Mode::Full, documents).await
    }

    /// Has libnftables and the kernel judge `document`, and apply nothing of it.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn check(&mut self, document: &str) -> Result<Said, WorkerError> {
        only(self.request(Mode::DryRun, [Ok(document)]).await?)
    }

    async fn request<D: AsRef<str>>(
        &mut self,
        mode: Mode,
        documents: impl IntoIterator<Item = serde_json::Result<D>, IntoIter: ExactSizeIterator>,
    ) -> Result<Vec<Said>, WorkerError> {
        let documents = documents.into_iter();
        if documents.len() == 0 {
            return Ok(Vec::new());
        }
        // Out of `self` while the request is under way: dropped at any point, it is killed.
        let mut running = self.take_running()?;
        let asked = Instant::now();
        let deadline = self.patience().deadline;
        match running.exchange(mode, documents, deadline).await {
            Ok(said) => {
                let patience = self.patience();
                patience.longest = patience.longest.max(asked.elapsed());
                if said.iter().any(|said| said.error.contains(ANSWERS_LOST)) {
                    debug!("the worker is replaced: libnftables has lost answers of the kernel");
                    running.kill().await;
                } else {
                    self.running = Some(running);
                }
                Ok(said)
            }
            Err(Exchange::Over) => Err(running.end().await),
            Err(Exchange::Wrong(error)) => Err(error),
            Err(Exchange::Late(deadline)) => {
                self.patience().missed();
                running.kill().await;
                Err(WorkerError::Hung { deadline })
            }
        }
    }

    /// All that was asked for the family has been done: the next of its requests that misses its deadline is the first
    /// one again.
    pub fn succeeded(&mut self) {
        self.patience().succeeded();
    }

    fn take_running(&mut self) -> Result<Running, WorkerError> {
        if let Some(mut running) = self.running.take() {
            match running.try_wait().map_err(WorkerError::Wait)? {
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

fn only(said: Vec<Said>) -> Result<Said, WorkerError> {
    let missing = || WorkerError::Answer("it holds none".to_owned());
    said.into_iter().next().ok_or_else(missing)
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
            &format!("read line; read line; echo '{answer}'; read line"),
        );
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut worker = Worker::new(hangs.0.clone());
            let first = Duration::from_millis(50);
            // One that fits into a pipe, and one that does not.
            for document in ["{}", &"x".repeat(128 * 1024)] {
                worker.patience().deadline = first;
                let missed = worker.run(document).await;
                assert!(matches!(missed, Err(WorkerError::Hung { deadline }) if deadline == first));
            }
            worker.program = answers.0.clone();
            worker.patience().deadline *= 100;
            // That the other family's requests succeed says nothing of this one's.
            worker.work_for(Family::Ip6);
            assert!(worker.run("{}").await.unwrap().succeeded);
            worker.succeeded();
            assert_eq!(worker.patience().deadline, FIRST_DEADLINE);
            worker.work_for(Family::Ip);
            assert_eq!(worker.patience().deadline, 200 * first);
            worker.running = None;
            assert!(worker.run("{}").await.unwrap().succeeded);
            assert_eq!(worker.patience().deadline, 200 * first);
            worker.succeeded();
            assert_eq!(worker.patience().deadline, FIRST_DEADLINE);
        });
    }

    /// libnftables 1.0.6 lists a set of 100,000 elements in seconds, on whatever machine.
    #[test]
    fn what_takes_long_each_time_has_the_time_that_it_takes() {
        let mut patience = Patience {
            longest: 2 * FIRST_DEADLINE,
            ..Patience::default()
        };
        patience.succeeded();
        assert_eq!(patience.deadline, 4 * FIRST_DEADLINE);
        patience.succeeded();
        assert_eq!(
            patience.deadline,
            4 * FIRST_DEADLINE,
            "nothing was asked for"
        );
        patience.longest = Duration::from_millis(1);
        patience.succeeded();
        assert_eq!(patience.deadline, FIRST_DEADLINE);
    }
}
