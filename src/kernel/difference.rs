//! In what the kernel's table differs from the ruleset. The one comparison there is; how rules are compared, the caller says:
//! by their bytes where they are remembered, or by a listing where people ask.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::observed::{
    NFT_OBJECT_COUNTER, NamesInRules, Object, Observed, ObservedChain, ObservedElement, ObservedSet,
};
use crate::ruleset::{
    AddressField, Chain, Element, Family, Ruleset, Set, SetNames, Statement, names,
};
use crate::{in_words, ruleset};

/// One thing in which the kernel's table differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Difference {
    /// There is no table.
    TableMissing,
    /// There is a table, and its family is off.
    TableUnwanted,
    /// The table's base chains are not hooked.
    TableDormant,
    /// Of this kind and name there is none: of sets that take turns, none at all.
    Missing(String, String),
    /// What has this kind and name is not as the daemon makes it: a set has another type, other flags or statements; a chain
    /// is hooked elsewhere, or where it should not be; a chain or a counter has a comment.
    OfWrongKind(String, String),
    /// The set lacks these elements, in words, or they have another comment.
    ElementsMissing(String, String),
    /// The set has these elements, in words, that it should not have.
    ElementsForeign(String, String),
    /// So many elements are no intervals of addresses, expire, or do more than to count.
    ElementsStrange(String, usize),
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

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TableMissing => f.write_str("there is no table"),
            Self::TableUnwanted => f.write_str("there is a table, although IPv6 is off"),
            Self::TableDormant => f.write_str("the table is dormant"),
            Self::Missing(kind, name) => write!(f, "{kind} {name} is missing"),
            Self::OfWrongKind(kind, name) => write!(f, "{kind} {name} is of a wrong kind"),
            Self::ElementsMissing(set, elements) => write!(f, "set {set} lacks {elements}"),
            Self::ElementsForeign(set, elements) => {
                write!(f, "set {set} has {elements} too many")
            }
            Self::ElementsStrange(set, number) => {
                write!(f, "set {set} has {number} strange elements too many")
            }
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
pub(super) const POSTROUTING: u32 = 4;

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
    /// Maps of others that rules name: they go with these, for they may name what is to be made anew.
    pub maps_in_rules: Vec<String>,
    /// What is to be deleted once the rules are right, in this order: what others made, and the sets that rules looked up
    /// before.
    pub objects_to_delete: Vec<Object>,
}

impl<'a> Comparison<'a> {
    /// `sets_may_lack_counters`: libnftables need not have written them. `rules_are` says it of a chain of the ruleset that is
    /// there, if its sets have these names.
    pub fn new(
        ruleset: &'a Ruleset,
        observed: &Observed,
        sets_may_lack_counters: bool,
        rules_are: impl Fn(&Chain, &SetNames) -> RulesAre,
    ) -> Self {
        let mut comparison = Self {
            differences: Vec::new(),
            rules_are_unknown: false,
            set_names: SetNames::first(),
            sets_to_make: Vec::new(),
            rules_are_to_be_written: false,
            unnamed_sets: Vec::new(),
            maps_in_rules: Vec::new(),
            objects_to_delete: Vec::new(),
        };
        if observed.header.is_dormant() {
            comparison.differences.push(Difference::TableDormant);
        }
        let named = observed.names_in_rules();
        let names_now = comparison.compare_sets(ruleset, observed, &named, sets_may_lack_counters);
        comparison.compare_counters(ruleset, observed);
        comparison.compare_chains(ruleset, observed, |chain| rules_are(chain, &names_now));
        comparison.find_foreign_sets(ruleset, observed, &named, &names_now);
        comparison.find_foreign_objects(ruleset, observed);
        comparison
    }

    /// There is nothing to do.
    #[must_use]
    pub fn is_in_step(&self) -> bool {
        self.differences.is_empty() && !self.rules_are_unknown
    }

    /// Nothing but the rules of one chain: whichever of them a packet meets, with those of the other chains they are of one
    /// policy.
    #[must_use]
    pub fn is_of_one_chain(&self) -> bool {
        matches!(self.differences.as_slice(), [Difference::RulesDiffer(_)])
    }

    /// A chain has other rules than it is to have, the names of the sets aside that they look up.
    #[must_use]
    pub fn has_other_rules(&self) -> bool {
        let is_of_rules =
            |difference: &Difference| matches!(difference, Difference::RulesDiffer(_));
        self.differences.iter().any(is_of_rules)
    }

    /// Notes what is mended with the rules.
    fn note_with_rules(&mut self, difference: Difference) {
        self.differences.push(difference);
        self.rules_are_to_be_written = true;
    }

    /// Gives the names of the sets that rules look up as it is.
    fn compare_sets(
        &mut self,
        ruleset: &'a Ruleset,
        observed: &Observed,
        named: &NamesInRules<'_>,
        may_lack_counters: bool,
    ) -> SetNames {
        let mut names_now = SetNames::first();
        for set in &ruleset.sets {
            let (found, differences) =
                found(ruleset.family, observed, named, set, may_lack_counters);
            let found = found.map(|found| found.name.clone());
            let next = match found.clone().filter(|_| differences.is_empty()) {
                Some(right) => right,
                None => {
                    self.sets_to_make.push(set);
                    self.rules_are_to_be_written = true;
                    free_name(named, set.field)
                }
            };
            names_now.put(set.field, found.unwrap_or_else(|| next.clone()));
            self.set_names.put(set.field, next);
            self.differences.extend(differences);
        }
        names_now
    }

    fn compare_counters(&mut self, ruleset: &Ruleset, observed: &Observed) {
        for name in &ruleset.counters {
            match observed.counters.iter().find(|o| o.name == *name) {
                None => self.note_with_rules(missing("counter", name)),
                // Who gave it one has begun to count anew, since no counter that is there takes one.
                Some(found) if found.is_commented => {
                    self.note_with_rules(of_wrong_kind("counter", name));
                }
                Some(_) => {}
            }
        }
    }

    fn compare_chains(
        &mut self,
        ruleset: &Ruleset,
        observed: &Observed,
        rules_are: impl Fn(&Chain) -> RulesAre,
    ) {
        for chain in &ruleset.chains {
            let name = &chain.name;
            let Some(found) = observed.chains.iter().find(|o| o.name == *name) else {
                self.note_with_rules(missing("chain", name));
                continue;
            };
            if !found.is_right_for(chain) {
                self.note_with_rules(of_wrong_kind("chain", name));
                continue;
            }
            if found.hook.as_ref().is_some_and(|hook| !hook.accepts) {
                self.note_with_rules(Difference::PolicyDiffers(name.clone()));
            }
            // Fewer: a jump of another chain is missing, which is told of that one.
            let rules_are = match found.uses > uses_of(chain, &ruleset.chains) {
                true => RulesAre::Other,
                false => rules_are(chain),
            };
            match rules_are {
                RulesAre::Right => {}
                RulesAre::Other => self.note_with_rules(Difference::RulesDiffer(name.clone())),
                RulesAre::Unknown => {
                    self.rules_are_unknown = true;
                    self.rules_are_to_be_written = true;
                }
            }
        }
    }

    /// Maps first, which may name chains and objects.
    fn find_foreign_sets(
        &mut self,
        ruleset: &Ruleset,
        observed: &Observed,
        named: &NamesInRules<'_>,
        names_now: &SetNames,
    ) {
        let is_made = |set: &Set| self.sets_to_make.iter().any(|made| made.field == set.field);
        let kept = ruleset.sets.iter().filter(|set| !is_made(set));
        let kept: Vec<String> = kept
            .map(|set| self.set_names.of(set.field).to_owned())
            .collect();
        let (maps, sets): (Vec<_>, Vec<_>) = observed.sets.iter().partition(|set| set.is_map);
        for set in maps.into_iter().chain(sets) {
            if !set.is_map && kept.contains(&set.name) {
                continue;
            }
            match named.contain(&set.name) {
                true if set.is_map => {
                    self.maps_in_rules.push(set.name.clone());
                    self.rules_are_to_be_written = true;
                }
                true => self.objects_to_delete.push(set.object()),
                false => self.unnamed_sets.push(set.object()),
            }
            // In what a set differs that is to be replaced is told already.
            let mut told = ruleset.sets.iter().map(|set| names_now.of(set.field));
            if set.is_map || !told.any(|told| told == set.name) {
                self.differences.push(foreign(&set.object()));
            }
        }
    }

    fn find_foreign_objects(&mut self, ruleset: &Ruleset, observed: &Observed) {
        let is_own_chain = |name: &str| ruleset.chains.iter().any(|own| own.name == name);
        let is_own_counter = |name: &str| ruleset.counters.iter().any(|own| own == name);
        let chains = observed.chains.iter().map(|chain| chain.name.as_str());
        let chains = chains.filter(|name| !is_own_chain(name));
        let chains: Vec<Object> = chains.map(|name| Object::new("chain", name)).collect();
        // Rules go before the chain that they jump to.
        self.rules_are_to_be_written |= !chains.is_empty();
        let counters = observed
            .counters
            .iter()
            .map(|counter| counter.name.as_str());
        let counters = counters.filter(|name| !is_own_counter(name));
        let counters = counters.map(|name| Object::of_type(NFT_OBJECT_COUNTER, name));
        let others = observed.others.iter().cloned();
        for object in chains.into_iter().chain(counters).chain(others) {
            self.differences.push(foreign(&object));
            self.objects_to_delete.push(object);
        }
    }
}

/// What the kernel counts of a chain: its rules, and those that jump to it. A rule whose dump is larger than the kernel's buffer
/// of 32 KiB is in no listing, nor is what stands behind it (netlink_dump, net/netlink/af_netlink.c), but it is counted.
pub(super) fn uses_of(chain: &Chain, chains: &[Chain]) -> usize {
    let rules = chains.iter().flat_map(|other| &other.rules);
    let statements = rules.flat_map(|rule| &rule.statements);
    let jumps = statements.filter(|it| matches!(it, Statement::Jump(to) if *to == chain.name));
    chain.rules.len() + jumps.count()
}

fn missing(kind: &str, name: &str) -> Difference {
    Difference::Missing(kind.to_owned(), name.to_owned())
}

fn of_wrong_kind(kind: &str, name: &str) -> Difference {
    Difference::OfWrongKind(kind.to_owned(), name.to_owned())
}

fn foreign(object: &Object) -> Difference {
    Difference::Foreign(object.kind.to_owned(), object.name.clone())
}

/// The set that the rules look up, or could, and in what it differs from `wanted`. One that is right is preferred, and of
/// two one that rules look up.
fn found<'o>(
    family: Family,
    observed: &'o Observed,
    named: &NamesInRules<'_>,
    wanted: &Set,
    may_lack_counter: bool,
) -> (Option<&'o ObservedSet>, Vec<Difference>) {
    let candidates = observed.sets.iter().filter(|set| set.is_for(wanted.field));
    let compared =
        candidates.map(|set| (set, differences_of(family, set, wanted, may_lack_counter)));
    let best = compared.min_by_key(|(set, differences)| {
        let is_looked_up = named.contain(&set.name);
        (!differences.is_empty(), !is_looked_up)
    });
    match best {
        Some((set, differences)) => (Some(set), differences),
        None => (None, vec![missing("set", wanted.field.set())]),
    }
}

/// In what a set differs that is there.
fn differences_of(
    family: Family,
    found: &ObservedSet,
    wanted: &Set,
    may_lack_counter: bool,
) -> Vec<Difference> {
    if !found.is_of_the_kind(family, wanted, may_lack_counter) {
        return vec![of_wrong_kind("set", &found.name)];
    }
    let name = || found.name.clone();
    let mut differences = Vec::new();
    if found.strange_elements > 0 {
        differences.push(Difference::ElementsStrange(name(), found.strange_elements));
    }
    let (foreign, missing) = elements_too_many_and_missing(&found.elements, &wanted.elements);
    if !foreign.is_empty() {
        differences.push(Difference::ElementsForeign(name(), named(&foreign)));
    }
    if !missing.is_empty() {
        differences.push(Difference::ElementsMissing(name(), named(&missing)));
    }
    // The first edition's, whose elements are right where none needs a comment.
    if differences.is_empty() && found.name == wanted.field.set() {
        differences.push(of_wrong_kind("set", &found.name));
    }
    differences
}

/// The first address in an element, and the last one.
type Bounds = (IpAddr, IpAddr);

fn named(elements: &[Bounds]) -> String {
    let named = elements.iter().map(|of| ruleset::in_words(of.0, of.1));
    in_words::first(&named.collect::<Vec<_>>(), ELEMENTS_NAMED, ", ")
}

/// Both in order. One with another comment is both.
fn elements_too_many_and_missing(
    found: &[ObservedElement],
    wanted: &[Element],
) -> (Vec<Bounds>, Vec<Bounds>) {
    let (mut foreign, mut missing) = (Vec::new(), Vec::new());
    let bounds = |element: &ObservedElement| (element.first, element.last);
    let mut found = found.iter().peekable();
    for wanted in wanted {
        let interval = (wanted.first, wanted.last);
        while let Some(before) = found.next_if(|other| bounds(other) < interval) {
            foreign.push(bounds(before));
        }
        match found.next_if(|other| bounds(other) == interval) {
            Some(same) if same.comment == wanted.comment => {}
            Some(_) => {
                foreign.push(interval);
                missing.push(interval);
            }
            None => missing.push(interval),
        }
    }
    foreign.extend(found.map(bounds));
    (foreign, missing)
}

/// The first name that no rule holds, whatever else stands under it.
fn free_name(named: &NamesInRules<'_>, field: AddressField) -> String {
    let mut names = (1..).map(|number| names::numbered(field.set(), number));
    let free = names.find(|name| !named.contain(name));
    // There are more numbers than rules.
    free.unwrap_or_default()
}

impl ObservedChain {
    /// It can hold the chain's rules, and nothing else is said of it; its policy aside.
    #[must_use]
    pub fn is_right_for(&self, chain: &Chain) -> bool {
        let is_hooked_right = match (&chain.hook, &self.hook) {
            (None, None) => true,
            (Some(hook), Some(found)) => {
                found.chain_type == hook.chain_type.name()
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
