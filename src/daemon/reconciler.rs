//! What to do when: a state machine without a clock or a system call.
//!
//! Every trigger ends in the same two steps, reading the configuration and syncing the kernel with
//! the last good one, one at a time. A bad file only changes which policy the second step has.

use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::ruleset::Ruleset;

/// Resync interval while no file has been good yet.
const FIRST_RESYNC_INTERVAL: Duration = Duration::from_secs(60);
/// The first retry after a failure comes after about this long.
const FIRST_RETRY: Duration = Duration::from_millis(100);
/// Retries come at least about this often.
const LAST_RETRY: Duration = Duration::from_secs(30);
/// How often a table that another owns is looked at.
const OWNER_LOOK: Duration = Duration::from_secs(1);
/// How long a file that is gone, or open for writing, is waited for: editors move files away and
/// write them in several steps.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often it is looked for in that time.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// After a look that finds all in step the next one waits so long, doubled each time up to the longest wait.
const FIRST_WAIT: Duration = Duration::from_millis(10);
const LONGEST_WAIT: Duration = Duration::from_millis(250);
/// After so long without a commit, the next look does not wait.
const QUIET: Duration = Duration::from_secs(1);

/// What a good configuration asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// The table.
    pub ruleset: Rc<Ruleset>,
    /// The policy that the table is made of, for the log.
    pub policy: Rc<str>,
    /// How often file and kernel are compared without any event.
    pub resync_interval: Duration,
}

/// What reading the configuration gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// It is good.
    Good(Desired),
    /// There is no file, which means the defaults.
    Absent(Desired),
    /// Someone has it open for writing.
    BeingWritten,
    /// It is bad, or cannot be read.
    Bad,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The daemon starts, or is asked to reload.
    ReloadRequested,
    /// Something has happened near the file.
    FileMayHaveChanged,
    /// Someone has committed to nftables; not this daemon.
    Committed {
        /// It was the worker of another daemon, and nobody else.
        by_another_daemon: bool,
    },
    /// [`Reconciler::deadline`] has come.
    DeadlineReached,
    /// [`Action::Read`] is done.
    Read(Reading),
    /// [`Action::Sync`] or [`Action::Look`] is done.
    Done(Outcome),
}

/// How a pass over the kernel ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The kernel had the ruleset.
    InStep,
    /// It had not; after a sync it has.
    Differed,
    /// That is not known.
    Failed,
    /// It had not, and another owns the table.
    Owned,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Read the configuration.
    Read {
        /// Take a file that someone has open for writing for what it holds now.
        while_written: bool,
    },
    /// Make the kernel's table that of the ruleset.
    Sync(Desired),
    /// Compare the kernel's table with the ruleset, and leave it as it is.
    Look(Desired),
}

/// Why there is a pass over the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// The file was read.
    Resync,
    /// Someone has committed.
    Look,
}

/// The state between two events.
#[derive(Debug)]
pub struct Reconciler {
    last_good: Option<Desired>,
    /// The last good configuration came from a file.
    had_file: bool,
    /// The file is read because of something near it: what is the same needs no sync.
    reads_for_a_change: bool,
    /// Since when the file is gone or open for writing.
    unsettled_since: Option<Instant>,
    under_way: Option<Pass>,
    /// A reload was asked for during the pass.
    reloads_after_pass: bool,
    failures: u32,
    jitter: Jitter,
    pace: Pace,
    /// When file and kernel are compared without any event.
    resync_due: Option<Instant>,
    /// When the file that is gone or open for writing is read again.
    reading_due: Option<Instant>,
    /// When a look that had to wait is due.
    look_due: Option<Instant>,
    /// The look that waits is for commits of another daemon only.
    look_is_for_another_daemon: bool,
}

impl Reconciler {
    /// `seed` makes the retries of two daemons differ.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            last_good: None,
            had_file: false,
            reads_for_a_change: false,
            unsettled_since: None,
            under_way: None,
            reloads_after_pass: false,
            failures: 0,
            jitter: Jitter(seed),
            pace: Pace::default(),
            resync_due: None,
            reading_due: None,
            look_due: None,
            look_is_for_another_daemon: false,
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
            Event::ReloadRequested | Event::FileMayHaveChanged if self.under_way.is_some() => {
                self.reloads_after_pass = true;
                None
            }
            Event::ReloadRequested => Some(self.read(now)),
            Event::FileMayHaveChanged => {
                // A reading that waits for a sync is not to lose it.
                self.reads_for_a_change |= self.reading_due.is_none();
                Some(self.read(now))
            }
            Event::DeadlineReached => self.on_deadline(now),
            Event::Committed { by_another_daemon } => self.on_committed(by_another_daemon, now),
            Event::Read(reading) => self.on_read(reading, now),
            Event::Done(outcome) => self.on_done(outcome, now),
        }
    }

    fn on_deadline(&mut self, now: Instant) -> Option<Action> {
        let is_due = |due: Option<Instant>| due.is_some_and(|due| due <= now);
        if is_due(self.resync_due) {
            self.reads_for_a_change = false;
            return Some(self.read(now));
        }
        if is_due(self.reading_due) {
            return Some(self.read(now));
        }
        is_due(self.look_due).then(|| self.look()).flatten()
    }

    fn read(&mut self, now: Instant) -> Action {
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
        match reading {
            Reading::BeingWritten => return self.read_again(now),
            Reading::Absent(_) if self.had_file && !self.has_waited(now) => {
                return self.read_again(now);
            }
            Reading::Absent(defaults) => {
                self.had_file = false;
                self.last_good = Some(defaults);
            }
            Reading::Good(desired) => {
                self.had_file = true;
                self.last_good = Some(desired);
            }
            Reading::Bad => {}
        }
        self.unsettled_since = None;
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

    fn read_again(&mut self, now: Instant) -> Option<Action> {
        self.unsettled_since.get_or_insert(now);
        self.reading_due = now.checked_add(LOOK_AGAIN);
        // The reading that waits is the resync's; it is not due a second time.
        if self.resync_due.is_some_and(|due| due <= now) {
            self.resync_due = None;
        }
        None
    }

    fn on_committed(&mut self, by_another_daemon: bool, now: Instant) -> Option<Action> {
        // What is done during a pass is told again after it.
        if self.under_way.is_some() || self.last_good.is_none() {
            return None;
        }
        self.look_is_for_another_daemon =
            by_another_daemon && (self.look_is_for_another_daemon || self.look_due.is_none());
        match self.pace.next_look(now) {
            Some(later) => {
                self.look_due = Some(later);
                None
            }
            None => self.look(),
        }
    }

    fn look(&mut self) -> Option<Action> {
        self.look_due = None;
        let desired = self.last_good.clone()?;
        self.under_way = Some(Pass::Look);
        // Two daemons that mend each other's table would never stop.
        Some(if self.look_is_for_another_daemon {
            Action::Look(desired)
        } else {
            Action::Sync(desired)
        })
    }

    fn on_done(&mut self, outcome: Outcome, now: Instant) -> Option<Action> {
        let pass = self.under_way.take();
        self.look_due = None;
        if pass == Some(Pass::Look) {
            self.pace.looked(outcome, now);
        }
        match outcome {
            Outcome::Failed => {
                self.failures = self.failures.saturating_add(1);
                let retry = self.jitter.around(retry_after(self.failures));
                self.resync_due = now.checked_add(retry.min(self.resync_interval()));
            }
            // The end of an owner sends no notification.
            Outcome::Owned => {
                self.resync_due = now.checked_add(OWNER_LOOK.min(self.resync_interval()));
            }
            Outcome::InStep | Outcome::Differed => {
                self.failures = 0;
                // A neighbour that commits all the time must not put off the reading of the file.
                if pass == Some(Pass::Resync) || self.resync_due.is_none() {
                    // An interval of centuries has no end that can be told: none is waited for.
                    self.resync_due = now.checked_add(self.resync_interval());
                }
            }
        }
        std::mem::take(&mut self.reloads_after_pass).then(|| {
            self.reads_for_a_change = false;
            self.read(now)
        })
    }

    fn resync_interval(&self) -> Duration {
        let desired = self.last_good.as_ref();
        desired.map_or(FIRST_RESYNC_INTERVAL, |desired| desired.resync_interval)
    }
}

/// How soon one look may follow another, so that a neighbour that commits all the time costs a few looks a second.
#[derive(Debug, Default)]
struct Pace {
    /// Zero after a drift, and after a quiet second.
    wait: Duration,
    last_look: Option<Instant>,
    last_commit: Option<Instant>,
}

impl Pace {
    /// When a commit at the time `now` is to be looked at; `None`: now.
    fn next_look(&mut self, now: Instant) -> Option<Instant> {
        let since = |then: Option<Instant>| then.map(|then| now.duration_since(then));
        if since(self.last_commit).is_none_or(|quiet| quiet >= QUIET) {
            self.wait = Duration::ZERO;
        }
        self.last_commit = Some(now);
        let next = self.last_look?.checked_add(self.wait)?;
        (next > now).then_some(next)
    }

    fn looked(&mut self, outcome: Outcome, now: Instant) {
        self.last_look = Some(now);
        self.wait = match outcome {
            Outcome::Differed => Duration::ZERO,
            _ => (self.wait * 2).clamp(FIRST_WAIT, LONGEST_WAIT),
        };
    }
}

/// Doubled with each failure in a row.
fn retry_after(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    (FIRST_RETRY * (1 << doublings)).min(LAST_RETRY)
}

/// A small generator (SplitMix64, Steele, Lea and Flood 2014): daemons that failed together must not
/// retry together; nothing depends on how random it is.
#[derive(Debug)]
struct Jitter(u64);

impl Jitter {
    /// Between a half of `wait` and all of it.
    fn around(&mut self, wait: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let sixteenths = u32::try_from((mixed ^ (mixed >> 31)) % 9).unwrap_or(0);
        wait / 2 + wait / 16 * sixteenths
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Flags, defaults};
    use crate::policy::Policy;
    use crate::ruleset::ChosenNames;

    const SECOND: Duration = Duration::from_secs(1);

    fn desired(table: &str) -> Desired {
        let flags = Flags {
            nomasq_all_reserved_ranges: false,
            random_fully: true,
        };
        let names = ChosenNames {
            table: table.to_owned(),
            masq_chain: "m".to_owned(),
        };
        Desired {
            ruleset: Rc::new(Ruleset::ipv4(&Policy::new(&defaults(&flags)), &names)),
            policy: table.into(),
            resync_interval: 60 * SECOND,
        }
    }

    fn read(while_written: bool) -> Option<Action> {
        Some(Action::Read { while_written })
    }

    fn sync(table: &str) -> Option<Action> {
        Some(Action::Sync(desired(table)))
    }

    /// A reconciler that has applied the table `a` from a file, and the time.
    fn in_step() -> (Reconciler, Instant) {
        let now = Instant::now();
        let mut reconciler = Reconciler::new(1);
        assert_eq!(reconciler.on(Event::ReloadRequested, now), read(false));
        assert_eq!(
            reconciler.on(Event::Read(Reading::Good(desired("a"))), now),
            sync("a")
        );
        assert_eq!(reconciler.deadline(), None);
        assert_eq!(reconciler.on(Event::Done(Outcome::InStep), now), None);
        assert_eq!(reconciler.deadline(), Some(now + 60 * SECOND));
        (reconciler, now)
    }

    #[test]
    fn a_bad_file_leaves_the_last_good_policy_in_force_and_under_repair() {
        let (mut reconciler, start) = in_step();
        let now = start + 60 * SECOND;
        assert_eq!(reconciler.on(Event::DeadlineReached, now), read(false));
        assert_eq!(reconciler.on(Event::Read(Reading::Bad), now), sync("a"));
    }

    #[test]
    fn a_bad_file_at_first_start_writes_nothing_until_one_is_good() {
        let now = Instant::now();
        let mut reconciler = Reconciler::new(1);
        reconciler.on(Event::ReloadRequested, now);
        assert_eq!(reconciler.on(Event::Read(Reading::Bad), now), None);
        assert_eq!(reconciler.deadline(), Some(now + FIRST_RESYNC_INTERVAL));
        reconciler.on(Event::DeadlineReached, now);
        assert_eq!(
            reconciler.on(Event::Read(Reading::Good(desired("b"))), now),
            sync("b")
        );
    }

    #[test]
    fn a_reload_during_a_sync_comes_after_it_once() {
        let (mut reconciler, now) = in_step();
        reconciler.on(Event::ReloadRequested, now);
        reconciler.on(Event::Read(Reading::Good(desired("b"))), now);
        assert_eq!(reconciler.on(Event::ReloadRequested, now), None);
        assert_eq!(reconciler.on(Event::ReloadRequested, now), None);
        assert_eq!(
            reconciler.on(Event::Done(Outcome::InStep), now),
            read(false)
        );
        reconciler.on(Event::Read(Reading::Good(desired("b"))), now);
        assert_eq!(reconciler.on(Event::Done(Outcome::InStep), now), None);
    }

    #[test]
    fn failures_are_retried_later_and_later_but_never_later_than_the_resync() {
        let (mut reconciler, now) = in_step();
        let mut last = Duration::ZERO;
        for failures in 1..40 {
            reconciler.on(Event::ReloadRequested, now);
            reconciler.on(Event::Read(Reading::Bad), now);
            reconciler.on(Event::Done(Outcome::Failed), now);
            let deadline = reconciler.deadline();
            last = deadline.unwrap() - now;
            assert!(last <= retry_after(failures) && last >= retry_after(failures) / 2);
        }
        assert!(last >= LAST_RETRY / 2);
        reconciler.on(Event::DeadlineReached, now);
        reconciler.on(Event::Read(Reading::Bad), now);
        reconciler.on(Event::Done(Outcome::InStep), now);
        assert_eq!(reconciler.deadline(), Some(now + 60 * SECOND));
    }

    #[test]
    fn a_table_that_another_owns_is_looked_at_every_second() {
        let (mut reconciler, now) = in_step();
        for _ in 0..10 {
            reconciler.on(Event::ReloadRequested, now);
            reconciler.on(Event::Read(Reading::Bad), now);
            reconciler.on(Event::Done(Outcome::Owned), now);
            assert_eq!(reconciler.deadline(), Some(now + SECOND));
        }
    }

    #[test]
    fn a_file_that_goes_counts_as_gone_after_a_second() {
        let (mut reconciler, start) = in_step();
        let mut now = start;
        reconciler.on(Event::ReloadRequested, now);
        while now - start < SECOND {
            assert_eq!(
                reconciler.on(Event::Read(Reading::Absent(desired("d"))), now),
                None
            );
            now = reconciler.deadline().unwrap();
            assert!(matches!(
                reconciler.on(Event::DeadlineReached, now),
                Some(Action::Read { .. })
            ));
        }
        assert_eq!(
            reconciler.on(Event::Read(Reading::Absent(desired("d"))), now),
            sync("d")
        );
    }

    #[test]
    fn a_file_that_comes_back_within_the_second_never_was_gone() {
        let (mut reconciler, now) = in_step();
        reconciler.on(Event::ReloadRequested, now);
        reconciler.on(Event::Read(Reading::Absent(desired("d"))), now);
        reconciler.on(Event::DeadlineReached, now + LOOK_AGAIN);
        let good = Event::Read(Reading::Good(desired("b")));
        assert_eq!(reconciler.on(good, now + LOOK_AGAIN), sync("b"));
        reconciler.on(Event::Done(Outcome::InStep), now + LOOK_AGAIN);
        reconciler.on(Event::ReloadRequested, now + 5 * SECOND);
        let absent = Event::Read(Reading::Absent(desired("d")));
        assert_eq!(
            reconciler.on(absent, now + 5 * SECOND),
            None,
            "the second starts anew"
        );
    }

    #[test]
    fn without_a_file_from_the_start_the_defaults_come_at_once() {
        let now = Instant::now();
        let mut reconciler = Reconciler::new(1);
        reconciler.on(Event::ReloadRequested, now);
        assert_eq!(
            reconciler.on(Event::Read(Reading::Absent(desired("d"))), now),
            sync("d")
        );
    }

    #[test]
    fn a_file_that_is_written_is_waited_for_a_second_and_then_read_as_it_is() {
        let (mut reconciler, start) = in_step();
        let mut now = start;
        let mut action = reconciler.on(Event::ReloadRequested, now);
        while action == read(false) {
            assert_eq!(reconciler.on(Event::Read(Reading::BeingWritten), now), None);
            now = reconciler.deadline().unwrap();
            action = reconciler.on(Event::DeadlineReached, now);
        }
        assert_eq!(action, read(true));
        assert!(now - start >= SECOND && now - start < SECOND + 2 * LOOK_AGAIN);
    }

    #[test]
    fn an_interval_of_centuries_is_no_overflow() {
        let now = Instant::now();
        let mut reconciler = Reconciler::new(1);
        reconciler.on(Event::ReloadRequested, now);
        let desired = Desired {
            resync_interval: Duration::MAX,
            ..desired("a")
        };
        reconciler.on(Event::Read(Reading::Good(desired)), now);
        assert_eq!(reconciler.on(Event::Done(Outcome::InStep), now), None);
        assert_eq!(reconciler.deadline(), None);
    }

    #[test]
    fn a_change_near_the_file_that_changes_nothing_needs_no_sync_and_moves_no_resync() {
        let (mut reconciler, start) = in_step();
        let now = start + SECOND;
        assert_eq!(reconciler.on(Event::FileMayHaveChanged, now), read(false));
        assert_eq!(
            reconciler.on(Event::Read(Reading::Good(desired("a"))), now),
            None
        );
        assert_eq!(reconciler.deadline(), Some(start + 60 * SECOND));
        reconciler.on(Event::FileMayHaveChanged, now);
        assert_eq!(
            reconciler.on(Event::Read(Reading::Good(desired("b"))), now),
            sync("b")
        );
    }

    #[test]
    fn a_commit_is_looked_at_at_once_and_a_repair_does_not_delay_the_next() {
        let (mut reconciler, mut now) = in_step();
        let committed = Event::Committed {
            by_another_daemon: false,
        };
        for _ in 0..10 {
            now += Duration::from_millis(1);
            assert_eq!(reconciler.on(committed.clone(), now), sync("a"));
            assert_eq!(reconciler.on(Event::Done(Outcome::Differed), now), None);
        }
    }

    #[test]
    fn a_neighbour_that_commits_all_the_time_costs_a_few_looks_a_second() {
        let (mut reconciler, start) = in_step();
        let committed = Event::Committed {
            by_another_daemon: false,
        };
        let (mut now, mut looks) = (start, 0);
        while now < start + 10 * SECOND {
            now += Duration::from_millis(10);
            let mut action = None;
            if reconciler.deadline().is_some_and(|due| due <= now) {
                action = reconciler.on(Event::DeadlineReached, now);
            }
            action = action.or_else(|| reconciler.on(committed.clone(), now));
            if action.is_some() {
                assert_eq!(action, sync("a"));
                looks += 1;
                reconciler.on(Event::Done(Outcome::InStep), now);
            }
        }
        assert!((40..=50).contains(&looks), "{looks} looks in 10 s");
        // After a quiet second the next one does not wait.
        now += 2 * SECOND;
        if reconciler.on(Event::DeadlineReached, now).is_some() {
            reconciler.on(Event::Done(Outcome::InStep), now);
        }
        now += 2 * SECOND;
        assert_eq!(reconciler.on(committed, now), sync("a"));
    }

    #[test]
    fn a_busy_neighbour_does_not_put_off_the_resync() {
        let (mut reconciler, start) = in_step();
        let now = start + 59 * SECOND;
        reconciler.on(
            Event::Committed {
                by_another_daemon: false,
            },
            now,
        );
        reconciler.on(Event::Done(Outcome::InStep), now);
        assert_eq!(reconciler.deadline(), Some(start + 60 * SECOND));
    }

    #[test]
    fn what_another_daemon_commits_is_only_looked_at_until_the_resync() {
        let (mut reconciler, start) = in_step();
        let mut now = start + SECOND;
        let committed = Event::Committed {
            by_another_daemon: true,
        };
        assert_eq!(
            reconciler.on(committed, now),
            Some(Action::Look(desired("a")))
        );
        assert_eq!(reconciler.on(Event::Done(Outcome::Differed), now), None);
        now = reconciler.deadline().unwrap();
        assert_eq!(now, start + 60 * SECOND);
        assert_eq!(reconciler.on(Event::DeadlineReached, now), read(false));
        assert_eq!(
            reconciler.on(Event::Read(Reading::Good(desired("a"))), now),
            sync("a")
        );
    }

    #[test]
    fn a_commit_before_any_good_file_changes_nothing() {
        let now = Instant::now();
        let mut reconciler = Reconciler::new(1);
        assert_eq!(
            reconciler.on(
                Event::Committed {
                    by_another_daemon: false
                },
                now
            ),
            None
        );
    }
}
