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
        let written = Some(Written {
            chains: ruleset.chains.clone(),
            set_names: set_names.clone(),
            rules,
        });
        self.are_ours = is_alone || self.written == written;
        self.written = written;
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
