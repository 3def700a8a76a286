//! How soon one look may follow another, so that a neighbour that commits all the time costs a few looks a second.

use std::time::{Duration, Instant};

use crate::daemon::backoff::Backoff;

/// After a look that finds all in step the next one waits so long, doubled each time up to the longest wait.
const FIRST_WAIT: Duration = Duration::from_millis(10);
const LONGEST_WAIT: Duration = Duration::from_millis(250);
/// After so long without a commit, the next look does not wait.
const QUIET: Duration = Duration::from_secs(1);

/// When the next look may be.
#[derive(Debug)]
pub(super) struct Pace {
    wait: Backoff,
    next_look: Option<Instant>,
    last_commit: Option<Instant>,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self {
            wait: Backoff::new(FIRST_WAIT, LONGEST_WAIT),
            next_look: None,
            last_commit: None,
        }
    }

    /// Someone has committed: when to look.
    pub(super) fn committed(&mut self, now: Instant) -> Instant {
        let before = self.last_commit.replace(now);
        if before.is_none_or(|before| now.duration_since(before) >= QUIET) {
            self.wait.succeeded();
            self.next_look = None;
        }
        self.next_look.map_or(now, |next_look| next_look.max(now))
    }

    /// A look has ended. Whoever changes a table may do so again, and is answered at once.
    pub(super) fn looked(&mut self, found_drift: bool, now: Instant) {
        self.next_look = if found_drift {
            self.wait.succeeded();
            None
        } else {
            now.checked_add(self.wait.failed())
        };
    }
}
