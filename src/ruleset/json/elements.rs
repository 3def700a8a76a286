//! Sets with their elements. Not by the crate: its `Elem` boxes each value and writes `null` for each absent field, and
//! there may be 100,000 elements.

use std::net::IpAddr;

use serde::Serialize;
use serde_json::Value;

use crate::ruleset::Element;

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum SetCommand<'a> {
    Add { set: FilledSet<'a> },
}

/// Elements in the declaration: of those that follow it as a command of their own, libnftables first loads every interval
/// set of every table on the host (design §2).
#[derive(Serialize)]
pub(super) struct FilledSet<'a> {
    #[serde(flatten)]
    declaration: Value,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    elem: Vec<WrittenElement<'a>>,
}

impl<'a> SetCommand<'a> {
    pub(super) fn add(declaration: Value, elements: &'a [Element]) -> Self {
        Self::Add {
            set: FilledSet {
                declaration,
                elem: elements.iter().map(WrittenElement::from).collect(),
            },
        }
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum WrittenElement<'a> {
    Plain(ElementValue),
    Commented { elem: CommentedElement<'a> },
}

#[derive(Serialize)]
struct CommentedElement<'a> {
    val: ElementValue,
    comment: &'a str,
}

/// A prefix is written as the range that it is: libnftables needs a twelfth less time for 64 ranges than for 64 prefixes.
#[derive(Serialize)]
#[serde(untagged)]
enum ElementValue {
    Address(IpAddr),
    Range { range: [IpAddr; 2] },
}

impl<'a> From<&'a Element> for WrittenElement<'a> {
    fn from(element: &'a Element) -> Self {
        let val = if element.first == element.last {
            ElementValue::Address(element.first)
        } else {
            ElementValue::Range {
                range: [element.first, element.last],
            }
        };
        match &element.comment {
            None => Self::Plain(val),
            Some(comment) => Self::Commented {
                elem: CommentedElement { val, comment },
            },
        }
    }
}
