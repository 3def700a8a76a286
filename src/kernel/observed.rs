//! What the kernel has: a tolerant reader of libnftables' listing of the daemon's table. The elements of its sets, which
//! are not in it, come by [`super::netlink`].
//!
//! Anyone may have written anything into it, and each libnftables prints a little differently, so
//! nothing that is found is an error: what is not known is foreign. Handles are
//! dropped; a flag is a string in one version and an array of one in the next.

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::Value;

use super::listing::{ListedChain, ListedSet, Listing, Object};

/// One table as listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObservedTable {
    /// Its named sets.
    pub sets: Vec<ObservedSet>,
    /// Its named counters.
    pub counters: Vec<ObservedCounter>,
    /// Its chains.
    pub chains: Vec<ObservedChain>,
    /// Whatever else stands in it, as kind and name.
    pub others: Vec<(String, String)>,
    /// The version of the libnftables that listed it.
    pub libnftables: Option<String>,
}

impl ObservedTable {
    /// Nothing stands in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty()
            && self.counters.is_empty()
            && self.chains.is_empty()
            && self.others.is_empty()
    }
}

/// A named set as listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedSet {
    /// Its name.
    pub name: String,
    /// Its `type`, in either form.
    pub value_type: Value,
    /// Its flags, `interval` and the like.
    pub flags: Vec<String>,
    /// The statements that each element carries.
    pub statements: Value,
    /// It has a timeout, a size limit, `auto-merge`, a comment or something else that the daemon never gives.
    pub is_limited: bool,
    /// Its elements, in order and disjoint.
    pub elements: Vec<ObservedElement>,
    /// Elements that are no interval of addresses, that expire, or that do more than to count.
    pub strange_elements: usize,
}

/// An element of an interval set.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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

/// A named counter as listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedCounter {
    /// Its name.
    pub name: String,
    /// The packets that it counted. In a NAT chain these are connections: only the first packet of one passes it.
    pub packets: u64,
    /// It has a comment, which the daemon never gives.
    pub is_commented: bool,
}

/// A chain as listed, with its rules in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedChain {
    /// Its name.
    pub name: String,
    /// Present in a base chain.
    pub hook: Option<ObservedHook>,
    /// It has a comment, which the daemon never gives.
    pub is_commented: bool,
    /// Its rules.
    pub rules: Vec<ObservedRule>,
}

/// Where a base chain is hooked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedHook {
    /// `nat`, `filter` or `route`.
    pub chain_type: String,
    /// `postrouting` and the like.
    pub hook: String,
    /// Its priority, where it is a number.
    pub priority: Option<i64>,
    /// `accept` or `drop`.
    pub policy: String,
}

/// A rule as listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObservedRule {
    /// Its statements, each flag in an array. Shared by what is remembered of several looks.
    pub statements: Arc<Value>,
    /// Its comment.
    pub comment: Option<String>,
}

/// Reads the listing of one table; its sets have no elements yet.
///
/// # Errors
/// Where it is not JSON: libnftables prints a cut listing where a writer came in between, and
/// 1.0.6 prints garbage for a table's flags.
pub fn read(listing: &str) -> serde_json::Result<ObservedTable> {
    let listing: Listing = serde_json::from_str(listing)?;
    let mut table = ObservedTable::default();
    let mut rules = Vec::new();
    for object in listing.nftables {
        match object {
            Object::Set(set) => table.sets.push(ObservedSet::from(*set)),
            Object::Counter(counter) => table.counters.push(ObservedCounter {
                name: counter.name,
                packets: counter.packets,
                is_commented: counter.comment.is_some(),
            }),
            Object::Chain(chain) => table.chains.push(ObservedChain::from(chain)),
            Object::Rule(rule) => rules.push(rule),
            Object::Other(kind, other) => table.others.push((kind, other.name)),
            Object::Metainfo(listed) => {
                table.libnftables = listed.version.as_str().map(str::to_owned);
            }
            Object::Nothing => {}
        }
    }
    for rule in rules {
        if let Some(chain) = table
            .chains
            .iter_mut()
            .find(|chain| chain.name == rule.chain)
        {
            chain.rules.push(ObservedRule {
                statements: Arc::new(canonical(rule.expr)),
                comment: rule.comment,
            });
        }
    }
    Ok(table)
}

/// Statements in the one form that both sides of a comparison have: a flag that stands alone is an
/// array of one, and a protocol is its number.
#[must_use]
pub fn canonical(value: Value) -> Value {
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

impl From<ListedSet> for ObservedSet {
    fn from(set: ListedSet) -> Self {
        Self {
            is_limited: set.timeout.is_some()
                || set.gc_interval.is_some()
                || set.size.is_some()
                || set.auto_merge.is_some()
                || set.policy.is_some()
                || set.comment.is_some(),
            name: set.name,
            value_type: set.value_type,
            flags: set.flags.0,
            statements: set.stmt,
            elements: Vec::new(),
            strange_elements: 0,
        }
    }
}

impl From<ListedChain> for ObservedChain {
    fn from(chain: ListedChain) -> Self {
        let is_base = chain.hook.is_some() || chain.chain_type.is_some();
        Self {
            name: chain.name,
            is_commented: chain.comment.is_some(),
            hook: is_base.then(|| ObservedHook {
                chain_type: chain.chain_type.unwrap_or_default(),
                hook: chain.hook.unwrap_or_default(),
                priority: chain.prio.as_i64(),
                policy: chain.policy.unwrap_or_default(),
            }),
            rules: Vec::new(),
        }
    }
}

impl ObservedSet {
    pub(super) fn without_elements(&self) -> Self {
        Self {
            name: self.name.clone(),
            value_type: self.value_type.clone(),
            flags: self.flags.clone(),
            statements: self.statements.clone(),
            is_limited: self.is_limited,
            elements: Vec::new(),
            strange_elements: 0,
        }
    }
}

impl ObservedChain {
    pub(super) fn without_rules(&self) -> Self {
        Self {
            name: self.name.clone(),
            hook: self.hook.clone(),
            is_commented: self.is_commented,
            rules: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn table(objects: Value) -> ObservedTable {
        read(&json!({ "nftables": objects }).to_string()).unwrap()
    }

    #[test]
    fn a_flag_alone_reads_as_an_array_of_one() {
        let alone = table(json!([{"set": {"name": "s", "flags": "interval"}}]));
        assert_eq!(alone.sets[0].flags, ["interval"]);
        let rule = |flags: Value| {
            table(json!([
                {"chain": {"name": "c"}},
                {"rule": {"chain": "c", "expr": [{"masquerade": {"flags": flags}}]}},
            ]))
        };
        assert_eq!(rule(json!("fully-random")), rule(json!(["fully-random"])));
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

    #[test]
    fn what_is_not_known_is_foreign_and_no_error() {
        let observed = table(json!([
            {"metainfo": {"version": "9"}},
            {"table": {"name": "t", "flags": ["dormant", "new"], "new": {}}},
            {"flowtable": {"name": "f", "dev": ["eth0"]}},
            {"ct helper": {"name": "h"}},
            {"map": {"name": "m", "elem": [["a", "b"]]}},
            {"unheard of": {}},
        ]));
        assert_eq!(observed.libnftables.as_deref(), Some("9"));
        let others: Vec<_> = observed
            .others
            .iter()
            .map(|(k, n)| (k.as_str(), n.as_str()))
            .collect();
        assert_eq!(
            others,
            [
                ("flowtable", "f"),
                ("ct helper", "h"),
                ("map", "m"),
                ("unheard of", "")
            ]
        );
    }

    #[test]
    fn a_listing_that_was_cut_is_an_error() {
        assert!(read(r#"{"nftables": [{"table": {"name": "t""#).is_err());
        assert!(read("").is_err());
    }
}
