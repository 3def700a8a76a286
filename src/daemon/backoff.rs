//! How long to wait after a failure: longer with each one in a row.

use std::time::Duration;

/// The waits of one thing that fails again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Backoff {
    first: Duration,
    last: Duration,
    /// What the next failure leads to.
    next: Duration,
}

impl Backoff {
    /// The first failure is followed by the wait `first`, each further one by twice the wait before, up to `last`.
    pub(super) const fn new(first: Duration, last: Duration) -> Self {
        Self {
            first,
            last,
            next: first,
        }
    }

    /// It has failed: how long to wait before the next try.
    pub(super) fn failed(&mut self) -> Duration {
        let wait = self.next.min(self.last);
        self.next = wait.saturating_mul(2);
        wait
    }

    /// It has succeeded, or has a reason to: the next failure is a first one again.
    pub(super) fn succeeded(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_in_a_row_doubles_the_wait_up_to_the_last() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let mut waits = || [(); 6].map(|()| backoff.failed().as_millis());
        assert_eq!(waits(), [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(waits(), [1000; 6]);
        backoff.succeeded();
        assert_eq!(backoff.failed(), Duration::from_millis(100));
    }

    #[test]
    fn no_wait_overflows_and_none_is_longer_than_the_last() {
        let mut backoff = Backoff::new(Duration::MAX, Duration::MAX);
        assert_eq!([(); 3].map(|()| backoff.failed()), [Duration::MAX; 3]);
        let mut backoff = Backoff::new(Duration::from_secs(2), Duration::from_secs(1));
        assert_eq!(backoff.failed(), Duration::from_secs(1));
    }
}
