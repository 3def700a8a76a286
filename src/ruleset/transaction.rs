//! Transactions: what libnftables applies as a whole or not at all.
//!
//! Atomic for a reader is not atomic for packets: a set that is created in the same transaction as
//! the rules which look it up becomes visible to packets a moment after them, and 0.7 % of new
//! flows were treated wrongly while such transactions ran (design §6). So the commands that make
//! and fill sets come in a transaction of their own, before any rule names the set.

use std::borrow::Cow;
use std::net::IpAddr;

use super::{Chain, Element, Rule, Ruleset, Set};

/// One change to the table, in the order in which libnftables is to see them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command<'a> {
    /// Makes the table, wakes a dormant one, or adopts one whose owner has ended. Refused where the table's flags are
    /// others than are written, `dormant` apart (EOPNOTSUPP, nf_tables_updtable in net/netfilter/nf_tables_api.c).
    AddTable,
    /// Deletes the table with all that stands in it.
    DeleteTable,
    /// Makes a set of this name and kind, with its elements.
    AddSet(&'a str, &'a Set),
    /// The same without elements; one that exists keeps its own.
    AddEmptySet(&'a str, &'a Set),
    /// Removes all elements.
    FlushSet(&'a str),
    /// Adds elements to a set.
    AddElements(&'a str, Vec<&'a Element>),
    /// Takes elements away from a set, by their first and last addresses.
    DeleteElements(&'a str, Vec<(IpAddr, IpAddr)>),
    /// Makes a named counter; one that exists keeps its value.
    AddCounter(&'a str),
    /// Makes the chain without rules; one that exists keeps its rules.
    AddChain(&'a Chain),
    /// Removes all rules of the chain.
    FlushChain(&'a str),
    /// Appends a rule.
    AddRule(&'a str, Cow<'a, Rule>),
    /// Removes all elements of a map, so that nothing refers to the chains named in it.
    FlushMap(&'a str),
    /// Removes an object by the key that libnftables' JSON lists it under (`chain`, `set`, `map`,
    /// `counter`, `flowtable`, …) and its name. For what JSON does not delete see [`super::text`].
    Delete(&'a str, &'a str),
}

/// Commands that take effect together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction<'a> {
    /// The table that all commands are about.
    pub ruleset: &'a Ruleset,
    /// In order.
    pub commands: Vec<Command<'a>>,
}

impl Ruleset {
    /// What makes the whole table where there is none: the sets, and the rules after.
    #[must_use]
    pub fn creation(&self) -> [Transaction<'_>; 2] {
        let sets = self.sets.iter().map(|set| Command::AddSet(set.name, set));
        let counters = self.counters.iter().map(|name| Command::AddCounter(name));
        let objects = [Command::AddTable].into_iter().chain(sets).chain(counters);
        let chains = self.chains.iter().map(Command::AddChain);
        let rules = self.chains.iter().flat_map(add_rules);
        [
            self.transaction(objects.collect()),
            self.transaction(chains.chain(rules).collect()),
        ]
    }

    /// What makes the table that is there right whatever stands in it, without having read it: for a listing
    /// that cannot be understood. Foreign objects stay.
    #[must_use]
    pub fn blind_rewrite(&self) -> [Transaction<'_>; 2] {
        let mut objects = Vec::new();
        for set in &self.sets {
            objects.extend([
                Command::AddEmptySet(set.name, set),
                Command::FlushSet(set.name),
            ]);
            objects.extend(add_elements(set.name, set));
        }
        objects.extend(self.counters.iter().map(|name| Command::AddCounter(name)));
        let mut chains: Vec<Command<'_>> = self.chains.iter().map(Command::AddChain).collect();
        chains.extend(self.chains.iter().flat_map(rewrite_rules));
        [self.transaction(objects), self.transaction(chains)]
    }

    /// What makes the whole table anew, whatever stands in the one that is there: the last resort, for it is not
    /// without wrongly treated packets (0.6 flows per transaction at 40,000 a second, design §6). In one transaction, because between two of
    /// them nothing would be masqueraded.
    #[must_use]
    pub fn recreation(&self) -> Transaction<'_> {
        let deletion = [Command::DeleteTable];
        let creation = self.creation().into_iter().flat_map(|made| made.commands);
        self.transaction(deletion.into_iter().chain(creation).collect())
    }

    /// Commands about this table.
    #[must_use]
    pub fn transaction<'a>(&'a self, commands: Vec<Command<'a>>) -> Transaction<'a> {
        Transaction {
            ruleset: self,
            commands,
        }
    }
}

/// All elements of the set, for the one of this name.
pub fn add_elements<'a>(name: &'a str, set: &'a Set) -> Option<Command<'a>> {
    (!set.elements.is_empty()).then(|| Command::AddElements(name, set.elements.iter().collect()))
}

/// All rules of the chain, in place of those that stand in it.
pub fn rewrite_rules(chain: &Chain) -> impl Iterator<Item = Command<'_>> {
    [Command::FlushChain(&chain.name)]
        .into_iter()
        .chain(add_rules(chain))
}

/// All rules of the chain.
pub fn add_rules(chain: &Chain) -> impl Iterator<Item = Command<'_>> {
    chain
        .rules
        .iter()
        .map(|rule| Command::AddRule(&chain.name, Cow::Borrowed(rule)))
}
