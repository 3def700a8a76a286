//! What the kernel has: one table, as nf_tables tells it, and the questions that are asked of it.
//!
//! Not by libnftables' listing: it lists some rules alike that match differently, dies of some sets of others, and takes a
//! tenth of a second for 10,000 elements. Rules are bytes here, to be compared and never understood.

#[cfg(test)]
mod made_by_tests;
mod object;
mod reading;

use std::collections::HashSet;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::netlink::TableHeader;
use crate::ruleset::{AddressField, Family, Set, in_words, names};
pub use object::Object;
pub(super) use reading::{NFT_OBJECT_COUNTER, rules};

/// A flag of a set, linux/netfilter/nf_tables.h.
const NFT_SET_INTERVAL: u32 = 4;
/// libnftables' numbers of `ipv4_addr` and `ipv6_addr` (`enum datatypes`, include/datatype.h of nftables).
const TYPE_IPADDR: u32 = 7;
const TYPE_IP6ADDR: u32 = 8;
/// The kernel's name of the statement that counts.
const COUNTER: &str = "counter";

/// One table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// Its flags and owner.
    pub header: TableHeader,
    /// Its chains.
    pub chains: Vec<ObservedChain>,
    /// Its named sets and maps.
    pub sets: Vec<ObservedSet>,
    /// Its named counters.
    pub counters: Vec<ObservedCounter>,
    /// Whatever else has a name in it: other objects, flowtables.
    pub others: Vec<Object>,
    /// Its rules, in the order in which they stand in each chain.
    pub rules: Vec<ObservedRule>,
}

/// A chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedChain {
    /// Its name.
    pub name: String,
    /// Present in a base chain.
    pub hook: Option<ObservedHook>,
    /// How many rules it has, and how many rules and elements jump to it: `NFTA_CHAIN_USE`.
    pub uses: usize,
    /// It has a comment, which the daemon never gives.
    pub is_commented: bool,
}

/// Where a base chain is hooked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedHook {
    /// `nat`, `filter` or `route`.
    pub chain_type: String,
    /// `NF_INET_POST_ROUTING` and so on, linux/netfilter.h.
    pub number: u32,
    /// Base chains of one hook run in ascending order of it.
    pub priority: i32,
    /// Its policy is `accept`.
    pub accepts: bool,
}

/// A named set, or a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedSet {
    /// Its name.
    pub name: String,
    /// It is a map.
    pub is_map: bool,
    kind: SetKind,
    /// Its elements, in order and disjoint; read only of those that are called as the daemon's.
    pub elements: Vec<ObservedElement>,
    /// Elements that are no interval of addresses, that expire, or that do more than to count.
    pub strange_elements: usize,
}

/// What elements a set takes. Its size, its policy and its comment change no packet, for a set is never changed once it is
/// filled: they are not read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct SetKind {
    /// Less `NFT_SET_EXPR`, which only says that there are statements.
    flags: u32,
    key_type: u32,
    key_bytes: u32,
    statements: Vec<String>,
}

/// An element of an interval set. As JSON, where the names of its fields are a contract, and by its `Display` it is what
/// commands print.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedElement {
    /// The first address in it.
    pub first: IpAddr,
    /// The last address in it.
    pub last: IpAddr,
    /// Its comment.
    pub comment: Option<String>,
    /// The connections that met it; `None`: it has no counter.
    pub connections: Option<u64>,
}

/// A named counter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedCounter {
    /// Its name.
    pub name: String,
    /// The packets that it counted. In a NAT chain these are connections: only the first packet of one passes it.
    pub packets: u64,
    /// It has a comment, which the daemon never gives.
    pub is_commented: bool,
}

/// A rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObservedRule {
    /// The chain in which it stands.
    pub chain: String,
    /// Its expressions and its comment.
    bytes: Vec<u8>,
}

impl ObservedSet {
    /// It can hold what `set` is to hold, and nothing else; `may_lack_counter`: also without counting it.
    #[must_use]
    pub fn is_of_the_kind(&self, family: Family, set: &Set, may_lack_counter: bool) -> bool {
        let kind = SetKind::of(family, set);
        let without_counter = SetKind {
            statements: Vec::new(),
            ..kind.clone()
        };
        self.kind == kind || may_lack_counter && self.kind == without_counter
    }

    /// Its elements count the connections that meet them.
    #[must_use]
    pub fn counts(&self) -> bool {
        self.kind.statements.iter().any(|name| name == COUNTER)
    }

    /// As what it is deleted.
    #[must_use]
    pub fn object(&self) -> Object {
        Object::new(if self.is_map { "map" } else { "set" }, &self.name)
    }

    /// It is called as those that this field is looked up in.
    pub(super) fn is_for(&self, field: AddressField) -> bool {
        !self.is_map && names::is_one_of(field.set(), &self.name)
    }

    fn is_called_as_the_daemon_s(&self) -> bool {
        self.is_for(AddressField::Source) || self.is_for(AddressField::Destination)
    }
}

impl SetKind {
    /// The kind that the daemon makes for `set`.
    fn of(family: Family, set: &Set) -> Self {
        let (key_type, key_bytes) = match family {
            Family::Ip => (TYPE_IPADDR, 4),
            Family::Ip6 => (TYPE_IP6ADDR, 16),
        };
        Self {
            flags: NFT_SET_INTERVAL,
            key_type,
            key_bytes,
            statements: set.counts.then(|| COUNTER.to_owned()).into_iter().collect(),
        }
    }
}

impl ObservedElement {
    /// The configured CIDR that it came from, or `link-local`.
    #[must_use]
    pub fn origin(&self) -> String {
        let addresses = || in_words(self.first, self.last);
        self.comment.clone().unwrap_or_else(addresses)
    }
}

/// `10.0.0.0/8`, `10.2.0.0-10.255.255.255 of 10.0.0.0/8`, `169.254.0.0/16 (link-local)`
impl fmt::Display for ObservedElement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses = in_words(self.first, self.last);
        f.write_str(&match self.comment.as_deref() {
            None => addresses,
            Some(comment) if comment == addresses => addresses,
            Some("link-local") => format!("{addresses} (link-local)"),
            // Anyone's to choose.
            Some(comment) => format!("{addresses} of {}", comment.escape_debug()),
        })
    }
}

/// What rules name: what stands between NULs in their bytes, whatever they do with it. Others may have thousands of rules and
/// of sets.
#[derive(Debug)]
pub struct NamesInRules<'a>(HashSet<&'a [u8]>);

impl NamesInRules<'_> {
    /// Whether a rule names the set or map.
    #[must_use]
    pub fn contain(&self, set: &str) -> bool {
        self.0.contains(set.as_bytes())
    }
}

impl Observed {
    /// What rules name.
    #[must_use]
    pub fn names_in_rules(&self) -> NamesInRules<'_> {
        let bytes = self.rules.iter().map(|rule| rule.bytes.as_slice());
        NamesInRules(
            bytes
                .flat_map(|bytes| bytes.split(|byte| *byte == 0))
                .collect(),
        )
    }

    /// The set of exempt destinations that rules look up, or the only one.
    #[must_use]
    pub fn set_in_use(&self, field: AddressField) -> Option<&ObservedSet> {
        let mut sets = self.sets.iter().filter(|set| set.is_for(field));
        let (first, named) = (sets.clone().next(), self.names_in_rules());
        sets.find(|set| named.contain(&set.name)).or(first)
    }

    /// How many connections were masqueraded; `None`: the counter is not there.
    #[must_use]
    pub fn masqueraded(&self) -> Option<u64> {
        self.counted(names::MASQUERADED_COUNTER)
    }

    /// How many packets were dropped that belong to no connection; `None`: the counter is not there.
    #[must_use]
    pub fn dropped_invalid(&self) -> Option<u64> {
        self.counted(names::DROPPED_INVALID_COUNTER)
    }

    fn counted(&self, name: &str) -> Option<u64> {
        let mut counters = self.counters.iter();
        let counter = counters.find(|counter| counter.name == name);
        counter.map(|counter| counter.packets)
    }

    /// Each version of the daemon makes the set and the counter, under whatever name of the table.
    #[must_use]
    pub fn is_a_daemon_s(&self) -> bool {
        self.set_in_use(AddressField::Destination).is_some() && self.masqueraded().is_some()
    }

    /// Whether it is as a daemon leaves it that was killed before it had made more than the table, or than the sets.
    #[must_use]
    pub fn has_sets_of_a_daemon_only(&self) -> bool {
        self.sets.iter().all(ObservedSet::is_called_as_the_daemon_s)
            && self.chains.is_empty()
            && self.counters.is_empty()
            && self.others.is_empty()
    }
}
