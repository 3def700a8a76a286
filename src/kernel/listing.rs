//! libnftables' listing as printed, libnftables-json(5): the tolerant shapes that serde reads.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::observed::ObservedElement;

#[derive(Deserialize)]
pub(super) struct Listing {
    pub(super) nftables: Vec<Object>,
}

/// An object of the listing: `{KIND: {…}}`.
pub(super) enum Object {
    Set(Box<ListedSet>),
    Counter(ListedCounter),
    Chain(ListedChain),
    Rule(ListedRule),
    Other(String, Named),
    Metainfo(Metainfo),
    /// The table itself: libnftables 1.0.6 prints garbage for its flags.
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
                        "metainfo" => Object::Metainfo(map.next_value()?),
                        "table" => {
                            map.next_value::<IgnoredAny>()?;
                            Object::Nothing
                        }
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

/// What libnftables says of itself.
#[derive(Deserialize)]
pub(super) struct Metainfo {
    #[serde(default)]
    pub(super) version: Value,
}

#[derive(Deserialize)]
pub(super) struct Named {
    #[serde(default)]
    pub(super) name: String,
}

#[derive(Deserialize)]
pub(super) struct ListedCounter {
    pub(super) name: String,
    #[serde(default)]
    pub(super) packets: u64,
}

#[derive(Deserialize)]
pub(super) struct ListedSet {
    pub(super) name: String,
    #[serde(default, rename = "type")]
    pub(super) value_type: Value,
    #[serde(default)]
    pub(super) flags: OneOrMany,
    #[serde(default)]
    pub(super) stmt: Value,
    pub(super) timeout: Option<IgnoredAny>,
    #[serde(rename = "gc-interval")]
    pub(super) gc_interval: Option<IgnoredAny>,
    pub(super) size: Option<IgnoredAny>,
    #[serde(rename = "auto-merge")]
    pub(super) auto_merge: Option<IgnoredAny>,
    #[serde(default)]
    pub(super) elem: Elements,
}

#[derive(Deserialize)]
pub(super) struct ListedChain {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) chain_type: Option<String>,
    pub(super) hook: Option<String>,
    #[serde(default)]
    pub(super) prio: Value,
    pub(super) policy: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct ListedRule {
    pub(super) chain: String,
    pub(super) comment: Option<String>,
    #[serde(default)]
    pub(super) expr: Value,
}

/// Flags: libnftables 1.1.4 prints one alone as a string, the others as an array.
#[derive(Default)]
pub(super) struct OneOrMany(pub(super) Vec<String>);

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
pub(super) struct Elements {
    pub(super) readable: Vec<ObservedElement>,
    pub(super) strange: usize,
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
            connections: None,
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
    let connections = object
        .get("counter")
        .and_then(|counter| counter.get("packets")?.as_u64());
    Some(ObservedElement {
        first,
        last,
        comment,
        connections,
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
