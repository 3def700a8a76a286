//! libnftables' listing as printed, libnftables-json(5): the tolerant shapes that serde reads.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

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
    pub(super) comment: Option<IgnoredAny>,
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
    /// `memory`; the other one is the kernel's own choice, and not listed.
    pub(super) policy: Option<IgnoredAny>,
    pub(super) comment: Option<IgnoredAny>,
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
    /// libnftables before 1.1.0 does not list it.
    pub(super) comment: Option<IgnoredAny>,
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
