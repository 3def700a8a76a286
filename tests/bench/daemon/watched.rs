//! The daemon, watched from outside: the kernel's notifications say when a change is in the kernel, the
//! daemon's log says when it was read back. One poll(2) waits for both, so that neither is asked again
//! and again.

use std::fs;
use std::io::{self, PipeReader, Read};
use std::os::fd::AsFd;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::DAEMON;
use crate::support::daemon::Daemon;
use crate::support::generations::Generations;
use crate::support::netns::Namespace;

/// The line after each change.
const READ_BACK: &str = " and read back";
/// That after repairs, which may be summed up at any time.
const REPAIRED: &str = " repaired and read back";
/// The line after which no [`READ_BACK`] comes soon,
const FAILED: &str = " ERROR ";
/// unless it is only that another worker has to do it, with more time. That is part of how long the change took.
const HAS_MORE_TIME: &str = "was killed; the next one gets longer";
/// Longer than from one transaction of a repair to the next.
const CALM: Duration = Duration::from_millis(25);
/// Far more than the largest change takes.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Watched {
    pub(crate) daemon: Daemon,
    log: PipeReader,
    said: String,
    generations: Generations,
}

/// When a change was done, since it began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    pub(crate) in_kernel: Duration,
    pub(crate) read_back: Duration,
    /// Workers that were too slow and were replaced meanwhile.
    pub(crate) killed_workers: usize,
}

impl Watched {
    /// Starts the daemon with this file and waits until its table has been read back.
    pub(crate) fn start(namespace: &Namespace, file: &str) -> io::Result<(Self, Done)> {
        Self::start_as(namespace.command(DAEMON), namespace, file)
    }

    /// The same by a command that runs the daemon in the namespace.
    pub(crate) fn start_as(
        command: Command,
        namespace: &Namespace,
        file: &str,
    ) -> io::Result<(Self, Done)> {
        let generations = Generations::of(namespace)?;
        let (log, into_log) = io::pipe()?;
        let daemon = Daemon::start_logging_to(into_log, command, namespace, file)?;
        let started = daemon.started();
        let mut watched = Self {
            daemon,
            log,
            said: String::new(),
            generations,
        };
        let done = watched.wait_until_read_back(started)?;
        Ok((watched, done))
    }

    /// Renames a file with this text into place, and nothing else.
    pub(crate) fn swap(&mut self, file: &str) -> io::Result<Done> {
        let path = self.daemon.config_file();
        let new = path.with_extension("new");
        fs::write(&new, file)?;
        self.prepare()?;
        let started = Instant::now();
        fs::rename(new, path)?;
        self.wait_until_read_back(started)
    }

    /// From the return of the commit to the last transaction of the repair. The log does not tell of each repair.
    pub(crate) fn repair(
        &mut self,
        commit: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<Duration> {
        self.prepare()?;
        commit()?;
        let since = Instant::now();
        // One of them was the commit.
        let mut last = (self.generations.take()? > 1).then(|| since.elapsed());
        loop {
            let patience = if last.is_some() { CALM } else { PATIENCE };
            let mut waited = [PollFd::new(self.generations.as_fd(), PollFlags::POLLIN)];
            let patience = PollTimeout::try_from(patience).map_err(io::Error::other)?;
            if poll(&mut waited, patience)? == 0 {
                break;
            }
            if self.generations.take()? > 0 {
                last = Some(since.elapsed());
            }
        }
        last.ok_or_else(|| self.error("no repair came"))
    }

    fn prepare(&mut self) -> io::Result<()> {
        self.said.clear();
        self.generations.take().map(drop)
    }

    /// The last transaction before the line counts: a new table takes two.
    fn wait_until_read_back(&mut self, since: Instant) -> io::Result<Done> {
        let mut in_kernel = None;
        loop {
            let has_log = self.wait()?;
            let now = since.elapsed();
            if has_log {
                self.read_log()?;
            }
            // Behind the log: the poll may have looked at this socket before the transaction, and at the log after it.
            if self.generations.take()? > 0 {
                in_kernel = Some(now);
            }
            if !has_log {
                continue;
            }
            let killed_workers = self.said.matches(HAS_MORE_TIME).count();
            let is_done = |line: &str| line.contains(READ_BACK) && !line.contains(REPAIRED);
            if self.said.lines().any(is_done) {
                return Ok(Done {
                    in_kernel: in_kernel.ok_or_else(|| self.error("no transaction was seen"))?,
                    read_back: now,
                    killed_workers,
                });
            }
            let has_failed = |line: &str| line.contains(FAILED) && !line.contains(HAS_MORE_TIME);
            let (lines, _unfinished) = self.said.rsplit_once('\n').unwrap_or_default();
            if lines.lines().any(has_failed) {
                return Err(self.error("the daemon failed"));
            }
        }
    }

    /// Whether there is more of the log. Otherwise there is a transaction.
    fn wait(&self) -> io::Result<bool> {
        let mut waited = [
            PollFd::new(self.generations.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.log.as_fd(), PollFlags::POLLIN),
        ];
        let patience = PollTimeout::try_from(PATIENCE).map_err(io::Error::other)?;
        if poll(&mut waited, patience)? == 0 {
            return Err(self.error("nothing came in time"));
        }
        let [_generations, log] = waited;
        Ok(log.any().unwrap_or(false))
    }

    fn read_log(&mut self) -> io::Result<()> {
        let mut bytes = [0; 16 * 1024];
        let length = self.log.read(&mut bytes)?;
        if length == 0 {
            return Err(self.error("the daemon ended"));
        }
        self.said.push_str(&String::from_utf8_lossy(
            bytes.get(..length).unwrap_or_default(),
        ));
        Ok(())
    }

    fn error(&self, what: &str) -> io::Error {
        io::Error::other(format!("{what}; the daemon's log: {}", self.said))
    }
}
