//! The rules of a foreign table that translate source addresses, and which packets come to them.
//!
//! Rules of iptables-nft show their target by name only, `{"xt": {"type": "target", "name": "MASQUERADE"}}`, in libnftables
//! 1.0.6 and 1.1.3 alike.

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::Deserialize;
use serde_json::Value;

use super::Listing;
use super::limit::{self, Limit, xt_name};
use crate::in_words;

/// How many limits of a rule are kept, its own first; of a rule that has more, less is known.
const LIMITS_KEPT: usize = 64;
/// How many of them are told.
const LIMITS_TOLD: usize = 4;

/// A table as far as the translation of source addresses goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Listing")]
pub struct NatTable {
    rules: Vec<Rule>,
    /// Verdict maps: name, and the chains that their elements name.
    maps: HashMap<String, Vec<String>>,
    /// Sets: name and elements.
    sets: HashMap<String, Vec<Value>>,
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
    /// What a packet must be like to be translated by it: by the rule itself, by those before it in its chain that return,
    /// and by the jumps that lead to it.
    pub(in crate::commands) limits: Vec<Limit>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) chain: String,
    number: usize,
    pub(super) handle: u64,
    statements: Vec<Value>,
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
            if let Some(set) = object.set {
                let elements = set.elem.as_array().cloned().unwrap_or_default();
                table.sets.insert(set.name, elements);
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
        Walk::new(self, base_chain).source_nat_rules(base_chain)
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

    pub(super) fn rules_of<'a>(&'a self, chain: &'a str) -> impl Iterator<Item = &'a Rule> {
        self.rules.iter().filter(move |rule| rule.chain == chain)
    }

    pub(super) fn targets_of<'a>(&'a self, rule: &'a Rule) -> Vec<&'a str> {
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

    /// What a packet must be like to match the rule.
    pub(super) fn limits_of(&self, rule: &Rule) -> Vec<Limit> {
        let statements = rule.statements.iter();
        statements
            .filter_map(|statement| limit::of_statement(statement, &self.sets))
            .collect()
    }
}

impl Rule {
    /// Whether it masquerades; `None`: it translates no source address.
    pub(super) fn source_nat(&self) -> Option<bool> {
        self.statements.iter().find_map(source_nat)
    }

    /// A packet that matches goes no further in this chain, and is not translated by the rule.
    pub(super) fn ends_the_chain(&self) -> bool {
        let ends = |statement: &Value| {
            let verdicts = ["return", "accept", "drop", "goto"];
            verdicts
                .iter()
                .any(|verdict| statement.get(verdict).is_some())
        };
        self.statements.iter().any(ends)
    }
}

/// A way through the chains that a packet of one base chain comes to: each after those that lead to it, so that what its
/// packets have in common is known by then.
struct Walk<'a> {
    table: &'a NatTable,
    /// The rules of each chain, with their places in the table.
    rules_of: HashMap<&'a str, Vec<(usize, &'a Rule)>>,
    /// For each chain, how many jumps to it are still to be met.
    jumps_ahead: HashMap<&'a str, usize>,
    /// For each chain that a packet comes to, what the jumps that were met have in common.
    limits: HashMap<&'a str, Vec<Limit>>,
    found: Vec<(usize, SourceNatRule)>,
}

impl<'a> Walk<'a> {
    fn new(table: &'a NatTable, base_chain: &'a str) -> Self {
        let mut rules_of: HashMap<&str, Vec<_>> = HashMap::new();
        for (place, rule) in table.rules.iter().enumerate() {
            rules_of.entry(&rule.chain).or_default().push((place, rule));
        }
        let mut jumps_ahead = HashMap::from([(base_chain, 0)]);
        let mut to_visit = vec![base_chain];
        while let Some(chain) = to_visit.pop() {
            let rules = rules_of.get(chain).into_iter().flatten();
            for target in rules.flat_map(|(_, rule)| table.targets_of(rule)) {
                if !jumps_ahead.contains_key(target) {
                    to_visit.push(target);
                }
                *jumps_ahead.entry(target).or_default() += 1;
            }
        }
        Self {
            table,
            rules_of,
            jumps_ahead,
            limits: HashMap::from([(base_chain, Vec::new())]),
            found: Vec::new(),
        }
    }

    fn source_nat_rules(mut self, base_chain: &'a str) -> Vec<SourceNatRule> {
        let mut ready = vec![base_chain];
        let mut in_circles: Vec<&str> = self.jumps_ahead.keys().copied().collect();
        in_circles.sort_unstable();
        let mut walked = HashSet::new();
        loop {
            let known = ready.pop();
            let Some(chain) = known.or_else(|| in_circles.pop()) else {
                break;
            };
            if !walked.insert(chain) {
                continue;
            }
            if known.is_none() {
                // The kernel takes no circle of jumps; of one in a listing, nothing is known.
                self.limits.insert(chain, Vec::new());
            }
            ready.extend(self.walk(chain));
        }
        self.found.sort_by_key(|(place, _)| *place);
        self.found.into_iter().map(|(_, rule)| rule).collect()
    }

    /// Returns the chains that no other leads to any more.
    fn walk(&mut self, chain: &'a str) -> Vec<&'a str> {
        let mut ready = Vec::new();
        // None: no packet comes here, or none any more.
        let mut here = self.limits.remove(chain);
        for (place, rule) in self.rules_of.remove(chain).unwrap_or_default() {
            let limits = self.table.limits_of(rule);
            let of_rule = here.as_ref().map(|here| {
                let all = limits.iter().chain(here).take(LIMITS_KEPT);
                all.cloned().collect::<Vec<Limit>>()
            });
            for target in self.table.targets_of(rule) {
                if let Some(of_rule) = &of_rule {
                    self.meet(target, of_rule);
                }
                let ahead = self.jumps_ahead.entry(target).or_default();
                *ahead = ahead.saturating_sub(1);
                if *ahead == 0 {
                    ready.push(target);
                }
            }
            if let (Some(masquerades), Some(limits)) = (rule.source_nat(), of_rule) {
                self.found
                    .push((place, SourceNatRule::new(rule, masquerades, limits)));
            }
            if rule.ends_the_chain() {
                match limits.as_slice() {
                    [] => here = None,
                    [limit] => here
                        .iter_mut()
                        .for_each(|here| here.extend(limit.otherwise())),
                    // What has come so far lacks one of these, whichever.
                    _ => {}
                }
            }
        }
        ready
    }

    fn meet(&mut self, target: &'a str, limits: &[Limit]) {
        match self.limits.get_mut(target) {
            Some(met) => *met = limit::in_common(met, limits),
            None => {
                self.limits.insert(target, limits.to_vec());
            }
        }
    }
}

impl SourceNatRule {
    fn new(rule: &Rule, masquerades: bool, limits: Vec<Limit>) -> Self {
        Self {
            chain: rule.chain.clone(),
            number: rule.number,
            handle: rule.handle,
            masquerades,
            limits,
        }
    }
}

/// `chain CNI-0a rule 2 (only from 10.0.0.9)`
impl fmt::Display for SourceNatRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "chain {} rule {}", self.chain, self.number)?;
        let mut limits: Vec<String> = self.limits.iter().map(ToString::to_string).collect();
        limits.retain(|limit| !limit.is_empty());
        limits.dedup();
        match limits.is_empty() {
            true => Ok(()),
            false => write!(f, " ({})", in_words::first(&limits, LIMITS_TOLD, ", ")),
        }
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
