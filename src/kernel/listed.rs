//! A listing by libnftables that still holds, because the kernel says the same of the table as it did then.

use serde_json::Value;

use super::netlink::{Outline, OutlinedRule};
use super::observed::{ObservedChain, ObservedRule, ObservedTable};

/// A listing, and what the kernel said of the table at that time.
pub(super) struct Listed {
    table_name: String,
    /// Without rules, and its sets without elements.
    table: ObservedTable,
    rules: Vec<(OutlinedRule, ObservedRule)>,
    outline: Outline,
    /// All that it lists is as it should be, and nothing has been written since. So rules that it does not list are
    /// another's, and it does not matter what they are.
    pub(super) is_right: bool,
}

impl Listed {
    /// `table` has no elements yet. `None`: the two are not of the same table, or the outline does not say all.
    pub(super) fn new(
        table_name: &str,
        mut table: ObservedTable,
        outline: Outline,
    ) -> Option<Self> {
        if !outline.declarations.are_all() {
            return None;
        }
        let mut rules = Vec::new();
        for chain in &mut table.chains {
            let listed = std::mem::take(&mut chain.rules);
            let outlined: Vec<_> = rules_of(&outline, chain).cloned().collect();
            if listed.len() != outlined.len() {
                return None;
            }
            rules.extend(outlined.into_iter().zip(listed));
        }
        Some(Self {
            table_name: table_name.to_owned(),
            table,
            rules,
            outline,
            is_right: false,
        })
    }

    pub(super) fn is_of(&self, table_name: &str) -> bool {
        self.table_name == table_name
    }

    /// Without rules and elements.
    pub(super) fn table(&self) -> &ObservedTable {
        &self.table
    }

    /// What libnftables would list of a table of which the kernel says that now, but for elements. `None`: that is not
    /// known.
    pub(super) fn table_of(&self, now: &Outline) -> Option<ObservedTable> {
        if now.declarations != self.outline.declarations {
            return None;
        }
        let mut table = self.table.clone();
        table.counters.clone_from(&now.counters);
        for chain in &mut table.chains {
            let rules = rules_of(now, chain).map(|rule| self.listed_rule(rule));
            chain.rules = rules.collect::<Option<_>>()?;
        }
        Some(table)
    }

    fn listed_rule(&self, rule: &OutlinedRule) -> Option<ObservedRule> {
        match self.rules.iter().find(|(outlined, _)| outlined == rule) {
            Some((_, listed)) => Some(listed.clone()),
            None => self.is_right.then_some(ObservedRule {
                statements: Value::Null,
                comment: None,
            }),
        }
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
    use serde_json::json;

    use super::*;
    use crate::kernel::netlink::outline_of;

    /// A chain `c` with two rules, as listed and as the kernel has it.
    fn listed() -> Listed {
        let table = ObservedTable {
            chains: vec![ObservedChain {
                name: "c".to_owned(),
                hook: None,
                rules: [json!("first"), json!("second")].map(rule).into(),
            }],
            ..ObservedTable::default()
        };
        Listed::new("t", table, outline(&["first", "second"])).unwrap()
    }

    fn rule(statements: Value) -> ObservedRule {
        ObservedRule {
            statements,
            comment: None,
        }
    }

    fn outline(rules: &[&str]) -> Outline {
        outline_of(&["c"], rules)
    }

    fn rules_now(listed: &Listed, rules: &[&str]) -> Option<Vec<Value>> {
        let mut table = listed.table_of(&outline(rules))?;
        let rules = table.chains.remove(0).rules.into_iter();
        Some(rules.map(|rule| rule.statements).collect())
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
    fn a_rule_that_is_new_is_another_s_only_where_all_was_right() {
        let mut listed = listed();
        let rules = ["first", "new", "second"];
        assert_eq!(rules_now(&listed, &rules), None);
        listed.is_right = true;
        let expected = vec![json!("first"), Value::Null, json!("second")];
        assert_eq!(rules_now(&listed, &rules), Some(expected));
    }

    #[test]
    fn libnftables_is_asked_where_other_things_are_declared() {
        let mut listed = listed();
        listed.is_right = true;
        assert!(
            listed
                .table_of(&outline_of(&["c", "d"], &["first"]))
                .is_none()
        );
        assert!(listed.table_of(&outline_of(&["d"], &["first"])).is_none());
    }

    #[test]
    fn a_listing_of_other_rules_than_the_kernel_had_is_not_kept() {
        let table = listed().table;
        assert!(Listed::new("t", table.clone(), outline(&[])).is_some());
        assert!(Listed::new("t", table, outline(&["first"])).is_none());
    }
}
