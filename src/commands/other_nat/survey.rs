//! The tables of others, read once for all that is said of them.

use std::collections::HashMap;

use super::{
    ChainListing, Judged, NatChain, NatTable, Order, Remains, SourceNatRule, Traffic, agents,
    judgement,
};
use crate::commands::look::Look;
use crate::daemon::worker::WorkerError;
use crate::ruleset::Family;
use crate::ruleset::names::ENFORCE_PRIORITY;

/// What others have in the hook `postrouting`.
#[derive(Debug, Default)]
pub(in crate::commands) struct Survey {
    /// In the order in which they run.
    pub(in crate::commands) base_chains: Vec<BaseChain>,
    /// A chain of each table that cannot be read, and why.
    pub(in crate::commands) unread: Vec<(NatChain, WorkerError)>,
    /// What masquerade agents have left.
    pub(in crate::commands) remains: Vec<Remains>,
}

/// A foreign base chain of type nat in the hook postrouting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::commands) struct BaseChain {
    pub(in crate::commands) chain: NatChain,
    /// The rules that translate source addresses, in it and in the chains that it leads to.
    pub(in crate::commands) rules: Vec<SourceNatRule>,
    /// What agents have left in its table.
    pub(in crate::commands) remains: Vec<Remains>,
}

impl BaseChain {
    /// Whether the chain `enforce` comes before it, and so decides over exempt destinations.
    pub(in crate::commands) fn is_enforced(&self) -> bool {
        self.chain.runs(ENFORCE_PRIORITY) == Order::After
    }

    /// Each of its rules.
    pub(in crate::commands) fn judged<'a>(&'a self, traffic: &Traffic) -> Vec<Judged<'a>> {
        judgement::judged(self, traffic)
    }
}

impl Survey {
    /// `is_of_others`: of which base chains it is to be.
    pub(in crate::commands) fn new(
        look: &mut Look,
        listing: &ChainListing,
        is_of_others: impl Fn(&NatChain) -> bool,
    ) -> Self {
        let mut survey = Self::default();
        let mut tables: HashMap<(&str, &str), Option<NatTable>> = HashMap::new();
        let of_others = || {
            listing
                .nat_chains
                .iter()
                .filter(|chain| is_of_others(chain))
        };
        for chain in of_others() {
            let name = (&*chain.family, &*chain.table);
            tables.entry(name).or_insert_with(|| {
                let read = look.nat_table(&chain.family, &chain.table);
                read.map_err(|why| survey.unread.push((chain.clone(), why)))
                    .ok()
            });
        }
        for family in Family::ALL.map(Family::name) {
            let table = tables.get(&(family, "nat")).and_then(Option::as_ref);
            survey
                .remains
                .extend(agents(&listing.regular_chains, family, table));
        }
        for chain in of_others() {
            let table = tables.get(&(&*chain.family, &*chain.table));
            if let Some(Some(table)) = table {
                let mut remains = survey.remains.clone();
                remains.retain(|of| of.family == chain.family && chain.table == "nat");
                survey.base_chains.push(BaseChain {
                    chain: chain.clone(),
                    rules: table.source_nat_rules(&chain.name),
                    remains,
                });
            }
        }
        survey
    }
}
