//! In what the kernel's table differs, said in words.

use std::fmt;
use std::net::IpAddr;

use crate::in_words;

/// The addresses from the first to the last. Written out only where it is said: a set that was flushed lacks thousands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval(pub IpAddr, pub IpAddr);

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0, self.1)
    }
}

/// One thing in which the kernel's table differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// There is no table.
    TableMissing,
    /// There is a table, and its family is off.
    TableUnwanted,
    /// libnftables' listing is no JSON.
    ListingUnreadable,
    /// The table's base chains are not hooked.
    TableDormant,
    /// The set does not exist.
    SetMissing(String),
    /// The set has another type, other flags or statements, a timeout, a size, a policy or a comment.
    SetOfWrongKind(String),
    /// Elements are missing or have another comment.
    ElementsMissing(String, Vec<Interval>),
    /// Elements are there that should not be.
    ElementsForeign(String, Vec<Interval>),
    /// So many elements are no intervals of addresses, expire, or do more than to count.
    ElementsStrange(String, usize),
    /// The named counter does not exist.
    CounterMissing(String),
    /// The named counter has a comment.
    CounterOfWrongKind(String),
    /// The chain does not exist.
    ChainMissing(String),
    /// The chain is hooked elsewhere, or where it should not be, or has a comment.
    ChainOfWrongKind(String),
    /// The chain's policy is not `accept`.
    PolicyDiffers(String),
    /// The chain's rules are others, more, fewer or in another order.
    RulesDiffer(String),
    /// An object that the daemon did not make: its kind and name.
    Foreign(String, String),
}

/// How many elements a message names.
const ELEMENTS_NAMED: usize = 4;

fn named(elements: &[Interval]) -> String {
    in_words::first(elements, ELEMENTS_NAMED, ", ")
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TableMissing => f.write_str("there is no table"),
            Self::TableUnwanted => f.write_str("there is a table"),
            Self::ListingUnreadable => f.write_str("the table's listing cannot be read"),
            Self::TableDormant => f.write_str("the table is dormant"),
            Self::SetMissing(name) => write!(f, "set {name} is missing"),
            Self::SetOfWrongKind(name) => write!(f, "set {name} is of a wrong kind"),
            Self::ElementsMissing(set, elements) => {
                write!(f, "set {set} lacks {}", named(elements))
            }
            Self::ElementsForeign(set, elements) => {
                write!(f, "set {set} has {} too many", named(elements))
            }
            Self::ElementsStrange(set, number) => {
                write!(f, "set {set} has {number} strange elements too many")
            }
            Self::CounterMissing(name) => write!(f, "counter {name} is missing"),
            Self::CounterOfWrongKind(name) => write!(f, "counter {name} is of a wrong kind"),
            Self::ChainMissing(name) => write!(f, "chain {name} is missing"),
            Self::ChainOfWrongKind(name) => write!(f, "chain {name} is of a wrong kind"),
            Self::PolicyDiffers(name) => write!(f, "chain {name} has a wrong policy"),
            Self::RulesDiffer(name) => write!(f, "chain {name} has other rules"),
            // Anyone's to choose, and not to forge a line of the log.
            Self::Foreign(kind, name) => {
                write!(f, "foreign {} {}", kind.escape_debug(), name.escape_debug())
            }
        }
    }
}
