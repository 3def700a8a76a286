//! When the configuration is read, and whether what was read counts: a state machine without a clock or a file.
//!
//! Whatever asks for a reading only brings the one that is due forward, and each reading answers all that asked before it:
//! why it is read makes no difference. What is to be waited for is in the [`Reading`].

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::backoff::Backoff;

/// Resync interval while no file has been good yet.
const FIRST_RESYNC_INTERVAL: Duration = Duration::from_secs(60);
/// How long a file that is gone or half written is waited for: editors move files away and write them in several steps.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often it is looked for in that time; and the least time from one reading to the next that a change asks for.
const READ_AGAIN: Duration = Duration::from_millis(20);
/// When a file that cannot be read is tried again. That a descriptor is free again, or a disk works, is told by nothing.
const RETRIES: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30));

/// What a reading of the configuration gave. A file without a byte is as good as none, and says nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reading {
    /// It is good, or there is no file, which means the defaults.
    Good {
        /// The files that say something.
        files: Vec<PathBuf>,
        /// How often the file is read without any event.
        resync_interval: Duration,
    },
    /// It is bad, or cannot be read.
    Bad {
        /// The files that say something.
        files: Vec<PathBuf>,
        /// It was written a moment ago, and may hold something else a moment later.
        may_be_half_written: bool,
        /// A file cannot be read, and nothing may tell when it can be.
        may_pass: bool,
    },
}

/// What becomes of a reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(super) enum Verdict {
    /// A good configuration is in force from now on, a bad one is to be said.
    Counts,
    /// A file is waited for: nothing is to be done or said yet.
    NotYet,
}

/// The state between two readings.
#[derive(Debug)]
pub(super) struct ConfigReader {
    /// The files that said something in the last good configuration, or in the last bad one before the first good.
    files: Vec<PathBuf>,
    /// Of the last good configuration.
    resync_interval: Option<Duration>,
    last_reading: Option<Instant>,
    /// When the file is read next; none where that is centuries away.
    due: Option<Instant>,
    /// Since when a file is waited for that is gone or half written.
    waits_since: Option<Instant>,
    retries: Backoff,
}

impl ConfigReader {
    /// Of a daemon that starts at the time `now`, and reads at once.
    #[must_use]
    pub(super) fn new(now: Instant) -> Self {
        Self {
            files: Vec::new(),
            resync_interval: None,
            last_reading: None,
            due: Some(now),
            waits_since: None,
            retries: RETRIES,
        }
    }

    /// Someone asks for a reading: it is due now.
    pub(super) fn reload(&mut self, now: Instant) {
        self.retries.succeeded();
        self.read_by(Some(now));
    }

    /// Something has happened near the file: a reading is due, as soon as the last one is not too near.
    pub(super) fn may_have_changed(&mut self, now: Instant) {
        // What could not be read may have become readable.
        self.retries.succeeded();
        let allowed = self
            .last_reading
            .and_then(|last| last.checked_add(READ_AGAIN));
        self.read_by(allowed.max(Some(now)));
    }

    /// When [`Self::next`] has something to do.
    #[must_use]
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether to read the file at the time `now`; [`Self::read`] is to follow. What changes from here on asks for
    /// another reading.
    #[must_use]
    pub(super) fn next(&mut self, now: Instant) -> bool {
        self.due.take_if(|due| *due <= now).is_some()
    }

    /// The file was read, and this was found.
    pub(super) fn read(&mut self, reading: Reading, now: Instant) -> Verdict {
        self.last_reading = Some(now);
        let is_to_be_waited_for = self.is_to_be_waited_for(&reading) && !self.has_waited(now);
        let (wait, verdict) = match reading {
            Reading::Good { .. } if is_to_be_waited_for => (READ_AGAIN, Verdict::NotYet),
            Reading::Good {
                files,
                resync_interval,
            } => {
                self.files = files;
                self.resync_interval = Some(resync_interval);
                self.retries.succeeded();
                (resync_interval, Verdict::Counts)
            }
            Reading::Bad {
                files, may_pass, ..
            } => {
                // Before the first good configuration, a bad file that goes for a moment is not to let the defaults in.
                if self.resync_interval.is_none() {
                    self.files = files;
                }
                match (is_to_be_waited_for, may_pass) {
                    (true, _) => (READ_AGAIN, Verdict::NotYet),
                    (false, true) => (self.retries.failed(), Verdict::Counts),
                    (false, false) => (self.interval(), Verdict::Counts),
                }
            }
        };
        self.waits_since = match verdict {
            Verdict::Counts => None,
            Verdict::NotYet => self.waits_since.or(Some(now)),
        };
        self.read_by(now.checked_add(wait.min(self.interval())));
        verdict
    }

    fn is_to_be_waited_for(&self, reading: &Reading) -> bool {
        match reading {
            Reading::Good { files, .. } => self.files.iter().any(|file| !files.contains(file)),
            Reading::Bad {
                may_be_half_written,
                ..
            } => *may_be_half_written,
        }
    }

    fn has_waited(&self, now: Instant) -> bool {
        self.waits_since
            .is_some_and(|since| now.duration_since(since) >= PATIENCE)
    }

    fn interval(&self) -> Duration {
        self.resync_interval.unwrap_or(FIRST_RESYNC_INTERVAL)
    }

    fn read_by(&mut self, then: Option<Instant>) {
        self.due = self.due.into_iter().chain(then).min();
    }
}

#[cfg(test)]
mod tests;
