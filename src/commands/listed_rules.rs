//! Rules as libnftables lists them: what commands compare, which may not write. It lists some rules alike that match
//! differently; the daemon compares their bytes.

use serde::Deserialize;
use serde_json::Value;

use crate::kernel::difference::RulesAre;
use crate::ruleset::{Chain, Family, Rule, SetNames, json};

/// The rules of one table.
#[derive(Debug, Deserialize)]
pub(super) struct ListedRules {
    nftables: Vec<Object>,
}

/// Whatever else is listed is passed over.
#[derive(Debug, Deserialize)]
struct Object {
    rule: Option<ListedRule>,
}

#[derive(Debug, Deserialize)]
struct ListedRule {
    chain: String,
    #[serde(rename = "expr", default)]
    statements: Value,
    comment: Option<String>,
}

impl ListedRules {
    /// Each statement of the chain's rules, in the form that [`canonical`] gives it.
    pub(super) fn statements_of(&self, chain: &str) -> Vec<Value> {
        let rules = self.rules().filter(|rule| rule.chain == chain);
        let statements = rules.filter_map(|rule| rule.statements.as_array());
        statements.flatten().cloned().map(canonical).collect()
    }

    fn rules(&self) -> impl Iterator<Item = &ListedRule> {
        let objects = self.nftables.iter();
        objects.filter_map(|object| object.rule.as_ref())
    }

    /// Whether the chain has the rules of `chain`, as far as a listing shows.
    pub(super) fn are(&self, family: Family, chain: &Chain, set_names: &SetNames) -> RulesAre {
        let of_chain = |rule: &&ListedRule| rule.chain == chain.name;
        let listed: Vec<&ListedRule> = self.rules().filter(of_chain).collect();
        let is_listed = |(rule, listed): (&Rule, &&ListedRule)| {
            let statements = json::statements(family, set_names, rule).map(canonical);
            listed.comment.as_deref() == Some(&*rule.comment)
                && statements
                    .is_ok_and(|statements| statements == canonical(listed.statements.clone()))
        };
        let are_as_many = listed.len() == chain.rules.len();
        match are_as_many && chain.rules.iter().zip(&listed).all(is_listed) {
            true => RulesAre::Right,
            false => RulesAre::Other,
        }
    }
}

/// Statements in the one form that both sides of a comparison have: a flag that stands alone is an
/// array of one, and a protocol is its number.
fn canonical(value: Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(canonical).collect()),
        Value::Object(object) => {
            let key = object
                .get("left")
                .and_then(|left| left.pointer("/meta/key"));
            let is_protocol_match = key.is_some_and(|key| key == "l4proto");
            let canonical_member = |(key, value): (String, Value)| match (key.as_str(), value) {
                ("flags", Value::String(flag)) => (key, Value::from(vec![flag])),
                ("right", value) if is_protocol_match => (key, protocol_number(value)),
                (_, value) => (key, canonical(value)),
            };
            Value::Object(object.into_iter().map(canonical_member).collect())
        }
        scalar => scalar,
    }
}

/// libnftables lists a protocol by the name that /etc/protocols has for it, where there is such a file.
fn protocol_number(listed: Value) -> Value {
    match listed.as_str() {
        Some("tcp") => Value::from(6),
        Some("udp") => Value::from(17),
        Some("sctp") => Value::from(132),
        _ => listed,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_flag_alone_reads_as_an_array_of_one() {
        let masquerade = |flags: Value| canonical(json!({"masquerade": {"flags": flags}}));
        assert_eq!(
            masquerade(json!("fully-random")),
            masquerade(json!(["fully-random"]))
        );
    }

    #[test]
    fn a_protocol_reads_alike_with_and_without_etc_protocols() {
        let matched = |key: &str, right: Value| {
            canonical(
                json!([{"match": {"op": "==", "left": {"meta": {"key": key}}, "right": right}}]),
            )
        };
        for (name, number) in [("tcp", 6), ("udp", 17), ("sctp", 132)] {
            assert_eq!(
                matched("l4proto", json!(name)),
                matched("l4proto", json!(number))
            );
        }
        assert_ne!(
            matched("l4proto", json!("dccp")),
            matched("l4proto", json!(6))
        );
        assert_ne!(
            matched("iifname", json!("tcp")),
            matched("iifname", json!(6))
        );
    }
}
