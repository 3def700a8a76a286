//! How long to wait: between two looks, two readings of the counters, and after a failure.

use std::time::{Duration, Instant};

/// The first retry after a failure comes after about this long.
const FIRST_RETRY: Duration = Duration::from_millis(100);
/// Retries come at least about this often.
pub(super) const LAST_RETRY: Duration = Duration::from_secs(30);
/// After a look that finds all in step the next one waits so long, doubled each time up to the longest wait.
const FIRST_WAIT: Duration = Duration::from_millis(10);
const LONGEST_WAIT: Duration = Duration::from_millis(250);
/// After so long without a commit, the next look does not wait.
const QUIET: Duration = Duration::from_secs(1);
/// How often the counters are read at most; and of all the time no more than a part in so many, for the worker does
/// nothing else meanwhile.
const COUNT_AGAIN: Duration = Duration::from_secs(1);
const COUNT_SHARE: u32 = 20;

/// How soon one look may follow another, so that a neighbour that commits all the time costs a few looks a second.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Zero after a drift, and after a quiet second.
    wait: Duration,
    last_look: Option<Instant>,
    last_commit: Option<Instant>,
}

impl Pace {
    /// When a commit at the time `now` is to be looked at; `None`: now.
    pub(super) fn next_look(&mut self, now: Instant) -> Option<Instant> {
        let since = |then: Option<Instant>| then.map(|then| now.duration_since(then));
        if since(self.last_commit).is_none_or(|quiet| quiet >= QUIET) {
            self.wait = Duration::ZERO;
        }
        self.last_commit = Some(now);
        let next = self.last_look?.checked_add(self.wait)?;
        (next > now).then_some(next)
    }

    pub(super) fn looked(&mut self, found_drift: bool, now: Instant) {
        self.last_look = Some(now);
        self.wait = match found_drift {
            true => Duration::ZERO,
            false => (self.wait * 2).clamp(FIRST_WAIT, LONGEST_WAIT),
        };
    }
}

/// How soon the counters may be read again.
#[derive(Debug, Default)]
pub(super) struct CountPace {
    /// The reading that is under way, or was the last.
    began: Option<Instant>,
    next: Option<Instant>,
}

impl CountPace {
    pub(super) fn is_too_soon(&self, now: Instant) -> bool {
        self.next.is_some_and(|next| now < next)
    }

    pub(super) fn begins(&mut self, now: Instant) {
        self.began = Some(now);
    }

    pub(super) fn ended(&mut self, now: Instant) {
        let took = self.began.map(|began| now.duration_since(began));
        let wait = took.unwrap_or_default().saturating_mul(COUNT_SHARE);
        self.next = now.checked_add(wait.max(COUNT_AGAIN));
    }
}

/// The retries of one thing that fails, which come later and later.
#[derive(Debug)]
pub(super) struct Backoff {
    failures: u32,
    jitter: Jitter,
}

impl Backoff {
    /// `seed` makes the retries of two daemons differ.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            failures: 0,
            jitter: Jitter(seed),
        }
    }

    /// It has failed: how long the next retry is to wait. Only retries double that, or what follows the last of many
    /// changes would wait for as long as if each had been a retry.
    pub(super) fn failed(&mut self, was_retry: bool) -> Duration {
        self.failures = match was_retry {
            true => self.failures.saturating_add(1),
            false => 1,
        };
        self.jitter.around(retry_after(self.failures))
    }

    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// It failed the last time.
    pub(super) fn has_failed(&self) -> bool {
        self.failures > 0
    }
}

/// Doubled with each failure in a row.
pub(super) fn retry_after(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    (FIRST_RETRY * (1 << doublings)).min(LAST_RETRY)
}

/// A table that another owns is looked at every second; more often at first, for an owner that was killed together with
/// its daemon is gone within milliseconds.
pub(super) fn look_at_owner_after(looks: u32) -> Duration {
    const FIRST: Duration = Duration::from_millis(10);
    const LAST: Duration = Duration::from_secs(1);
    (FIRST * (1 << looks.saturating_sub(1).min(7))).min(LAST)
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
