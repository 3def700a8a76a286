//! What a packet must be like to match a rule, as a listing shows it: `ip saddr 10.88.0.0/16`, `-m owner`.
//!
//! Matches of iptables that have no words in nftables show their name only, `{"xt": {"type": "match", "name": "owner"}}`: then
//! neither the values are known nor whether there is a `!`.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value as Listed;

use crate::{in_words, ruleset};

/// How many values of a limit are told.
const VALUES_TOLD: usize = 4;

/// A condition on packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::commands) struct Limit {
    pub(super) subject: Subject,
    pub(super) sense: Sense,
    /// Empty: not known.
    pub(super) values: Vec<Value>,
}

/// What a limit looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    /// The mark of the packet or of its connection.
    Mark,
    /// Who has the socket that sends it: nobody, where it is forwarded. Such a packet keeps to no match of nftables, negated
    /// or not, but to each negated one of iptables (owner_mt, net/netfilter/xt_owner.c).
    Owner,
    Source,
    Destination,
    InputInterface,
    OutputInterface,
    /// Its destination was translated (`ct status dnat`).
    Translated,
    /// The type of an address, LOCAL say (`-m addrtype`, `fib daddr type`).
    AddressType,
    /// Whether it is in a set, which is empty.
    EmptySet,
    /// Something else: ports, protocols, an ipset.
    Other,
}

/// Which packets match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sense {
    /// Those with one of the values. Of marks: no packet without a mark.
    Only,
    /// Those with none of them. Of marks: packets without a mark too.
    AllBut,
    /// Either: the listing does not show which.
    Hidden,
}

/// One of those that a packet is held against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// The addresses from one to another.
    Addresses(IpAddr, IpAddr),
    /// A mark, or the name of an interface or a set.
    Name(String),
}

impl Value {
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        matches!(self, Self::Addresses(first, last) if (*first..=*last).contains(&address))
    }

    pub(super) fn overlaps(&self, prefix: &IpNet) -> bool {
        matches!(self, Self::Addresses(first, last)
            if *first <= prefix.broadcast() && prefix.network() <= *last)
    }

    /// `10.0.0.1`, `{"prefix": {"addr": "10.0.0.0", "len": 8}}`, `{"range": ["10.0.0.1", "10.0.0.9"]}`, or an element that
    /// holds one of these.
    fn of_addresses(listed: &Listed) -> Option<Self> {
        let address = |listed: &Listed| listed.as_str()?.parse::<IpAddr>().ok();
        if let Some(element) = listed.pointer("/elem/val") {
            return Self::of_addresses(element);
        }
        if let Some(prefix) = listed.get("prefix") {
            let length = u8::try_from(prefix.get("len")?.as_u64()?).ok()?;
            let prefix = IpNet::new(address(prefix.get("addr")?)?, length).ok()?;
            return Some(Self::Addresses(prefix.network(), prefix.broadcast()));
        }
        Some(match listed.get("range").and_then(Listed::as_array) {
            Some(ends) => Self::Addresses(address(ends.first()?)?, address(ends.get(1)?)?),
            None => Self::Addresses(address(listed)?, address(listed)?),
        })
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Addresses(first, last) if first == last => write!(f, "{first}"),
            Self::Addresses(first, last) => f.write_str(&ruleset::in_words(*first, *last)),
        }
    }
}

impl Limit {
    fn by_name(subject: Subject) -> Self {
        Self {
            subject,
            sense: Sense::Hidden,
            values: Vec::new(),
        }
    }

    /// What packets have in common that do not match it; none: nothing of interest.
    pub(super) fn otherwise(&self) -> Option<Self> {
        use Subject::{AddressType, EmptySet, Other, Owner};
        let sense = match (self.subject, self.sense) {
            (AddressType | EmptySet | Other, _) | (Owner, Sense::Only | Sense::AllBut) => {
                return None;
            }
            (_, Sense::Hidden) => Sense::Hidden,
            (_, Sense::Only) => Sense::AllBut,
            (_, Sense::AllBut) => Sense::Only,
        };
        Some(Self {
            sense,
            ..self.clone()
        })
    }

    /// What holds for packets that keep to this limit or to the other one.
    fn or(&self, other: &Self) -> Option<Self> {
        let are_alike = self.subject == other.subject && self.sense == other.sense;
        if self == other || !are_alike || self.sense == Sense::AllBut {
            return (self == other).then(|| self.clone());
        }
        let more = other
            .values
            .iter()
            .filter(|value| !self.values.contains(value));
        let are_known = !self.values.is_empty() && !other.values.is_empty();
        let values = self.values.iter().chain(more).cloned();
        Some(Self {
            values: values.filter(|_| are_known).collect(),
            ..*self
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
        let what = match self.subject {
            Subject::Mark if self.values.is_empty() => "packets with a mark",
            Subject::Mark => "packets with mark ",
            Subject::Owner => "what processes of the node send",
            Subject::Source => "from ",
            Subject::Destination => "to ",
            Subject::InputInterface if self.values.is_empty() => {
                "what comes in by some ports of a bridge"
            }
            Subject::InputInterface => "what comes in by ",
            Subject::OutputInterface => "what leaves by ",
            Subject::Translated => "what was translated to another destination",
            Subject::EmptySet => "what is in an empty set, ",
            Subject::AddressType | Subject::Other => return Ok(()),
        };
        let only = match self.sense {
            Sense::Only => "only",
            Sense::AllBut => "not",
            Sense::Hidden => {
                return write!(f, "only {what}, or all but that (nft shows no `!`)");
            }
        };
        let values = in_words::first(&self.values, VALUES_TOLD, ", ");
        write!(f, "{only} {what}{values}")
    }
}

/// The limit that a statement is; `None`: it is none. What libnftables lists as text, as it has no JSON for it, may be one.
/// `sets`: the table's, name and elements.
pub(super) fn of_statement(
    statement: &Listed,
    sets: &HashMap<String, Vec<Listed>>,
) -> Option<Limit> {
    let other = || Limit::by_name(Subject::Other);
    if let Some(name) = xt_name(statement, "match") {
        let subject = match name {
            "comment" => return None,
            "mark" | "connmark" => Subject::Mark,
            "owner" => Subject::Owner,
            "physdev" => Subject::InputInterface,
            "addrtype" => Subject::AddressType,
            _ => Subject::Other,
        };
        return Some(Limit::by_name(subject));
    }
    match statement.get("match") {
        Some(matched) => Some(of_match(matched, sets).unwrap_or_else(other)),
        None => {
            let is_limit = |name: &&str| statement.get(name).is_some();
            let is_one =
                statement.is_string() || ["limit", "quota", "ct count"].iter().any(is_limit);
            is_one.then(other)
        }
    }
}

fn of_match(matched: &Listed, sets: &HashMap<String, Vec<Listed>>) -> Option<Limit> {
    let sense = match matched.get("op")?.as_str()? {
        "==" | "in" => Sense::Only,
        "!=" => Sense::AllBut,
        _ => return None,
    };
    let (left, right) = (matched.get("left")?, matched.get("right")?);
    let set = right.as_str().and_then(|name| name.strip_prefix('@'));
    let listed = match set {
        Some(set) => sets.get(set)?,
        None => right
            .pointer("/set")
            .and_then(Listed::as_array)
            .map_or(std::slice::from_ref(right), Vec::as_slice),
    };
    let limit = |subject, values| Limit {
        subject,
        sense,
        values,
    };
    if let (Some(set), []) = (set, listed) {
        // None of them: each packet matches.
        let name = Value::Name(set.to_owned());
        return (sense == Sense::Only).then(|| limit(Subject::EmptySet, vec![name]));
    }
    if let Some((whose, mask)) = mark(left) {
        return of_mark(whose, mask, sense, listed);
    }
    let subject = subject(left)?;
    let values = listed.iter().map(|listed| match subject {
        Subject::Source | Subject::Destination => Value::of_addresses(listed),
        _ => Some(Value::Name(listed.as_str()?.to_owned())),
    });
    match subject {
        Subject::AddressType => Some(Limit::by_name(subject)),
        Subject::Owner => Some(Limit {
            subject,
            sense: Sense::Only,
            values: Vec::new(),
        }),
        Subject::Translated if listed == ["dnat"] => Some(limit(subject, Vec::new())),
        Subject::Translated => None,
        _ => Some(limit(subject, values.collect::<Option<_>>()?)),
    }
}

/// What the left side of a match looks at, marks aside.
fn subject(left: &Listed) -> Option<Subject> {
    let text = |place| left.pointer(place).and_then(Listed::as_str);
    match (text("/payload/protocol"), text("/payload/field")) {
        (Some("ip" | "ip6"), Some("saddr")) => return Some(Subject::Source),
        (Some("ip" | "ip6"), Some("daddr")) => return Some(Subject::Destination),
        _ => {}
    }
    match text("/meta/key")
        .or(text("/ct/key"))
        .or(text("/fib/result"))?
    {
        "iif" | "iifname" => Some(Subject::InputInterface),
        "oif" | "oifname" => Some(Subject::OutputInterface),
        "skuid" | "skgid" | "cgroup" => Some(Subject::Owner),
        "status" => Some(Subject::Translated),
        "type" => Some(Subject::AddressType),
        _ => None,
    }
}

/// Whose mark a match looks at, the packet's (`meta`) or the connection's (`ct`), and by which mask.
fn mark(left: &Listed) -> Option<(&'static str, u64)> {
    let whose = |value: &Listed| {
        let is_mark = |place| {
            value
                .pointer(place)
                .is_some_and(|key: &Listed| key == "mark")
        };
        let of_connection = is_mark("/ct/key").then_some("of the connection ");
        is_mark("/meta/key").then_some("").or(of_connection)
    };
    match left.get("&").and_then(Listed::as_array).map(Vec::as_slice) {
        Some([mark, mask]) => Some((whose(mark)?, mask.as_u64()?)),
        _ => Some((whose(left)?, u64::from(u32::MAX))),
    }
}

/// Whether a packet without a mark matches decides over the sense.
fn of_mark(whose: &str, mask: u64, sense: Sense, listed: &[Listed]) -> Option<Limit> {
    let numbers: Vec<u64> = listed.iter().map(Listed::as_u64).collect::<Option<_>>()?;
    let told = |number: &u64| match (*number, mask) {
        (0, 0xffff_ffff) => format!("{whose}other than 0"),
        (0, mask) => format!("{whose}{mask:#x}"),
        (number, 0xffff_ffff) => format!("{whose}{number:#x}"),
        (number, mask) => format!("{whose}{number:#x}/{mask:#x}"),
    };
    Some(Limit {
        subject: Subject::Mark,
        sense: match numbers.contains(&0) == (sense == Sense::Only) {
            true => Sense::AllBut,
            false => Sense::Only,
        },
        values: numbers
            .iter()
            .map(|number| Value::Name(told(number)))
            .collect(),
    })
}

/// The name of a target or match of iptables.
pub(super) fn xt_name<'a>(statement: &'a Listed, kind: &str) -> Option<&'a str> {
    let xt = statement.get("xt")?;
    let is_of_kind = xt.get("type")?.as_str()? == kind;
    is_of_kind.then(|| xt.get("name")?.as_str()).flatten()
}
