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
/// How long a file that is gone, or open for writing, is waited for: editors move files away and
/// write them in several steps.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often it is looked for in that time.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

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
    /// [`Reconciler::deadline`] has come.
    DeadlineReached,
    /// [`Action::Read`] is done.
    Read(Reading),
    /// [`Action::Sync`] is done; true: the kernel has the ruleset.
    Synced(bool),
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
}

/// The state between two events.
#[derive(Debug)]
pub struct Reconciler {
    last_good: Option<Desired>,
    /// The last good configuration came from a file.
    had_file: bool,
    /// Since when the file is gone or open for writing.
    unsettled_since: Option<Instant>,
    is_syncing: bool,
    /// A reload was asked for during the sync.
    reloads_after_sync: bool,
    failures: u32,
    jitter: Jitter,
    deadline: Option<Instant>,
}

impl Reconciler {
    /// `seed` makes the retries of two daemons differ.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            last_good: None,
            had_file: false,
            unsettled_since: None,
            is_syncing: false,
            reloads_after_sync: false,
            failures: 0,
            jitter: Jitter(seed),
            deadline: None,
        }
    }

    /// When [`Event::DeadlineReached`] is due; `None` while something is under way.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// What `event` at the time `now` calls for.
    pub fn on(&mut self, event: Event, now: Instant) -> Option<Action> {
        match event {
            Event::ReloadRequested | Event::DeadlineReached if self.is_syncing => {
                self.reloads_after_sync = true;
                None
            }
            Event::ReloadRequested | Event::DeadlineReached => Some(self.read(now)),
            Event::Read(reading) => self.on_read(reading, now),
            Event::Synced(succeeded) => self.on_synced(succeeded, now),
        }
    }

    fn read(&mut self, now: Instant) -> Action {
        self.deadline = None;
        Action::Read {
            while_written: self.has_waited(now),
        }
    }

    fn has_waited(&self, now: Instant) -> bool {
        self.unsettled_since
            .is_some_and(|since| now.duration_since(since) >= PATIENCE)
    }

    fn on_read(&mut self, reading: Reading, now: Instant) -> Option<Action> {
        match reading {
            Reading::BeingWritten => return self.look_again(now),
            Reading::Absent(_) if self.had_file && !self.has_waited(now) => {
                return self.look_again(now);
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
        match &self.last_good {
            Some(desired) => {
                self.is_syncing = true;
                Some(Action::Sync(desired.clone()))
            }
            // An earlier run's table stays as it is, and without one nothing is written.
            None => {
                self.deadline = now.checked_add(FIRST_RESYNC_INTERVAL);
                None
            }
        }
    }

    fn look_again(&mut self, now: Instant) -> Option<Action> {
        self.unsettled_since.get_or_insert(now);
        self.deadline = now.checked_add(LOOK_AGAIN);
        None
    }

    fn on_synced(&mut self, succeeded: bool, now: Instant) -> Option<Action> {
        self.is_syncing = false;
        self.failures = if succeeded {
            0
        } else {
            self.failures.saturating_add(1)
        };
        if std::mem::take(&mut self.reloads_after_sync) {
            return Some(self.read(now));
        }
        let resync = self
            .last_good
            .as_ref()
            .map_or(FIRST_RESYNC_INTERVAL, |desired| desired.resync_interval);
        let wait = match self.failures {
            0 => resync,
            failures => resync.min(self.jitter.around(retry_after(failures))),
        };
        // An interval of centuries has no end that can be told: none is waited for.
        self.deadline = now.checked_add(wait);
        None
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
        assert_eq!(reconciler.on(Event::Synced(true), now), None);
        assert_eq!(reconciler.deadline(), Some(now + 60 * SECOND));
        (reconciler, now)
    }

    #[test]
    fn a_bad_file_leaves_the_last_good_policy_in_force_and_under_repair() {
        let (mut reconciler, now) = in_step();
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
        assert_eq!(reconciler.on(Event::Synced(true), now), read(false));
        reconciler.on(Event::Read(Reading::Good(desired("b"))), now);
        assert_eq!(reconciler.on(Event::Synced(true), now), None);
    }

    #[test]
    fn failures_are_retried_later_and_later_but_never_later_than_the_resync() {
        let (mut reconciler, now) = in_step();
        let mut last = Duration::ZERO;
        for failures in 1..40 {
            reconciler.on(Event::ReloadRequested, now);
            reconciler.on(Event::Read(Reading::Bad), now);
            reconciler.on(Event::Synced(false), now);
            last = reconciler.deadline().unwrap() - now;
            assert!(last <= retry_after(failures) && last >= retry_after(failures) / 2);
        }
        assert!(last >= LAST_RETRY / 2);
        reconciler.on(Event::DeadlineReached, now);
        reconciler.on(Event::Read(Reading::Bad), now);
        reconciler.on(Event::Synced(true), now);
        assert_eq!(reconciler.deadline(), Some(now + 60 * SECOND));
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
        reconciler.on(Event::Synced(true), now + LOOK_AGAIN);
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
        assert_eq!(reconciler.on(Event::Synced(true), now), None);
        assert_eq!(reconciler.deadline(), None);
    }
}
