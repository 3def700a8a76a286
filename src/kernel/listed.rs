//! A listing by libnftables that still holds, because the kernel says the same of the table as it did then.

use super::netlink::{Declarations, Outline, OutlinedRule};
use super::observed::{ObservedChain, ObservedRule, ObservedSet, ObservedTable};

/// A listing of a table that was as it should be, and what the kernel said of it at that time.
pub(super) struct Listed {
    table_name: String,
    /// Without rules and elements.
    table: ObservedTable,
    declarations: Declarations,
    rules: Vec<(OutlinedRule, ObservedRule)>,
    /// The daemon has written nothing since. So a chain with more rules or fewer, or with a rule of other bytes, is another's
    /// work, whatever libnftables says of it: what it takes for needless it does not list, such as `meta protocol ip6`
    /// before `ip daddr`, with which a rule never matches.
    pub(super) is_right: bool,
}

impl Listed {
    /// `None`: the two are not of the same table, or the outline does not say all.
    pub(super) fn new(table_name: &str, right: &ObservedTable, outline: Outline) -> Option<Self> {
        if !outline.declarations.are_all() {
            return None;
        }
        let mut rules = Vec::new();
        for chain in &right.chains {
            let outlined: Vec<_> = rules_of(&outline, chain).collect();
            if chain.rules.len() != outlined.len() {
                return None;
            }
            rules.extend(
                outlined
                    .into_iter()
                    .cloned()
                    .zip(chain.rules.iter().cloned()),
            );
        }
        Some(Self {
            table_name: table_name.to_owned(),
            table: ObservedTable {
                sets: right
                    .sets
                    .iter()
                    .map(ObservedSet::without_elements)
                    .collect(),
                chains: right
                    .chains
                    .iter()
                    .map(ObservedChain::without_rules)
                    .collect(),
                others: right.others.clone(),
                libnftables: right.libnftables.clone(),
                counters: Vec::new(),
            },
            declarations: outline.declarations,
            rules,
            is_right: true,
        })
    }

    pub(super) fn is_of(&self, table_name: &str) -> bool {
        self.table_name == table_name
    }

    /// Without rules and elements.
    pub(super) fn table(&self) -> &ObservedTable {
        &self.table
    }

    /// What libnftables would list of a table of which the kernel says that now, but for elements; a rule that is not known
    /// has no statements. `None`: that does not tell enough.
    pub(super) fn table_of(&self, now: &Outline) -> Option<ObservedTable> {
        let is_in = |rule: &OutlinedRule, chain: &ObservedChain| rule.chain == chain.name;
        let has_its_chain =
            |rule: &OutlinedRule| self.table.chains.iter().any(|chain| is_in(rule, chain));
        if now.declarations != self.declarations || !now.rules.iter().all(has_its_chain) {
            return None;
        }
        let mut table = self.table.clone();
        table.counters.clone_from(&now.counters);
        for chain in &mut table.chains {
            let rules = rules_of(now, chain).map(|rule| {
                self.listed_rule(rule)
                    .or_else(|| self.is_right.then_some(ObservedRule::default()))
            });
            chain.rules = rules.collect::<Option<_>>()?;
        }
        Some(table)
    }

    fn listed_rule(&self, rule: &OutlinedRule) -> Option<ObservedRule> {
        let (_, listed) = self.rules.iter().find(|(outlined, _)| outlined == rule)?;
        Some(listed.clone())
    }
}

fn rules_of<'a>(
    outline: &'a Outline,
    chain: &ObservedChain,
) -> impl Iterator<Item = &'a OutlinedRule> {
    outline.rules.iter().filter(|rule| rule.chain == chain.name)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::kernel::netlink::outline_of;

    /// A chain `c` with two rules.
    fn table() -> ObservedTable {
        ObservedTable {
            chains: vec![ObservedChain {
                name: "c".to_owned(),
                hook: None,
                is_commented: false,
                rules: [json!("first"), json!("second")].map(rule).into(),
            }],
            ..ObservedTable::default()
        }
    }

    /// The same, as listed and as the kernel has it.
    fn listed() -> Listed {
        Listed::new("t", &table(), outline(&["first", "second"])).unwrap()
    }

    fn rule(statements: Value) -> ObservedRule {
        ObservedRule {
            statements: Arc::new(statements),
            comment: None,
        }
    }

    fn outline(rules: &[&str]) -> Outline {
        outline_of(&["c"], rules)
    }

    fn rules_now(listed: &Listed, rules: &[&str]) -> Option<Vec<Value>> {
        let mut table = listed.table_of(&outline(rules))?;
        let rules = table.chains.remove(0).rules.into_iter();
        Some(rules.map(|rule| (*rule.statements).clone()).collect())
    }

    #[test]
    fn rules_are_found_again_in_whatever_order() {
        let of = |rules: &[&str]| rules_now(&listed(), rules);
        assert_eq!(
            of(&["first", "second"]),
            Some(vec![json!("first"), json!("second")])
        );
        assert_eq!(
            of(&["second", "second"]),
            Some(vec![json!("second"), json!("second")])
        );
        assert_eq!(of(&[]), Some(vec![]));
    }

    /// What the daemon itself may have written is not known before libnftables has listed it.
    #[test]
    fn an_unknown_rule_is_wrong_only_where_the_daemon_has_written_nothing() {
        let mut listed = listed();
        let more = ["first", "new", "second"];
        let expected = vec![json!("first"), Value::Null, json!("second")];
        assert_eq!(rules_now(&listed, &more), Some(expected));
        assert_eq!(rules_now(&listed, &["new"]), Some(vec![Value::Null]));
        let replaced = vec![json!("first"), Value::Null];
        assert_eq!(rules_now(&listed, &["first", "new"]), Some(replaced));
        listed.is_right = false;
        assert_eq!(rules_now(&listed, &more), None);
        assert_eq!(rules_now(&listed, &["first", "new"]), None);
    }

    #[test]
    fn libnftables_is_asked_where_other_things_are_declared() {
        let of = |outline: &Outline| listed().table_of(outline);
        assert!(of(&outline_of(&["c"], &[])).is_some());
        assert!(of(&outline_of(&["c", "d"], &[])).is_none());
        assert!(of(&outline_of(&["d"], &[])).is_none());
        let mut with_another_chain_s_rule = outline(&["first", "second"]);
        with_another_chain_s_rule.rules[0].chain = "d".to_owned();
        assert!(of(&with_another_chain_s_rule).is_none());
    }

    #[test]
    fn a_listing_of_other_rules_than_the_kernel_had_is_not_kept() {
        for rules in [&["first", "second", "third"][..], &["first"], &[]] {
            assert!(Listed::new("t", &table(), outline(rules)).is_none());
        }
    }
}
