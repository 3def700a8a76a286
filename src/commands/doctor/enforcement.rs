//! Whether `enforce` is on, and whether it may be advised.

/// What `enforce` is on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Enforcement {
    /// The configuration has it.
    On,
    /// It has not, and may.
    Off,
    /// It has not, and must not: IPVS balances services, or that cannot be seen.
    Harmful,
}

impl Enforcement {
    /// `is_on`: as configured; `services`: how many IPVS balances, where that is known.
    pub(super) fn new(is_on: bool, services: Option<usize>) -> Self {
        match (is_on, services) {
            (true, _) => Self::On,
            (false, Some(0)) => Self::Off,
            (false, _) => Self::Harmful,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_may_be_advised_only_where_ipvs_is_known_to_balance_nothing() {
        assert_eq!(Enforcement::new(true, Some(2)), Enforcement::On);
        assert_eq!(Enforcement::new(false, Some(0)), Enforcement::Off);
        assert_eq!(Enforcement::new(false, Some(2)), Enforcement::Harmful);
        assert_eq!(Enforcement::new(false, None), Enforcement::Harmful);
    }
}
