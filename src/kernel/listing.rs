//! libnftables' listing as printed, libnftables-json(5): the tolerant shapes that serde reads.

use std::borrow::Cow;
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
                while let Some(listed) = seq.next_element::<ListedElement>()? {
                    match listed.0 {
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

/// An element: its bare value, or `{"elem": {"val": …, "comment": …, "counter": …}}`; `None`: it is no interval of
/// addresses, or expires.
struct ListedElement(Option<ObservedElement>);

impl<'de> Deserialize<'de> for ListedElement {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(match AnyElement::deserialize(deserializer)? {
            AnyElement::Whole(whole) => whole.readable(),
            AnyElement::Bare(interval) => interval.map(|(first, last)| ObservedElement {
                first,
                last,
                comment: None,
                connections: None,
            }),
        }))
    }
}

/// `{"val": …, "comment": …, "counter": …}`
#[derive(Deserialize)]
struct WholeElement {
    val: ListedInterval,
    comment: Option<String>,
    #[serde(default)]
    counter: Option<ElementCounter>,
    timeout: Option<IgnoredAny>,
    expires: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct ElementCounter {
    packets: u64,
}

impl WholeElement {
    fn readable(self) -> Option<ObservedElement> {
        let (first, last) = self.val.0?;
        let lasts = self.timeout.is_none() && self.expires.is_none();
        lasts.then_some(ObservedElement {
            first,
            last,
            comment: self.comment,
            connections: self.counter.map(|counter| counter.packets),
        })
    }
}

/// The first and the last address.
type Interval = (IpAddr, IpAddr);

/// `"192.0.2.1"`, `{"prefix": {"addr": …, "len": …}}` or `{"range": [first, last]}`; `None`: something else.
struct ListedInterval(Option<Interval>);

impl<'de> Deserialize<'de> for ListedInterval {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match AnyElement::deserialize(deserializer)? {
            AnyElement::Bare(interval) => Self(interval),
            AnyElement::Whole(_) => Self(None),
        })
    }
}

/// What an array of elements, or the value of one, may hold. Read by hand: there may be 100,000, and a generic value is a
/// map of maps for each.
enum AnyElement {
    Bare(Option<Interval>),
    Whole(Box<WholeElement>),
}

impl<'de> Deserialize<'de> for AnyElement {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyElementVisitor)
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum ElementKey {
    Elem,
    Prefix,
    Range,
    #[serde(other)]
    Other,
}

struct AnyElementVisitor;

impl<'de> Visitor<'de> for AnyElementVisitor {
    type Value = AnyElement;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an element")
    }

    fn visit_str<E>(self, text: &str) -> Result<AnyElement, E> {
        let address = text.parse().ok();
        Ok(AnyElement::Bare(address.map(|address| (address, address))))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<AnyElement, A::Error> {
        let mut element = AnyElement::Bare(None);
        while let Some(key) = map.next_key::<ElementKey>()? {
            element = match key {
                ElementKey::Elem => AnyElement::Whole(map.next_value()?),
                ElementKey::Prefix => {
                    AnyElement::Bare(map.next_value::<ListedPrefix<'de>>()?.interval())
                }
                ElementKey::Range => AnyElement::Bare(range(&map.next_value::<Value>()?)),
                ElementKey::Other => {
                    map.next_value::<IgnoredAny>()?;
                    AnyElement::Bare(None)
                }
            };
        }
        Ok(element)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<AnyElement, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(AnyElement::Bare(None))
    }

    fn visit_u64<E>(self, _number: u64) -> Result<AnyElement, E> {
        Ok(AnyElement::Bare(None))
    }

    fn visit_i64<E>(self, _number: i64) -> Result<AnyElement, E> {
        Ok(AnyElement::Bare(None))
    }

    fn visit_f64<E>(self, _number: f64) -> Result<AnyElement, E> {
        Ok(AnyElement::Bare(None))
    }

    fn visit_bool<E>(self, _boolean: bool) -> Result<AnyElement, E> {
        Ok(AnyElement::Bare(None))
    }

    fn visit_unit<E>(self) -> Result<AnyElement, E> {
        Ok(AnyElement::Bare(None))
    }
}

#[derive(Deserialize)]
struct ListedPrefix<'a> {
    #[serde(borrow)]
    addr: Cow<'a, str>,
    len: u64,
}

impl ListedPrefix<'_> {
    fn interval(&self) -> Option<Interval> {
        let length = u8::try_from(self.len).ok()?;
        let prefix = IpNet::new(self.addr.parse().ok()?, length).ok()?;
        Some((prefix.network(), prefix.broadcast()))
    }
}

fn range(value: &Value) -> Option<Interval> {
    let address = |value: &Value| value.as_str()?.parse().ok();
    match value.as_array()?.as_slice() {
        [first, last] => Some((address(first)?, address(last)?)),
        _ => None,
    }
}
