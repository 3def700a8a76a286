//! What the worker remembers of a table from one pass to the next. It ends with the worker, as its ownership does.

use super::difference::RulesAre;
use super::observed::{Observed, ObservedElement, ObservedRule};
use crate::ruleset::{Chain, Ruleset, SetNames};

/// What is remembered of a table.
#[derive(Default)]
pub(super) struct Memory {
    written: Option<Written>,
    /// Nobody else can have written those rules.
    are_ours: bool,
    /// They were read while nobody else had committed, which is certain: what is read after another write of the same rules
    /// is not believed instead.
    was_alone: bool,
    /// The netlink port id of another who owns the table, where its process was to be seen.
    pub(super) owner_seen: Option<u32>,
    /// Elements of sets that are gone since the last report, which have counted connections.
    pub(super) counted: Vec<ObservedElement>,
}

/// What was written last: rules as the ruleset has them, and as the kernel shows them.
#[derive(PartialEq, Eq)]
struct Written {
    chains: Vec<Chain>,
    set_names: SetNames,
    rules: Vec<ObservedRule>,
}

impl Memory {
    /// The rules were written, and then read as `rules`; `is_alone`: nobody else can have committed in between. Where others
    /// have, the same is written once more: the same ruleset gives the same bytes each time, so that they are ours if a
    /// second write gives them too.
    pub(super) fn wrote(
        &mut self,
        ruleset: &Ruleset,
        set_names: &SetNames,
        rules: Vec<ObservedRule>,
        is_alone: bool,
    ) {
        let written = Written {
            chains: ruleset.chains.clone(),
            set_names: set_names.clone(),
            rules,
        };
        let before = self.written.as_ref();
        let is_known = |before: &Written| {
            before.chains == written.chains && before.set_names == written.set_names
        };
        // Another daemon that writes after each of these writes would have its rules taken for ours.
        if !is_alone && self.was_alone && before.is_some_and(is_known) {
            return;
        }
        self.are_ours = is_alone || before == Some(&written);
        self.was_alone = is_alone;
        self.written = Some(written);
    }

    /// How the rules of `chain` compare that are there now.
    pub(super) fn rules_are(
        &self,
        chain: &Chain,
        set_names: &SetNames,
        observed: &Observed,
    ) -> RulesAre {
        let now: Vec<_> = rules_of(chain, &observed.rules).collect();
        // Whoever inserts the same after each write would have it taken for ours.
        if now.len() != chain.rules.len() {
            return RulesAre::Other;
        }
        let Some(written) = self.written.as_ref().filter(|_| self.are_ours) else {
            return RulesAre::Unknown;
        };
        let is_ours = written.set_names == *set_names
            && written.chains.contains(chain)
            && rules_of(chain, &written.rules).eq(now);
        match is_ours {
            true => RulesAre::Right,
            false => RulesAre::Other,
        }
    }
}

fn rules_of<'a>(
    chain: &Chain,
    rules: &'a [ObservedRule],
) -> impl Iterator<Item = &'a ObservedRule> {
    rules.iter().filter(|rule| rule.chain == chain.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Flags, defaults};
    use crate::policy::Policy;
    use crate::ruleset::ChosenNames;

    /// Two daemons with other policies on one table, of which each writes right after the other.
    #[test]
    fn what_another_writes_after_each_write_is_not_taken_for_ours() {
        let policy = Policy::new(&defaults(&Flags::default()));
        let ruleset = Ruleset::ipv4(&policy, &ChosenNames::default());
        let names = SetNames::first();
        let rules_by = |who: &str| -> Vec<ObservedRule> {
            let chains = ruleset.chains.iter();
            let rules = chains.flat_map(|chain| chain.rules.iter().map(|_| chain.name.clone()));
            let mut observed = Observed::default();
            rules.for_each(|chain| observed.add_rule(&chain, [who]));
            observed.rules
        };
        let mut memory = Memory::default();
        memory.wrote(&ruleset, &names, rules_by("us"), true);
        for _ in 0..3 {
            memory.wrote(&ruleset, &names, rules_by("them"), false);
        }
        for (who, expected) in [("us", RulesAre::Right), ("them", RulesAre::Other)] {
            let observed = Observed {
                rules: rules_by(who),
                ..Observed::default()
            };
            for chain in &ruleset.chains {
                assert_eq!(
                    memory.rules_are(chain, &names, &observed),
                    expected,
                    "{who}"
                );
            }
        }
    }
}
