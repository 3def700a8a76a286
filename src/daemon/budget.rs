//! How often a table may be repaired, so that a fight with someone who changes it again and again ends.
//!
//! A bucket holds 100 repairs and gets 10 more a second. Who finds it empty waits 1 s for one repair, then 2 s, up to
//! 30 s. After 5 s without drift all is forgotten.

use std::time::{Duration, Instant};

use super::backoff::Backoff;

const MOST_REPAIRS: u32 = 100;
/// The bucket gets one repair more in this time.
const REFILL: Duration = Duration::from_millis(100);
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// So long without drift, and the bucket is full.
const QUIET: Duration = Duration::from_secs(5);

/// How the pass over one table ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The kernel had what is wanted, as before.
    InStep,
    /// The kernel has what is wanted, for the first time since that is wanted.
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

impl Outcome {
    /// The kernel has what is wanted.
    pub(super) fn is_as_wanted(self) -> bool {
        matches!(self, Self::InStep | Self::Applied | Self::Repaired)
    }
}

/// The repairs that one table may cost.
#[derive(Debug, Default)]
pub(super) struct Budget {
    /// From when on the next repair may be: so long ago as the bucket has needed to get the others that it holds. `None`: it
    /// is full.
    next_repair: Option<Instant>,
    /// The table differs, and the repair is due when it may be.
    is_waiting: bool,
    /// A repair had to wait, and since then there have been no five seconds without drift.
    wait: Option<Backoff>,
    /// Since when each pass has found it in step, or left it so.
    in_step_since: Option<Instant>,
}

impl Budget {
    /// A pass begins: whether it may repair the table. Then no repair is waited for any more, however the pass ends.
    pub(super) fn grant(&mut self, now: Instant) -> bool {
        if self.is_quiet(now) {
            *self = Self::default();
        }
        let is_granted = self.next_repair.is_none_or(|next| next <= now);
        self.is_waiting &= !is_granted;
        is_granted
    }

    /// The pass over the table has ended. While passes fail, or find another owner, nobody knows of drift: that is no quiet.
    pub(super) fn passed(&mut self, outcome: Outcome, now: Instant) {
        match outcome {
            Outcome::InStep | Outcome::Applied => {
                self.is_waiting = false;
                self.in_step_since.get_or_insert(now);
            }
            Outcome::Repaired => {
                self.is_waiting = false;
                self.in_step_since = Some(now);
                let full = now.checked_sub(REFILL * (MOST_REPAIRS - 1));
                let this = self.next_repair.max(full);
                self.next_repair = this.and_then(|this| this.checked_add(REFILL));
            }
            Outcome::Withheld => {
                self.in_step_since = None;
                if !std::mem::replace(&mut self.is_waiting, true) {
                    let first = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
                    let wait = self.wait.get_or_insert(first).failed();
                    self.next_repair = now.checked_add(wait);
                }
            }
            Outcome::Failed | Outcome::Owned { .. } => self.in_step_since = None,
        }
    }

    /// When the repair is due that has to wait.
    pub(super) fn due(&self) -> Option<Instant> {
        self.next_repair.filter(|_| self.is_waiting)
    }

    /// Someone changes the table again and again: it is not to be relied on, not even while it is in step.
    pub(super) fn is_used_up(&self, now: Instant) -> bool {
        self.wait.is_some() && !self.is_quiet(now)
    }

    fn is_quiet(&self, now: Instant) -> bool {
        self.in_step_since
            .is_some_and(|since| now.duration_since(since) >= QUIET)
    }
}

#[cfg(test)]
mod tests;
