//! Transactions: what libnftables applies as a whole or not at all.
//!
//! Atomic for a reader is not atomic for packets: a set that is created in the same transaction as
//! the rules which look it up becomes visible to packets a moment after them, and 0.7 % of new
//! flows were treated wrongly while such transactions ran (design §6). So sets are declared, with their elements, in a
//! transaction of their own, before any rule names them; and a set that rules name is never changed.

use super::{Chain, Rule, Ruleset, Set, SetNames};

/// The flags with which the table is made, adopted or woken, nft(8) "TABLES". libnftables before 1.1.0 drops them from
/// JSON without a word; the kernel before Linux 6.9 refuses `persist`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableFlags {
    /// None.
    Plain,
    /// `persist`: of an owner that has ended.
    Persist,
    /// `owner,persist`: others cannot change the table, and it outlives its owner. Never `owner` alone: the table would
    /// die with the socket that owns it.
    OwnerPersist,
}

impl TableFlags {
    pub(super) fn names(self) -> &'static [&'static str] {
        match self {
            Self::Plain => &[],
            Self::Persist => &["persist"],
            Self::OwnerPersist => &["owner", "persist"],
        }
    }
}

/// One change to the table, in the order in which libnftables is to see them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command<'a> {
    /// Makes the table, wakes a dormant one, or adopts one whose owner has ended. Refused where the table's flags are
    /// others than are written, `dormant` apart (EOPNOTSUPP, nf_tables_updtable in net/netfilter/nf_tables_api.c).
    AddTable(TableFlags),
    /// Makes the set, with its elements.
    AddSet(&'a Set),
    /// Makes a named counter; one that exists keeps its value.
    AddCounter(&'a str),
    /// Makes the chain without rules; one that exists keeps its rules.
    AddChain(&'a Chain),
    /// Removes all rules of the chain.
    FlushChain(&'a str),
    /// Appends a rule.
    AddRule(&'a str, &'a Rule),
    /// Removes a map, so that nothing refers to the chains and objects named in it. No rule may name it.
    DeleteMap(&'a str),
    /// Removes a chain.
    DeleteChain(&'a str),
    /// Removes a named counter.
    DeleteCounter(&'a str),
}

/// Commands that take effect together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction<'a> {
    /// The table that all commands are about.
    pub ruleset: &'a Ruleset,
    /// What its sets are called.
    pub set_names: &'a SetNames,
    /// In order.
    pub commands: Vec<Command<'a>>,
}

impl Ruleset {
    /// What makes the whole table where there is none, without flags: the sets, and the rules after.
    #[must_use]
    pub fn creation<'a>(&'a self, set_names: &'a SetNames) -> [Transaction<'a>; 2] {
        let sets = self.sets.iter().map(Command::AddSet);
        let objects = [Command::AddTable(TableFlags::Plain)]
            .into_iter()
            .chain(sets);
        let counters = self.counters.iter().map(|name| Command::AddCounter(name));
        let chains = self.chains.iter().map(Command::AddChain);
        let rules = self.chains.iter().flat_map(add_rules);
        [
            objects.collect(),
            counters.chain(chains).chain(rules).collect(),
        ]
        .map(|commands| self.transaction(set_names, commands))
    }

    /// Commands about this table.
    #[must_use]
    pub fn transaction<'a>(
        &'a self,
        set_names: &'a SetNames,
        commands: Vec<Command<'a>>,
    ) -> Transaction<'a> {
        Transaction {
            ruleset: self,
            set_names,
            commands,
        }
    }
}

/// All rules of the chain.
pub fn add_rules(chain: &Chain) -> impl Iterator<Item = Command<'_>> {
    let rules = chain.rules.iter();
    rules.map(|rule| Command::AddRule(&chain.name, rule))
}
