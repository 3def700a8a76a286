//! The ruleset: the whole table as one value, built from the policy, compared with the kernel's,
//! and applied. The kernel is never patched by listing and matching.

mod chains;
pub mod json;
pub mod names;
pub mod text;
pub mod transaction;

use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::PortRange;
use crate::policy::prefix_table::{Interval, Origin};
use crate::policy::{FamilyPolicy, Policy, Sources};

/// The table's address family, nft(8) "ADDRESS FAMILIES".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// `ip`
    Ip,
    /// `ip6`
    Ip6,
}

impl Family {
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

/// One table with all that stands in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruleset {
    /// The table's family.
    pub family: Family,
    /// The table's name.
    pub table: String,
    /// The table's comment; dropped by libnftables' JSON before 1.0.8, so no drift.
    pub comment: &'static str,
    /// Named interval sets of addresses.
    pub sets: Vec<Set>,
    /// Names of the named counters.
    pub counters: Vec<&'static str>,
    /// Each chain after those that it jumps to.
    pub chains: Vec<Chain>,
}

/// `set … { typeof ip daddr; flags interval; … }`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// The set's name.
    pub name: &'static str,
    /// The name of the set that rules look up while elements of this one and rules change together.
    pub stand_in: &'static str,
    /// Which address of a packet is looked up in it.
    pub field: AddressField,
    /// `counter;`: each element counts the connections that meet it.
    pub counts: bool,
    /// Disjoint, in ascending order.
    pub elements: Vec<Element>,
}

/// One of the two addresses of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AddressField {
    /// `saddr`
    Source,
    /// `daddr`
    Destination,
}

/// An element of an interval set.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Element {
    /// The first address in it.
    pub first: IpAddr,
    /// The last address in it.
    pub last: IpAddr,
    /// At most [`names::MAX_COMMENT_BYTES`].
    pub comment: String,
}

/// The comment is what an operator reads beside the element: the configured CIDR, or `link-local`.
impl From<&Interval> for Element {
    fn from(interval: &Interval) -> Self {
        Self {
            first: interval.first,
            last: interval.last,
            comment: match interval.decided_by.origin {
                Origin::LinkLocal => "link-local".to_owned(),
                _ => interval.decided_by.prefix.to_string(),
            },
        }
    }
}

impl From<&IpNet> for Element {
    fn from(prefix: &IpNet) -> Self {
        Self {
            first: prefix.network(),
            last: prefix.broadcast(),
            comment: prefix.to_string(),
        }
    }
}

/// A chain, with all its rules in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// The chain's name.
    pub name: String,
    /// Where packets enter it; `None`: only by a jump.
    pub hook: Option<Hook>,
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// `type nat hook postrouting priority …; policy accept;`, the one kind of base chain there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hook {
    /// Base chains of one hook run in ascending order of it.
    pub priority: i32,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What it matches and does, in order.
    pub statements: Vec<Statement>,
    /// At most [`names::MAX_COMMENT_BYTES`].
    pub comment: &'static str,
}

impl Rule {
    /// The rule with the stand-ins of `sets` in place of these.
    #[must_use]
    pub fn looking_up_stand_ins(&self, sets: &[&Set]) -> Self {
        let mut rule = self.clone();
        for statement in &mut rule.statements {
            if let Statement::AddressIn(_, name) = statement
                && let Some(set) = sets.iter().find(|set| set.name == *name)
            {
                *name = set.stand_in;
            }
        }
        rule
    }
}

/// What rules are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// `ip saddr @SET`, `ip daddr @SET`
    AddressIn(AddressField, &'static str),
    /// `fib saddr type local`: the node itself sends the packet.
    SourceLocal,
    /// `fib daddr type != local`
    DestinationNotLocal,
    /// `ct status dnat`: another destination was put in place of the one that the sender chose.
    DestinationTranslated,
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
    Counter(&'static str),
    /// `jump CHAIN`
    Jump(String),
    /// `return`
    Return,
    /// `masquerade [to :FIRST-LAST] [fully-random]`
    Masquerade {
        /// Source ports to choose from.
        to_ports: Option<PortRange>,
        /// Choose the source port at random.
        fully_random: bool,
    },
    /// `snat to ip saddr`: a mapping to the packet's own source. The first mapping of a connection wins.
    SnatToOwnSource,
}

/// The tables that make the kernel follow a policy, one for each family that is on.
#[derive(Debug, Clone, PartialEq, Eq)]
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
            comment: names::TABLE_COMMENT,
            sets: sets(of_family),
            counters: vec![names::MASQUERADED_COUNTER],
            chains: chains::chains(&of_family.sources, policy, &chosen.masq_chain),
        }
    }
}

/// ```text
/// set non-masquerade-cidrs {
///     typeof ip daddr
///     flags interval
///     counter
///     elements = { 10.0.0.0/8 comment "10.0.0.0/8", … }
/// }
/// set source-cidrs {
///     typeof ip saddr
///     flags interval
///     elements = { 10.0.0.0/8 comment "10.0.0.0/8", … }
/// }
/// ```
fn sets(of_family: &FamilyPolicy) -> Vec<Set> {
    let exempt = Set {
        name: names::EXEMPT_SET,
        stand_in: names::EXEMPT_STAND_IN,
        field: AddressField::Destination,
        counts: true,
        elements: of_family.exempt().map(Element::from).collect(),
    };
    let sources = match &of_family.sources {
        Sources::Any => None,
        Sources::Only(prefixes) => Some(Set {
            name: names::SOURCE_SET,
            stand_in: names::SOURCE_STAND_IN,
            field: AddressField::Source,
            // A connection may be looked up in both base chains: it would be counted twice.
            counts: false,
            elements: prefixes.iter().map(Element::from).collect(),
        }),
    };
    [exempt].into_iter().chain(sources).collect()
}
