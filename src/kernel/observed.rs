//! What the kernel has: a tolerant reader of libnftables' listing of the daemon's table.
//!
//! Anyone may have written anything into it, and each libnftables prints a little differently, so
//! nothing that is found is an error: what is not known is foreign. Handles and counters are
//! dropped; a flag is a string in one version and an array of one in the next.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// One table as listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObservedTable {
    /// Its base chains are not hooked: the flag `dormant`.
    pub is_dormant: bool,
    /// Its named sets.
    pub sets: Vec<ObservedSet>,
    /// Its named counters.
    pub counters: Vec<String>,
    /// Its chains.
    pub chains: Vec<ObservedChain>,
    /// Whatever else stands in it, as kind and name.
    pub others: Vec<(String, String)>,
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
    /// It has a timeout, a size limit or something else that the daemon never gives.
    pub is_limited: bool,
    /// Its elements.
    pub elements: Vec<ObservedElement>,
    /// Elements that are no interval of addresses, or that expire.
    pub strange_elements: usize,
}

/// An element of an interval set as listed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ObservedElement {
    /// The first address in it.
    pub first: IpAddr,
    /// The last address in it.
    pub last: IpAddr,
    /// Its comment.
    pub comment: Option<String>,
}

/// A chain as listed, with its rules in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedChain {
    /// Its name.
    pub name: String,
    /// Present in a base chain.
    pub hook: Option<ObservedHook>,
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedRule {
    /// Its statements, each flag in an array.
    pub statements: Value,
    /// Its comment.
    pub comment: Option<String>,
}

/// Reads the listing of one table.
///
/// # Errors
/// Where it is not JSON: libnftables prints a cut listing where a writer came in between, and
/// 1.0.6 prints garbage for the flag of a dormant table.
pub fn read(listing: &str) -> serde_json::Result<ObservedTable> {
    let listing: Listing = serde_json::from_str(listing)?;
    let mut table = ObservedTable::default();
    let mut rules = Vec::new();
    for object in listing.nftables {
        match object {
            Object::Table(listed) => {
                table.is_dormant = listed.flags.0.iter().any(|f| f == "dormant")
            }
            Object::Set(set) => table.sets.push(ObservedSet::from(*set)),
            Object::Counter(counter) => table.counters.push(counter.name),
            Object::Chain(chain) => table.chains.push(ObservedChain::from(chain)),
            Object::Rule(rule) => rules.push(rule),
            Object::Other(kind, other) => table.others.push((kind, other.name)),
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
                statements: canonical(rule.expr),
                comment: rule.comment,
            });
        }
    }
    Ok(table)
}

/// Statements in the one form that both sides of a comparison have: a flag that stands alone is an
/// array of one.
#[must_use]
pub fn canonical(value: Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(canonical).collect()),
        Value::Object(object) => Value::Object(
            object
                .into_iter()
                .map(|(key, value)| match (key.as_str(), value) {
                    ("flags", Value::String(flag)) => (key, Value::from(vec![flag])),
                    (_, value) => (key, canonical(value)),
                })
                .collect(),
        ),
        scalar => scalar,
    }
}

#[derive(Deserialize)]
struct Listing {
    nftables: Vec<Object>,
}

/// An object of the listing: `{KIND: {…}}`.
enum Object {
    Table(ListedTable),
    Set(Box<ListedSet>),
    Counter(Named),
    Chain(ListedChain),
    Rule(ListedRule),
    Other(String, Named),
    /// `metainfo`, or `{}`.
    Nothing,
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ByKind;
        impl<'de> Visitor<'de> for ByKind {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with the kind of what is listed as its key")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut object = Object::Nothing;
                while let Some(kind) = map.next_key::<String>()? {
                    object = match kind.as_str() {
                        "metainfo" => {
                            map.next_value::<IgnoredAny>()?;
                            Object::Nothing
                        }
                        "table" => Object::Table(map.next_value()?),
                        "set" => Object::Set(map.next_value()?),
                        "counter" => Object::Counter(map.next_value()?),
                        "chain" => Object::Chain(map.next_value()?),
                        "rule" => Object::Rule(map.next_value()?),
                        _ => Object::Other(kind, map.next_value()?),
                    };
                }
                Ok(object)
            }
        }
        deserializer.deserialize_map(ByKind)
    }
}

#[derive(Deserialize)]
struct ListedTable {
    #[serde(default)]
    flags: OneOrMany,
}

#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct ListedSet {
    name: String,
    #[serde(default, rename = "type")]
    value_type: Value,
    #[serde(default)]
    flags: OneOrMany,
    #[serde(default)]
    stmt: Value,
    timeout: Option<IgnoredAny>,
    #[serde(rename = "gc-interval")]
    gc_interval: Option<IgnoredAny>,
    size: Option<IgnoredAny>,
    #[serde(default)]
    elem: Elements,
}

#[derive(Deserialize)]
struct ListedChain {
    name: String,
    #[serde(rename = "type")]
    chain_type: Option<String>,
    hook: Option<String>,
    #[serde(default)]
    prio: Value,
    policy: Option<String>,
}

#[derive(Deserialize)]
struct ListedRule {
    chain: String,
    comment: Option<String>,
    #[serde(default)]
    expr: Value,
}

/// Flags: libnftables 1.1.4 prints one alone as a string, the others as an array.
#[derive(Default)]
struct OneOrMany(Vec<String>);

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = |value: Value| match value {
            Value::String(flag) => flag,
            other => other.to_string(),
        };
        Ok(Self(match Value::deserialize(deserializer)? {
            Value::Null => Vec::new(),
            Value::Array(flags) => flags.into_iter().map(text).collect(),
            flag => vec![text(flag)],
        }))
    }
}

/// The elements, each read and dropped before the next: there may be 100,000.
#[derive(Default)]
struct Elements {
    readable: Vec<ObservedElement>,
    strange: usize,
}

impl<'de> Deserialize<'de> for Elements {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneByOne;
        impl<'de> Visitor<'de> for OneByOne {
            type Value = Elements;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of elements")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Elements, A::Error> {
                let mut elements = Elements::default();
                while let Some(listed) = seq.next_element::<Value>()? {
                    match element(&listed) {
                        Some(readable) => elements.readable.push(readable),
                        None => elements.strange += 1,
                    }
                }
                Ok(elements)
            }
        }
        deserializer.deserialize_seq(OneByOne)
    }
}

/// An element: its bare value, or `{"elem": {"val": …, "comment": …, "counter": …}}`.
fn element(listed: &Value) -> Option<ObservedElement> {
    let Some(object) = listed.get("elem") else {
        let (first, last) = interval(listed)?;
        return Some(ObservedElement {
            first,
            last,
            comment: None,
        });
    };
    if object.get("timeout").or(object.get("expires")).is_some() {
        return None;
    }
    let (first, last) = interval(object.get("val")?)?;
    let comment = match object.get("comment") {
        Some(comment) => Some(comment.as_str()?.to_owned()),
        None => None,
    };
    Some(ObservedElement {
        first,
        last,
        comment,
    })
}

/// `"192.0.2.1"`, `{"prefix": {"addr": …, "len": …}}` or `{"range": [first, last]}`.
fn interval(value: &Value) -> Option<(IpAddr, IpAddr)> {
    let address = |value: &Value| value.as_str()?.parse::<IpAddr>().ok();
    if let Some(single) = address(value) {
        return Some((single, single));
    }
    if let Some(prefix) = value.get("prefix") {
        let length = u8::try_from(prefix.get("len")?.as_u64()?).ok()?;
        let prefix = IpNet::new(address(prefix.get("addr")?)?, length).ok()?;
        return Some((prefix.network(), prefix.broadcast()));
    }
    match value.get("range")?.as_array()?.as_slice() {
        [first, last] => Some((address(first)?, address(last)?)),
        _ => None,
    }
}

impl From<ListedSet> for ObservedSet {
    fn from(set: ListedSet) -> Self {
        Self {
            is_limited: set.timeout.is_some() || set.gc_interval.is_some() || set.size.is_some(),
            name: set.name,
            value_type: set.value_type,
            flags: set.flags.0,
            statements: set.stmt,
            elements: set.elem.readable,
            strange_elements: set.elem.strange,
        }
    }
}

impl From<ListedChain> for ObservedChain {
    fn from(chain: ListedChain) -> Self {
        let is_base = chain.hook.is_some() || chain.chain_type.is_some();
        Self {
            name: chain.name,
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn table(objects: Value) -> ObservedTable {
        read(&json!({ "nftables": objects }).to_string()).unwrap()
    }

    #[test]
    fn each_way_to_print_an_element_is_read() {
        let set = json!({"set": {"name": "s", "type": "ipv4_addr", "flags": ["interval"], "elem": [
            "192.0.2.1",
            {"prefix": {"addr": "0.0.0.0", "len": 0}},
            {"elem": {"val": {"range": ["10.0.0.0", "10.0.0.6"]}, "comment": "c", "counter": {"packets": 1, "bytes": 2}}},
        ]}});
        let element = |first: &str, last: &str, comment: Option<&str>| ObservedElement {
            first: first.parse().unwrap(),
            last: last.parse().unwrap(),
            comment: comment.map(str::to_owned),
        };
        assert_eq!(
            table(json!([set])).sets[0].elements,
            [
                element("192.0.2.1", "192.0.2.1", None),
                element("0.0.0.0", "255.255.255.255", None),
                element("10.0.0.0", "10.0.0.6", Some("c")),
            ]
        );
    }

    #[test]
    fn elements_that_expire_or_are_no_addresses_are_strange() {
        let set = json!({"set": {"name": "s", "elem": [
            {"elem": {"val": "192.0.2.1", "timeout": 5, "expires": 3}},
            {"concat": ["192.0.2.1", 80]},
            "eth0",
            17,
            {"prefix": {"addr": "10.0.0.0", "len": 33}},
            {"range": ["10.0.0.0"]},
        ]}});
        let observed = table(json!([set]));
        assert_eq!(observed.sets[0].strange_elements, 6);
        assert!(observed.sets[0].elements.is_empty());
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
    fn what_is_not_known_is_foreign_and_no_error() {
        let observed = table(json!([
            {"metainfo": {"version": "9"}},
            {"table": {"name": "t", "flags": ["dormant", "new"], "new": {}}},
            {"flowtable": {"name": "f", "dev": ["eth0"]}},
            {"ct helper": {"name": "h"}},
            {"map": {"name": "m", "elem": [["a", "b"]]}},
            {"unheard of": {}},
        ]));
        assert!(observed.is_dormant);
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
