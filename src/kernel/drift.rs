//! Drift: in what the kernel's table differs from the ruleset, and the transactions that mend it in
//! place.
//!
//! A set in use is changed by its elements, rules by flushing and filling their chain; the table
//! and its base chains are never deleted to change them (design §6 has the measured reasons). Only
//! what cannot be changed in place is deleted: a base chain with a wrong hook, priority or type, a
//! set of a wrong kind, what has a comment that the daemon never gives, and what the ruleset has no place for.

mod elements;
mod repair;

use serde_json::Value;

use super::difference::{Difference, Interval};
use super::netlink::TableHeader;
use super::observed::{
    ObservedChain, ObservedHook, ObservedRule, ObservedSet, ObservedTable, canonical,
};
use crate::ruleset::json::{self, Form};
use crate::ruleset::text;
use crate::ruleset::transaction::{Command, Transaction};
use crate::ruleset::{Chain, Family, Rule, Ruleset, Set};
use elements::ElementChanges;
use repair::Commands;

/// In what the kernel's table differs, and what mends it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Drift<'a> {
    /// Empty: the kernel has the ruleset.
    pub differences: Vec<Difference>,
    /// To be applied in order; sets before the rules that look them up.
    pub repair: Vec<Transaction<'a>>,
}

impl<'a> Drift<'a> {
    /// There is no table.
    #[must_use]
    pub fn of_missing_table(ruleset: &'a Ruleset) -> Self {
        Self {
            differences: vec![Difference::TableMissing],
            repair: ruleset.creation().into(),
        }
    }

    /// There is a table, whose listing cannot be read.
    #[must_use]
    pub fn of_unreadable_table(ruleset: &'a Ruleset, header: TableHeader) -> Self {
        let waking = header
            .is_dormant()
            .then(|| ruleset.transaction(vec![Command::AddTable]));
        Self {
            differences: vec![Difference::ListingUnreadable],
            repair: waking.into_iter().chain(ruleset.blind_rewrite()).collect(),
        }
    }

    /// Compares the table that the kernel has with the ruleset.
    ///
    /// # Errors
    /// Where `serde_json` cannot write a rule to compare it; not known to happen.
    pub fn of_table(
        ruleset: &'a Ruleset,
        header: TableHeader,
        observed: &'a ObservedTable,
    ) -> serde_json::Result<Self> {
        let mut comparison = Comparison {
            ruleset,
            observed,
            differences: Vec::new(),
            commands: Commands::default(),
        };
        comparison.table(header);
        comparison.sets();
        comparison.counters();
        comparison.chains()?;
        comparison.foreign_objects();
        Ok(Self {
            differences: comparison.differences,
            repair: comparison.commands.in_order(ruleset, observed),
        })
    }
}

struct Comparison<'a> {
    ruleset: &'a Ruleset,
    observed: &'a ObservedTable,
    differences: Vec<Difference>,
    commands: Commands<'a>,
}

impl<'a> Comparison<'a> {
    fn differs(&mut self, difference: Difference) {
        self.differences.push(difference);
    }

    fn table(&mut self, header: TableHeader) {
        if header.is_dormant() {
            self.differs(Difference::TableDormant);
            self.commands.wakes_table = true;
        }
    }

    fn sets(&mut self) {
        for set in &self.ruleset.sets {
            let name = || set.name.to_owned();
            match self.observed.sets.iter().find(|o| o.name == set.name) {
                // Maps and sets share their names.
                None if maps(self.observed).any(|map| map == set.name) => {
                    self.differs(Difference::SetOfWrongKind(name()));
                    self.empty_all_chains();
                    self.commands.objects.push(Command::Delete("map", set.name));
                    self.commands.objects.push(Command::AddSet(set.name, set));
                }
                None => {
                    self.differs(Difference::SetMissing(name()));
                    self.commands.objects.push(Command::AddSet(set.name, set));
                }
                Some(observed) if !is_of_the_kind(self.ruleset, set, observed) => {
                    self.differs(Difference::SetOfWrongKind(name()));
                    self.empty_all_chains();
                    self.commands.objects.push(Command::Delete("set", set.name));
                    self.commands.objects.push(Command::AddSet(set.name, set));
                }
                Some(observed) if observed.strange_elements > 0 => {
                    let strange = observed.strange_elements;
                    self.differs(Difference::ElementsStrange(name(), strange));
                    let refilling = elements::refill(set);
                    self.commands.elements.push((set, refilling));
                }
                Some(observed) => self.elements(set, observed),
            }
        }
    }

    fn elements(&mut self, set: &'a Set, observed: &'a ObservedSet) {
        let changes = ElementChanges::between(set, observed);
        let ElementChanges {
            foreign, missing, ..
        } = &changes;
        if !foreign.is_empty() {
            let intervals = foreign.iter().map(|&(first, last)| Interval(first, last));
            let intervals = intervals.collect();
            self.differs(Difference::ElementsForeign(set.name.to_owned(), intervals));
        }
        if !missing.is_empty() {
            let intervals = missing.iter().map(|e| Interval(e.first, e.last)).collect();
            self.differs(Difference::ElementsMissing(set.name.to_owned(), intervals));
        }
        let changes = changes.commands(set);
        if !changes.is_empty() {
            self.commands.elements.push((set, changes));
        }
    }

    fn counters(&mut self) {
        for &name in &self.ruleset.counters {
            match self.observed.counters.iter().find(|o| o.name == name) {
                None => {
                    self.differs(Difference::CounterMissing(name.to_owned()));
                    self.commands.objects.push(Command::AddCounter(name));
                }
                // Who gave it one has begun to count anew, since no counter that is there takes one.
                Some(observed) if observed.is_commented => {
                    self.differs(Difference::CounterOfWrongKind(name.to_owned()));
                    self.empty_all_chains();
                    self.commands.objects.push(Command::Delete("counter", name));
                    self.commands.objects.push(Command::AddCounter(name));
                }
                Some(_) => {}
            }
        }
    }

    /// Frees every object of the table for deletion.
    fn empty_all_chains(&mut self) {
        if self.commands.rebuilds_all_rules {
            return;
        }
        self.commands.rebuilds_all_rules = true;
        let chains = self.observed.chains.iter();
        let emptying = chains.map(|chain| Command::FlushChain(&chain.name));
        let maps = maps(self.observed).map(Command::FlushMap);
        self.commands.objects.splice(0..0, emptying.chain(maps));
    }

    fn chains(&mut self) -> serde_json::Result<()> {
        for chain in &self.ruleset.chains {
            let name = || chain.name.clone();
            match self.observed.chains.iter().find(|o| o.name == chain.name) {
                None => {
                    self.differs(Difference::ChainMissing(name()));
                    self.commands.chains.push(Command::AddChain(chain));
                    self.commands.differing.push(chain);
                }
                Some(observed) if !is_hooked_right(chain, observed) || observed.is_commented => {
                    self.differs(Difference::ChainOfWrongKind(name()));
                    self.empty_all_chains();
                    self.commands.chains.extend([
                        Command::Delete("chain", &chain.name),
                        Command::AddChain(chain),
                    ]);
                    self.commands.differing.push(chain);
                }
                Some(observed) => {
                    if observed
                        .hook
                        .as_ref()
                        .is_some_and(|hook| hook.policy != "accept")
                    {
                        self.differs(Difference::PolicyDiffers(name()));
                        self.commands.chains.push(Command::AddChain(chain));
                    }
                    if !has_the_rules(self.ruleset.family, chain, observed)? {
                        self.differs(Difference::RulesDiffer(name()));
                        self.commands.differing.push(chain);
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes away what the daemon did not make: last, when none of the daemon's rules refers to it.
    fn foreign_objects(&mut self) {
        let is_ours = |name: &str| self.ruleset.chains.iter().any(|chain| chain.name == name);
        let chains: Vec<&'a str> = self
            .observed
            .chains
            .iter()
            .map(|chain| chain.name.as_str())
            .filter(|name| !is_ours(name))
            .collect();
        // All are emptied before the first is deleted: they may refer to one another.
        let emptying = chains.iter().map(|name| Command::FlushChain(name));
        self.commands.emptying.extend(emptying);
        let is_ours = |name: &str| self.ruleset.sets.iter().any(|set| set.name == name);
        let maps: Vec<&'a str> = maps(self.observed).filter(|name| !is_ours(name)).collect();
        let sets = self.observed.sets.iter().map(|set| set.name.as_str());
        let sets: Vec<&'a str> = sets.filter(|name| !is_ours(name)).collect();
        self.commands
            .foreign
            .extend(maps.iter().map(|name| Command::FlushMap(name)));
        for (kind, names) in [("chain", chains), ("set", sets), ("map", maps)] {
            for name in names {
                self.is_foreign(kind, name);
                self.commands.foreign.push(Command::Delete(kind, name));
            }
        }
        let is_map = |(kind, _): &&(String, String)| kind == "map";
        let others = self.observed.others.iter().filter(|other| !is_map(other));
        let ours = &self.ruleset.counters;
        let counters = self.observed.counters.iter().map(|o| o.name.as_str());
        let counters = counters
            .filter(|name| !ours.contains(name))
            .map(|name| ("counter", name));
        let others = others.map(|(kind, name)| (kind.as_str(), name.as_str()));
        for (kind, name) in counters.chain(others) {
            self.is_foreign(kind, name);
            if text::is_deletable(kind, name) {
                let deletion = Command::Delete(kind, name);
                self.commands.foreign_one_by_one.push(deletion);
            }
        }
    }

    fn is_foreign(&mut self, kind: &str, name: &str) {
        self.differs(Difference::Foreign(kind.to_owned(), name.to_owned()));
    }
}

fn maps(observed: &ObservedTable) -> impl Iterator<Item = &str> {
    let is_map = |(kind, _): &&(String, String)| kind == "map";
    observed
        .others
        .iter()
        .filter(is_map)
        .map(|(_, name)| name.as_str())
}

/// `typeof ip daddr` or `type ipv4_addr`, and `flags interval; [counter;]`, no more.
fn is_of_the_kind(ruleset: &Ruleset, set: &Set, observed: &ObservedSet) -> bool {
    let has_type = [Form::Typeof, Form::Portable]
        .iter()
        .any(|&form| observed.value_type == json::set_type(ruleset.family, set.field, form));
    let has_statements = match observed.statements.as_array().map(Vec::as_slice) {
        None | Some([]) => !set.counts,
        Some([statement]) => set.counts && statement.get("counter").is_some(),
        Some(_) => false,
    };
    has_type && has_statements && observed.flags == ["interval"] && !observed.is_limited
}

fn is_hooked_right(chain: &Chain, observed: &ObservedChain) -> bool {
    match (&chain.hook, &observed.hook) {
        (None, None) => true,
        (Some(hook), Some(observed)) => {
            let ObservedHook {
                chain_type,
                hook: place,
                priority,
                policy: _,
            } = observed;
            chain_type == "nat"
                && place == "postrouting"
                && *priority == Some(i64::from(hook.priority))
        }
        _ => false,
    }
}

fn has_the_rules(
    family: Family,
    chain: &Chain,
    observed: &ObservedChain,
) -> serde_json::Result<bool> {
    if chain.rules.len() != observed.rules.len() {
        return Ok(false);
    }
    for (rule, observed) in chain.rules.iter().zip(&observed.rules) {
        if !is_the_rule(family, rule, observed)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_the_rule(family: Family, rule: &Rule, observed: &ObservedRule) -> serde_json::Result<bool> {
    let statements: Value = canonical(json::statements(family, rule)?);
    Ok(observed.comment.as_deref() == Some(rule.comment) && *observed.statements == statements)
}

#[cfg(test)]
mod tests;
