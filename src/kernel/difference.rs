//! In what the kernel's table differs from the ruleset. The one comparison there is; how rules are compared, the caller says:
//! by their bytes where they are remembered, or by a listing where people ask.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::observed::{Object, Observed, ObservedChain, ObservedElement, ObservedSet};
use crate::in_words;
use crate::ruleset::{AddressField, Addresses, Chain, Element, Ruleset, Set, SetNames, names};

/// One thing in which the kernel's table differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Difference {
    /// There is no table.
    TableMissing,
    /// There is a table, and its family is off.
    TableUnwanted,
    /// The table's base chains are not hooked.
    TableDormant,
    /// None of the sets that take turns exists.
    SetMissing(String),
    /// The set has another type, other flags or statements, a timeout, a size, a policy or a comment.
    SetOfWrongKind(String),
    /// Elements are missing or have another comment.
    ElementsMissing(String, Vec<Addresses>),
    /// Elements are there that should not be.
    ElementsForeign(String, Vec<Addresses>),
    /// So many elements are no intervals of addresses, expire, or do more than to count.
    ElementsStrange(String, usize),
    /// The named counter does not exist.
    CounterMissing(String),
    /// The named counter has a comment.
    CounterOfWrongKind(String),
    /// The chain does not exist.
    ChainMissing(String),
    /// The chain is hooked elsewhere, or where it should not be, or has a comment.
    ChainOfWrongKind(String),
    /// The chain's policy is not `accept`.
    PolicyDiffers(String),
    /// The chain's rules are others, more, fewer or in another order.
    RulesDiffer(String),
    /// An object that the daemon did not make: its kind and name.
    Foreign(String, String),
}

impl Difference {
    /// It is one of the elements of a set.
    #[must_use]
    pub fn is_of_elements(&self) -> bool {
        matches!(
            self,
            Self::ElementsMissing(..) | Self::ElementsForeign(..) | Self::ElementsStrange(..)
        )
    }
}

/// How many elements a message names.
const ELEMENTS_NAMED: usize = 4;

fn named(elements: &[Addresses]) -> String {
    in_words::first(elements, ELEMENTS_NAMED, ", ")
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TableMissing => f.write_str("there is no table"),
            Self::TableUnwanted => f.write_str("there is a table, although IPv6 is off"),
            Self::TableDormant => f.write_str("the table is dormant"),
            Self::SetMissing(name) => write!(f, "set {name} is missing"),
            Self::SetOfWrongKind(name) => write!(f, "set {name} is of a wrong kind"),
            Self::ElementsMissing(set, elements) => {
                write!(f, "set {set} lacks {}", named(elements))
            }
            Self::ElementsForeign(set, elements) => {
                write!(f, "set {set} has {} too many", named(elements))
            }
            Self::ElementsStrange(set, number) => {
                write!(f, "set {set} has {number} strange elements too many")
            }
            Self::CounterMissing(name) => write!(f, "counter {name} is missing"),
            Self::CounterOfWrongKind(name) => write!(f, "counter {name} is of a wrong kind"),
            Self::ChainMissing(name) => write!(f, "chain {name} is missing"),
            Self::ChainOfWrongKind(name) => write!(f, "chain {name} is of a wrong kind"),
            Self::PolicyDiffers(name) => write!(f, "chain {name} has a wrong policy"),
            Self::RulesDiffer(name) => write!(f, "chain {name} has other rules"),
            // Anyone's to choose, and not to forge a line of the log.
            Self::Foreign(kind, name) => {
                write!(f, "foreign {} {}", kind.escape_debug(), name.escape_debug())
            }
        }
    }
}

/// `NF_INET_POST_ROUTING`, linux/netfilter.h.
const POSTROUTING: u32 = 4;

/// How a chain's rules compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RulesAre {
    /// The ruleset's.
    Right,
    /// Others.
    Other,
    /// Not known.
    Unknown,
}

/// The kernel's table held against the ruleset.
#[derive(Debug)]
pub struct Comparison<'a> {
    /// In what it differs.
    pub differences: Vec<Difference>,
    /// The rules are not known to be the ruleset's, although nothing is known against them.
    pub rules_are_unknown: bool,
    /// The sets that rules are to look up: those that are right, and the next ones in place of those that are not.
    pub set_names: SetNames,
    /// The sets that are still to be made under these names.
    pub sets_to_make: Vec<&'a Set>,
    /// All chains are to be flushed and filled.
    pub rules_are_to_be_written: bool,
    /// Sets and maps to delete that no rule names: at first, for they may stand under the next set's name, or be what
    /// libnftables dies of.
    pub unnamed_sets: Vec<Object>,
    /// What is to be deleted once the rules are right, in this order: what others made, and the sets that rules looked up
    /// before.
    pub objects_to_delete: Vec<Object>,
}

impl<'a> Comparison<'a> {
    /// `rules_are` says it of a chain of the ruleset that is there, if its sets have these names.
    pub fn new(
        ruleset: &'a Ruleset,
        observed: &Observed,
        rules_are: impl Fn(&Chain, &SetNames) -> RulesAre,
    ) -> Self {
        let mut comparison = Self {
            differences: Vec::new(),
            rules_are_unknown: false,
            set_names: SetNames::first(),
            sets_to_make: Vec::new(),
            rules_are_to_be_written: false,
            unnamed_sets: Vec::new(),
            objects_to_delete: Vec::new(),
        };
        if observed.header.is_dormant() {
            comparison.differences.push(Difference::TableDormant);
        }
        let names_now = comparison.sets(ruleset, observed);
        comparison.counters(ruleset, observed);
        comparison.chains(ruleset, observed, |chain| rules_are(chain, &names_now));
        comparison.foreign_objects(ruleset, observed, &names_now);
        comparison
    }

    /// There is nothing to do.
    #[must_use]
    pub fn is_in_step(&self) -> bool {
        self.differences.is_empty() && !self.rules_are_unknown
    }

    fn differs_in_rules(&mut self, difference: Difference) {
        self.differences.push(difference);
        self.rules_are_to_be_written = true;
    }

    /// Gives the names of the sets that rules look up as it is.
    fn sets(&mut self, ruleset: &'a Ruleset, observed: &Observed) -> SetNames {
        let mut names_now = SetNames::first();
        for set in &ruleset.sets {
            let (found, differences) = found(ruleset, observed, set);
            let found = found.map(|found| found.name.clone());
            let next = match found.clone().filter(|_| differences.is_empty()) {
                Some(right) => right,
                None => {
                    self.sets_to_make.push(set);
                    self.rules_are_to_be_written = true;
                    free_name(observed, set.field)
                }
            };
            names_now.put(set.field, found.unwrap_or_else(|| next.clone()));
            self.set_names.put(set.field, next);
            self.differences.extend(differences);
        }
        names_now
    }

    fn counters(&mut self, ruleset: &Ruleset, observed: &Observed) {
        for name in &ruleset.counters {
            match observed.counters.iter().find(|o| o.name == *name) {
                None => self.differs_in_rules(Difference::CounterMissing(name.to_string())),
                // Who gave it one has begun to count anew, since no counter that is there takes one.
                Some(found) if found.is_commented => {
                    self.differs_in_rules(Difference::CounterOfWrongKind(name.to_string()));
                }
                Some(_) => {}
            }
        }
    }

    fn chains(
        &mut self,
        ruleset: &Ruleset,
        observed: &Observed,
        rules_are: impl Fn(&Chain) -> RulesAre,
    ) {
        for chain in &ruleset.chains {
            let name = chain.name.clone();
            let Some(found) = observed.chains.iter().find(|o| o.name == name) else {
                self.differs_in_rules(Difference::ChainMissing(name));
                continue;
            };
            if !found.is_right_for(chain) {
                self.differs_in_rules(Difference::ChainOfWrongKind(name));
                continue;
            }
            if found.hook.as_ref().is_some_and(|hook| !hook.accepts) {
                self.differs_in_rules(Difference::PolicyDiffers(name.clone()));
            }
            match rules_are(chain) {
                RulesAre::Right => {}
                RulesAre::Other => self.differs_in_rules(Difference::RulesDiffer(name)),
                RulesAre::Unknown => {
                    self.rules_are_unknown = true;
                    self.rules_are_to_be_written = true;
                }
            }
        }
    }

    /// Maps first, which may name chains and objects.
    fn foreign_objects(&mut self, ruleset: &Ruleset, observed: &Observed, names_now: &SetNames) {
        let wants_set = |names: &SetNames, name: &str| {
            let mut sets = ruleset.sets.iter();
            sets.any(|set| names.of(set.field) == name)
        };
        let makes = self.sets_to_make.iter().map(|set| set.field);
        let made: Vec<String> = makes
            .map(|field| self.set_names.of(field).to_owned())
            .collect();
        let (maps, sets): (Vec<_>, Vec<_>) = observed.sets.iter().partition(|set| set.is_map);
        for set in maps.into_iter().chain(sets) {
            let is_kept = !set.is_map && wants_set(&self.set_names, &set.name);
            if is_kept && !made.contains(&set.name) {
                continue;
            }
            match observed.has_a_rule_that_names(&set.name) {
                true => self.objects_to_delete.push(set.object()),
                false => self.unnamed_sets.push(set.object()),
            }
            // In what a set differs that is to be replaced is told already.
            if set.is_map || !wants_set(names_now, &set.name) {
                self.is_foreign(&set.object());
            }
        }
        let chains = observed.chains.iter().map(|chain| &chain.name);
        let chains = chains.filter(|name| ruleset.chains.iter().all(|own| own.name != **name));
        let chains: Vec<Object> = chains.map(|name| Object::chain(name)).collect();
        self.rules_are_to_be_written |= !chains.is_empty();
        let counters = observed.counters.iter().map(|counter| &counter.name);
        let counters = counters.filter(|name| ruleset.counters.iter().all(|own| own != *name));
        let counters = counters.map(|name| Object::counter(name));
        let others = observed.others.iter().cloned();
        for object in chains.into_iter().chain(counters).chain(others) {
            self.is_foreign(&object);
            self.objects_to_delete.push(object);
        }
    }

    fn is_foreign(&mut self, object: &Object) {
        let difference = Difference::Foreign(object.kind.to_owned(), object.name.clone());
        self.differences.push(difference);
    }
}

/// The set that the rules look up, or could, and in what it differs from `wanted`. One that is right is preferred, and of
/// two one that rules look up.
fn found<'o>(
    ruleset: &Ruleset,
    observed: &'o Observed,
    wanted: &Set,
) -> (Option<&'o ObservedSet>, Vec<Difference>) {
    let base = wanted.field.set();
    let is_numbered = |set: &&ObservedSet| set.name != base && names::is_one_of(base, &set.name);
    let candidates = observed.sets.iter().filter(|set| !set.is_map);
    let is_right = |set: &&ObservedSet| differences_of(ruleset, set, wanted).is_empty();
    let mut right: Vec<_> = candidates.filter(is_numbered).filter(is_right).collect();
    right.sort_by_key(|set| !observed.has_a_rule_that_names(&set.name));
    if let Some(right) = right.first() {
        return (Some(right), Vec::new());
    }
    match observed.set_in_use(wanted.field) {
        None => (None, vec![Difference::SetMissing(base.to_owned())]),
        Some(found) => {
            let mut differences = differences_of(ruleset, found, wanted);
            if differences.is_empty() {
                // The first edition's, whose elements are right where none needs a comment.
                differences.push(Difference::SetOfWrongKind(found.name.clone()));
            }
            (Some(found), differences)
        }
    }
}

/// In what a set differs that is there.
fn differences_of(ruleset: &Ruleset, found: &ObservedSet, wanted: &Set) -> Vec<Difference> {
    let name = || found.name.clone();
    if !found.is_of_the_kind(ruleset.family, wanted) {
        return vec![Difference::SetOfWrongKind(name())];
    }
    let mut differences = Vec::new();
    if found.strange_elements > 0 {
        differences.push(Difference::ElementsStrange(name(), found.strange_elements));
    }
    let (foreign, missing) = elements_too_many_and_missing(&found.elements, &wanted.elements);
    if !foreign.is_empty() {
        differences.push(Difference::ElementsForeign(name(), foreign));
    }
    if !missing.is_empty() {
        differences.push(Difference::ElementsMissing(name(), missing));
    }
    differences
}

/// Both in order. One with another comment is both.
fn elements_too_many_and_missing(
    found: &[ObservedElement],
    wanted: &[Element],
) -> (Vec<Addresses>, Vec<Addresses>) {
    let (mut foreign, mut missing) = (Vec::new(), Vec::new());
    let mut found = found.iter().peekable();
    for wanted in wanted {
        let interval = (wanted.first, wanted.last);
        while let Some(before) = found.next_if(|other| (other.first, other.last) < interval) {
            foreign.push(Addresses(before.first, before.last));
        }
        match found.next_if(|other| (other.first, other.last) == interval) {
            Some(same) if same.comment == wanted.comment => {}
            Some(_) => {
                foreign.push(Addresses(wanted.first, wanted.last));
                missing.push(Addresses(wanted.first, wanted.last));
            }
            None => missing.push(Addresses(wanted.first, wanted.last)),
        }
    }
    foreign.extend(found.map(|element| Addresses(element.first, element.last)));
    (foreign, missing)
}

/// The first name that no rule holds, whatever else stands under it.
fn free_name(observed: &Observed, field: AddressField) -> String {
    let mut number = 1;
    loop {
        let name = names::numbered(field.set(), number);
        if !observed.has_a_rule_that_names(&name) {
            return name;
        }
        number += 1;
    }
}

impl ObservedChain {
    /// It can hold the chain's rules, and nothing else is said of it; its policy aside.
    #[must_use]
    pub fn is_right_for(&self, chain: &Chain) -> bool {
        let is_hooked_right = match (&chain.hook, &self.hook) {
            (None, None) => true,
            (Some(hook), Some(found)) => {
                found.chain_type == "nat"
                    && found.number == POSTROUTING
                    && found.priority == hook.priority
            }
            _ => false,
        };
        is_hooked_right && !self.is_commented
    }
}

#[cfg(test)]
mod tests;
