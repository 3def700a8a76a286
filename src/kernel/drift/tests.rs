//! What a repair does to packets on its way, transaction by transaction, without a kernel.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::config::{Flags, judge};
use crate::kernel::observed::{ObservedCounter, ObservedElement};
use crate::policy::Policy;
use crate::ruleset::{ChosenNames, Element, Statement, names};

/// Each differs from each other in one or more of two sets and the rules.
const FILES: [&str; 8] = [
    "nonMasqueradeCIDRs: [10.0.0.0/8]",
    "nonMasqueradeCIDRs: [10.0.0.0/8, 192.0.2.0/24]\nrandomFully: false",
    "nonMasqueradeCIDRs: [10.0.0.0/8]\nsourceCIDRs: [10.4.0.0/14]",
    "nonMasqueradeCIDRs: [10.0.0.0/8]\nsourceCIDRs: [10.4.0.0/14, 10.16.0.0/12]",
    "nonMasqueradeCIDRs: [192.0.2.0/24]\nsourceCIDRs: [10.4.0.0/14]\nrandomFully: false",
    "nonMasqueradeCIDRs: [192.0.2.0/24]\nsourceCIDRs: [10.16.0.0/12]\ntoPorts: 1024-2047",
    "nonMasqueradeCIDRs: [10.0.0.0/8]\nsourceCIDRs: [10.16.0.0/12]\nmasqNodeTraffic: false\nenforce: true",
    "nonMasqueradeCIDRs: [198.51.100.0/24]\nenforce: true",
];

fn ruleset(file: &str) -> Ruleset {
    let judged = judge("file", file.as_bytes(), &Flags::default()).unwrap();
    let names = ChosenNames {
        table: names::DEFAULT_TABLE.to_owned(),
        masq_chain: names::DEFAULT_MASQ_CHAIN.to_owned(),
    };
    Ruleset::ipv4(&Policy::new(&judged.config), &names)
}

/// A table, as far as the daemon's own commands change one.
#[derive(Debug, Clone, Default, PartialEq)]
struct Table {
    sets: BTreeMap<String, Set>,
    counters: Vec<String>,
    chains: Vec<Chain>,
}

impl Table {
    fn of(ruleset: &Ruleset) -> Self {
        let mut table = Self::default();
        for transaction in ruleset.creation() {
            table.apply(&transaction);
        }
        table
    }

    fn apply(&mut self, transaction: &Transaction<'_>) {
        for command in &transaction.commands {
            self.run(command);
        }
    }

    fn run(&mut self, command: &Command<'_>) {
        match command {
            Command::AddTable => {}
            Command::AddSet(name, set) => {
                let before = self.sets.insert((*name).to_owned(), (*set).clone());
                assert_eq!(before, None, "{name} is there");
            }
            Command::FlushSet(name) => self.elements(name).clear(),
            Command::AddElements(name, added) => {
                let added = added.iter().map(|element| (*element).clone());
                self.elements(name).extend(added);
            }
            Command::DeleteElements(name, gone) => self
                .elements(name)
                .retain(|element| !gone.contains(&(element.first, element.last))),
            Command::AddCounter(name) => self.counters.push((*name).to_owned()),
            Command::AddChain(chain) => {
                if !self.chains.iter().any(|other| other.name == chain.name) {
                    let rules = Vec::new();
                    self.chains.push(Chain {
                        rules,
                        ..(*chain).clone()
                    });
                }
            }
            Command::FlushChain(name) => self.rules(name).clear(),
            Command::AddRule(chain, rule) => self.rules(chain).push(rule.clone().into_owned()),
            Command::Delete("set", name) => {
                assert!(
                    !self.looked_up().contains(&(*name).to_owned()),
                    "{name} is in use"
                );
                assert!(self.sets.remove(*name).is_some(), "{name} is not there");
            }
            Command::Delete("chain", name) => self.chains.retain(|chain| chain.name != *name),
            other => panic!("not expected here: {other:?}"),
        }
    }

    fn elements(&mut self, set: &str) -> &mut Vec<Element> {
        &mut self.sets.get_mut(set).unwrap().elements
    }

    fn rules(&mut self, chain: &str) -> &mut Vec<Rule> {
        let mut chains = self.chains.iter_mut();
        &mut chains.find(|other| other.name == chain).unwrap().rules
    }

    fn looked_up(&self) -> Vec<String> {
        let rules = self.chains.iter().flat_map(|chain| &chain.rules);
        let names =
            rules
                .flat_map(|rule| &rule.statements)
                .filter_map(|statement| match statement {
                    Statement::AddressIn(_, name) => Some((*name).to_owned()),
                    _ => None,
                });
        names.collect()
    }

    /// What packets meet: the rules, with the addresses in place of each set's name.
    fn policy(&self) -> BTreeMap<String, Vec<String>> {
        let resolved = |statement: &Statement| match statement {
            Statement::AddressIn(field, name) => {
                let mut elements: Vec<_> = self.sets[*name]
                    .elements
                    .iter()
                    .map(|e| (e.first, e.last))
                    .collect();
                elements.sort();
                format!("{field:?} in {elements:?}")
            }
            other => format!("{other:?}"),
        };
        let chains = self.chains.iter().filter(|chain| !chain.rules.is_empty());
        let of_chain = |chain: &Chain| {
            let statements = chain.rules.iter().flat_map(|rule| &rule.statements);
            (chain.name.clone(), statements.map(resolved).collect())
        };
        chains.map(of_chain).collect()
    }

    fn observed(&self) -> ObservedTable {
        let set = |(name, set): (&String, &Set)| ObservedSet {
            name: name.clone(),
            value_type: json::set_type(Family::Ip, set.field, Form::Typeof),
            flags: vec!["interval".to_owned()],
            statements: match set.counts {
                true => json!([{ "counter": null }]),
                false => Value::Null,
            },
            is_limited: false,
            elements: observed_elements(set),
            strange_elements: 0,
        };
        let counter = |name: &String| ObservedCounter {
            name: name.clone(),
            packets: 0,
            is_commented: false,
        };
        ObservedTable {
            sets: self.sets.iter().map(set).collect(),
            counters: self.counters.iter().map(counter).collect(),
            chains: self.chains.iter().map(observed_chain).collect(),
            ..ObservedTable::default()
        }
    }
}

fn observed_elements(set: &Set) -> Vec<ObservedElement> {
    let observed = |element: &Element| ObservedElement {
        first: element.first,
        last: element.last,
        comment: Some(element.comment.clone()),
        connections: set.counts.then_some(0),
    };
    let mut elements: Vec<_> = set.elements.iter().map(observed).collect();
    elements.sort_by_key(|element| element.first);
    elements
}

fn observed_chain(chain: &Chain) -> ObservedChain {
    let rule = |rule: &Rule| ObservedRule {
        statements: Arc::new(canonical(json::statements(Family::Ip, rule).unwrap())),
        comment: Some(rule.comment.to_owned()),
    };
    ObservedChain {
        name: chain.name.clone(),
        hook: chain.hook.map(|hook| ObservedHook {
            chain_type: "nat".to_owned(),
            hook: "postrouting".to_owned(),
            priority: Some(hook.priority.into()),
            policy: "accept".to_owned(),
        }),
        rules: chain.rules.iter().map(rule).collect(),
        is_commented: false,
    }
}

/// The table after each transaction of the repair, the first before it.
fn course_of(table: &Table, wanted: &Ruleset) -> Vec<Table> {
    let observed = table.observed();
    let drift = Drift::of_table(wanted, TableHeader::default(), &observed).unwrap();
    let mut course = vec![table.clone()];
    for transaction in &drift.repair {
        let mut next = course[course.len() - 1].clone();
        next.apply(transaction);
        course.push(next);
    }
    course
}

/// New rules are in force a moment before new elements are: within one transaction, what rules look up must not change
/// beside the rules, nor beside another set that they look up. And between two of them packets meet the old policy or
/// the new one.
fn assert_never_a_part(course: &[Table], case: &str) {
    let ends = [course[0].policy(), course[course.len() - 1].policy()];
    for (number, pair) in course.windows(2).enumerate() {
        let (before, after) = (&pair[0], &pair[1]);
        let rules = |table: &Table| {
            let chains = table.chains.iter().filter(|chain| !chain.rules.is_empty());
            chains
                .map(|chain| (chain.name.clone(), chain.rules.clone()))
                .collect::<BTreeMap<_, _>>()
        };
        let mut looked_up = [before.looked_up(), after.looked_up()].concat();
        looked_up.sort();
        looked_up.dedup();
        let elements = |table: &Table, name: &str| table.sets.get(name).map(observed_elements);
        looked_up.retain(|name| elements(before, name) != elements(after, name));
        let parts = looked_up.len() + usize::from(rules(before) != rules(after));
        assert!(
            parts <= 1,
            "{case}: transaction {number} changes {looked_up:?} and rules"
        );
        assert!(
            ends.contains(&after.policy()),
            "{case}: a part after transaction {number}"
        );
    }
}

#[test]
fn a_repair_never_shows_packets_a_part_whatever_it_finds() {
    let rulesets = FILES.map(ruleset);
    for (a, first) in rulesets.iter().enumerate() {
        for (b, second) in rulesets.iter().enumerate() {
            let course = course_of(&Table::of(first), second);
            assert_never_a_part(&course, &format!("{a} → {b}"));
            // The daemon is killed after some of the transactions, and another file is there when it starts.
            for (done, cut_short) in course.iter().enumerate() {
                for (c, third) in rulesets.iter().enumerate() {
                    let course = course_of(cut_short, third);
                    let case = format!("{a} → {b}, {done} transactions, → {c}");
                    assert_never_a_part(&course, &case);
                    let left = course_of(&course[course.len() - 1], third);
                    assert_eq!(left.len(), 1, "{case}: it is not done");
                    assert_eq!(
                        course[course.len() - 1].policy(),
                        Table::of(third).policy(),
                        "{case}"
                    );
                }
            }
        }
    }
}
