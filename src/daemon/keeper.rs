//! When the kernel's tables are looked at, and which of them may be repaired then: a state machine without a clock or a
//! system call.
//!
//! Whatever happens only makes a pass due. Each pass looks at all tables, so that nothing needs to be remembered of why
//! it was due.

#![allow(dead_code)]

mod pace;

use std::time::{Duration, Instant};

use self::pace::Pace;
use super::backoff::Backoff;
use super::budget::Budget;
use crate::ruleset::Family;

const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(30);
/// A table that another owns is looked at every second, for the end of an owner sends no notification; more often at
/// first, for an owner that was killed together with its daemon is gone within milliseconds.
const FIRST_LOOK_AT_OWNER: Duration = Duration::from_millis(10);
const LAST_LOOK_AT_OWNER: Duration = Duration::from_secs(1);
/// The least time between two passes that are due because a worker has ended.
const WORKER_LIFE: Duration = Duration::from_secs(1);

/// How the pass over one table ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The kernel had what is wanted.
    InStep,
    /// The kernel had what was wanted before, or nothing yet, and has what is wanted now.
    Applied,
    /// The kernel had something else, which others had made of the table, and has what is wanted now.
    Repaired,
    /// The kernel has something else, and the pass was not allowed to repair it.
    Withheld,
    /// The table could not be read or written.
    Failed,
    /// Another process owns the table, or its owner is ending.
    Owned { is_ending: bool },
}

#[derive(Debug)]
struct Table {
    family: Family,
    budget: Budget,
    /// The kernel has not had yet what is wanted now. To put it there is no repair.
    is_new: bool,
}

/// The state between two events.
#[derive(Debug)]
pub(super) struct Keeper {
    /// Those to be there, and those to be taken away.
    tables: Vec<Table>,
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
            tables: Vec::new(),
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
        let mut before = std::mem::take(&mut self.tables);
        for family in families {
            let same = before.iter().position(|table| table.family == family);
            let budget = same.map(|same| before.swap_remove(same).budget);
            self.tables.push(Table {
                family,
                budget: budget.unwrap_or_else(Budget::new),
                is_new: true,
            });
        }
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
        let tables = self.tables.iter_mut();
        let granted = tables.filter_map(|table| {
            // Asked for also where it is not needed: a wait that is over ends with it.
            let is_granted = table.budget.grant(now);
            (is_granted || table.is_new).then_some(table.family)
        });
        Some(granted.collect())
    }

    /// The pass has ended.
    pub(super) fn passed(&mut self, outcomes: &[(Family, Outcome)], now: Instant) {
        self.is_under_way = false;
        for (family, outcome) in outcomes {
            self.passed_over(*family, *outcome, now);
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
        let repairs = self.tables.iter().map(|table| table.budget.due());
        let due = [self.due, self.retry_due, resync, owner].into_iter();
        self.due = due.chain(repairs).flatten().min();
    }

    /// Someone changes the table again and again, and repairs have to wait.
    pub(super) fn is_withheld(&self, family: Family, now: Instant) -> bool {
        let mut tables = self.tables.iter();
        tables.any(|table| table.family == family && table.budget.is_used_up(now))
    }

    fn passed_over(&mut self, family: Family, outcome: Outcome, now: Instant) {
        let is_as_wanted = match outcome {
            Outcome::InStep | Outcome::Applied | Outcome::Repaired => !self.is_outdated,
            Outcome::Withheld | Outcome::Failed | Outcome::Owned { .. } => false,
        };
        let mut tables = self.tables.iter_mut();
        if let Some(table) = tables.find(|table| table.family == family) {
            table.is_new &= !is_as_wanted;
            table.budget.passed(outcome, now);
        }
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
        if !self.tables.is_empty() {
            self.due = Some(self.due.map_or(at, |due| due.min(at)));
        }
    }
}

#[cfg(test)]
mod tests;
