//! Each distinct error once per hour, with how often it came meanwhile: a retry every few milliseconds must not fill
//! the disk behind the log.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long an error that was said is not said again.
const SILENCE: Duration = Duration::from_secs(60 * 60);
/// How many distinct errors are remembered; beyond that all are forgotten, and said again.
const MOST_REMEMBERED: usize = 64;

/// The errors that were said.
#[derive(Debug, Default)]
pub(super) struct Repetitions {
    said: HashMap<String, Said>,
}

#[derive(Debug)]
struct Said {
    at: Instant,
    repeated: u32,
}

impl Repetitions {
    /// Whether to say `error` now, and how often it came without being said.
    pub(super) fn say(&mut self, error: &str, now: Instant) -> Option<u32> {
        if let Some(said) = self.said.get_mut(error) {
            if now.duration_since(said.at) < SILENCE {
                said.repeated = said.repeated.saturating_add(1);
                return None;
            }
            said.at = now;
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
        Some(0)
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
    fn errors_that_are_all_different_take_no_memory_without_end() {
        let (mut repetitions, now) = (Repetitions::default(), Instant::now());
        for number in 0..10_000 {
            repetitions.say(&number.to_string(), now);
        }
        assert!(repetitions.said.len() <= MOST_REMEMBERED);
    }
}
