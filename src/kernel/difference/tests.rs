//! What a repair does to packets on its way, step by step, without a kernel: the daemon is killed after each of them, and
//! another file is there when the next one starts.

use std::collections::BTreeMap;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use super::*;
use crate::config::{Flags, judge};
use crate::policy::Policy;
use crate::ruleset::ChosenNames;

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
    Ruleset::ipv4(&Policy::new(&judged.config), &ChosenNames::default())
}

/// A table, as far as the daemon's own steps change one.
#[derive(Debug, Clone, Default, PartialEq)]
struct Table {
    sets: BTreeMap<String, Set>,
    counters: Vec<String>,
    chains: Vec<Chain>,
    /// What its rules look up.
    set_names: Option<SetNames>,
}

impl Table {
    fn observed(&self) -> Observed {
        let names = self.set_names.clone().unwrap_or_else(SetNames::first);
        let mut observed = Observed::default();
        for (name, set) in &self.sets {
            observed.add_set(Family::Ip, name, set);
        }
        for counter in &self.counters {
            observed.add_counter(counter);
        }
        for chain in &self.chains {
            observed.add_chain(chain, &self.chains);
            for rule in &chain.rules {
                let looked_up = looked_up(rule).map(|field| names.of(field));
                observed.add_rule(&chain.name, looked_up);
            }
        }
        observed
    }

    /// The table after each step of the repair, the first before it. The rules are ours where the same ruleset has them:
    /// a start knows of none.
    fn course_to(&self, wanted: &Ruleset, knows_rules: bool) -> Vec<Self> {
        let observed = self.observed();
        let rules_are = |chain: &Chain, set_names: &SetNames| {
            let is_there =
                self.chains.contains(chain) && self.set_names.as_ref() == Some(set_names);
            match (knows_rules, is_there) {
                (false, _) => RulesAre::Unknown,
                (true, true) => RulesAre::Right,
                (true, false) => RulesAre::Other,
            }
        };
        let comparison = Comparison::new(wanted, &observed, false, rules_are);
        let mut course = vec![self.clone()];
        let mut now = self.clone();
        for object in &comparison.unnamed_sets {
            now.delete(object);
            course.push(now.clone());
        }
        for set in &comparison.sets_to_make {
            let name = comparison.set_names.of(set.field).to_owned();
            let before = now.sets.insert(name.clone(), (*set).clone());
            assert_eq!(before, None, "{name} is there");
        }
        course.push(now.clone());
        if comparison.rules_are_to_be_written {
            now.chains = wanted.chains.clone();
            now.counters = wanted.counters.iter().map(ToString::to_string).collect();
            now.set_names = Some(comparison.set_names.clone());
            course.push(now.clone());
        }
        for object in &comparison.objects_to_delete {
            now.delete(object);
            course.push(now.clone());
        }
        course
    }

    fn delete(&mut self, object: &Object) {
        match object.kind {
            "set" => {
                let is_held = self.looked_up_sets().contains(&object.name);
                assert!(!is_held, "{} is in use", object.name);
                assert!(self.sets.remove(&object.name).is_some());
            }
            "chain" => self.chains.retain(|chain| chain.name != object.name),
            other => panic!("not expected here: {other}"),
        }
    }

    fn looked_up_sets(&self) -> Vec<String> {
        let names = self.set_names.clone().unwrap_or_else(SetNames::first);
        let rules = self.chains.iter().flat_map(|chain| &chain.rules);
        let fields = rules.flat_map(looked_up);
        fields.map(|field| names.of(field).to_owned()).collect()
    }

    /// What packets meet: the rules, with the addresses in place of each set's name.
    fn policy(&self) -> BTreeMap<String, Vec<String>> {
        let names = self.set_names.clone().unwrap_or_else(SetNames::first);
        let resolved = |statement: &Statement| match statement {
            Statement::AddressIn(field) => {
                format!("{field:?} in {:?}", self.sets[names.of(*field)].elements)
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
}

fn looked_up(rule: &crate::ruleset::Rule) -> impl Iterator<Item = AddressField> {
    rule.statements
        .iter()
        .filter_map(|statement| match statement {
            Statement::AddressIn(field) => Some(*field),
            _ => None,
        })
}

/// New rules are in force a moment before what is made in the same transaction: what rules look up is there before them,
/// and never changes. Between two steps packets meet the old policy or the new one.
fn assert_never_a_part(course: &[Table], case: &str) {
    let ends = [course[0].policy(), course[course.len() - 1].policy()];
    for pair in course.windows(2) {
        let (before, after) = (&pair[0], &pair[1]);
        assert!(ends.contains(&after.policy()), "{case}: a part");
        for name in after.looked_up_sets() {
            let is_as_before = before.sets.get(&name) == after.sets.get(&name);
            assert!(is_as_before, "{case}: {name} changes with the rules");
        }
    }
}

#[test]
fn a_repair_never_shows_packets_a_part_whatever_it_finds() {
    let rulesets = FILES.map(ruleset);
    for (a, first) in rulesets.iter().enumerate() {
        let made = Table::default().course_to(first, true).pop().unwrap();
        for (b, second) in rulesets.iter().enumerate() {
            for knows_rules in [true, false] {
                let course = made.course_to(second, knows_rules);
                assert_never_a_part(&course, &format!("{a} → {b}"));
                for (done, cut_short) in course.iter().enumerate() {
                    for (c, third) in rulesets.iter().enumerate() {
                        let case = format!("{a} → {b}, {done} steps, → {c}");
                        let course = cut_short.course_to(third, false);
                        assert_never_a_part(&course, &case);
                        let end = &course[course.len() - 1];
                        let fresh = Table::default().course_to(third, true).pop().unwrap();
                        assert_eq!(end.policy(), fresh.policy(), "{case}");
                        assert_eq!(end.sets.len(), third.sets.len(), "{case}: sets are left");
                        let again =
                            Comparison::new(third, &end.observed(), false, |_, _| RulesAre::Right);
                        assert_eq!(again.differences, [], "{case}: it is not done");
                    }
                }
            }
        }
    }
}

/// Rules of others may hold each of the names that take turns, and what stands under them may be anything.
#[test]
fn whatever_stands_under_the_next_name_does_not_keep_a_change_from_coming() {
    let (first, second) = (ruleset(FILES[0]), ruleset(FILES[1]));
    let made = Table::default().course_to(&first, true).pop().unwrap();
    let held = [names::numbered(names::EXEMPT_SET, 2)];
    for is_held in [false, true] {
        let mut observed = made.observed();
        observed.add_map(&held[0]);
        if is_held {
            observed.add_rule("postrouting", [held[0].as_str()]);
        }
        let comparison = Comparison::new(&second, &observed, false, |_, _| RulesAre::Right);
        let next = comparison.set_names.of(AddressField::Destination);
        let goes_first = comparison.unnamed_sets.iter().any(|o| o.name == next);
        assert_eq!(goes_first, !is_held, "{next}");
        let number = if is_held { 3 } else { 2 };
        assert_eq!(next, names::numbered(names::EXEMPT_SET, number));
        let goes_with_the_rules = comparison.maps_in_rules.contains(&held[0]);
        assert_eq!(goes_with_the_rules, is_held);
    }
}

/// Others' sets times others' rules would be minutes.
#[test]
fn thousands_of_sets_and_of_rules_are_compared_in_time_that_grows_with_their_sum() {
    let wanted = ruleset(FILES[0]);
    let mut observed = Observed::default();
    for number in 0..3_000 {
        observed.add_set(Family::Ip, &format!("set-{number}"), &wanted.sets[0]);
    }
    for number in 0..5_000 {
        let names: Vec<String> = (0..20).map(|it| format!("other-{number}-{it}")).collect();
        observed.add_rule("foreign", names.iter().map(String::as_str));
    }
    let clock = ClockId::CLOCK_THREAD_CPUTIME_ID;
    let began: Duration = clock_gettime(clock).unwrap().into();
    let comparison = Comparison::new(&wanted, &observed, false, |_, _| RulesAre::Other);
    let took = Duration::from(clock_gettime(clock).unwrap()) - began;
    assert_eq!(comparison.unnamed_sets.len(), 3_000);
    assert!(took < Duration::from_secs(2), "{took:?}");
}
