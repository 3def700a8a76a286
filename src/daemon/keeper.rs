//! When the kernel's tables are looked at, and which of them may be repaired then: a state machine without a clock or a
//! system call.
//!
//! Whatever happens only makes a pass due. Each pass looks at all tables, so that nothing needs to be remembered of why
//! it was due.

mod pace;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use self::pace::Pace;
use super::backoff::Backoff;
use super::budget::{Budget, Outcome};
use crate::ruleset::Family;

const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(30);
/// A table that another owns is looked at every second, for the end of an owner sends no notification; more often at
/// first, for an owner that was killed together with its daemon is gone within milliseconds.
const FIRST_LOOK_AT_OWNER: Duration = Duration::from_millis(10);
const LAST_LOOK_AT_OWNER: Duration = Duration::from_secs(1);
/// The least time between two passes that are due because a worker has ended.
const WORKER_LIFE: Duration = Duration::from_secs(1);

/// The state between two events.
#[derive(Debug)]
pub(super) struct Keeper {
    /// Of the tables to be there, and of those to be taken away.
    families: Vec<Family>,
    /// Of the tables that have not had yet what is wanted now. To put it there is no repair.
    unapplied: Vec<Family>,
    budgets: HashMap<Family, Budget>,
    resync_interval: Duration,
    is_under_way: bool,
    /// When the next pass is due, after the one that is under way.
    due: Option<Instant>,
    /// Another configuration was wanted since the pass began that is under way.
    is_outdated: bool,
    pace: Pace,
    retry: Backoff,
    /// When what has failed is tried again, whatever passes there are before.
    retry_due: Option<Instant>,
    look_at_owner: Backoff,
    owner_is_ending: bool,
    /// When a pass was due the last time, or is, because a worker had ended.
    worker_due: Option<Instant>,
}

impl Keeper {
    /// Nothing is due before something is wanted.
    pub(super) fn new() -> Self {
        Self {
            families: Vec::new(),
            unapplied: Vec::new(),
            budgets: HashMap::new(),
            resync_interval: Duration::MAX,
            is_under_way: false,
            due: None,
            is_outdated: false,
            pace: Pace::new(),
            retry: Backoff::new(FIRST_RETRY, LAST_RETRY),
            retry_due: None,
            look_at_owner: Backoff::new(FIRST_LOOK_AT_OWNER, LAST_LOOK_AT_OWNER),
            owner_is_ending: false,
            worker_due: None,
        }
    }

    /// Another configuration is wanted: a pass is due now. `families` has those of the tables to be there, and of those to
    /// be taken away.
    pub(super) fn wants(&mut self, families: Vec<Family>, resync_interval: Duration, now: Instant) {
        self.budgets.retain(|family, _| families.contains(family));
        self.unapplied.clone_from(&families);
        self.families = families;
        self.resync_interval = resync_interval;
        self.is_outdated = true;
        // It need not fail as the one before did.
        self.retry.succeeded();
        self.retry_due = None;
        self.make_due(now);
    }

    /// Someone else has committed, and no pass has taken that into account yet. To be told after each pass too: what is told
    /// during one counts for nothing, for the pass may still see it.
    pub(super) fn committed(&mut self, now: Instant) {
        if !self.is_under_way {
            let look = self.pace.committed(now);
            self.make_due(look);
        }
    }

    /// Someone asks for a look: it is due now.
    pub(super) fn look(&mut self, now: Instant) {
        self.make_due(now);
    }

    /// The idle worker has ended, or one is gone at last that could not be killed. A pass starts another, at once, so that
    /// nobody finds the table without its owner for long; but not again and again.
    pub(super) fn worker_ended(&mut self, now: Instant) {
        let due = match self.worker_due {
            Some(due) if due > now => due,
            Some(last) => last
                .checked_add(WORKER_LIFE)
                .map_or(now, |due| due.max(now)),
            None => now,
        };
        self.worker_due = Some(due);
        self.make_due(due);
    }

    /// A pass has begun, and not ended.
    pub(super) fn is_under_way(&self) -> bool {
        self.is_under_way
    }

    /// When [`Self::next`] begins a pass; `None`: not before something happens.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due.filter(|_| !self.is_under_way)
    }

    /// Begins a pass over all tables, if one is due. Gives the families of those that may be repaired in it; the others
    /// are only to be compared.
    pub(super) fn next(&mut self, now: Instant) -> Option<Vec<Family>> {
        self.due().filter(|due| *due <= now)?;
        self.due = None;
        self.is_under_way = true;
        self.is_outdated = false;
        let mut granted = self.families.clone();
        granted.retain(|family| {
            // A wait that is over ends by this: it is asked also where the answer does not matter.
            let is_granted = self.budgets.entry(*family).or_default().grant(now);
            is_granted || self.unapplied.contains(family)
        });
        Some(granted)
    }

    /// The pass has ended.
    pub(super) fn passed(&mut self, outcomes: &[(Family, Outcome)], now: Instant) {
        self.is_under_way = false;
        for (family, outcome) in outcomes {
            if outcome.is_as_wanted() && !self.is_outdated {
                self.unapplied.retain(|unapplied| unapplied != family);
            }
            if let Some(budget) = self.budgets.get_mut(family) {
                budget.passed(*outcome, now);
            }
        }
        let any = |is: fn(&Outcome) -> bool| outcomes.iter().any(|(_, outcome)| is(outcome));
        self.pace
            .looked(any(|outcome| *outcome == Outcome::Repaired), now);
        let is_failing = any(|outcome| *outcome == Outcome::Failed);
        let is_owned = any(|outcome| matches!(outcome, Outcome::Owned { .. }));
        let is_ending = any(|outcome| *outcome == Outcome::Owned { is_ending: true });
        self.schedule_retry(is_failing, now);
        let was_ending = std::mem::replace(&mut self.owner_is_ending, is_ending);
        if !is_owned || (is_ending && !was_ending) {
            self.look_at_owner.succeeded();
        }
        let look_at_owner = is_owned.then(|| self.look_at_owner.failed());
        // An interval of centuries has no end that can be told: none is waited for.
        let resync = now.checked_add(self.resync_interval);
        let owner = look_at_owner.and_then(|wait| now.checked_add(wait));
        let repairs = self.budgets.values().map(Budget::due);
        let due = [self.due, self.retry_due, resync, owner].into_iter();
        self.due = due.chain(repairs).flatten().min();
    }

    /// Someone changes the table again and again, and repairs have to wait.
    pub(super) fn is_withheld(&self, family: Family, now: Instant) -> bool {
        let budget = self.budgets.get(&family);
        budget.is_some_and(|budget| budget.is_used_up(now))
    }

    /// The retry that is waited for comes when it was to come, also where others' commits lead to a pass before that, which
    /// fails too.
    fn schedule_retry(&mut self, is_failing: bool, now: Instant) {
        if !is_failing {
            self.retry.succeeded();
            self.retry_due = None;
        } else if self.retry_due.is_none_or(|due| due <= now) {
            self.retry_due = now.checked_add(self.retry.failed());
        }
    }

    fn make_due(&mut self, at: Instant) {
        if !self.families.is_empty() {
            self.due = Some(self.due.map_or(at, |due| due.min(at)));
        }
    }
}

#[cfg(test)]
mod tests;
