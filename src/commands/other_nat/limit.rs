//! What a packet must be like to match a rule, as a listing shows it: `ip saddr 10.88.0.0/16`, `-m owner`.
//!
//! Matches of iptables that have no words in nftables show their name only, `{"xt": {"type": "match", "name": "owner"}}`: then
//! neither its values are known nor its `!`. Such a one is taken for one without `!`.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use crate::in_words;

/// How many values of a limit are told.
const VALUES_TOLD: usize = 4;

/// A condition on packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::commands) enum Limit {
    /// The mark of the packet or of its connection.
    Mark(Sense, Vec<String>),
    /// Who has the socket that sends it: nobody, where it is forwarded.
    Owner,
    Source(Sense, Vec<Addresses>),
    Destination(Sense, Vec<Addresses>),
    /// By their names; of a bridge's ports none is known.
    InputInterface(Sense, Vec<String>),
    OutputInterface(Sense, Vec<String>),
    /// Its destination was translated (`ct status dnat`).
    Translated(Sense),
    /// The type of an address, LOCAL say (`-m addrtype`, `fib daddr type`).
    AddressType,
    /// It must be in this set, which is empty.
    EmptySet(String),
    /// Something else: ports, protocols, an ipset.
    Other,
}

/// Which packets match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::commands) enum Sense {
    /// Those with one of the values. Of marks: no packet without a mark.
    Only,
    /// Those with none of them. Of marks: packets without a mark too.
    AllBut,
}

/// Neighbouring addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::commands) struct Addresses {
    first: IpAddr,
    last: IpAddr,
}

impl Addresses {
    pub(in crate::commands) fn contain(&self, address: IpAddr) -> bool {
        (self.first..=self.last).contains(&address)
    }

    pub(in crate::commands) fn overlap(&self, prefix: &IpNet) -> bool {
        self.first.is_ipv4() == prefix.addr().is_ipv4()
            && self.first <= prefix.broadcast()
            && prefix.network() <= self.last
    }

    pub(in crate::commands) fn is_one(&self) -> bool {
        self.first == self.last
    }

    /// `10.0.0.1`, `{"prefix": {"addr": "10.0.0.0", "len": 8}}`, `{"range": ["10.0.0.1", "10.0.0.9"]}`, or an element that
    /// holds one of these.
    fn of(value: &Value) -> Option<Self> {
        let address = |value: &Value| value.as_str()?.parse::<IpAddr>().ok();
        if let Some(element) = value.pointer("/elem/val") {
            return Self::of(element);
        }
        if let Some(prefix) = value.get("prefix") {
            let length = u8::try_from(prefix.get("len")?.as_u64()?).ok()?;
            let prefix = IpNet::new(address(prefix.get("addr")?)?, length).ok()?;
            return Some(Self {
                first: prefix.network(),
                last: prefix.broadcast(),
            });
        }
        let (first, last) = match value.get("range").and_then(Value::as_array) {
            Some(ends) => (address(ends.first()?)?, address(ends.get(1)?)?),
            None => (address(value)?, address(value)?),
        };
        Some(Self { first, last })
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last } = self;
        let longest = if first.is_ipv4() { 32 } else { 128 };
        let prefixes = (0..=longest).filter_map(|length| IpNet::new(*first, length).ok());
        let is_whole = |prefix: &IpNet| prefix.network() == *first && prefix.broadcast() == *last;
        match prefixes.filter(is_whole).next() {
            _ if first == last => write!(f, "{first}"),
            Some(prefix) => write!(f, "{prefix}"),
            None => write!(f, "{first}-{last}"),
        }
    }
}

impl Limit {
    /// What packets have in common that do not match it; none: nothing of interest.
    pub(super) fn otherwise(&self) -> Option<Self> {
        let other = |sense: &Sense| match sense {
            Sense::Only => Sense::AllBut,
            Sense::AllBut => Sense::Only,
        };
        match self {
            Self::Mark(sense, values) => Some(Self::Mark(other(sense), values.clone())),
            Self::Source(sense, values) => Some(Self::Source(other(sense), values.clone())),
            Self::Destination(sense, values) => {
                Some(Self::Destination(other(sense), values.clone()))
            }
            Self::InputInterface(sense, names) => {
                Some(Self::InputInterface(other(sense), names.clone()))
            }
            Self::OutputInterface(sense, names) => {
                Some(Self::OutputInterface(other(sense), names.clone()))
            }
            Self::Translated(sense) => Some(Self::Translated(other(sense))),
            Self::Owner | Self::AddressType | Self::EmptySet(_) | Self::Other => None,
        }
    }

    /// What holds for packets that keep to this limit or to the other one.
    fn or(&self, other: &Self) -> Option<Self> {
        fn both<T: Clone + PartialEq>(one: &[T], other: &[T]) -> Vec<T> {
            let more = other.iter().filter(|value| !one.contains(value));
            one.iter().chain(more).cloned().collect()
        }
        use Sense::Only;
        Some(match (self, other) {
            (one, other) if one == other => one.clone(),
            (Self::Source(Only, one), Self::Source(Only, other)) => {
                Self::Source(Only, both(one, other))
            }
            (Self::Mark(Only, one), Self::Mark(Only, other)) => Self::Mark(Only, both(one, other)),
            (Self::InputInterface(Only, one), Self::InputInterface(Only, other)) => {
                Self::InputInterface(Only, both(one, other))
            }
            (Self::OutputInterface(Only, one), Self::OutputInterface(Only, other)) => {
                Self::OutputInterface(Only, both(one, other))
            }
            _ => return None,
        })
    }
}

/// What packets have in common that keep to all of one or to all of the other.
pub(super) fn in_common(one: &[Limit], other: &[Limit]) -> Vec<Limit> {
    let with_other = |limit: &Limit| other.iter().find_map(|other| limit.or(other));
    one.iter().filter_map(with_other).collect()
}

/// In the words of a finding: `only from 10.88.0.0/16`. Nothing for what is of no interest.
impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let only = |sense: &Sense| match sense {
            Sense::Only => "only",
            Sense::AllBut => "not",
        };
        let names = |names: &[String]| match names {
            [] => "some ports of a bridge".to_owned(),
            names => in_words::first(names, VALUES_TOLD, ", "),
        };
        match self {
            Self::Mark(sense, values) if values.is_empty() => {
                write!(f, "{} packets with a mark", only(sense))
            }
            Self::Mark(sense, values) => {
                let values = in_words::first(values, VALUES_TOLD, ", ");
                write!(f, "{} packets with mark {values}", only(sense))
            }
            Self::Owner => f.write_str("only what processes of the node send"),
            Self::Source(sense, values) => {
                let values = in_words::first(values, VALUES_TOLD, ", ");
                write!(f, "{} from {values}", only(sense))
            }
            Self::Destination(sense, values) => {
                let values = in_words::first(values, VALUES_TOLD, ", ");
                write!(f, "{} to {values}", only(sense))
            }
            Self::InputInterface(sense, values) => {
                write!(f, "{} what comes in by {}", only(sense), names(values))
            }
            Self::OutputInterface(sense, values) => {
                write!(f, "{} what leaves by {}", only(sense), names(values))
            }
            Self::Translated(sense) => {
                write!(
                    f,
                    "{} what was translated to another destination",
                    only(sense)
                )
            }
            Self::EmptySet(set) => write!(f, "nothing, set {set} is empty"),
            Self::AddressType | Self::Other => Ok(()),
        }
    }
}

/// The limit that a statement is; `None`: it is none. `sets`: the table's, name and elements.
pub(super) fn of_statement(statement: &Value, sets: &HashMap<String, Vec<Value>>) -> Option<Limit> {
    if let Some(name) = xt_name(statement, "match") {
        return of_iptables(name);
    }
    if statement.get("limit").is_some() {
        return Some(Limit::Other);
    }
    let matched = statement.get("match")?;
    let limit = of_match(matched, sets);
    Some(limit.unwrap_or(Limit::Other))
}

/// The matches of iptables by name.
fn of_iptables(name: &str) -> Option<Limit> {
    match name {
        "comment" => None,
        "mark" | "connmark" => Some(Limit::Mark(Sense::Only, Vec::new())),
        "owner" => Some(Limit::Owner),
        "physdev" => Some(Limit::InputInterface(Sense::Only, Vec::new())),
        "addrtype" => Some(Limit::AddressType),
        _ => Some(Limit::Other),
    }
}

fn of_match(matched: &Value, sets: &HashMap<String, Vec<Value>>) -> Option<Limit> {
    let sense = match matched.get("op")?.as_str()? {
        "==" | "in" => Sense::Only,
        "!=" => Sense::AllBut,
        _ => return None,
    };
    let (left, right) = (matched.get("left")?, matched.get("right")?);
    let values: Vec<&Value> = match (right.as_str(), right.get("set").and_then(Value::as_array)) {
        (Some(name), None) if name.starts_with('@') => {
            let name = name.trim_start_matches('@');
            let elements = sets.get(name)?;
            if elements.is_empty() && sense == Sense::Only {
                return Some(Limit::EmptySet(name.to_owned()));
            }
            elements.iter().collect()
        }
        (_, Some(elements)) => elements.iter().collect(),
        (_, None) => vec![right],
    };
    let addresses =
        || -> Option<Vec<Addresses>> { values.iter().map(|value| Addresses::of(value)).collect() };
    let names = || -> Option<Vec<String>> {
        values
            .iter()
            .map(|value| Some(value.as_str()?.to_owned()))
            .collect()
    };
    if let Some((mark, mask)) = mark(left) {
        return of_mark(mark, mask, sense, &values);
    }
    match (
        left.pointer("/payload/protocol"),
        left.pointer("/payload/field"),
    ) {
        (Some(protocol), Some(field)) if protocol == "ip" || protocol == "ip6" => {
            return match field.as_str()? {
                "saddr" => Some(Limit::Source(sense, addresses()?)),
                "daddr" => Some(Limit::Destination(sense, addresses()?)),
                _ => None,
            };
        }
        _ => {}
    }
    if let Some(key) = left.pointer("/meta/key").and_then(Value::as_str) {
        return match key {
            "iif" | "iifname" => Some(Limit::InputInterface(sense, names()?)),
            "oif" | "oifname" => Some(Limit::OutputInterface(sense, names()?)),
            // Of a packet that no socket of this node sends, these match nothing, negated or not.
            "skuid" | "skgid" | "cgroup" => Some(Limit::Owner),
            _ => None,
        };
    }
    if left.pointer("/ct/key").is_some_and(|key| key == "status") {
        return (values == ["dnat"]).then_some(Limit::Translated(sense));
    }
    let is_type = left
        .pointer("/fib/result")
        .is_some_and(|result| result == "type");
    is_type.then_some(Limit::AddressType)
}

/// Whose mark a match looks at, the packet's (`meta`) or the connection's (`ct`), and by which mask.
fn mark(left: &Value) -> Option<(&'static str, u64)> {
    let is_mark = |value: &Value| {
        let of = |place| {
            value
                .pointer(place)
                .is_some_and(|key: &Value| key == "mark")
        };
        match (of("/meta/key"), of("/ct/key")) {
            (true, _) => Some(""),
            (_, true) => Some("of the connection "),
            _ => None,
        }
    };
    match left.get("&").and_then(Value::as_array).map(Vec::as_slice) {
        Some([mark, mask]) => Some((is_mark(mark)?, mask.as_u64()?)),
        _ => Some((is_mark(left)?, u64::from(u32::MAX))),
    }
}

/// Whether a packet without a mark matches decides over the sense.
fn of_mark(whose: &str, mask: u64, sense: Sense, values: &[&Value]) -> Option<Limit> {
    let numbers: Vec<u64> = values
        .iter()
        .map(|value| value.as_u64())
        .collect::<Option<_>>()?;
    let unmarked_matches = numbers.contains(&0) == (sense == Sense::Only);
    let told = |number: &u64| match (*number, mask) {
        (0, 0xffff_ffff) => format!("{whose}other than 0"),
        (0, mask) => format!("{whose}{mask:#x}"),
        (number, 0xffff_ffff) => format!("{whose}{number:#x}"),
        (number, mask) => format!("{whose}{number:#x}/{mask:#x}"),
    };
    let told = numbers.iter().map(told).collect();
    Some(match unmarked_matches {
        true => Limit::Mark(Sense::AllBut, told),
        false => Limit::Mark(Sense::Only, told),
    })
}

/// The name of a target or match of iptables.
pub(super) fn xt_name<'a>(statement: &'a Value, kind: &str) -> Option<&'a str> {
    let xt = statement.get("xt")?;
    let is_of_kind = xt.get("type")?.as_str()? == kind;
    is_of_kind.then(|| xt.get("name")?.as_str()).flatten()
}
