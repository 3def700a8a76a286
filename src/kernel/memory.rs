//! What the worker remembers of a table from one pass to the next. It ends with the worker, as its ownership does.

use super::difference::RulesAre;
use super::observed::{Observed, ObservedRule};
use super::report::Counted;
use crate::ruleset::{Chain, Ruleset, SetNames};

/// What is remembered of a table.
#[derive(Default)]
pub(super) struct Memory {
    /// What was written last, and nobody else can have written.
    written: Option<Written>,
    /// What was read after a write, while others committed too. The same ruleset gives the same bytes each time, so that it
    /// is ours if a second write gives the same.
    read_once: Option<Written>,
    /// The netlink port id of another who owns the table, where its process was to be seen.
    pub(super) owner_seen: Option<u32>,
    /// What sets have counted that are gone, since the last report.
    pub(super) counted: Vec<Counted>,
}

/// Rules as the ruleset has them, and as the kernel shows them.
#[derive(PartialEq, Eq)]
struct Written {
    chains: Vec<Chain>,
    set_names: SetNames,
    rules: Vec<ObservedRule>,
}

impl Memory {
    /// The rules were written, and then read as `rules`; `is_alone`: nobody else can have committed in between.
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
        if is_alone || self.read_once.as_ref() == Some(&written) {
            (self.written, self.read_once) = (Some(written), None);
        } else {
            (self.written, self.read_once) = (None, Some(written));
        }
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
        let Some(written) = &self.written else {
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
