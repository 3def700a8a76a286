//! What to do when: a state machine without a clock or a system call.
//!
//! Every trigger ends in the same two steps, reading the configuration and syncing the kernel with
//! the last good one, one at a time. A bad file only changes which policy the second step has.

mod messages;

use std::path::PathBuf;
use std::time::{Duration, Instant};

pub use self::messages::{Action, Desired, Event, Outcome, Reading};
use super::contest::{Committers, Contest};
use super::pace::{Backoff, CountPace, Pace, look_at_owner_after};

/// Resync interval while no file has been good yet.
const FIRST_RESYNC_INTERVAL: Duration = Duration::from_secs(60);
/// The least time between two workers that are started because the one before ended while it was idle.
const WORKER_LIFE: Duration = Duration::from_secs(1);
/// How long a file that is gone, or open for writing, is waited for: editors move files away and
/// write them in several steps.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often it is looked for in that time.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Why there is a pass over the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// The file was read.
    Resync,
    /// Someone has committed.
    Look(Committers),
    /// The same, and the tables are left as they are.
    Comparison,
    /// Someone wants to know the counters. It is no look: what it finds is not compared.
    Count,
}

/// The state between two events.
#[derive(Debug)]
pub struct Reconciler {
    last_good: Option<Desired>,
    /// The files of the last good configuration, or of a bad one before the first, but for those that say nothing.
    files: Vec<PathBuf>,
    /// The file is read because of something near it: what is the same needs no sync.
    reads_for_a_change: bool,
    /// Since when the file is gone or open for writing.
    unsettled_since: Option<Instant>,
    /// Of a file that cannot be read.
    readings: Backoff,
    /// The reading, and the pass that it leads to, were due; no event has asked for them.
    was_due: bool,
    under_way: Option<Pass>,
    /// A reload was asked for during the pass.
    reloads_after_pass: bool,
    /// Something has happened near the file during the pass.
    reads_after_pass: bool,
    syncs: Backoff,
    /// How often in a row another was found to own the table.
    looks_at_owner: u32,
    worker_ended: Option<Instant>,
    counts: CountPace,
    pace: Pace,
    /// When file and kernel are compared without any event.
    resync_due: Option<Instant>,
    /// When the file that is gone, open for writing or unreadable is read again.
    reading_due: Option<Instant>,
    /// When a look that had to wait is due.
    look_due: Option<Instant>,
    contest: Contest,
}

impl Reconciler {
    /// `seed` makes the retries of two daemons differ.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            last_good: None,
            files: Vec::new(),
            reads_for_a_change: false,
            unsettled_since: None,
            readings: Backoff::new(seed),
            was_due: false,
            under_way: None,
            reloads_after_pass: false,
            reads_after_pass: false,
            syncs: Backoff::new(!seed),
            looks_at_owner: 0,
            worker_ended: None,
            counts: CountPace::default(),
            pace: Pace::default(),
            resync_due: None,
            reading_due: None,
            look_due: None,
            contest: Contest::default(),
        }
    }

    /// When [`Event::DeadlineReached`] is due; `None` while a pass is under way.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let due = [self.resync_due, self.reading_due, self.look_due];
        let first = due.into_iter().flatten().min();
        first.filter(|_| self.under_way.is_none())
    }

    /// What `event` at the time `now` calls for.
    pub fn on(&mut self, event: Event, now: Instant) -> Option<Action> {
        match event {
            Event::ReloadRequested if self.under_way.is_some() => {
                self.reloads_after_pass = true;
                None
            }
            Event::FileMayHaveChanged if self.under_way.is_some() => {
                self.reads_after_pass = true;
                None
            }
            Event::ReloadRequested => {
                self.reads_for_a_change = false;
                Some(self.read(now))
            }
            Event::FileMayHaveChanged => {
                // A reading that waits for a sync is not to lose it.
                self.reads_for_a_change |= !self.waits_for_a_file();
                Some(self.read(now))
            }
            Event::WorkerEnded => self.on_worker_ended(now),
            Event::CountWanted => self.on_count_wanted(now),
            Event::DeadlineReached => self.on_deadline(now),
            Event::Committed(by) => self.on_committed(by, now),
            Event::Read(reading) => self.on_read(reading, now),
            Event::Done {
                outcome,
                differences,
            } => self.on_done(outcome, differences, now),
        }
    }

    fn on_deadline(&mut self, now: Instant) -> Option<Action> {
        let is_due = |due: Option<Instant>| due.is_some_and(|due| due <= now);
        if is_due(self.resync_due) {
            self.reads_for_a_change = false;
            return Some(self.read_what_is_due(now));
        }
        if is_due(self.reading_due) {
            self.reads_for_a_change |= !self.waits_for_a_file();
            return Some(self.read_what_is_due(now));
        }
        is_due(self.look_due).then(|| self.look()).flatten()
    }

    fn read_what_is_due(&mut self, now: Instant) -> Action {
        let reading = self.read(now);
        self.was_due = true;
        reading
    }

    fn read(&mut self, now: Instant) -> Action {
        self.was_due = false;
        self.reading_due = None;
        Action::Read {
            while_written: self.has_waited(now),
        }
    }

    fn has_waited(&self, now: Instant) -> bool {
        self.unsettled_since
            .is_some_and(|since| now.duration_since(since) >= PATIENCE)
    }

    fn on_read(&mut self, reading: Reading, now: Instant) -> Option<Action> {
        let before = self.last_good.clone();
        let retry = match reading {
            Reading::Bad { may_pass: true, .. } => Some(self.readings.failed(self.was_due)),
            _ => None,
        };
        match reading {
            Reading::BeingWritten => return self.read_again(now),
            Reading::Good { files, .. } if self.lacks_a_file(&files) && !self.has_waited(now) => {
                return self.read_again(now);
            }
            Reading::Good {
                desired,
                files,
                empty_files,
            } => {
                self.files = files;
                self.files.retain(|file| !empty_files.contains(file));
                self.last_good = Some(desired);
            }
            // They are not to be taken for gone either. After a good one, its files are what counts.
            Reading::Bad { files, .. } if self.last_good.is_none() => self.files = files,
            Reading::Bad { .. } => {}
        }
        self.unsettled_since = None;
        match retry {
            Some(retry) => {
                self.reading_due = now.checked_add(retry.min(self.resync_interval()));
            }
            None => self.readings.succeeded(),
        }
        let is_for_a_change = std::mem::take(&mut self.reads_for_a_change);
        match &self.last_good {
            Some(same) if is_for_a_change && before.as_ref() == Some(same) => None,
            Some(desired) => {
                self.under_way = Some(Pass::Resync);
                Some(Action::Sync(desired.clone()))
            }
            // An earlier run's table stays as it is, and without one nothing is written.
            None => {
                self.resync_due = now.checked_add(FIRST_RESYNC_INTERVAL);
                None
            }
        }
    }

    /// Editors move a file away for a moment.
    fn lacks_a_file(&self, found: &[PathBuf]) -> bool {
        self.files.iter().any(|file| !found.contains(file))
    }

    /// Whether a reading waits for a file that is gone, or open for writing.
    #[must_use]
    pub fn waits_for_a_file(&self) -> bool {
        self.unsettled_since.is_some()
    }

    fn read_again(&mut self, now: Instant) -> Option<Action> {
        self.unsettled_since.get_or_insert(now);
        self.reading_due = now.checked_add(LOOK_AGAIN);
        // The reading that waits is the resync's; it is not due a second time.
        if self.resync_due.is_some_and(|due| due <= now) {
            self.resync_due = None;
            self.reads_for_a_change = false;
        }
        None
    }

    fn on_committed(&mut self, by: Committers, now: Instant) -> Option<Action> {
        // What is done during a pass is told again after it.
        if self.under_way.is_some() || self.last_good.is_none() {
            return None;
        }
        self.contest.look_is_for = by;
        match self.pace.next_look(now) {
            Some(later) => {
                self.look_due = Some(later);
                None
            }
            None => self.look(),
        }
    }

    /// At once, so that nobody finds the table without its owner for long; but not again and again.
    fn on_worker_ended(&mut self, now: Instant) -> Option<Action> {
        let before = self.worker_ended.replace(now);
        let lived_long = before.is_none_or(|then| now.duration_since(then) >= WORKER_LIFE);
        if lived_long {
            return self.mend(Committers::Others);
        }
        let later = now.checked_add(WORKER_LIFE);
        self.resync_due = [self.resync_due, later].into_iter().flatten().min();
        None
    }

    fn look(&mut self) -> Option<Action> {
        if !self.contest.leaves_tables() {
            return self.mend(self.contest.look_is_for);
        }
        self.look_due = None;
        let desired = self.last_good.clone()?;
        self.under_way = Some(Pass::Comparison);
        Some(Action::Look(desired))
    }

    fn mend(&mut self, what_was_done_by: Committers) -> Option<Action> {
        self.look_due = None;
        let desired = self.last_good.clone()?;
        self.under_way = Some(Pass::Look(what_was_done_by));
        Some(Action::Sync(desired))
    }

    /// Not while the tables are worked at, or cannot be: what was read last has to do then.
    fn on_count_wanted(&mut self, now: Instant) -> Option<Action> {
        let is_in_trouble = self.syncs.has_failed() || self.looks_at_owner > 0;
        if self.under_way.is_some() || is_in_trouble || self.counts.is_too_soon(now) {
            return None;
        }
        let desired = self.last_good.clone()?;
        self.counts.begins(now);
        self.under_way = Some(Pass::Count);
        Some(Action::Count(desired))
    }

    fn on_counted(&mut self, outcome: Outcome, now: Instant) -> Option<Action> {
        self.counts.ended(now);
        // Where the worker has listed, it may have ended or hung, and what it owned is without an owner then.
        let replaced = match outcome {
            Outcome::Failed => self.on_worker_ended(now),
            _ => None,
        };
        // A file that may have changed meanwhile is read after the pass to which that leads.
        replaced.or_else(|| self.reload_after_pass().then(|| self.read(now)))
    }

    fn on_done(&mut self, outcome: Outcome, differences: String, now: Instant) -> Option<Action> {
        let pass = self.under_way.take();
        if pass == Some(Pass::Count) {
            return self.on_counted(outcome, now);
        }
        self.look_due = None;
        let found_drift = !differences.is_empty();
        let is_look = matches!(pass, Some(Pass::Look(_) | Pass::Comparison));
        if is_look {
            self.pace.looked(found_drift, now);
        }
        match pass {
            Some(Pass::Comparison) if self.contest.compared(outcome, differences) => {
                return self.mend(Committers::Others);
            }
            Some(Pass::Comparison) => {}
            Some(Pass::Look(by)) => self.contest.mended(by, found_drift),
            _ => self.contest.is_over(),
        }
        self.schedule_resync(outcome, is_look, now);
        self.reload_after_pass().then(|| self.read(now))
    }

    /// When file and kernel are compared next, after a pass that ended so.
    fn schedule_resync(&mut self, outcome: Outcome, is_look: bool, now: Instant) {
        self.looks_at_owner = match outcome {
            Outcome::Owned { is_ending: true } => 1,
            Outcome::Owned { is_ending: false } => self.looks_at_owner.saturating_add(1),
            _ => 0,
        };
        match outcome {
            // The retry that is waited for comes, whatever others commit meanwhile.
            Outcome::Failed if is_look && self.syncs.has_failed() => {}
            Outcome::Failed => {
                let retry = self.syncs.failed(self.was_due);
                self.resync_due = now.checked_add(retry.min(self.resync_interval()));
            }
            // The end of an owner sends no notification.
            Outcome::Owned { .. } => {
                let look = look_at_owner_after(self.looks_at_owner);
                let next = now.checked_add(look.min(self.resync_interval()));
                // As below.
                let due = self.resync_due.filter(|_| is_look);
                self.resync_due = due.into_iter().chain(next).min();
            }
            Outcome::InStep | Outcome::Differed => {
                self.syncs.succeeded();
                // A neighbour that commits all the time must not put off the reading of the file.
                if !is_look || self.resync_due.is_none() {
                    // An interval of centuries has no end that can be told: none is waited for.
                    self.resync_due = now.checked_add(self.resync_interval());
                }
            }
        }
    }

    fn reload_after_pass(&mut self) -> bool {
        let reloads = std::mem::take(&mut self.reloads_after_pass);
        let reads = std::mem::take(&mut self.reads_after_pass);
        self.reads_for_a_change |= reads && !self.waits_for_a_file();
        self.reads_for_a_change &= !reloads;
        reloads || reads
    }

    fn resync_interval(&self) -> Duration {
        let desired = self.last_good.as_ref();
        desired.map_or(FIRST_RESYNC_INTERVAL, |desired| desired.resync_interval)
    }
}

#[cfg(test)]
mod tests;
