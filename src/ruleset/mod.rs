//! The ruleset: the whole table as one value, built from the policy, compared with the kernel's,
//! and applied. The kernel is never patched by listing and matching.

pub mod json;
pub mod names;
pub mod transaction;

use std::net::IpAddr;

use crate::policy::{Policy, prefix_table::ExemptInterval};

/// The table's address family, nft(8) "ADDRESS FAMILIES".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// `ip`
    Ip,
}

impl Family {
    /// The family's name in the nft language.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ip => "ip",
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

/// `set … { typeof ip daddr; flags interval; counter; … }`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// The set's name.
    pub name: &'static str,
    /// Disjoint, in ascending order.
    pub elements: Vec<Element>,
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

impl From<&ExemptInterval> for Element {
    fn from(interval: &ExemptInterval) -> Self {
        Self {
            first: interval.first,
            last: interval.last,
            comment: interval.comment(),
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

/// What rules are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// `ip daddr @SET`
    DestinationIn(&'static str),
    /// `fib daddr type != local`
    DestinationNotLocal,
    /// `counter name "NAME"`
    Counter(&'static str),
    /// `jump CHAIN`
    Jump(String),
    /// `return`
    Return,
    /// `masquerade`, or `masquerade fully-random`
    Masquerade {
        /// Choose the source port at random.
        fully_random: bool,
    },
}

impl Ruleset {
    /// The table that makes the kernel follow `policy` for IPv4.
    #[must_use]
    pub fn ipv4(policy: &Policy, chosen: &ChosenNames) -> Self {
        Self {
            family: Family::Ip,
            table: chosen.table.clone(),
            comment: names::TABLE_COMMENT,
            sets: vec![Set {
                name: names::EXEMPT_SET,
                elements: policy.exempt_ipv4.iter().map(Element::from).collect(),
            }],
            counters: vec![names::MASQUERADED_COUNTER],
            chains: vec![
                masq_chain(&chosen.masq_chain, policy.random_fully),
                postrouting(&chosen.masq_chain),
            ],
        }
    }
}

/// ```text
/// chain non-masquerade-daemon {
///     ip daddr @non-masquerade-cidrs return comment "keep the source address"
///     counter name "masqueraded" masquerade fully-random comment "masquerade all other traffic (must be last in chain)"
/// }
/// ```
fn masq_chain(name: &str, fully_random: bool) -> Chain {
    Chain {
        name: name.to_owned(),
        hook: None,
        rules: vec![
            Rule {
                statements: vec![
                    Statement::DestinationIn(names::EXEMPT_SET),
                    Statement::Return,
                ],
                comment: "keep the source address",
            },
            Rule {
                // The counter first: `masquerade` ends the rule.
                statements: vec![
                    Statement::Counter(names::MASQUERADED_COUNTER),
                    Statement::Masquerade { fully_random },
                ],
                comment: "masquerade all other traffic (must be last in chain)",
            },
        ],
    }
}

/// ```text
/// chain postrouting {
///     type nat hook postrouting priority srcnat + 10; policy accept;
///     fib daddr type != local jump non-masquerade-daemon comment "all traffic not bound for a LOCAL address"
/// }
/// ```
fn postrouting(masq_chain: &str) -> Chain {
    Chain {
        name: names::POSTROUTING_CHAIN.to_owned(),
        hook: Some(Hook {
            priority: names::POSTROUTING_PRIORITY,
        }),
        rules: vec![Rule {
            statements: vec![
                Statement::DestinationNotLocal,
                Statement::Jump(masq_chain.to_owned()),
            ],
            comment: "all traffic not bound for a LOCAL address",
        }],
    }
}
