//! The ruleset: the whole table as one value, built from the policy, compared with the kernel's,
//! and applied. The kernel is never patched by listing and matching.

mod chains;
pub mod json;
pub mod names;
pub mod transaction;

use std::borrow::Cow;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::config::PortRange;
use crate::policy::prefix_table::{Interval, Origin};
use crate::policy::{FamilyPolicy, Policy, Sources};

/// The table's address family, nft(8) "ADDRESS FAMILIES".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Family {
    /// `ip`
    Ip,
    /// `ip6`
    Ip6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ip, Self::Ip6];

    /// The family of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::Ip,
            IpAddr::V6(_) => Self::Ip6,
        }
    }

    /// The family's name in the nft language.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
        }
    }
}

/// The names that the command line chooses. Both are checked by [`names`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChosenNames {
    /// `--table`
    pub table: String,
    /// `--masq-chain`
    pub masq_chain: String,
}

/// As without any option.
impl Default for ChosenNames {
    fn default() -> Self {
        Self {
            table: names::DEFAULT_TABLE.to_owned(),
            masq_chain: names::DEFAULT_MASQ_CHAIN.to_owned(),
        }
    }
}

/// One table with all that stands in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruleset {
    /// The table's family.
    pub family: Family,
    /// The table's name.
    pub table: String,
    /// Interval sets of addresses, at most one for each of a packet's two.
    pub sets: Vec<Set>,
    /// Names of the named counters.
    pub counters: Vec<Cow<'static, str>>,
    /// Each chain after those that it jumps to.
    pub chains: Vec<Chain>,
}

/// `set … { typeof ip daddr; flags interval; … }`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Set {
    /// Which address of a packet is looked up in it; that names it too, see [`SetNames`].
    pub field: AddressField,
    /// `counter;`: each element counts the connections that meet it.
    pub counts: bool,
    /// Disjoint, in ascending order.
    pub elements: Vec<Element>,
}

/// One of the two addresses of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AddressField {
    /// `saddr`
    Source,
    /// `daddr`
    Destination,
}

impl AddressField {
    /// What the sets that it is looked up in are called, but for their numbers.
    #[must_use]
    pub fn set(self) -> &'static str {
        match self {
            Self::Source => names::SOURCE_SET,
            Self::Destination => names::EXEMPT_SET,
        }
    }
}

/// Which set each field is looked up in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetNames {
    /// For [`AddressField::Source`].
    pub source: String,
    /// For [`AddressField::Destination`].
    pub destination: String,
}

impl SetNames {
    /// Those of a table in which nothing else stands.
    #[must_use]
    pub fn first() -> Self {
        Self {
            source: names::numbered(names::SOURCE_SET, 1),
            destination: names::numbered(names::EXEMPT_SET, 1),
        }
    }

    /// Gives the set for this field another name.
    pub fn put(&mut self, field: AddressField, name: String) {
        match field {
            AddressField::Source => self.source = name,
            AddressField::Destination => self.destination = name,
        }
    }

    /// The name of the set for this field.
    #[must_use]
    pub fn of(&self, field: AddressField) -> &str {
        match field {
            AddressField::Source => &self.source,
            AddressField::Destination => &self.destination,
        }
    }
}

/// An element of an interval set.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Element {
    /// The first address in it.
    pub first: IpAddr,
    /// The last address in it.
    pub last: IpAddr,
    /// At most [`names::MAX_COMMENT_BYTES`]; where the element itself says all, none.
    pub comment: Option<String>,
}

impl Element {
    /// The configured CIDR that it came from, or `link-local`.
    #[must_use]
    pub fn origin(&self) -> String {
        match &self.comment {
            Some(comment) => comment.clone(),
            None => in_words(self.first, self.last),
        }
    }
}

/// The addresses from the first to the last, as the prefix that they are, or as `FIRST-LAST`.
#[must_use]
pub fn in_words(first: IpAddr, last: IpAddr) -> String {
    match prefix(first, last) {
        Some(prefix) => prefix.to_string(),
        None => format!("{first}-{last}"),
    }
}

fn prefix(first: IpAddr, last: IpAddr) -> Option<IpNet> {
    let prefix = longest_prefix_of(first, last)?;
    (prefix.network() == first && prefix.broadcast() == last).then_some(prefix)
}

/// The longest prefix that holds both addresses; `None`: they are of two families.
#[must_use]
pub fn longest_prefix_of(first: IpAddr, last: IpAddr) -> Option<IpNet> {
    let length = match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => (first.to_bits() ^ last.to_bits()).leading_zeros(),
        (IpAddr::V6(first), IpAddr::V6(last)) => (first.to_bits() ^ last.to_bits()).leading_zeros(),
        _ => return None,
    };
    let prefix = IpNet::new(first, u8::try_from(length).ok()?).ok()?;
    Some(prefix.trunc())
}

/// The comment is for what an operator cannot read off the element: the configured CIDR of which it is a part, and
/// `link-local`, which nobody has configured.
impl From<&Interval> for Element {
    fn from(interval: &Interval) -> Self {
        let prefix = interval.decided_by.prefix;
        let is_whole = (interval.first, interval.last) == (prefix.network(), prefix.broadcast());
        Self {
            first: interval.first,
            last: interval.last,
            comment: match interval.decided_by.origin {
                Origin::LinkLocal => Some("link-local".to_owned()),
                _ => (!is_whole).then(|| prefix.to_string()),
            },
        }
    }
}

impl From<&IpNet> for Element {
    fn from(prefix: &IpNet) -> Self {
        Self {
            first: prefix.network(),
            last: prefix.broadcast(),
            comment: None,
        }
    }
}

/// A chain, with all its rules in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// The chain's name.
    pub name: String,
    /// Where packets enter it; `None`: only by a jump.
    pub hook: Option<Hook>,
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// `type … hook postrouting priority …; policy accept;`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// `type`
    pub chain_type: ChainType,
    /// Base chains of one hook run in ascending order of it.
    pub priority: i32,
}

/// What a base chain is for, nft(8) "CHAINS".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChainType {
    /// `nat`: the first packet of each connection passes it.
    Nat,
    /// `filter`: each packet passes it.
    Filter,
}

impl ChainType {
    /// Its name in the nft language.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::Filter => "filter",
        }
    }
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// What it matches and does, in order.
    pub statements: Vec<Statement>,
    /// At most [`names::MAX_COMMENT_BYTES`].
    pub comment: Cow<'static, str>,
}

/// What rules are made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Statement {
    /// `ip saddr @SET`, `ip daddr @SET`, whichever set it is at the time
    AddressIn(AddressField),
    /// `ip daddr != @SET`
    AddressNotIn(AddressField),
    /// `oifname "NAME"`; a `*` at its end stands for any rest.
    OutputInterface(String),
    /// `fib saddr type local`: the node itself sends the packet.
    SourceLocal,
    /// `fib daddr type != local`
    DestinationNotLocal,
    /// `fib daddr type multicast`
    DestinationMulticast,
    /// `fib daddr type broadcast`
    DestinationBroadcast,
    /// `ct status dnat`: another destination was put in place of the one that the sender chose.
    DestinationTranslated,
    /// `ct state != invalid`: it belongs to a connection, begins one, or is not tracked.
    ValidForConntrack,
    /// `meta l4proto …`, by its number (IANA, "Protocol Numbers").
    Protocol(u8),
    /// `numgen random mod OUT_OF < FEWER_THAN`: a random number from 0 to below `out_of` is below `fewer_than`.
    Chance {
        /// How many equally likely cases there are.
        out_of: u32,
        /// In how many of them it matches.
        fewer_than: u32,
    },
    /// `counter name "NAME"`
    Counter(Cow<'static, str>),
    /// `jump CHAIN`
    Jump(String),
    /// `return`
    Return,
    /// `accept`
    Accept,
    /// `drop`
    Drop,
    /// `masquerade [to :FIRST-LAST] [fully-random]`
    Masquerade {
        /// Source ports to choose from.
        to_ports: Option<PortRange>,
        /// Choose the source port at random.
        fully_random: bool,
    },
    /// `snat to ADDRESS[:FIRST-LAST] [fully-random]`
    Snat {
        /// The node's own.
        address: IpAddr,
        /// Source ports to choose from.
        to_ports: Option<PortRange>,
        /// Choose the source port at random.
        fully_random: bool,
    },
    /// `snat to ip saddr`: a mapping to the packet's own source. The first mapping of a connection wins.
    SnatToOwnSource,
}

/// The tables that make the kernel follow a policy, one for each family that is on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tables {
    /// `ip`
    pub ip: Ruleset,
    /// `ip6`; `None`: IPv6 is off, and there is to be no table.
    pub ip6: Option<Ruleset>,
}

impl Tables {
    /// The tables that make the kernel follow `policy`.
    #[must_use]
    pub fn new(policy: &Policy, chosen: &ChosenNames) -> Self {
        Self {
            ip: Ruleset::ipv4(policy, chosen),
            ip6: Ruleset::ipv6(policy, chosen),
        }
    }

    /// The family's table, if there is to be one.
    #[must_use]
    pub fn of(&self, family: Family) -> Option<&Ruleset> {
        match family {
            Family::Ip => Some(&self.ip),
            Family::Ip6 => self.ip6.as_ref(),
        }
    }

    /// Those that are to be there.
    pub fn wanted(&self) -> impl Iterator<Item = &Ruleset> {
        [&self.ip].into_iter().chain(&self.ip6)
    }
}

impl Ruleset {
    /// The table that makes the kernel follow `policy` for IPv4.
    #[must_use]
    pub fn ipv4(policy: &Policy, chosen: &ChosenNames) -> Self {
        Self::of(Family::Ip, &policy.ipv4, policy, chosen)
    }

    /// The table that makes the kernel follow `policy` for IPv6, where that is on.
    #[must_use]
    pub fn ipv6(policy: &Policy, chosen: &ChosenNames) -> Option<Self> {
        let of_family = policy.ipv6.as_ref()?;
        Some(Self::of(Family::Ip6, of_family, policy, chosen))
    }

    fn of(family: Family, of_family: &FamilyPolicy, policy: &Policy, chosen: &ChosenNames) -> Self {
        Self {
            family,
            table: chosen.table.clone(),
            sets: sets(of_family),
            counters: chains::counters(policy),
            chains: chains::chains(of_family, policy, &chosen.masq_chain),
        }
    }

    /// The set that this field is looked up in.
    #[must_use]
    pub fn set(&self, field: AddressField) -> Option<&Set> {
        self.sets.iter().find(|set| set.field == field)
    }
}

/// ```text
/// set non-masquerade-cidrs-1 {
///     typeof ip daddr
///     flags interval
///     counter
///     elements = { 10.0.0.0/8, 169.254.0.0/16 comment "link-local", … }
/// }
/// set source-cidrs-1 {
///     typeof ip saddr
///     flags interval
///     elements = { 10.0.0.0/8, … }
/// }
/// ```
fn sets(of_family: &FamilyPolicy) -> Vec<Set> {
    let exempt = Set {
        field: AddressField::Destination,
        counts: true,
        elements: of_family.exempt().map(Element::from).collect(),
    };
    let sources = match &of_family.sources {
        Sources::Any => None,
        Sources::Only(prefixes) => Some(Set {
            field: AddressField::Source,
            // A connection may be looked up in both base chains: it would be counted twice.
            counts: false,
            elements: prefixes.iter().map(Element::from).collect(),
        }),
    };
    [exempt].into_iter().chain(sources).collect()
}
