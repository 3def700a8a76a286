//! What others translate in the hook `postrouting`, and what it means for the pods' traffic: one reading and one
//! judgement for all commands.
//!
//! Written by anyone, so nothing that is found is an error; what is not known is passed over.

mod agents;
mod judgement;
mod limit;
mod survey;
mod table;
mod writers;

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ruleset::Family;

pub(super) use agents::{Agent, KNOWN_CHAINS as KNOWN_AGENT_CHAINS, Remains, agents};
pub(super) use judgement::{Doubt, Harm, Judged, Meaning, OF_OTHERS, Traffic, WayOut};
pub(super) use survey::{BaseChain, Survey};
pub use table::{NatTable, SourceNatRule};
pub(super) use writers::Writer;

/// All chains of the network namespace, and the libnftables that listed them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Listing")]
pub struct ChainListing {
    /// libnftables' version, `1.0.6`.
    pub version: Option<String>,
    /// The chains that are no base chains.
    pub regular_chains: Vec<Chain>,
    /// The base chains of type `nat` on hook postrouting, the daemon's among them, in the order in which they run: the first
    /// one that maps a connection decides over its source address.
    pub nat_chains: Vec<NatChain>,
}

/// A chain of any table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// The table's family, nft(8) "ADDRESS FAMILIES": `ip`, `ip6`, `inet` and the like.
    pub family: String,
    /// The table's name.
    pub table: String,
    /// The chain's name.
    pub name: String,
}

/// A base chain of type `nat` on hook postrouting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatChain {
    /// See [`Chain::family`].
    pub family: String,
    /// The table's name.
    pub table: String,
    /// The chain's name.
    pub name: String,
    /// Base chains of one hook run in ascending order of it; the order of equal ones is undefined (nft(8)).
    pub priority: i64,
}

impl NatChain {
    /// Whether packets of this family pass it.
    #[must_use]
    pub fn sees(&self, family: Family) -> bool {
        self.family == family.name() || self.family == "inet"
    }

    /// When it runs, as seen from one of the daemon's chains, which has the priority `ours`.
    pub(super) fn runs(&self, ours: i32) -> Order {
        match self.priority.cmp(&i64::from(ours)) {
            std::cmp::Ordering::Less => Order::Before,
            std::cmp::Ordering::Equal => Order::BeforeOrAfter,
            std::cmp::Ordering::Greater => Order::After,
        }
    }
}

/// When a base chain runs, as seen from one of the daemon's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Order {
    Before,
    /// Equal priorities: the order is undefined, nft(8).
    BeforeOrAfter,
    After,
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Before => "before ours",
            Self::BeforeOrAfter => "before or after ours, the priority is the same",
            Self::After => "after ours",
        })
    }
}

#[derive(Deserialize)]
struct Listing {
    nftables: Vec<Object>,
}

/// `{KIND: {…}}`; of other kinds nothing is kept.
#[derive(Deserialize)]
struct Object {
    metainfo: Option<Metainfo>,
    chain: Option<ListedChain>,
    rule: Option<ListedRule>,
    map: Option<ListedSet>,
    set: Option<ListedSet>,
}

#[derive(Deserialize)]
struct Metainfo {
    version: Option<String>,
}

#[derive(Deserialize)]
struct ListedChain {
    family: String,
    table: String,
    name: String,
    #[serde(rename = "type")]
    kind: Option<String>,
    hook: Option<String>,
    #[serde(default)]
    prio: Value,
}

#[derive(Deserialize)]
struct ListedRule {
    chain: String,
    #[serde(default)]
    handle: u64,
    #[serde(default)]
    expr: Vec<Value>,
}

/// A set, or a map.
#[derive(Deserialize)]
struct ListedSet {
    name: String,
    /// What a map leads to.
    #[serde(default)]
    map: Value,
    #[serde(default)]
    elem: Value,
}

impl From<Listing> for ChainListing {
    fn from(listing: Listing) -> Self {
        let mut read = Self::default();
        for object in listing.nftables {
            if let Some(metainfo) = object.metainfo {
                read.version = metainfo.version;
            }
            match object.chain {
                Some(chain) if chain.hook.is_none() => read.regular_chains.push(Chain {
                    family: chain.family,
                    table: chain.table,
                    name: chain.name,
                }),
                Some(chain) if chain.translates_sources() => read.nat_chains.push(NatChain {
                    priority: chain.prio.as_i64().unwrap_or_default(),
                    family: chain.family,
                    table: chain.table,
                    name: chain.name,
                }),
                _ => {}
            }
        }
        read.nat_chains.sort_by_key(|chain| chain.priority);
        read
    }
}

impl ListedChain {
    fn translates_sources(&self) -> bool {
        self.kind.as_deref() == Some("nat") && self.hook.as_deref() == Some("postrouting")
    }
}

#[cfg(test)]
mod tests;
