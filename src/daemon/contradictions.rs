//! How many connections contradict the policy, for the metrics. Each is judged, in a thread and only where somebody asks for
//! the metrics: on a node that nobody scrapes, it costs nothing.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::configuration::Desired;
use crate::kernel::conntrack::Filter;
use crate::policy::judgement::Contradiction;
use crate::ruleset::Family;
use crate::tracked;

/// For how long a count is told: 262,144 entries take up to a second to judge.
const COUNTS_FOR: Duration = Duration::from_secs(5 * 60);

/// How many there are, also where that is none. Of a family without a table nothing is told.
pub(super) type Contradictions = HashMap<(Family, Contradiction), u32>;

/// Counts those that contradict what is in force for their family.
///
/// # Errors
/// Where the kernel refuses, or has no ctnetlink.
pub(super) fn count(in_force: &[(Family, Arc<Desired>)]) -> io::Result<Contradictions> {
    let mut counts = Contradictions::new();
    let with_table = in_force
        .iter()
        .filter(|(family, desired)| desired.tables.of(*family).is_some());
    for (family, desired) in with_table {
        let kinds = Contradiction::ALL.map(|kind| ((*family, kind), 0));
        counts.extend(kinds);
        tracked::judge_all(&desired.policy, &Filter::of(*family), |_, judgement| {
            let found = judgement.contradiction;
            if let Some(count) = found.and_then(|kind| counts.get_mut(&(*family, kind))) {
                *count += 1;
            }
        })?;
    }
    Ok(counts)
}

/// When they were counted last, with success or without.
#[derive(Debug, Default)]
pub(super) struct LastCount(Option<Instant>);

impl LastCount {
    pub(super) fn is_outdated(&self, now: Instant) -> bool {
        let Self(last) = self;
        last.is_none_or(|last| now.duration_since(last) >= COUNTS_FOR)
    }

    pub(super) fn begins(&mut self, now: Instant) {
        *self = Self(Some(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_told_for_five_minutes() {
        let (mut last, start) = (LastCount::default(), Instant::now());
        assert!(last.is_outdated(start));
        last.begins(start);
        assert!(!last.is_outdated(start + Duration::from_secs(299)));
        assert!(last.is_outdated(start + Duration::from_secs(300)));
    }
}
