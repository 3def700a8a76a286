//! Whether `enforce` is on, and whether it may be advised.

use crate::commands::other_nat::{Survey, Traffic};

/// What `enforce` is on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Enforcement {
    /// The configuration has it.
    On,
    /// It has not, and may.
    Off,
    /// It has not, and must not: it would break services that IPVS balances or the connections of others, or whether it
    /// would cannot be seen.
    Harmful,
}

impl Enforcement {
    /// `is_on`: as configured; `services`: how many IPVS balances, and `survey`: the rules of others, where they are known.
    pub(super) fn new(
        is_on: bool,
        services: Option<usize>,
        survey: Option<&Survey>,
        traffic: &Traffic,
    ) -> Self {
        let harms_nobody = |survey: &Survey| {
            let later = survey.base_chains.iter().filter(|base| base.is_enforced());
            let mut judged = later.flat_map(|base| base.judged(traffic));
            survey.unread.is_empty() && !judged.any(|judged| judged.meaning.forbids_enforce())
        };
        match (is_on, services) {
            (true, _) => Self::On,
            (false, Some(0)) if survey.is_some_and(harms_nobody) => Self::Off,
            (false, _) => Self::Harmful,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_may_be_advised_only_where_it_is_known_to_break_nothing() {
        let nothing = Survey::default();
        for (is_on, services, survey, expected) in [
            (true, Some(2), Some(&nothing), Enforcement::On),
            (false, Some(0), Some(&nothing), Enforcement::Off),
            (false, Some(2), Some(&nothing), Enforcement::Harmful),
            (false, None, Some(&nothing), Enforcement::Harmful),
            (false, Some(0), None, Enforcement::Harmful),
        ] {
            let traffic = Traffic::default();
            let enforcement = Enforcement::new(is_on, services, survey, &traffic);
            assert_eq!(enforcement, expected);
        }
    }
}
