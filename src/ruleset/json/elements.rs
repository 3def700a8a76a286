//! Elements of a set. Not by the crate: its `Elem` boxes each value and writes `null` for each absent field, and there may
//! be 100,000 elements.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use crate::ruleset::{Element, Ruleset};

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ElementCommand<'a> {
    Add {
        element: Elements<'a, CommentedElement<'a>>,
    },
    Delete {
        element: Elements<'a, ElementValue>,
    },
}

#[derive(Serialize)]
pub(super) struct Elements<'a, E> {
    family: &'static str,
    table: &'a str,
    name: &'a str,
    elem: Vec<E>,
}

impl<'a, E> Elements<'a, E> {
    pub(super) fn new(ruleset: &'a Ruleset, set: &'a str, elem: Vec<E>) -> Self {
        Self {
            family: ruleset.family.name(),
            table: &ruleset.table,
            name: set,
            elem,
        }
    }
}

#[derive(Serialize)]
pub(super) struct CommentedElement<'a> {
    elem: ElementObject<'a>,
}

#[derive(Serialize)]
struct ElementObject<'a> {
    val: ElementValue,
    comment: &'a str,
}

impl<'a> CommentedElement<'a> {
    pub(super) fn of(element: &'a Element) -> Self {
        Self {
            elem: ElementObject {
                val: ElementValue::of(element.first, element.last),
                comment: &element.comment,
            },
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ElementValue {
    Prefix { addr: IpAddr, len: u8 },
    Range([IpAddr; 2]),
}

impl ElementValue {
    pub(super) fn of(first: IpAddr, last: IpAddr) -> Self {
        match as_prefix(first, last) {
            Some(prefix) => Self::Prefix {
                addr: prefix.addr(),
                len: prefix.prefix_len(),
            },
            None => Self::Range([first, last]),
        }
    }
}

/// The prefix whose addresses are those from `first` to `last`, where there is one.
fn as_prefix(first: IpAddr, last: IpAddr) -> Option<IpNet> {
    let length = match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => (first.to_bits() ^ last.to_bits()).leading_zeros(),
        (IpAddr::V6(first), IpAddr::V6(last)) => (first.to_bits() ^ last.to_bits()).leading_zeros(),
        _ => return None,
    };
    let prefix = IpNet::new(first, u8::try_from(length).ok()?).ok()?;
    (prefix.network() == first && prefix.broadcast() == last).then_some(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(first: &str, last: &str) -> Option<String> {
        as_prefix(first.parse().unwrap(), last.parse().unwrap()).map(|prefix| prefix.to_string())
    }

    #[test]
    fn an_interval_that_is_a_prefix_is_written_as_one() {
        assert_eq!(
            shown("0.0.0.0", "255.255.255.255").as_deref(),
            Some("0.0.0.0/0")
        );
        assert_eq!(
            shown("10.0.0.0", "10.255.255.255").as_deref(),
            Some("10.0.0.0/8")
        );
        assert_eq!(
            shown("192.0.2.1", "192.0.2.1").as_deref(),
            Some("192.0.2.1/32")
        );
        assert_eq!(
            shown("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff").as_deref(),
            Some("::/0")
        );
        assert_eq!(shown("10.0.0.1", "10.0.0.2"), None);
        assert_eq!(shown("10.0.0.0", "10.255.255.254"), None);
        assert_eq!(shown("10.0.0.1", "10.255.255.255"), None);
    }
}
