//! What others translate in the hook `postrouting`: a reader of libnftables' listings of foreign tables.
//!
//! Written by anyone, so nothing that is found is an error; what is not known is passed over. Rules of iptables-nft show
//! their target by name only, `{"xt": {"type": "target", "name": "MASQUERADE"}}`, in libnftables 1.0.6 and 1.1.3 alike.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use serde_json::Value;

use crate::ruleset::Family;

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
}

/// A table as far as the translation of source addresses goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Listing")]
pub struct NatTable {
    rules: Vec<Rule>,
    /// Verdict maps: name, and the chains that their elements name.
    maps: HashMap<String, Vec<String>>,
}

/// A rule that translates source addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceNatRule {
    /// The chain that it stands in.
    pub chain: String,
    /// Its place in the chain, from 1, as `iptables -D CHAIN NUMBER` counts.
    pub number: usize,
    /// nftables' handle, for `nft delete rule`.
    pub handle: u64,
    /// It masquerades; false: it gives another address.
    pub masquerades: bool,
    /// It, or one before it in its chain, looks at the packet's mark.
    pub looks_at_mark: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    chain: String,
    number: usize,
    handle: u64,
    statements: Vec<Value>,
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
    map: Option<ListedMap>,
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

#[derive(Deserialize)]
struct ListedMap {
    name: String,
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

impl From<Listing> for NatTable {
    fn from(listing: Listing) -> Self {
        let mut table = Self::default();
        let mut rules_of: HashMap<String, usize> = HashMap::new();
        for object in listing.nftables {
            if let Some(map) = object.map
                && map.map == "verdict"
            {
                table.maps.insert(map.name, targets(&map.elem));
            }
            if let Some(rule) = object.rule {
                let number = rules_of.entry(rule.chain.clone()).or_default();
                *number += 1;
                table.rules.push(Rule {
                    number: *number,
                    chain: rule.chain,
                    handle: rule.handle,
                    statements: rule.expr,
                });
            }
        }
        table
    }
}

impl NatTable {
    /// The rules that translate source addresses and that a packet in `base_chain` can come to, by `jump`, `goto` and
    /// verdict maps.
    #[must_use]
    pub fn source_nat_rules(&self, base_chain: &str) -> Vec<SourceNatRule> {
        let reached = self.reached_from(base_chain);
        let mut marked = HashSet::new();
        let mut found = Vec::new();
        for rule in &self.rules {
            if rule.statements.iter().any(looks_at_mark) {
                marked.insert(rule.chain.as_str());
            }
            let mut statements = rule.statements.iter();
            if let Some(masquerades) = statements.find_map(source_nat)
                && reached.contains(rule.chain.as_str())
            {
                found.push(SourceNatRule {
                    chain: rule.chain.clone(),
                    number: rule.number,
                    handle: rule.handle,
                    masquerades,
                    looks_at_mark: marked.contains(rule.chain.as_str()),
                });
            }
        }
        found
    }

    /// The rules that lead to `chain`: the chain that each stands in, and its handle.
    #[must_use]
    pub fn jumps_to(&self, chain: &str) -> Vec<(&str, u64)> {
        let rules = self.rules.iter();
        rules
            .filter(|rule| self.targets_of(rule).contains(&chain))
            .map(|rule| (rule.chain.as_str(), rule.handle))
            .collect()
    }

    fn reached_from<'a>(&'a self, base_chain: &'a str) -> HashSet<&'a str> {
        let mut rules_of: HashMap<&str, Vec<&Rule>> = HashMap::new();
        for rule in &self.rules {
            rules_of.entry(&rule.chain).or_default().push(rule);
        }
        let mut reached = HashSet::from([base_chain]);
        let mut to_visit = vec![base_chain];
        while let Some(chain) = to_visit.pop() {
            let rules = rules_of.get(chain).into_iter().flatten();
            for target in rules.flat_map(|rule| self.targets_of(rule)) {
                if reached.insert(target) {
                    to_visit.push(target);
                }
            }
        }
        reached
    }

    fn targets_of<'a>(&'a self, rule: &'a Rule) -> Vec<&'a str> {
        let mut found = Vec::new();
        for statement in &rule.statements {
            let data = statement.get("vmap").and_then(|vmap| vmap.get("data"));
            match data.and_then(Value::as_str) {
                Some(map) => {
                    let name = map.trim_start_matches('@');
                    let chains = self.maps.get(name).into_iter().flatten();
                    found.extend(chains.map(String::as_str));
                }
                None => collect_targets(statement, &mut found),
            }
        }
        found
    }
}

fn targets(value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect_targets(value, &mut found);
    found.into_iter().map(str::to_owned).collect()
}

/// The chains that any `jump` or `goto` in `value` names. No deeper than serde_json reads, 128 levels.
fn collect_targets<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect_targets(item, found)),
        Value::Object(members) => {
            for (key, member) in members {
                match (key.as_str(), member.get("target").and_then(Value::as_str)) {
                    ("jump" | "goto", Some(target)) => found.push(target),
                    _ => collect_targets(member, found),
                }
            }
        }
        _ => {}
    }
}

/// Whether a statement masquerades; `None`: it translates no source address.
fn source_nat(statement: &Value) -> Option<bool> {
    if statement.get("masquerade").is_some() {
        return Some(true);
    }
    if statement.get("snat").is_some() {
        return Some(false);
    }
    match xt_name(statement, "target")? {
        "MASQUERADE" => Some(true),
        "SNAT" | "NETMAP" => Some(false),
        _ => None,
    }
}

fn xt_name<'a>(statement: &'a Value, kind: &str) -> Option<&'a str> {
    let xt = statement.get("xt")?;
    let is_of_kind = xt.get("type")?.as_str()? == kind;
    is_of_kind.then(|| xt.get("name")?.as_str()).flatten()
}

fn looks_at_mark(statement: &Value) -> bool {
    // iptables-nft writes `-m mark` natively or by its own match, as its version is.
    let left = statement.get("match").and_then(|found| found.get("left"));
    xt_name(statement, "match") == Some("mark") || left.is_some_and(is_mark)
}

/// `meta mark`, bare or masked.
fn is_mark(left: &Value) -> bool {
    let is_bare = |value: &Value| value.pointer("/meta/key").is_some_and(|key| key == "mark");
    let masked = left.get("&").and_then(Value::as_array);
    is_bare(left) || masked.is_some_and(|operands| operands.iter().any(is_bare))
}

#[cfg(test)]
mod tests;
