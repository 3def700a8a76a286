//! The rules of a foreign table that translate source addresses, and which packets come to them.
//!
//! Rules of iptables-nft show their target by name only, `{"xt": {"type": "target", "name": "MASQUERADE"}}`, in libnftables
//! 1.0.6 and 1.1.3 alike.

use std::collections::HashMap;
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
/// How many jumps are followed from a rule back to the base chain: the kernel takes no more (`NFT_JUMP_STACK_SIZE`,
/// net/netfilter/nf_tables.h). What comes from farther is not known.
const JUMPS_FOLLOWED: usize = 16;

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
        let mut ways = Ways::from(self, base_chain);
        let rules = self.rules.iter().enumerate();
        let found = rules.filter_map(|(place, rule)| {
            let masquerades = rule.source_nat()?;
            let limits = ways.leading_to_rule(place, 0)?;
            Some(SourceNatRule::new(rule, masquerades, limits))
        });
        found.collect()
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

/// What packets of one base chain have in common where they come to a rule or a chain; `None`: none comes there.
type InCommon = Option<Vec<Limit>>;

/// The ways through a table's chains, from each rule back to the base chain.
struct Ways<'a> {
    table: &'a NatTable,
    /// For each rule, what it asks of packets, and what the rules before it in its chain leave of them.
    limits: Vec<InCommon>,
    /// For each chain, the places of the rules that lead to it.
    jumps: HashMap<&'a str, Vec<usize>>,
    /// What is known of chains.
    known: HashMap<&'a str, InCommon>,
}

impl<'a> Ways<'a> {
    fn from(table: &'a NatTable, base_chain: &'a str) -> Self {
        let mut jumps: HashMap<&str, Vec<usize>> = HashMap::new();
        let mut left: HashMap<&str, InCommon> = HashMap::new();
        let mut limits = Vec::new();
        for (place, rule) in table.rules.iter().enumerate() {
            for target in table.targets_of(rule) {
                jumps.entry(target).or_default().push(place);
            }
            let left = left.entry(&rule.chain).or_insert_with(|| Some(Vec::new()));
            let own = table.limits_of(rule);
            limits.push(left.as_ref().map(|left| together(&own, left)));
            if rule.ends_the_chain() {
                match own.as_slice() {
                    [] => *left = None,
                    [limit] => left
                        .iter_mut()
                        .for_each(|left| left.extend(limit.otherwise())),
                    // What is left lacks one of these, whichever.
                    _ => {}
                }
            }
        }
        Self {
            table,
            limits,
            jumps,
            known: HashMap::from([(base_chain, Some(Vec::new()))]),
        }
    }

    /// `depth`: how many jumps lead from this rule to the one that is asked for.
    fn leading_to_rule(&mut self, place: usize, depth: usize) -> InCommon {
        let own = self.limits.get(place)?.clone()?;
        let chain = self.leading_to_chain(&self.table.rules.get(place)?.chain, depth)?;
        Some(together(&own, &chain))
    }

    fn leading_to_chain(&mut self, chain: &'a str, depth: usize) -> InCommon {
        if let Some(known) = self.known.get(chain) {
            return known.clone();
        }
        if depth == JUMPS_FOLLOWED {
            return Some(Vec::new());
        }
        // By a circle alone nothing comes here; the kernel takes none.
        self.known.insert(chain, None);
        let jumps = self.jumps.get(chain).cloned().unwrap_or_default();
        let ways = jumps
            .into_iter()
            .filter_map(|jump| self.leading_to_rule(jump, depth + 1));
        let in_common = ways.reduce(|one, other| limit::in_common(&one, &other));
        self.known.insert(chain, in_common.clone());
        in_common
    }
}

fn together(first: &[Limit], second: &[Limit]) -> Vec<Limit> {
    let both = first.iter().chain(second).take(LIMITS_KEPT);
    both.cloned().collect()
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

/// The chains that any `jump` or `goto` in `value` names. No deeper than serde_json reads, 128 levels. A chain that a rule has in
/// itself is listed as text: `jump { ip daddr 10.0.0.0/8 jump other }`.
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
        Value::String(text) => {
            let words: Vec<&str> = text.split_whitespace().collect();
            let targets = words.windows(2).filter_map(|pair| match *pair {
                ["jump" | "goto", target] if target != "{" => Some(target),
                _ => None,
            });
            found.extend(targets);
        }
        _ => {}
    }
}

/// Whether a statement masquerades; `None`: it translates no source address.
fn source_nat(statement: &Value) -> Option<bool> {
    if let Some(text) = statement.as_str() {
        let mut words = text.split_whitespace();
        let nat = words.find(|word| ["masquerade", "snat"].contains(word))?;
        return Some(nat == "masquerade");
    }
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
