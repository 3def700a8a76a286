//! Each distinct error once per hour, with how often it came meanwhile: a retry every few milliseconds must not fill
//! the disk behind the log.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tracing::{error, warn};

/// How long an error that was said is not said again.
const SILENCE: Duration = Duration::from_secs(60 * 60);
/// How many distinct errors are remembered; beyond that all are forgotten, and said again.
const MOST_REMEMBERED: usize = 64;

/// The errors that were said.
#[derive(Debug, Default)]
pub(super) struct Repetitions {
    said: HashMap<String, Said>,
    /// One was said, and since then nothing has succeeded.
    is_failing: bool,
}

#[derive(Debug)]
struct Said {
    at: Instant,
    repeated: u32,
}

impl Repetitions {
    /// Says `error` in the log, as an error, if it is to be said.
    pub(super) fn error(&mut self, error: &str) {
        if let Some(repeated) = self.say(error, Instant::now()) {
            error!(repeated = (repeated > 0).then_some(repeated), "{error}");
        }
    }

    /// The same as a warning: what the daemon is there for goes on.
    pub(super) fn warn(&mut self, error: &str) {
        if let Some(repeated) = self.say(error, Instant::now()) {
            warn!(repeated = (repeated > 0).then_some(repeated), "{error}");
        }
    }

    /// Whether to say `error` now, and how often it came without being said.
    pub(super) fn say(&mut self, error: &str, now: Instant) -> Option<u32> {
        if let Some(said) = self.said.get_mut(error) {
            if now.duration_since(said.at) < SILENCE {
                said.repeated = said.repeated.saturating_add(1);
                return None;
            }
            said.at = now;
            self.is_failing = true;
            return Some(std::mem::take(&mut said.repeated));
        }
        if self.said.len() == MOST_REMEMBERED {
            self.said.clear();
        }
        let said = Said {
            at: now,
            repeated: 0,
        };
        self.said.insert(error.to_owned(), said);
        self.is_failing = true;
        Some(0)
    }

    /// What had failed has succeeded: whether to say that, for an error was said.
    pub(super) fn succeeded(&mut self) -> bool {
        std::mem::take(&mut self.is_failing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_is_said_once_per_hour_with_a_count() {
        let (mut repetitions, start) = (Repetitions::default(), Instant::now());
        assert_eq!(repetitions.say("a", start), Some(0));
        for second in 1..3_600 {
            let now = start + Duration::from_secs(second);
            assert_eq!(repetitions.say("a", now), None);
        }
        assert_eq!(repetitions.say("b", start), Some(0));
        assert_eq!(repetitions.say("a", start + SILENCE), Some(3_599));
        assert_eq!(repetitions.say("a", start + 2 * SILENCE), Some(0));
    }

    #[test]
    fn a_success_is_said_once_after_an_error_that_was_said() {
        let (mut repetitions, now) = (Repetitions::default(), Instant::now());
        assert!(!repetitions.succeeded());
        assert_eq!(repetitions.say("a", now), Some(0));
        assert!(repetitions.succeeded() && !repetitions.succeeded());
        assert_eq!(repetitions.say("a", now), None);
        assert!(!repetitions.succeeded());
    }

    #[test]
    fn errors_that_are_all_different_take_no_memory_without_end() {
        let (mut repetitions, now) = (Repetitions::default(), Instant::now());
        for number in 0..10_000 {
            repetitions.say(&number.to_string(), now);
        }
        assert!(repetitions.said.len() <= MOST_REMEMBERED);
    }
}
