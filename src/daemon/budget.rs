//! How often a table may be repaired, so that a fight with someone who changes it again and again ends.
//!
//! A bucket holds 100 repairs and gets 10 more a second. Who finds it empty waits 1 s for one repair, then 2 s, up to
//! 30 s. After 5 s without drift all is forgotten.

#![allow(dead_code)]

use std::time::{Duration, Instant};

use super::backoff::Backoff;
use super::keeper::Outcome;

const MOST_REPAIRS: u32 = 100;
/// The bucket gets one repair more in this time.
const REFILL: Duration = Duration::from_millis(100);
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// So long without drift, and the bucket is full.
const QUIET: Duration = Duration::from_secs(5);

/// The repairs that one table may cost.
#[derive(Debug)]
pub(super) struct Budget {
    /// When the bucket will be full again: each repair puts that off by [`REFILL`]. `None`: it is full.
    full_at: Option<Instant>,
    wait: Backoff,
    /// The table differs, and is repaired then.
    waits_until: Option<Instant>,
    /// A repair had to wait, and since then there have been no five seconds without drift.
    is_contested: bool,
    /// Since when no drift has been found.
    in_step_since: Option<Instant>,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self {
            full_at: None,
            wait: Backoff::new(FIRST_WAIT, LONGEST_WAIT),
            waits_until: None,
            is_contested: false,
            in_step_since: None,
        }
    }

    /// A pass begins: gives it a repair if there is one. A wait that is over gives one, and leaves the bucket empty.
    pub(super) fn grant(&mut self, now: Instant) -> bool {
        if self.is_quiet(now) {
            *self = Self::new();
        }
        if let Some(until) = self.waits_until {
            if now < until {
                return false;
            }
            self.waits_until = None;
            self.full_at = now.checked_add(REFILL * (MOST_REPAIRS - 1));
        }
        let refill_takes = self.full_at.map(|full_at| full_at.duration_since(now));
        refill_takes.is_none_or(|time| time <= REFILL * (MOST_REPAIRS - 1))
    }

    /// The pass over the table has ended. One that has failed, or found another owner, says nothing of drift.
    pub(super) fn passed(&mut self, outcome: Outcome, now: Instant) {
        match outcome {
            Outcome::InStep | Outcome::Applied => {
                self.waits_until = None;
                self.in_step_since.get_or_insert(now);
            }
            Outcome::Repaired => {
                self.waits_until = None;
                self.in_step_since = Some(now);
                let full_at = self.full_at.map_or(now, |full_at| full_at.max(now));
                let empty = now.checked_add(REFILL * MOST_REPAIRS);
                self.full_at = full_at.checked_add(REFILL).min(empty);
            }
            Outcome::Withheld => {
                self.in_step_since = None;
                self.is_contested = true;
                if self.waits_until.is_none() {
                    self.waits_until = now.checked_add(self.wait.failed());
                }
            }
            Outcome::Failed | Outcome::Owned { .. } => {}
        }
    }

    /// When the repair is due that had to wait.
    pub(super) fn due(&self) -> Option<Instant> {
        self.waits_until
    }

    /// Someone changes the table again and again: it is not to be relied on, not even while it is in step.
    pub(super) fn is_used_up(&self, now: Instant) -> bool {
        self.is_contested && !self.is_quiet(now)
    }

    fn is_quiet(&self, now: Instant) -> bool {
        self.in_step_since
            .is_some_and(|since| now.duration_since(since) >= QUIET)
    }
}

#[cfg(test)]
mod tests;
