//! Tables as tests make them.

use super::{
    Observed, ObservedChain, ObservedCounter, ObservedElement, ObservedHook, ObservedRule,
    ObservedSet, SetKind,
};
use crate::kernel::difference::{POSTROUTING, uses_of};
use crate::ruleset::{Chain, Family, Set};

impl Observed {
    pub(in crate::kernel) fn add_set(&mut self, family: Family, name: &str, set: &Set) {
        let elements = set.elements.iter().map(|element| ObservedElement {
            first: element.first,
            last: element.last,
            comment: element.comment.clone(),
            connections: set.counts.then_some(0),
        });
        self.sets.push(ObservedSet {
            name: name.to_owned(),
            is_map: false,
            kind: SetKind::of(family, set),
            elements: elements.collect(),
            strange_elements: 0,
        });
    }

    pub(in crate::kernel) fn add_map(&mut self, name: &str) {
        self.sets.push(ObservedSet {
            name: name.to_owned(),
            is_map: true,
            kind: SetKind::default(),
            elements: Vec::new(),
            strange_elements: 0,
        });
    }

    pub(in crate::kernel) fn add_counter(&mut self, name: &str) {
        self.counters.push(ObservedCounter {
            name: name.to_owned(),
            packets: 0,
            is_commented: false,
        });
    }

    /// One of the table's `chains`.
    pub(in crate::kernel) fn add_chain(&mut self, chain: &Chain, chains: &[Chain]) {
        self.chains.push(ObservedChain {
            name: chain.name.clone(),
            hook: chain.hook.map(|hook| ObservedHook {
                chain_type: "nat".to_owned(),
                number: POSTROUTING,
                priority: hook.priority,
                accepts: true,
            }),
            uses: uses_of(chain, chains),
            is_commented: false,
        });
    }

    pub(in crate::kernel) fn add_rule<'a>(
        &mut self,
        chain: &str,
        sets: impl IntoIterator<Item = &'a str>,
    ) {
        let named = sets.into_iter().map(|set| format!("{set}\0"));
        self.rules.push(ObservedRule {
            chain: chain.to_owned(),
            bytes: named.collect::<String>().into_bytes(),
        });
    }
}
